"""The stage `source_extraction`."""

from rsc2p_kedro.pipelines.source_extraction.pipeline import create_pipeline

__all__ = ["create_pipeline"]
