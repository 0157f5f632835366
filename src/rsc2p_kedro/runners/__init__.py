"""Kedro runners; this package imports no other package of this project."""

from rsc2p_kedro.runners.recording import RecordingRunner

__all__ = ["RecordingRunner"]
