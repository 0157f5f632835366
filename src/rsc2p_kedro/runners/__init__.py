"""Kedro runners."""

from rsc2p_kedro.runners.recording import RecordingRunner

__all__ = ["RecordingRunner"]
