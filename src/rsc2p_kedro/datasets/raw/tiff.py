"""TIFFs without a format of their own: a folder of files with one or many images each, or a single file."""

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from natsort import natsorted
from numpy.typing import NDArray

from rsc2p_kedro.datasets.raw.numbering import numbering_problems
from rsc2p_kedro.datasets.raw.recording import Layout, RawRecording, Told, common_problems, first_few, numbered_channels
from rsc2p_kedro.datasets.raw.selection import select_files
from rsc2p_kedro.datasets.raw.stacks import StackOrder, contradictions, stack_order
from rsc2p_kedro.datasets.raw.tiff_file import TIFFFile, inspect_file

SUFFIXES = frozenset({".tif", ".tiff", ".btf", ".tf8"})
_CHANNEL = re.compile(r"(?<![A-Za-z])ch(?:an(?:nel)?)?[-_ ]?[0-9A-D](?![0-9A-Za-z])", re.IGNORECASE)
"""A channel in the name of a file: `ch1`, `Ch_2`, `ChanA`, `channel 1`."""
_THREADS = 8
"""Headers that are read in parallel. Most of the time is spent waiting for the disk or a network drive. Not tuned."""


def read(path: Path, layout: Layout) -> RawRecording:
    """Inspects the TIFFs of a recording.

    Args:
        path: a folder of TIFFs or one TIFF.
        layout: what the user says of the order of the images.

    Returns:
        The recording, with all its problems: no files, gaps or duplicates in the numbering, files that are truncated,
        of another shape or dtype than most or in colour, an order of images that is not certain. Headers are read, and
        where nothing says how many channels and planes there are, pixels of a few dozen images.
    """
    return read_stacks(path, layout, "TIFF", {})


def read_stacks(path: Path, layout: Layout, format_name: str, metadata: Mapping[str, Told]) -> RawRecording:
    """Inspects TIFFs whose images are ordered as labels or the user say.

    Args:
        path: a folder of TIFFs or one TIFF.
        layout: what the user says of the order of the images.
        format_name: for the user.
        metadata: what the files tell.

    Returns:
        The recording, with all its problems.
    """
    paths, problems = find_files(path, layout)
    files = inspect_files(paths)
    by_channel = files_by_channel(paths)
    for named in by_channel.values():
        problems += numbering_problems([paths[i].name for i in named])
    problems += common_problems(files)
    stacks = _ordered_by_channel(files, by_channel, layout)
    notes = [*dict.fromkeys(f"{file.path.name} {note}" for file in files for note in file.notes)]
    notes = [*notes[:3], *([f"the same is true of {len(notes) - 3} more files"] if len(notes) > 3 else [])]
    channels = tuple(by_channel) if len(by_channel) > 1 else numbered_channels(stacks.order.shape[2])
    if len(channels) != stacks.order.shape[2]:
        channels = numbered_channels(stacks.order.shape[2])
    return RawRecording(
        path,
        format_name,
        files,
        stacks.order,
        channels,
        metadata,
        problems=(*problems, *stacks.problems),
        notes=(*notes, *stacks.notes),
    )


def files_by_channel(paths: Sequence[Path]) -> dict[str, list[int]]:
    """Groups files whose names differ in the channel: `m_ch1.tif` and `m_ch2.tif`.

    Args:
        paths: of a recording, in reading order.

    Returns:
        Numbers of the files of each channel, by its name; all files under the name "" if names tell no channels.
    """
    groups: dict[str, list[int]] = {}
    patterns = set()
    for number, path in enumerate(paths):
        found = _CHANNEL.search(path.name)
        groups.setdefault(found[0] if found else "", []).append(number)
        patterns.add(re.sub(r"\d+", "#", _CHANNEL.sub("", path.name)))
    return groups if len(groups) > 1 and "" not in groups and len(patterns) == 1 else {"": list(range(len(paths)))}


