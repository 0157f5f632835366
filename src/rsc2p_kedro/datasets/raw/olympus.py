"""OIR files of Olympus's FluoView, read with `oirfile`."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path
from threading import Lock
from typing import Any

from numpy.typing import NDArray

from rsc2p_kedro.datasets.raw.recording import Layout, RawRecording, Told, stepped_depths
from rsc2p_kedro.datasets.raw.vendor import array_recording, library, read_file

SUFFIX = ".oir"
_FORMAT = "Olympus OIR"
_LOCK = Lock()


def read(path: Path, layout: Layout) -> RawRecording | None:
    """Inspects a recording of FluoView.

    Args:
        path: a file `.oir`, or a folder that holds one.
        layout: what the user says; the file names its axes.

    Returns:
        The recording; None if this is no OIR file.
    """
    return read_file(path, SUFFIX, _FORMAT, lambda file: _read(path, file, layout))


def _read(path: Path, file: Path, layout: Layout) -> RawRecording:
    with _library().OirFile(file) as opened:
        return array_recording(
            path,
            _FORMAT,
            partial(_open, file),
            file=file,
            sizes=dict(opened.sizes),
            dtype=opened.dtype,
            layout=layout,
            channels=[channel.name for channel in opened.channels],
            metadata=_metadata(opened, file.name),
        )


def _library() -> Any:
    return library("oirfile", SUFFIX, needs="OirFile", python=(3, 12))


@contextmanager
def _open(path: Path) -> Iterator[NDArray]:
    with _LOCK:
        array = _unpacked(path, path.stat().st_mtime_ns)
    yield array


@lru_cache(maxsize=1)
def _unpacked(path: Path, _modified: int) -> NDArray:
    """All pixels of a file, mapped from a temporary file: its blocks cannot be read one by one."""
    with _library().OirFile(path) as opened:
        return opened.asarray(out="memmap")


def _metadata(opened: Any, source: str) -> dict[str, Told]:
    """What the file tells of microscope and session; the scales of its axes are in s and um."""
    told: dict[str, Told] = {}
    scales = opened.coord_scales
    if scales.get("T", 0) > 0:
        told["frame_rate_hz"] = Told(1 / float(scales["T"]), f"{source}, scale of the axis T")
    if min(scales.get("Y", 0), scales.get("X", 0)) > 0:
        told["pixel_size_um"] = Told((float(scales["Y"]), float(scales["X"])), f"{source}, scales of the axes Y and X")
    told |= stepped_depths(float(scales.get("Z", 0)), opened.sizes.get("Z", 1), f"{source}, scale of the axis Z")
    if opened.datetime and opened.datetime[19:].count(":"):  # with its offset from UTC
        told["session.session_start_time"] = Told(opened.datetime, f"{source}, creation of the image")
    told["device.manufacturer"] = Told("Olympus", f"{source}, a file of FluoView")
    return told
