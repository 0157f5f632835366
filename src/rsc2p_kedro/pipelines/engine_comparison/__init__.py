"""The pipeline `engine_comparison`."""

from rsc2p_kedro.pipelines.engine_comparison.pipeline import create_pipeline

__all__ = ["create_pipeline"]
