"""The raw frames of a recording: its files in reading order, checks that they are complete, and a lazy movie.

A recording is one TIFF or a folder of them, with one or many frames (pages) in each file. Headers are read once, by a
pool of threads; pixels are read only where the movie is computed.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
from natsort import natsorted
from numpy.typing import NDArray

from rsc2p_kedro.datasets.tiff_files import RecordingError, TIFFFile, first_few, inspect_file
from rsc2p_kedro.datasets.tiff_numbering import numbering_problems

MINIMUM_FRAMES = 16
"""Smallest number of frames from which motion and calcium can be estimated: chosen to catch wrong folders and `frames`,
not tuned."""

_SUFFIXES = {".tif", ".tiff", ".btf", ".tf8"}
_THREADS = 8
"""Headers that are read in parallel. Most of the time is spent waiting for the disk or a network drive. Not tuned."""


@dataclass(frozen=True, eq=False)
class RawFrames:
    """The frames of a recording, read lazily.

    Attributes:
        movie: (T, H, W), lazy, in the dtype of the files; each chunk is a run of whole frames.
        files: for each frame, the name of its file relative to `path`.
        pages: (T,) int64, for each frame, its page in that file, from 0.
        path: folder or file of the recording.
        frames_per_file: for each file of the recording, in reading order, its name relative to `path` (as in `files`)
            and the number of frames it holds on disk. Files and frames outside the requested `frames` are included, so
            the numbers may add up to more than T.
    """

    movie: da.Array
    files: tuple[str, ...]
    pages: NDArray[np.int64]
    path: Path
    frames_per_file: Mapping[str, int]

    def __post_init__(self) -> None:
        if not self.movie.shape[0] == len(self.files) == len(self.pages):
            raise ValueError(
                f"RawFrames is inconsistent: {self.movie.shape[0]} frames, {len(self.files)} file names, "
                f"{len(self.pages)} pages."
            )
        n_on_disk = np.array([self.frames_per_file.get(name, 0) for name in self.files])
        outside = np.flatnonzero(self.pages >= n_on_disk)
        if len(outside):
            name, page = self.files[outside[0]], self.pages[outside[0]]
            raise ValueError(
                f"RawFrames is inconsistent: frame {outside[0]} should be page {page} of {name}, which holds "
                f"{n_on_disk[outside[0]]} frames."
            )


@dataclass(frozen=True, eq=False)
class RecordingFiles:
    """The files of a recording in reading order, and all problems with them.

    Attributes:
        path: folder or file of the recording.
        files: in reading order.
        problems: one text for each problem; none where the recording is complete.
    """

    path: Path
    files: tuple[TIFFFile, ...]
    problems: tuple[str, ...]

    @property
    def n_frames(self) -> int:
        """Number of frames in all files."""
        return sum(file.n_frames for file in self.files)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape (H, W) of the frames of most files."""
        return _most_common(file.shape for file in self.files if file.shape)

    @property
    def dtype(self) -> np.dtype:
        """Type of the pixels of most files, in the byte order of the machine."""
        return _most_common(file.dtype.newbyteorder("=") for file in self.files if file.shape)


def read_frames(path: Path, *, frames: tuple[int, int] | None = None, chunk_frames: int = 64) -> RawFrames:
    """Opens a recording and checks that it is complete. Only headers are read; the movie is lazy.

    Args:
        path: a folder of TIFFs or one TIFF.
        frames: index of the first frame and of the one after the last; None takes all.
        chunk_frames: number of frames that are read together.

    Returns:
        The frames, with their files and pages.

    Raises:
        RecordingError: with all problems: no files, gaps or duplicates in the numbering, files that are truncated, of
            another shape or dtype than most, in colour or of several channels, too few frames.
    """
    recording = inspect_recording(path)
    start, stop = frames or (0, recording.n_frames)
    problems = list(recording.problems)
    if stop > recording.n_frames and recording.n_frames:
        problems.append(
            f"frames {start} to {stop} are requested, {recording.n_frames} exist: correct `frames` in the manifest"
        )
    elif recording.n_frames and stop - start < MINIMUM_FRAMES:
        problems.append(
            f"{stop - start} frames are too few, at least {MINIMUM_FRAMES} are needed: check that the recording is "
            "complete, and `frames` in the manifest"
        )
    if problems:
        raise RecordingError(path, problems)
    reader = _FrameReader(recording.files, recording.shape, recording.dtype, start, stop)
    movie = da.from_array(reader, chunks=(chunk_frames, -1, -1), name=False)
    frames_per_file = {file.path.name: file.n_frames for file in recording.files}
    names = [name for name, n_frames in frames_per_file.items() for _ in range(n_frames)]
    pages = np.concatenate([np.arange(n_frames) for n_frames in frames_per_file.values()])
    return RawFrames(movie, tuple(names[start:stop]), pages[start:stop], path, frames_per_file)


