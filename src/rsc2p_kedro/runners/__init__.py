"""The runners of this project: which results are fresh, and what a run makes, recording by recording.

Imports `manifest`, `datasets`, `engines` and `core`.
"""

from rsc2p_kedro.runners.dask_runner import DaskRunner, ProjectRunner
from rsc2p_kedro.runners.recording import RecordingRunner

__all__ = ["DaskRunner", "ProjectRunner", "RecordingRunner"]
