"""The stage `source_extraction`: components of the first fit and of the refit, and their lineage."""

from rsc2p_kedro.pipelines.source_extraction.pipeline import create_pipeline

__all__ = ["create_pipeline"]
