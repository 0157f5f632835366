"""The stage `export`."""

from rsc2p_kedro.pipelines.export.pipeline import create_pipeline

__all__ = ["create_pipeline"]
