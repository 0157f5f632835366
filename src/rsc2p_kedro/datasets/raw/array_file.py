"""Arrays of images in a file (HDF5, NWB, zarr and files of vendors), read a few images at a time.

Axes have letters: T time, Z plane, C channel, Y row, X column, and `_` an axis of length 1. The images of an array are
numbered as its leading axes run, the last one fastest, wherever the axes Y and X stand among them.
"""

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import pairwise, permutations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rsc2p_kedro.datasets.raw.recording import ImageFile, Layout, arrange, unreadable

_NAMES = {
    **dict.fromkeys(("t", "time", "frame", "frames", "timepoint", "num_frames"), "T"),
    **dict.fromkeys(("z", "plane", "planes", "depth"), "Z"),
    **dict.fromkeys(("c", "channel", "channels"), "C"),
    **dict.fromkeys(("y", "row", "rows", "height"), "Y"),
    **dict.fromkeys(("x", "column", "columns", "col", "width"), "X"),
}
"""Letters of axes by the names that files give them."""


@dataclass(frozen=True, eq=False)
class ArrayFile(ImageFile):
    """An array of images in a file.

    Attributes:
        path: the file.
        axes: a letter for each axis, with one Y and one X.
        lengths: of the axes.
        dtype: of the pixels.
        opened: opens the array for reading, for as long as the context lasts; may be called by several threads.
        inside: name of the array within the file, for files that hold several.
        problems: problems of the array, one text each.
    """

    path: Path
    axes: str
    lengths: tuple[int, ...]
    dtype: np.dtype
    opened: Callable[[], AbstractContextManager[Any]]
    inside: str = ""
    problems: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.axes) != len(self.lengths) or sorted(set(self.axes) & set("YX")) != ["X", "Y"]:
            raise ValueError(f"axes '{self.axes}' do not fit the shape {self.lengths}, or lack Y or X.")

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        """Shape (H, W) of the images."""
        return tuple(self.lengths[self.axes.index(letter)] for letter in "YX")

    @property
    def leading(self) -> dict[int, int]:
        """Lengths of the axes that number the images, by their positions."""
        return {i: n for i, (letter, n) in enumerate(zip(self.axes, self.lengths, strict=True)) if letter not in "YX"}

    @property
    def n_images(self) -> int:
        """Number of images in the array."""
        return math.prod(self.leading.values())

    def read(self, images: Sequence[int], out: NDArray) -> None:
        try:
            with self.opened() as array:
                for run in _runs(images):
                    out[run] = self._images(array, images[run])
        except Exception as error:  # libraries raise errors of many kinds on damaged data
            raise unreadable(self.path, images, error, name=f"{self.path.name} {self.inside}".strip()) from error

    def _images(self, array: Any, images: Sequence[int]) -> NDArray:
        """Images (n, H, W) of a run in which at most one leading axis changes; else they are read one by one."""
        lengths = tuple(self.leading.values()) or (1,)
        positions = np.array(np.unravel_index(np.asarray(images), lengths)).reshape(len(lengths), len(images))
        changing = np.flatnonzero(np.ptp(positions, axis=1))
        steps = np.diff(positions[changing[0]]) if len(changing) == 1 else np.array([1])
        if len(changing) > 1 or np.ptp(steps) or steps[0] < 1:
            return np.stack([self._images(array, [image])[0] for image in images])
        index: list[Any] = [slice(None)] * len(self.axes)
        for number, axis in enumerate(self.leading):
            first, last = int(positions[number, 0]), int(positions[number, -1])
            index[axis] = slice(first, last + 1, int(steps[0])) if number in changing else slice(first, first + 1)
        block = np.asarray(array[tuple(index)])
        ends = self.axes.index("Y"), self.axes.index("X")
        return np.moveaxis(block, ends, (-2, -1)).reshape(len(images), *self.shape)


def _runs(images: Sequence[int]) -> list[slice]:
    """Parts of a list of images in which the difference from one to the next is the same."""
    if len(images) < 3:
        return [slice(0, len(images))]
    breaks = np.flatnonzero(np.diff(images, n=2)) + 2
    edges = [0, *(int(edge) for edge in breaks), len(images)]
    return [slice(start, stop) for start, stop in pairwise(edges)]


def letters(names: Sequence[str]) -> str | None:
    """Converts the names that a file gives its axes to letters.

    Args:
        names: one for each axis, in any case, such as `time` or `y`.

    Returns:
        The letters; None if a name is unknown or an axis occurs twice.
    """
    found = "".join(_NAMES.get(str(name).lower(), "?") for name in names)
    return None if "?" in found or len(set(found)) < len(found) else found


