"""The pipeline `tracking`: the same neurons over the sessions of each animal."""

from rsc2p_kedro.pipelines.tracking.pipeline import create_pipeline, over_sessions

__all__ = ["create_pipeline", "over_sessions"]
