"""The stage `reporting`: figures, assessment, report and curation page of each recording, and an index of all."""

from rsc2p_kedro.pipelines.reporting.pipeline import create_pipeline, over_all_recordings

__all__ = ["create_pipeline", "over_all_recordings"]
