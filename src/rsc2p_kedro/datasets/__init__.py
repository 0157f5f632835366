"""Kedro datasets of this project, one class per file. Each is imported when first asked for: NWB takes a while."""

from importlib import import_module
from typing import Any

_MODULES = {
    "AtomicCSVDataset": "atomic_files",
    "AtomicFigureDataset": "atomic_files",
    "AtomicTextDataset": "atomic_files",
    "NWBFileDataset": "nwb_file",
    "RecordDataset": "records",
    "TIFFRecordingDataset": "tiff_recording",
    "ZarrMovieDataset": "zarr_movie",
}

__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