def without_nan(frames: RawFrames) -> da.Array:
    """Adds a check for NaN and infinity to the movie of a recording, which runs as frames are read.

    Args:
        frames: of a recording; only movies of floats are checked.

    Returns:
        The movie (T, H, W), lazy. Computing it raises :class:`RecordingError`, which names the first frames that hold
        NaN or infinity.
    """
    if frames.movie.dtype.kind != "f":
        return frames.movie

    def check(block: NDArray, block_info: Any = None) -> NDArray:
        start = block_info[0]["array-location"][0][0]
        bad = start + np.flatnonzero(~np.isfinite(block).all(axis=(1, 2)))
        if len(bad):
            named = first_few([f"frame {i} ({frames.files[i]}, page {frames.pages[i]})" for i in bad])
            problem = f"pixels are NaN or infinite in {named}: replace them, or exclude these frames with `frames`"
            raise RecordingError(frames.path, [problem])
        return block

    return da.map_blocks(check, frames.movie, dtype=frames.movie.dtype, meta=frames.movie._meta)


def inspect_recording(path: Path) -> RecordingFiles:
    """Inspects the files of a recording, reading their headers only.

    Args:
        path: a folder of TIFFs or one TIFF.

    Returns:
        The files in reading order, and all problems with them.
    """
    paths, problems = find_files(path)
    with ThreadPoolExecutor(_THREADS) as pool:
        files = tuple(pool.map(inspect_file, paths))
    problems = [*problems, *numbering_problems([file.name for file in paths]), *_file_problems(files)]
    return RecordingFiles(path, files, tuple(problems))


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


def _file_problems(files: Sequence[TIFFFile]) -> list[str]:
    """Problems of single files, each listed once with all the files that have it."""
    affected: dict[str, list[str]] = defaultdict(list)
    for file in files:
        for problem in file.problems:
            affected[problem].append(file.path.name)
    for name in ("shape", "dtype"):
        values = [(getattr(file, name), file.path.name) for file in files if file.shape]
        usual = _most_common(value for value, _ in values) if values else None
        for value, file_name in values:
            if value != usual:
                problem = f"has {name} {value}, most have {usual}: keep the frames of one recording only"
                affected[problem].append(file_name)
    return [f"{first_few(names)} {problem}" for problem, names in affected.items()]


class _FrameReader:
    """Array interface of files for dask; reads only the frames that are requested."""

    ndim = 3

    def __init__(
        self, files: tuple[TIFFFile, ...], shape: tuple[int, ...], dtype: np.dtype, start: int, stop: int
    ) -> None:
        self._files = files
        self._ends = np.cumsum([file.n_frames for file in files])
        self._frames = np.arange(start, stop)
        self.shape = (len(self._frames), *shape)
        self.dtype = dtype

    def __getitem__(self, index: tuple[Any, ...]) -> NDArray:
        frames, rows, columns = tuple([*index, *[slice(None)] * 3][:3])
        wanted = np.atleast_1d(self._frames[frames])
        movie = np.empty((len(wanted), *self.shape[1:]), self.dtype)
        owners = np.searchsorted(self._ends, wanted, side="right")
        for owner, group in groupby(range(len(wanted)), key=lambda i: owners[i]):
            run = list(group)
            file = self._files[owner]
            file.read([int(wanted[i] - self._ends[owner] + file.n_frames) for i in run], movie[run[0] : run[-1] + 1])
        part = movie if isinstance(frames, slice) or np.ndim(frames) else movie[0]
        return part[..., rows, :][..., columns]


def _most_common(values: Iterable[Any]) -> Any:
    counted = Counter(values).most_common(1)
    return counted[0][0] if counted else ()


def _is_tiff(path: Path) -> bool:
    return path.suffix.lower() in _SUFFIXES and not path.name.startswith(".") and path.is_file()
