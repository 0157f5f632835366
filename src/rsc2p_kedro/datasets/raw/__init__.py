"""Raw data as microscopes write them: one module a format, which finds the images and says what they are."""

from rsc2p_kedro.datasets.raw.formats import inspect_recording
from rsc2p_kedro.datasets.raw.frames import RawFrames, read_frames, select_frames, without_nan
from rsc2p_kedro.datasets.raw.recording import ImageFile, Layout, RawRecording, RecordingError, Told
from rsc2p_kedro.datasets.raw.selection import as_patterns, select_files

__all__ = [
    "ImageFile",
    "Layout",
    "RawFrames",
    "RawRecording",
    "RecordingError",
    "Told",
    "as_patterns",
    "inspect_recording",
    "read_frames",
    "select_files",
    "select_frames",
    "without_nan",
]
