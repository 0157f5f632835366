"""The order of images in stacks that name their axes, or do not: plain TIFFs, ImageJ, tifffile.

Only what is certain to be time is taken for time: frames (T), and images that nobody labelled. Stacks that are labelled
as slices (Z) and not as frames are asked about, as movies are often saved that way. What the user says of the order of
the images decides, unless the file clearly says something else.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rsc2p_kedro.datasets.raw.alternation import alternating_images
from rsc2p_kedro.datasets.raw.recording import ImageFile, Layout, RecordingError, arrange, first_few
from rsc2p_kedro.datasets.raw.tiff_file import TIFFFile

MAX_CHANNELS = 8
"""Maximum number of channels of a microscope. Stacks with more, and no other axis, were not labelled: tifffile writes
`channels` for the images of an ImageJ stack whose axes it is not told."""


PIXEL_SIZES_UM = (0.05, 50.0)
"""Sizes of the pixels of two-photon microscopes. Others are left-overs of programs, such as ImageJ's 1 inch."""


@dataclass(frozen=True, eq=False)
class StackOrder:
    """The order of the images of stacks.

    Attributes:
        order: (T, Z, C) int64, number of the image of each frame, plane and channel.
        problems: why the order is not known, with what to do.
        notes: what the user should know although the order is known.
    """

    order: NDArray[np.int64]
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def stack_order(files: Sequence[TIFFFile], layout: Layout) -> StackOrder:
    """Finds the order of the images of stacks, from their labels, what the user says and, if need be, their pixels.

    Args:
        files: of a recording, in reading order.
        layout: what the user says of the order of the images.

    Returns:
        The order, and the problems with it. Pixels are read only if neither the files nor the user tell how many
        channels and planes there are.
    """
    axes = [_named_axes(file) for file in files]
    kinds = {tuple((axis, size) for axis, size in named if axis in "ZC") for named in axes if named}
    if not kinds:
        order, notes = arrange(sum(file.n_images for file in files), layout)
        return StackOrder(order, tuple(pixel_problems(files, layout)), tuple(notes))
    if len(kinds) > 1 and any(axis == "T" for named in axes for axis, _ in named):
        listed = first_few(sorted({_words(dict(kind)) for kind in kinds}))
        problem = f"the files are labelled differently ({listed}): keep the files of one recording only"
        return StackOrder(np.empty((0, 1, 1), np.int64), (problem,))
    parts, start = [], 0
    for file, named in zip(files, axes, strict=True):
        parts.append(_file_order(file.n_images, named, layout))
        parts[-1] = StackOrder(parts[-1].order + start, parts[-1].problems, parts[-1].notes)
        start += file.n_images
    return _joined(files, parts, layout, doubtful=not any(axis in "ZC" for named in axes for axis, _ in named))


def pixel_problems(files: Sequence[ImageFile], layout: Layout) -> list[str]:
    """Looks on the pixels whether images that nobody labelled are those of several channels or planes.

    Args:
        files: of a recording, in reading order.
        layout: what the user says of the order of the images. If it says anything, nothing is read.

    Returns:
        A problem if images alternate, with the lines that settle it.
    """
    usable = files and not any(file.problems for file in files) and len({file.shape for file in files}) == 1
    said = (layout.n_channels, layout.n_planes, layout.flyback_frames) != (None, None, None)
    if said or not usable:
        return []
    try:
        p = alternating_images(files)
    except RecordingError:  # damaged pixels are reported where frames are read
        return []
    if p == 1:
        return []
    return [
        f"it looks like {p} images that alternate, as of several channels or planes: add `channels: {p}`, or "
        f"`planes: {p}` (or `planes: {p - 1}` and `flyback_frames: 1`), or both, such that their product is {p}; or "
        "`planes: 1` if these are frames of one plane"
    ]


def contradictions(layout: Layout, told: Layout, source: str) -> list[str]:
    """Compares what the user says of the order of the images with what the files say.

    Args:
        layout: what the user says.
        told: what the files say; None where they say nothing.
        source: of what the files say, for the user: `the ScanImage header`.

    Returns:
        A problem for each number that differs.
    """
    named = {"n_channels": "channels", "n_planes": "planes", "flyback_frames": "flyback_frames"}
    return [
        f"`{name}` is {getattr(layout, field)} in the manifest, but {getattr(told, field)} according to {source}: "
        f"correct or remove `{name}`"
        for field, name in named.items()
        if None not in (getattr(layout, field), getattr(told, field)) and getattr(layout, field) != getattr(told, field)
    ]


def sequence_order(sequence: NDArray[np.int64], layout: Layout) -> tuple[NDArray[np.int64], list[str]]:
    """Takes images that follow one another as frames, or as what the user says.

    Args:
        sequence: (S, C) numbers of the images; C is 1 where the files name no channels.
        layout: what the user says of the order of the images.

    Returns:
        The order (T, Z, C), and notes on what is left out.
    """
    n_channels = layout.n_channels if sequence.shape[1] == 1 else 1
    positions, notes = arrange(len(sequence), Layout(n_channels, layout.n_planes, layout.flyback_frames))
    return sequence[positions[..., 0]] if sequence.shape[1] > 1 else sequence[positions, 0], notes