def name_axes(lengths: Sequence[int], layout: Layout, told: str | None = None) -> tuple[str | None, str]:
    """Names the axes of an array, without guessing.

    Args:
        lengths: of the axes.
        layout: what the user says: `axes`, or the number of channels and planes.
        told: letters that the file gives the axes.

    Returns:
        The letters and no problem, or None and the problem, with the line that answers it. Three axes that nobody
        names are (T, Y, X) if their lengths allow for no other order; more axes need names, or numbers of channels and
        planes that fit in one way only.
    """
    shape = " x ".join(map(str, lengths))
    if layout.axes is not None:
        given = layout.axes.upper()
        if len(given) == len(lengths) == len(set(given)) and set("YX") <= set(given) <= set("TZCYX"):
            return given, ""
        return None, (
            f"`axes: {layout.axes}` does not fit the array of {shape}: give a letter for each axis, among T, Z, C, Y "
            "and X, such as `axes: TYX`"
        )
    if told:
        return told, ""
    long = [axis for axis, length in enumerate(lengths) if length > 1]
    if not 2 <= len(long) <= 5:
        return None, f"an array of {shape} is no movie: give one of time, rows and columns"
    sizes = [lengths[axis] for axis in long]
    if len(long) <= 3:
        if len(long) == 2 or _time_is_first(*sizes):
            return _spread("TYX"[-len(long) :], long, len(lengths)), ""
        return None, (
            f"it is uncertain which axis of the array of {shape} is time: add `axes: TYX` in the manifest if it is the "
            "first one, or `axes: YXT` if it is the last one"
        )
    candidates = _candidates(sizes[:-2], layout)
    if len(candidates) == 1:
        return _spread(candidates[0] + "YX", long, len(lengths)), ""
    example = "TZCYX"[: len(lengths) - 2] + "YX" if len(lengths) > 4 else "TZYX"
    return None, (
        f"it is uncertain which axes of the array of {shape} are time, planes and channels: add a letter for each axis "
        f"in the manifest, such as `axes: {example[-len(lengths) :]}`"
    )


def _time_is_first(a: int, b: int, c: int) -> bool:
    """Whether an array can be read as images of b x c, and not as well as images of a x b."""
    return _may_be_frame(b, c) and (b == c or not _may_be_frame(a, b))


def _may_be_frame(rows: int, columns: int) -> bool:
    """Whether frames of this size are common: 16 to 4096 px, up to four times as long as wide."""
    short, long = sorted((rows, columns))
    return short >= 16 and long <= 4096 and long <= 4 * short


def _candidates(lengths: list[int], layout: Layout) -> list[str]:
    """Ways to name leading axes so that the numbers of channels and planes fit."""
    counts = {"Z": layout.n_planes and layout.n_planes + (layout.flyback_frames or 0), "C": layout.n_channels}
    known = [letter for letter, n in counts.items() if n and n > 1]
    ways = {"".join(way) for way in permutations(["T", *known])} if len(known) == len(lengths) - 1 else set()
    return sorted(way for way in ways if all(counts.get(c, n) == n for c, n in zip(way, lengths, strict=True)))


def _spread(named: str, long: list[int], n_axes: int) -> str:
    """Letters of all axes: the named ones, and `_` for those of length 1."""
    by_axis = dict(zip(long, named, strict=True))
    return "".join(by_axis.get(axis, "_") for axis in range(n_axes))


def order_of_images(file: ArrayFile, layout: Layout) -> tuple[NDArray[np.int64], list[str], list[str]]:
    """Arranges the images of an array by time, plane and channel.

    Args:
        file: the array.
        layout: what the user says: where the array has a time axis only, channels and planes may alternate along it;
            else the flyback is cut off its planes, and numbers that differ from it are a problem.

    Returns:
        The order (T, Z, C), problems and notes.
    """
    sizes = {file.axes[axis]: length for axis, length in file.leading.items() if length > 1}
    flyback = layout.flyback_frames or 0
    if not set("ZC") & set(sizes):
        order, notes = arrange(file.n_images, layout)
        return order, [], notes
    found = {"planes": sizes.get("Z", 1) - flyback, "channels": sizes.get("C", 1)}
    given = {"planes": layout.n_planes, "channels": layout.n_channels}
    problems = [
        f"{file.path.name} holds {found[name]} {name}, not {given[name]}: correct `{name}` in the manifest"
        for name in found
        if given[name] not in (None, found[name])
    ]
    numbers = np.arange(file.n_images, dtype=np.int64).reshape(tuple(sizes.values()))
    present = [letter for letter in "TZC" if letter in sizes]
    order = numbers.transpose([list(sizes).index(letter) for letter in present])
    order = order.reshape([sizes.get(letter, 1) for letter in "TZC"])
    return order[:, : max(1, found["planes"])], problems, []
