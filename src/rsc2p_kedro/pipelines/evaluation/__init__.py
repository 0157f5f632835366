"""The stage `evaluation`."""

from rsc2p_kedro.pipelines.evaluation.pipeline import create_pipeline, create_table_of_all

__all__ = ["create_pipeline", "create_table_of_all"]
