"""MESc files of Femtonics: HDF5 with a group for each session and unit, and a dataset (time, rows, columns) a channel.

A unit is one recording. The axis of its images has a unit of length in a stack, and of time in a movie.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from natsort import natsorted

from rsc2p_kedro.datasets.raw.array_file import ArrayFile
from rsc2p_kedro.datasets.raw.hdf5 import H5Array, filter_problems
from rsc2p_kedro.datasets.raw.recording import Layout, RawRecording, Told, common_problems, first_few, refused

SUFFIX = ".mesc"
_FORMAT = "Femtonics MESc"


@dataclass(frozen=True)
class _Inverted(H5Array):
    """A dataset whose pixels are stored as the maximum of their dtype minus their value."""

    @contextmanager
    def __call__(self) -> Iterator[Any]:
        with super().__call__() as dataset:
            yield _InvertedPixels(dataset)


@dataclass(frozen=True)
class _InvertedPixels:
    dataset: h5py.Dataset

    def __getitem__(self, index: Any) -> np.ndarray:
        return ~self.dataset[index]


def read(path: Path, layout: Layout) -> RawRecording | None:
    """Inspects a recording of MESc.

    Args:
        path: a file `.mesc`.
        layout: what the user says: `dataset` is the unit, such as `MSession_0/MUnit_1`, where there are several movies.

    Returns:
        The recording; None if this is no MESc file.
    """
    if path.suffix.lower() != SUFFIX or not path.is_file():
        return None
    if not h5py.is_hdf5(path):
        return refused(path, _FORMAT, [f"{path.name} is no file of MESc, or damaged: copy it again"])
    with h5py.File(path, "r") as file:
        names = [f"{s}/{u}" for s in file if s.startswith("MSession_") for u in file[s] if u.startswith("MUnit_")]
        units = {name: file[name] for name in natsorted(names) if "Channel_0" in file[name]}
        movies = [name for name, unit in units.items() if _is_movie(unit)]
        if layout.dataset is not None and layout.dataset not in units:
            listed = first_few(list(units)) or "none"
            return refused(path, _FORMAT, [f"there is no unit {layout.dataset}, there are {listed}: correct `dataset`"])
        if layout.dataset is None and len(movies) != 1:
            found = "no movie: give another file as `path`"
            if movies:
                found = f"several movies ({first_few(movies)}): add the one to read, such as `dataset: {movies[0]}`"
            return refused(path, _FORMAT, [f"{path.name} holds {found}"])
        return _read(path, layout.dataset or movies[0], units[layout.dataset or movies[0]], layout)


def _read(path: Path, name: str, unit: h5py.Group, layout: Layout) -> RawRecording:
    """The recording of a unit of an open file."""
    keys = natsorted(key for key in unit if key.startswith("Channel_") and unit[key].ndim == 3)
    files = []
    for key in keys:
        dataset, conversion = unit[key], f"{key}_Conversion_ConversionLinear"
        inverted = float(_number(unit, f"{conversion}Scale", 1)) < 0 and dataset.dtype.kind == "u"
        source = (_Inverted if inverted else H5Array)(path, f"{name}/{key}")
        files.append(
            ArrayFile(path, "TYX", dataset.shape, dataset.dtype, source, f"{name}/{key}", filter_problems(dataset))
        )
    problems = common_problems(files)
    if not _is_movie(unit):
        problems.append(f"{name} is a stack of depths, not a movie: give another unit as `dataset`")
    if len({file.lengths for file in files}) > 1:
        problems.append(f"the channels of {name} differ in shape: copy {path.name} again from where it was recorded")
    if layout.n_planes not in (None, 1):
        problems.append(f"{name} has one plane: remove `planes` from the manifest")
    n_frames = min((file.n_images for file in files), default=0)
    order = np.arange(n_frames, dtype=np.int64)[:, None, None] + n_frames * np.arange(len(files))
    channels = [_text(unit, f"{key}_Name") or key for key in keys]
    return RawRecording(
        path,
        _FORMAT,
        tuple(files),
        order,
        tuple(channels),
        _metadata(unit, f"{path.name}, {name}"),
        None,
        tuple(problems),
    )


def _number(unit: h5py.Group, name: str, default: float = 0) -> Any:
    return np.ravel(unit.attrs.get(name, default))[0]


def _text(unit: h5py.Group, name: str) -> str:
    """A text, which is stored as an array of characters that ends with 0."""
    return "".join(chr(int(code)) for code in np.ravel(unit.attrs.get(name, [])) if code)


def _is_movie(unit: h5py.Group) -> bool:
    """Whether the images of a unit follow each other in time."""
    return "ms" in _text(unit, "ZAxisConversionUnitName").lower()


def _metadata(unit: h5py.Group, source: str) -> dict[str, Told]:
    """What is told of microscope and session."""
    told: dict[str, Told] = {}
    period = float(_number(unit, "ZAxisConversionConversionLinearScale"))
    if period > 0:
        told["frame_rate_hz"] = Told(1000 / period, f"{source}, ZAxisConversionConversionLinearScale")
    sizes = [abs(float(_number(unit, f"{axis}AxisConversionConversionLinearScale"))) for axis in "YX"]
    if all(sizes) and _text(unit, "XAxisConversionUnitName") in ("µm", "μm", "um"):
        told["pixel_size_um"] = Told(tuple(sizes), f"{source}, scales of the axes X and Y")
    seconds = float(_number(unit, "MeasurementDatePosix"))
    if seconds > 0:
        start = datetime.fromtimestamp(int(seconds), UTC).isoformat()
        told["session.session_start_time"] = Told(start, f"{source}, MeasurementDatePosix")
    version = _text(unit, "CreatingMEScVersion")
    if version:
        told["device.description"] = Told(version, f"{source}, CreatingMEScVersion")
    told["device.manufacturer"] = Told("Femtonics", f"{source}, a file of MESc")
    return told
