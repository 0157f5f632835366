"""The pipeline `engine_comparison`: results, cost and agreement of both engines on the same recordings."""

from rsc2p_kedro.pipelines.engine_comparison.pipeline import create_pipeline

__all__ = ["create_pipeline"]
