"""Kedro datasets, one class per kind of file. Each is imported when it is first used, as importing pynwb is slow.

Imports `nwb`, `algorithms` and `core`.
"""

from importlib import import_module
from typing import Any

_MODULES = {
    "AtomicCSVDataset": "atomic_files",
    "AtomicFigureDataset": "atomic_files",
    "AtomicTextDataset": "atomic_files",
    "CurationDataset": "curation",
    "FrameRangesDataset": "frame_ranges",
    "FrameTimesDataset": "frame_times",
    "KnownNeuronsDataset": "tracked",
    "NWBFileDataset": "nwb_file",
    "NWBInspectionDataset": "nwb_inspection",
    "RawRecordingDataset": "raw_recording",
    "RecordDataset": "records",
    "SeedsDataset": "seeds",
    "TrackedIdsDataset": "tracked",
    "TrackingDecisionsDataset": "tracked",
    "ZarrMovieDataset": "zarr_movie",
}

__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
