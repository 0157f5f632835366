"""Movies in NWB files: re-analysis of recordings on DANDI, and of this project's own files.

The movie is a `TwoPhotonSeries`, whose axes are (time, x, y) or, of a volume, (time, x, y, z), or a list of TIFFs that
the series links to. Several series that were recorded together are planes or channels of one movie if their imaging
planes or their names say which.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np
from natsort import natsorted
from numpy.typing import NDArray

from rsc2p_kedro.datasets.raw.array_file import ArrayFile, name_axes, order_of_images
from rsc2p_kedro.datasets.raw.hdf5 import H5Array, filter_problems
from rsc2p_kedro.datasets.raw.nwb_metadata import read_depths, read_metadata
from rsc2p_kedro.datasets.raw.recording import (
    ImageFile,
    Layout,
    RawRecording,
    arrange,
    common_problems,
    first_few,
    numbered_channels,
    refused,
)
from rsc2p_kedro.datasets.raw.tiff import SUFFIXES as TIFF_SUFFIXES
from rsc2p_kedro.datasets.raw.tiff_file import inspect_file

SUFFIX = ".nwb"
_FORMAT = "NWB"
_KINDS = ("TwoPhotonSeries", "ImageSeries", "OnePhotonSeries")
"""Types of series of images. The first one is what a two-photon microscope recorded; others are read on request."""
_EQUAL_STEPS_S = 2e-9
"""Steps between frames that differ by less count as equal."""


def read(path: Path, layout: Layout) -> RawRecording | None:
    """Inspects the movie in an NWB file.

    Args:
        path: the file.
        layout: what the user says: `dataset` where there are several movies, the number of channels or planes that
            the series are, `axes` for a file whose images are not laid out as NWB says.

    Returns:
        The recording; None if this is no NWB file.
    """
    if path.suffix.lower() != SUFFIX or not path.is_file():
        return None
    if not h5py.is_hdf5(path):
        return refused(path, _FORMAT, [f"{path.name} is no NWB file in HDF5, or damaged: copy it again"])
    with h5py.File(path, "r") as file:
        chosen, problem = _choose(file, layout)
        if problem:
            return refused(path, _FORMAT, [problem])
        series = [_Series(path, file[name]) for name in chosen]
        metadata = read_metadata(file, series[0].group)
        grid, problem = _grid(series, layout)
        if problem:
            return refused(path, _FORMAT, [problem], metadata)
        recording = _recording(path, grid, layout, metadata)
        planes = [row[0].group.get("imaging_plane", {}) for row in grid]
        return replace(recording, metadata={**metadata, **read_depths(planes, recording.n_planes)})


def holds_movie(path: Path) -> bool:
    """Tells whether a file holds a movie as it was recorded, rather than results only.

    Args:
        path: of an NWB file.

    Returns:
        Whether it has a `TwoPhotonSeries` among its acquisitions, or is a damaged file, which may have had one.
    """
    if not h5py.is_hdf5(path):
        return False
    try:
        with h5py.File(path, "r") as file:
            acquisition = file.get("acquisition", {})
            return any(item.attrs.get("neurodata_type") == _KINDS[0] for item in acquisition.values())
    except OSError:
        return True


def _choose(file: h5py.File, layout: Layout) -> tuple[list[str], str]:
    """Names of the series to read, or a problem: the one the user names, else all two-photon series as recorded."""
    found: dict[str, str] = {}

    def visit(name: str, item: object) -> None:
        kind = item.attrs.get("neurodata_type") if isinstance(item, h5py.Group) else None
        if kind in _KINDS:
            found[name] = str(kind)

    file.visititems(visit)
    listed = first_few(natsorted(found))
    if layout.dataset is not None:
        chosen = [name for name in found if layout.dataset in (name, name.rsplit("/", 1)[1])]
        return chosen[:1], "" if chosen else f"there is no series {layout.dataset}, there are {listed or 'none'}"
    two_photon = natsorted(name for name, kind in found.items() if kind == _KINDS[0])
    chosen = [name for name in two_photon if name.startswith("acquisition/")] or two_photon
    hint = f"add the one to read, such as `dataset: {natsorted(found)[0]}`" if found else "give another file as `path`"
    others = f"but other series ({listed})" if found else "and no other movie"
    return chosen, "" if chosen else f"the file holds no TwoPhotonSeries, {others}: {hint}"


@dataclass(frozen=True)
class _Series:
    """A series of two-photon images in an open file.

    Attributes:
        path: the file.
        group: of the series.
    """

    path: Path
    group: h5py.Group

    @property
    def name(self) -> str:
        """Name of the series."""
        return self.group.name.rsplit("/", 1)[1]

    @property
    def is_external(self) -> bool:
        """Whether the images are in other files."""
        return "external_file" in self.group

    @property
    def n_frames(self) -> int:
        """Number of frames; 0 if they are in other files."""
        return 0 if self.is_external else self.group["data"].shape[0]

    @property
    def start_s(self) -> float:
        """Time of the first frame in s from the start of the session."""
        if "starting_time" in self.group:
            return float(self.group["starting_time"][()])
        return float(self.group["timestamps"][0]) if "timestamps" in self.group else 0.0

    @property
    def number(self) -> float | None:
        """Number of the plane in the name of the series; None if there is none."""
        number = re.search(r"(?:plane|depth|z)[_ -]?(\d+)", self.name, re.IGNORECASE)
        return float(number[1]) if number else None

    @property
    def depth(self) -> float | None:
        """Position of the imaging plane along z, in its own unit; None if it is not told."""
        origin = self.group.get("imaging_plane/origin_coords")
        return float(origin[2]) if origin is not None and np.size(origin) > 2 and np.isfinite(origin[2]) else None

    @property
    def colour(self) -> str | None:
        """Name of the optical channel: the only one, or the one that the name of the series tells; else None."""
        plane = self.group.get("imaging_plane") or {}
        names = [key for key, item in plane.items() if item.attrs.get("neurodata_type") == "OpticalChannel"]
        labels = [name.removeprefix("OpticalChannel") or name for name in names]
        if len(labels) > 1:
            labels = [label for label in labels if label.lower() in self.name.lower()]
        return labels[0] if len(labels) == 1 else None

    def times(self) -> NDArray[np.float64] | None:
        """Gives the times of the frames in s where they are not evenly spaced.

        Returns:
            (T,) times from the start of the session; None where frames are evenly spaced.
        """
        if "timestamps" not in self.group:
            return None
        times = np.asarray(self.group["timestamps"], np.float64)
        return None if len(times) < 3 or np.ptp(np.diff(times)) < _EQUAL_STEPS_S else times


def _grid(series: Sequence[_Series], layout: Layout) -> tuple[list[list[_Series]], str]:
    """The series of each plane (rows) and channel (columns), or a problem if they cannot be told apart."""
    if len(series) == 1:
        return [[series[0]]], ""
    names = ", ".join(one.name for one in series)
    choose = f"add the one to read in the manifest, such as `dataset: {series[0].name}`"
    together = len({one.n_frames for one in series}) == 1 and np.ptp([one.start_s for one in series]) < 1
    if not together or any(one.is_external for one in series):
        return [], f"there are several TwoPhotonSeries that were not recorded together ({names}): {choose}"
    numbers = [one.number for one in series]
    places = numbers if None not in numbers else [one.depth for one in series]
    colours = [one.colour for one in series]
    rows, columns = sorted({p for p in places if p is not None}), natsorted({c for c in colours if c is not None})
    cells = dict(zip(zip(places, colours, strict=True), series, strict=True))
    if None not in [*places, *colours] and len(cells) == len(series) == len(rows) * len(columns):
        return [[cells[row, column] for column in columns] for row in rows], ""
    if None not in places and len(rows) == len(series):
        return [[one] for _, one in sorted(zip(places, series, strict=True), key=lambda pair: pair[0] or 0)], ""
    if None not in colours and len(columns) == len(series):
        return [[one for _, one in natsorted(zip(colours, series, strict=True), key=lambda pair: pair[0])]], ""
    if layout.n_channels == len(series) and layout.n_planes in (None, 1):
        return [list(series)], ""
    if layout.n_planes == len(series) and layout.n_channels in (None, 1):
        return [[one] for one in series], ""
    n = len(series)
    return [], (
        f"there are {n} TwoPhotonSeries ({names}), and the file does not say whether they are channels or planes: add "
        f"`channels: {n}` or `planes: {n}` in the manifest, or {choose[4:]}"
    )


def _recording(path: Path, grid: Sequence[Sequence[_Series]], layout: Layout, metadata: Mapping) -> RawRecording:
    """The recording of the series of each plane and channel."""
    first = grid[0][0]
    notes: list[str] = []
    if first.start_s > 0:
        notes.append(f"the movie starts {first.start_s:g} s after the start of the session")
    if first.is_external:
        files, order, problems = _linked(path, first, layout)
    else:
        files, order, problems, more_notes = _embedded(path, grid, layout)
        notes += more_notes
    single = len(grid) == len(grid[0]) == 1
    names = numbered_channels(order.shape[2])
    named = len(grid[0]) == order.shape[2]
    channels = tuple(one.colour or one.name for one in grid[0]) if named and not single else names
    times = [row[0].times() for row in grid]
    frame_times = None
    if all(time is not None and len(time) == len(order) for time in times) and len(times) == order.shape[1]:
        stacked = np.stack([time for time in times if time is not None], axis=1)
        frame_times = stacked - stacked.min()
    return RawRecording(path, _FORMAT, files, order, channels, metadata, frame_times, tuple(problems), tuple(notes))


def _embedded(
    path: Path, grid: Sequence[Sequence[_Series]], layout: Layout
) -> tuple[tuple[ImageFile, ...], NDArray[np.int64], list[str], list[str]]:
    """Files, order, problems and notes of series whose images are in the file."""
    files: list[ArrayFile] = []
    orders, problems, notes = [], [], []
    single = len(grid) == len(grid[0]) == 1
    own_layout = layout if single else Layout()
    offset = 0
    for row in grid:
        of_row = []
        for series in row:
            data = series.group["data"]
            axes, problem = name_axes(data.shape, layout, {3: "TXY", 4: "TXYZ"}.get(data.ndim))
            if axes is None:
                return (), np.empty((0, 1, 1), np.int64), [problem], []
            name = f"{series.group.name[1:]}/data"
            source, inside = H5Array(path, name), series.group.name[1:]
            file = ArrayFile(path, axes, data.shape, data.dtype, source, inside, filter_problems(data))
            order, own_problems, own_notes = order_of_images(file, own_layout)
            of_row.append(order + offset)
            offset += file.n_images
            files.append(file)
            problems += own_problems
            notes += own_notes
        orders.append(np.concatenate(of_row, axis=2))
    problems += common_problems(files)
    return tuple(files), np.concatenate(orders, axis=1), problems, list(dict.fromkeys(notes))


def _linked(path: Path, series: _Series, layout: Layout) -> tuple[tuple[ImageFile, ...], NDArray[np.int64], list[str]]:
    """Files, order and problems of a series whose images are in TIFFs."""
    links = [name.decode() if isinstance(name, bytes) else str(name) for name in series.group["external_file"]]
    paths = [path.parent / link.replace("\\", "/") for link in links]
    problems = []
    missing = [link for link, file in zip(links, paths, strict=True) if not file.is_file()]
    if missing:
        problems.append(f"{path.name} links to {first_few(missing)}, which cannot be found: copy them there")
    others = [link for link in links if Path(link).suffix.lower() not in TIFF_SUFFIXES]
    if others:
        problems.append(f"{path.name} links to {first_few(others)}: only links to TIFFs can be followed")
    if problems:
        return (), np.empty((0, 1, 1), np.int64), problems
    files = tuple(inspect_file(file) for file in paths)
    order, _ = arrange(sum(file.n_images for file in files), layout)
    return files, order, common_problems(files)
