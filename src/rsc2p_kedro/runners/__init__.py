"""The runner of this project: which results are fresh, and what a run makes, recording by recording.

Imports `manifest`, `datasets`, `engines` and `core`.
"""

from rsc2p_kedro.runners.recording import RecordingRunner

__all__ = ["RecordingRunner"]
