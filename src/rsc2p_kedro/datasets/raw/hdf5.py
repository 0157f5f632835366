"""Movies in HDF5 files: a dataset (time, rows, columns), with planes and channels where its axes are named."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np
from natsort import natsorted

from rsc2p_kedro.datasets.raw.array_file import ArrayFile, letters, name_axes, order_of_images
from rsc2p_kedro.datasets.raw.recording import (
    Layout,
    RawRecording,
    common_problems,
    first_few,
    numbered_channels,
    refused,
)
from rsc2p_kedro.datasets.raw.stacks import pixel_problems

with suppress(ImportError):  # of the extra `blosc`; importing it makes its filters known to h5py
    import hdf5plugin  # noqa: F401

SUFFIXES = (".h5", ".hdf5", ".hdf")
_FORMAT = "HDF5"


@dataclass(frozen=True)
class H5Array:
    """A dataset in an HDF5 file, opened each time it is read; HDF5 itself lets one thread read at a time.

    Attributes:
        path: the file.
        name: of the dataset.
    """

    path: Path
    name: str

    @contextmanager
    def __call__(self) -> Iterator[h5py.Dataset]:
        """Opens the dataset.

        Yields:
            The dataset, until the context ends.
        """
        with h5py.File(self.path, "r") as file:
            yield file[self.name]


def read(path: Path, layout: Layout) -> RawRecording | None:
    """Inspects a movie in an HDF5 file.

    Args:
        path: the file.
        layout: what the user says: `dataset` where there are several, `axes` where they are not named.

    Returns:
        The recording; None if this is no HDF5 file.
    """
    if path.suffix.lower() not in SUFFIXES or not path.is_file():
        return None
    if not h5py.is_hdf5(path):
        return refused(path, _FORMAT, [f"{path.name} is no HDF5 file, or damaged: copy it again"])
    with h5py.File(path, "r") as file:
        found = _movies(file)
        if layout.dataset is not None and not isinstance(file.get(layout.dataset), h5py.Dataset):
            listed = first_few(found) or "none that is a movie"
            return refused(
                path, _FORMAT, [f"there is no dataset {layout.dataset}, there are {listed}: correct `dataset`"]
            )
        if layout.dataset is None and len(found) != 1:
            return refused(path, _FORMAT, [_which(path, found)])
        name = layout.dataset or found[0]
        dataset = file[name]
        told, notes = _told_axes(dataset), []
        axes, problem = name_axes(dataset.shape, layout, told)
        if axes is None:
            return refused(path, _FORMAT, [problem])
        if told is None and layout.axes is None and "MATLAB_class" in dataset.attrs:
            axes = axes.translate(str.maketrans("YX", "XY"))
            notes.append(f"{name} was written by MATLAB, which exchanges rows and columns; they are exchanged back")
        images = ArrayFile(
            path, axes, dataset.shape, dataset.dtype, H5Array(path, name), name, filter_problems(dataset)
        )
    order, problems, more_notes = order_of_images(images, layout)
    problems += common_problems([images])
    if told is None and not problems:
        problems += pixel_problems([images], replace(layout, dataset=None))
    channels = numbered_channels(order.shape[2])
    return RawRecording(
        path, _FORMAT, (images,), order, channels, problems=tuple(problems), notes=(*notes, *more_notes)
    )


def holds_movie(path: Path) -> bool:
    """Tells whether a file holds a movie, rather than signals or results only.

    Args:
        path: of an HDF5 file.

    Returns:
        Whether it has an array of three axes or more, or is a damaged file, which may have had one.
    """
    if not h5py.is_hdf5(path):
        return False
    try:
        with h5py.File(path, "r") as file:
            return bool(_movies(file))
    except OSError:
        return True


def filter_problems(dataset: h5py.Dataset) -> tuple[str, ...]:
    """Checks that the compression of a dataset can be read.

    Args:
        dataset: of an open file.

    Returns:
        A problem, with what to install, if its filter is not there.
    """
    created = dataset.id.get_create_plist()
    codes = [created.get_filter(number)[0] for number in range(created.get_nfilters())]
    if all(h5py.h5z.filter_avail(code) for code in codes):
        return ()
    return ("is compressed in a way that needs hdf5plugin: pip install 'rsc2p-kedro[blosc]'",)


def _movies(file: h5py.File) -> list[str]:
    """Names of the datasets of numbers with three axes or more."""
    names: list[str] = []

    def visit(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset) and item.dtype.kind in "uif" and sum(n > 1 for n in item.shape) >= 3:
            names.append(name)

    file.visititems(visit)
    return natsorted(names)


def _which(path: Path, found: list[str]) -> str:
    """Problem of a file without a movie, or with several."""
    if not found:
        return f"{path.name} holds no movie (an array of time, rows and columns): give another file as `path`"
    return f"{path.name} holds several arrays ({first_few(found)}): add the right one, such as `dataset: {found[0]}`"


def _told_axes(dataset: h5py.Dataset) -> str | None:
    """Letters of the axes where they are labelled, as dimension scales or SIMA do."""
    labels = dataset.attrs.get("DIMENSION_LABELS")
    if labels is None:
        return None
    return letters([text.decode() if isinstance(text, bytes) else str(text) for text in np.atleast_1d(labels)])
