"""The stage `motion_correction`: template, shifts, corrected movie and registration quality."""

from rsc2p_kedro.pipelines.motion_correction.pipeline import create_pipeline

__all__ = ["create_pipeline"]