def _ordered_by_channel(files: Sequence[TIFFFile], by_channel: Mapping[str, list[int]], layout: Layout) -> StackOrder:
    """Order (T, Z, C) of all images; of files that are named for channels, those of each channel on their own."""
    if len(by_channel) == 1:
        return stack_order(files, layout)
    starts = np.cumsum([0, *(file.n_images for file in files)])
    problems = contradictions(layout, Layout(len(by_channel)), "the names of the files")
    parts: list[NDArray[np.int64]] = []
    notes: list[str] = []
    for named in by_channel.values():
        part = stack_order([files[i] for i in named], replace(layout, n_channels=None))
        images = np.concatenate([np.arange(starts[i], starts[i + 1]) for i in named])
        parts.append(images[part.order])
        problems += part.problems
        notes += part.notes
    others = [{_CHANNEL.sub("*", files[i].path.name) for i in named} for named in by_channel.values()]
    if lacking := natsorted({name for one in others for name in one if any(name not in other for other in others)}):
        listed = first_few(list(by_channel))
        problems.append(f"not all channels ({listed}) have the files {first_few(lacking)}: copy them")
    elif len({part.shape for part in parts}) > 1 or any(part.shape[2] > 1 for part in parts):
        problems.append("the files of the channels hold different numbers of images: copy them again")
    unique = tuple(dict.fromkeys(problems)), tuple(dict.fromkeys(notes))
    order = np.concatenate(parts, axis=2) if len({part.shape for part in parts}) == 1 else parts[0]
    return StackOrder(order, *unique)


def inspect_files(paths: Iterable[Path]) -> tuple[TIFFFile, ...]:
    """Reads the headers of many files in parallel.

    Args:
        paths: of TIFFs.

    Returns:
        Their headers, in the same order.
    """
    with ThreadPoolExecutor(_THREADS) as pool:
        return tuple(pool.map(inspect_file, paths))


def find_files(path: Path, layout: Layout | None = None) -> tuple[list[Path], list[str]]:
    """Finds the TIFFs of a recording.

    Args:
        path: a folder of TIFFs or one TIFF.
        layout: with the patterns of the files that belong to the recording. None takes all of the folder.

    Returns:
        The files in natural order (`frame_2` before `frame_10`), and a problem if there are none.
    """
    if path.is_dir():
        files = tiffs_in(path, layout)
        if files:
            return files, []
        if layout and (layout.files or layout.exclude):
            return [], ["no TIFF (.tif, .tiff) in this folder matches: correct `files` and `exclude` in the manifest"]
        inside = sorted({str(file.parent.relative_to(path)) for file in path.glob("*/**/*") if _is_tiff(file)})
        hint = f"there are TIFFs in {first_few(inside)}, give one of these folders" if inside else "correct `path`"
        return [], [f"there is no TIFF (.tif, .tiff) in this folder: {hint}"]
    if not path.exists():
        return [], ["there is no such file or folder: correct `path`, or copy the data there"]
    if not _is_tiff(path):
        return [], [f"a TIFF (.tif, .tiff) or a folder of them is expected, this is a {path.suffix or 'plain'} file"]
    return [path], []


def tiffs_in(folder: Path, layout: Layout | None = None) -> list[Path]:
    """Lists the TIFFs in a folder, without those in its subfolders and hidden files.

    Args:
        folder: to search.
        layout: with patterns of the files to take, which may lie in subfolders. None takes all of the folder.

    Returns:
        The files in natural order.
    """
    files = select_files(folder, folder.iterdir(), layout or Layout())
    return natsorted(filter(_is_tiff, files), key=lambda file: file.relative_to(folder).as_posix())


def typical_tiff(path: Path, layout: Layout) -> Path | None:
    """Chooses the file whose header decides on the format of a recording.

    Args:
        path: a folder of TIFFs or one TIFF.
        layout: with the patterns of the files that belong to the recording.

    Returns:
        The first of the files that are named like most in the folder; None if there is no TIFF.
    """
    if path.is_dir():
        return _typical_tiff(path, Layout(files=layout.files, exclude=layout.exclude), path.stat().st_mtime_ns)
    return path if _is_tiff(path) else None


@lru_cache(maxsize=16)
def _typical_tiff(folder: Path, layout: Layout, mtime_ns: int) -> Path | None:
    """The file, kept for the readers that look at the same folder one after the other."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if Path(entry.name).suffix.lower() in SUFFIXES and entry.is_file()]
    files = select_files(folder, (folder / name for name in names), layout) if layout != Layout() else []
    places = [file.relative_to(folder).as_posix() for file in files] or [name for name in names if name[0] != "."]
    patterns = [re.sub(r"\d+", "#", place) for place in places]
    usual = Counter(patterns).most_common(1)[0][0] if places else ""
    first = min((place for place, pattern in zip(places, patterns, strict=True) if pattern == usual), default=None)
    return None if first is None else folder / first


def _is_tiff(path: Path) -> bool:
    """Whether a path is a TIFF by its name, or a link to one that may be missing."""
    if path.suffix.lower() not in SUFFIXES or path.name.startswith("."):
        return False
    return path.is_file() or (path.is_symlink() and not path.exists())
