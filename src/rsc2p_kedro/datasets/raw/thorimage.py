"""TIFFs of ThorImage, next to `Experiment.xml`. (Its raw files are read by `thor_raw`.)

Files are named `ChanA_001_001_001_001.tif`: channel, two numbers of the tile, z and t. Newer versions also write stacks
of all images, `Image_scan_1_region_0_0.tif`, whose OME-XML tells how channels alternate. `ChanA_Preview.tif` is no
image of the recording.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from natsort import natsorted
from numpy.typing import NDArray

from rsc2p_kedro.datasets.raw import ome
from rsc2p_kedro.datasets.raw.recording import Layout, RawRecording, common_problems, first_few
from rsc2p_kedro.datasets.raw.stacks import contradictions, sequence_order, slices_problem
from rsc2p_kedro.datasets.raw.thor_experiment import FILE_NAME, ExperimentError, ThorExperiment, read_experiment
from rsc2p_kedro.datasets.raw.tiff import inspect_files, tiffs_in
from rsc2p_kedro.datasets.raw.tiff_file import TIFFFile, first_page

_FORMAT = "ThorImage TIFF"
_IMAGE = re.compile(r"(?:.*_)?(Chan[A-D])((?:_\d+)+)\.(?:ome\.)?tiff?", re.IGNORECASE)
_STACK = re.compile(r"Image_scan_\d+_region_\d+_\d+\.(?:ome\.)?tiff?", re.IGNORECASE)


def read(path: Path, layout: Layout) -> RawRecording | None:
    """Inspects TIFFs of ThorImage.

    Args:
        path: the folder of `Experiment.xml`, this file, or a stack next to it.
        layout: what the user says of the order of the images.

    Returns:
        The recording, with all its problems; None if this is no recording of ThorImage with TIFFs.
    """
    folder = path if path.is_dir() else path.parent
    if not (folder / FILE_NAME).is_file() or (path.is_dir() and any(folder.glob("Image_*.raw"))):
        return None  # raw files are read by `thor_raw`
    found = [path] if _STACK.fullmatch(path.name) else []
    if path.is_dir() or path.name == FILE_NAME:
        found = tiffs_in(folder, layout)
    images = [file for file in found if _IMAGE.fullmatch(file.name)]
    stacks = natsorted(file for file in found if _STACK.fullmatch(file.name))
    if not images and not stacks:
        return None
    try:
        experiment = read_experiment(folder / FILE_NAME)
    except ExperimentError as error:
        empty = np.empty((0, 1, 1), np.int64)
        return RawRecording(path, _FORMAT, (), empty, problems=(f"{FILE_NAME} {error}",))
    if images:
        return _read_images(path, images, experiment, layout)
    return _read_stacks(path, stacks, experiment, layout)


def _read_images(path: Path, paths: list[Path], experiment: ThorExperiment, layout: Layout) -> RawRecording:
    """A recording whose files are named for channel, z and t."""
    files = inspect_files(paths)
    problems = common_problems(files)
    numbers: dict[str, dict[int, dict[tuple[int, ...], NDArray[np.int64]]]] = defaultdict(lambda: defaultdict(dict))
    tiles, start = set(), 0
    for file in files:
        channel, indices = _indices(file.path.name)
        tiles.add(indices[:-2])
        z = indices[-2] if len(indices) > 1 else 1
        numbers[channel][z][indices] = np.arange(start, start + file.n_images)
        start += file.n_images
    if len(tiles) > 1:
        problems.append(f"there are {len(tiles)} tiles, which cannot be read as one recording: keep one in a folder")
    channels = tuple(sorted(numbers))
    problems += _missing(channels, experiment, files)
    order, more, notes = _ordered(numbers, channels, experiment, layout)
    metadata = experiment.metadata
    if "pixel_size_um" not in metadata:  # of early versions, whose TIFFs tell it
        metadata = {**ome.metadata_of(files[0].path), **metadata}
    told_planes = experiment.n_planes if experiment.n_planes > 1 else None
    problems += contradictions(layout, Layout(len(channels), told_planes), FILE_NAME)
    return RawRecording(
        path,
        _FORMAT,
        files,
        order,
        channels,
        metadata,
        problems=(*problems, *more),
        notes=tuple(notes),
    )


def _indices(name: str) -> tuple[str, tuple[int, ...]]:
    """Channel and numbers in the name of a file."""
    match = _IMAGE.fullmatch(name)
    channel, numbers = match.groups() if match else ("", "")
    return f"Chan{channel[-1:].upper()}", tuple(int(number) for number in numbers.split("_") if number)


def _missing(channels: Sequence[str], experiment: ThorExperiment, files: Sequence[TIFFFile]) -> list[str]:
    """Problems of images that `Experiment.xml` or other files lead to expect."""
    absent = [channel for channel in experiment.channels if channel not in channels]
    problems = []
    if absent and set(experiment.channels) <= {"ChanA", "ChanB", "ChanC", "ChanD"}:
        problems.append(
            f"{FILE_NAME} names {first_few(absent)}, of which there are no files: copy them again from where they were "
            "recorded"
        )
    times: dict[str, set[tuple[int, ...]]] = defaultdict(set)
    for file in files:
        channel, indices = _indices(file.path.name)
        times[channel].add(indices)
    every = set().union(*times.values())
    last = max((indices[-1] for indices in every), default=0)
    holes = [
        f"{channel}_{'_'.join(f'{number:03d}' for number in indices)}.tif"
        for channel in sorted(times)
        for indices in sorted(every - times[channel])
        if indices[-1] < last
    ]
    counted = {indices[-1] for indices in every}
    gaps = sorted(set(range(min(counted, default=0), last)) - counted)
    if holes or gaps:
        named = first_few([*holes, *(f"t = {number}" for number in gaps)])
        problems.append(f"files are missing: {named}. Copy them again from where they were recorded")
    return problems


def _ordered(
    numbers: dict[str, dict[int, dict[tuple[int, ...], NDArray[np.int64]]]],
    channels: Sequence[str],
    experiment: ThorExperiment,
    layout: Layout,
) -> tuple[NDArray[np.int64], list[str], list[str]]:
    """Order (T, Z, C) of images that are named for channel, z and t; problems and notes."""
    depths = sorted({z for by_depth in numbers.values() for z in by_depth})
    series = {
        (channel, z): np.concatenate(
            [images for _, images in sorted(numbers[channel][z].items())] or [np.empty(0, np.int64)]
        )
        for channel in channels
        for z in depths
    }
    lengths = [len(one) for one in series.values()]
    n = min(lengths)
    notes = [f"the last {max(lengths) - n} images are incomplete and left out"] if max(lengths) > n else []
    table = np.stack([np.stack([series[channel, z][:n] for channel in channels], -1) for z in depths], 1).astype(
        np.int64
    )
    if len(depths) > 1:
        kept = experiment.n_planes if len(depths) == experiment.n_planes + experiment.flyback_frames else len(depths)
        if n == 1 and layout.n_planes is None:
            return table, [slices_problem(len(depths))], notes
        if n == 1:
            order, more = sequence_order(table[0], layout)
            return order, [], [*notes, *more]
        return table[:, :kept], [], notes
    fallback = (experiment.n_planes, experiment.flyback_frames)
    n_planes = layout.n_planes or fallback[0]
    flyback = fallback[1] if layout.flyback_frames is None else layout.flyback_frames
    order, more = sequence_order(table[:, 0], Layout(1, n_planes, flyback if n_planes > 1 else 0))
    return order, [], [*notes, *more]


def _read_stacks(path: Path, stacks: list[Path], experiment: ThorExperiment, layout: Layout) -> RawRecording:
    """A recording in a stack of all images."""
    if len(stacks) > 1:
        names = first_few([stack.name for stack in stacks])
        problem = f"there are several scans in this folder ({names}): give one of them as `path`"
        return RawRecording(path, _FORMAT, (), np.empty((0, 1, 1), np.int64), problems=(problem,))
    if first_page(stacks[0]).kind == "OME" and (recording := ome.read(stacks[0], layout)):
        fits = len(recording.channels) == len(experiment.channels)
        channels = experiment.channels if fits else recording.channels
        metadata = {**recording.metadata, **experiment.metadata}
        return replace(recording, path=path, format=_FORMAT, channels=channels, metadata=metadata)
    files = inspect_files(stacks)
    problems, n_channels = common_problems(files), len(experiment.channels)
    if n_channels > 1 and layout.n_channels is None:
        problems.append(
            f"{stacks[0].name} does not say how its {n_channels} channels follow one another: save it as OME-TIFF or "
            f"raw in ThorImage, or add `channels: {n_channels}` if they alternate from image to image"
        )
    problems += contradictions(layout, Layout(n_channels), FILE_NAME)
    told = Layout(n_channels, layout.n_planes or experiment.n_planes, experiment.flyback_frames)
    order, notes = sequence_order(np.arange(files[0].n_images)[:, None], told)
    return RawRecording(
        path,
        _FORMAT,
        files,
        order,
        experiment.channels,
        experiment.metadata,
        problems=tuple(problems),
        notes=tuple(notes),
    )
