"""The stage `reporting`."""

from rsc2p_kedro.pipelines.reporting.pipeline import create_pipeline

__all__ = ["create_pipeline"]
