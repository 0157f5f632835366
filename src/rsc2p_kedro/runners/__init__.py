"""What runs the pipelines."""

from rsc2p_kedro.runners.recording import RecordingRunner

__all__ = ["RecordingRunner"]