def slices_problem(n_slices: int) -> str:
    """Asks about a stack of slices that may be frames.

    Args:
        n_slices: number of slices.

    Returns:
        The problem, with the lines that settle it.
    """
    return (
        f"{n_slices} images are labelled as slices (Z), none as frames (T): add `planes: 1` if they are frames of "
        "one plane, or the number of planes, such as `planes: 3`, if they are volumes over time"
    )


def missing_files(paths: Sequence[Path], source: str) -> list[str]:
    """Reports files that metadata name and that are not there.

    Args:
        paths: that the metadata name.
        source: of the metadata, for the user.

    Returns:
        A problem with the missing files; none if all are there.
    """
    names = [path.name for path in paths if not path.exists()]
    if not names:
        return []
    return [f"{source} names files that are missing: {first_few(names)}. Copy them again from where they were recorded"]


def _named_axes(file: TIFFFile) -> list[tuple[str, int]]:
    """Axes that a file names, slowest first, with sizes that fit the images that are there; empty if it names none."""
    if file.labels is None or file.n_images < 2:
        return []
    named = [(axis, size) for axis, size in zip(file.labels.axes, file.labels.sizes, strict=True) if size > 1]
    if [axis for axis, _ in named] == ["C"] and named[0][1] > MAX_CHANNELS:
        return []
    if not named or [axis for axis, _ in named] == ["Q"]:
        return []
    product = int(np.prod([size for _, size in named]))
    if product < file.n_images:  # such as ImageJ's `images=1000`, `channels=2`
        return [("Q", file.n_images // product), *named]
    whole = file.n_images // (product // named[0][1])
    return [(named[0][0], min(named[0][1], whole)), *named[1:]]


def _file_order(n_images: int, named: list[tuple[str, int]], layout: Layout) -> StackOrder:
    """Order (T, Z, C) of the images of one file, numbered from 0."""
    sizes = dict(named)
    letters = [axis for axis, _ in named]
    n_used = int(np.prod([size for _, size in named]))
    rest = n_images - n_used
    notes = [f"the last volume is incomplete ({rest} images) and is left out"] if named and rest else []
    images = np.arange(n_used).reshape([size for _, size in named] or [n_used])
    if "C" in letters:
        images = np.moveaxis(images, letters.index("C"), -1)
        letters.remove("C")
    told = Layout(sizes.get("C"), sizes["Z"] if "Z" in sizes and {"T", "Q"} & set(letters) else None)
    problems = contradictions(layout, told, "the labels in the file")
    if told.n_planes and len(letters) == 2:
        images = images if letters[1] == "Z" else np.swapaxes(images, 0, 1)
        order = images.reshape(images.shape[0], told.n_planes, sizes.get("C", 1))
        return StackOrder(order, tuple(problems), tuple(notes))
    if letters.count("Q") + letters.count("Z") > ("Q" in letters and "T" not in letters) and layout.n_planes is None:
        problems.append(_question(named))
    order, more = sequence_order(images.reshape(-1, sizes.get("C", 1)), layout)
    return StackOrder(order, tuple(problems), (*notes, *more))


def _question(named: list[tuple[str, int]]) -> str:
    """Problem of a stack whose axes may or may not be time."""
    slices = [size for axis, size in named if axis == "Z"]
    if slices and len(named) == 1 + any(axis == "C" for axis, _ in named):
        return slices_problem(slices[0])
    shape = " x ".join(str(size) for _, size in named)
    return (
        f"the images are in an array of {shape} without names for all axes: add `channels` and `planes`, such as "
        f"`planes: {named[-1][1]}`, or `planes: 1` if all are frames of one plane"
    )


def _words(sizes: dict[str, int]) -> str:
    return f"{sizes.get('C', 1)} channels and {sizes.get('Z', 1)} slices"


def _joined(files: Sequence[TIFFFile], parts: list[StackOrder], layout: Layout, *, doubtful: bool) -> StackOrder:
    """The orders of several files one after the other, each problem once."""
    problems = list(dict.fromkeys(problem for part in parts for problem in part.problems))
    notes = list(dict.fromkeys(note for part in parts for note in part.notes))
    shapes = {part.order.shape[1:] for part in parts if part.order.size}
    if len(shapes) > 1:
        problems.append("the files hold different numbers of channels or planes: keep the files of one recording only")
        return StackOrder(parts[0].order, tuple(problems), tuple(notes))
    order = np.concatenate([part.order for part in parts if part.order.shape[1:] in shapes] or [parts[0].order])
    if doubtful and not problems:
        problems += pixel_problems(files, layout)
    return StackOrder(order, tuple(problems), tuple(notes))
