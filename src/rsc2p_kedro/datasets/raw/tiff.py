"""TIFFs without a format of their own: a folder of files with one or many images each, or a single file."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

from natsort import natsorted

from rsc2p_kedro.datasets.raw.numbering import numbering_problems
from rsc2p_kedro.datasets.raw.recording import Layout, RawRecording, Told, common_problems, first_few
from rsc2p_kedro.datasets.raw.stacks import numbered_channels, stack_order
from rsc2p_kedro.datasets.raw.tiff_file import TIFFFile, inspect_file

_SUFFIXES = {".tif", ".tiff", ".btf", ".tf8"}
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
    paths, problems = find_files(path)
    files = inspect_files(paths)
    problems = [*problems, *numbering_problems([file.name for file in paths]), *common_problems(files)]
    stacks = stack_order(files, layout)
    notes = [*dict.fromkeys(f"{file.path.name} {note}" for file in files for note in file.notes)]
    notes = [*notes[:3], *([f"the same is true of {len(notes) - 3} more files"] if len(notes) > 3 else [])]
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


def inspect_files(paths: Iterable[Path]) -> tuple[TIFFFile, ...]:
    """Reads the headers of many files in parallel.

    Args:
        paths: of TIFFs.

    Returns:
        Their headers, in the same order.
    """
    with ThreadPoolExecutor(_THREADS) as pool:
        return tuple(pool.map(inspect_file, paths))


def find_files(path: Path) -> tuple[list[Path], list[str]]:
    """Finds the TIFFs of a recording.

    Args:
        path: a folder of TIFFs or one TIFF.

    Returns:
        The files in natural order (`frame_2` before `frame_10`), and a problem if there are none.
    """
    if path.is_dir():
        files = tiffs_in(path)
        if files:
            return files, []
        inside = sorted({str(file.parent.relative_to(path)) for file in path.glob("*/**/*") if _is_tiff(file)})
        hint = f"there are TIFFs in {first_few(inside)}, give one of these folders" if inside else "correct `path`"
        return [], [f"there is no TIFF (.tif, .tiff) in this folder: {hint}"]
    if not path.exists():
        return [], ["there is no such file or folder: correct `path`, or copy the data there"]
    if not _is_tiff(path):
        return [], [f"a TIFF (.tif, .tiff) or a folder of them is expected, this is a {path.suffix or 'plain'} file"]
    return [path], []


def tiffs_in(folder: Path) -> list[Path]:
    """Lists the TIFFs in a folder, without those in its subfolders and hidden files.

    Args:
        folder: to search.

    Returns:
        The files in natural order.
    """
    return natsorted((file for file in folder.iterdir() if _is_tiff(file)), key=lambda file: file.name)


def typical_tiff(path: Path) -> Path | None:
    """Chooses the file whose header decides on the format of a recording.

    Args:
        path: a folder of TIFFs or one TIFF.

    Returns:
        The first of the files that are named like most in the folder; None if there is no TIFF.
    """
    if path.is_dir():
        return _typical_tiff(path, path.stat().st_mtime_ns)
    return path if _is_tiff(path) else None


@lru_cache(maxsize=16)
def _typical_tiff(folder: Path, mtime_ns: int) -> Path | None:
    """The file, kept for the readers that look at the same folder one after the other."""
    files = [file for file in folder.iterdir() if _is_tiff(file)]
    patterns = Counter(re.sub(r"\d+", "#", file.name) for file in files)
    usual = patterns.most_common(1)[0][0] if files else ""
    return min((file for file in files if re.sub(r"\d+", "#", file.name) == usual), default=None)


def _is_tiff(path: Path) -> bool:
    return path.suffix.lower() in _SUFFIXES and not path.name.startswith(".") and path.is_file()
