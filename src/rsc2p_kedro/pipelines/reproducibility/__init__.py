"""The pipeline `reproducibility`: components of each half of the frames, and what both halves find."""

from rsc2p_kedro.pipelines.reproducibility.pipeline import create_pipeline

__all__ = ["create_pipeline"]
