"""The stage `export`: one inspected NWB file per recording."""

from rsc2p_kedro.pipelines.export.pipeline import create_pipeline

__all__ = ["create_pipeline"]
