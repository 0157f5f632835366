"""The stage `ingestion`: conversion of TIFF frames to a movie, tables of files and frames, and summary images."""

from rsc2p_kedro.pipelines.ingestion.pipeline import create_pipeline

__all__ = ["create_pipeline"]
