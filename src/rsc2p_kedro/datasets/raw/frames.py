"""The frames of one plane and channel of a recording as a lazy movie."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
from numpy.typing import NDArray

from rsc2p_kedro.datasets.raw.formats import inspect_recording
from rsc2p_kedro.datasets.raw.recording import Layout, RawRecording, RecordingError, first_few

MINIMUM_FRAMES = 16
"""Smallest number of frames from which motion and calcium can be estimated: chosen to catch wrong folders and `frames`,
not tuned."""


@dataclass(frozen=True, eq=False)
class RawFrames:
    """The frames of one plane and channel of a recording, read lazily.

    Attributes:
        movie: (T, H, W), lazy, in the dtype of the files; each chunk is a run of whole frames.
        files: for each frame, the name of its file relative to `path`.
        pages: (T,) int64, for each frame, its image in that file, from 0.
        path: folder or file of the recording.
        frames_per_file: for each file of the recording, in reading order, its name relative to `path` (as in `files`)
            and the number of images it holds on disk. Files and images outside of these frames are included, so the
            numbers may add up to more than T.
        times_s: (T,) start of each frame in s from the start of the recording, where the files tell it; else None.
        trials: (T,) int64, number of the trial of each frame, where the files tell it; else None.
    """

    movie: da.Array
    files: tuple[str, ...]
    pages: NDArray[np.int64]
    path: Path
    frames_per_file: Mapping[str, int]
    times_s: NDArray[np.float64] | None = None
    trials: NDArray[np.int64] | None = None

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

    @property
    def first_files(self) -> list[str]:
        """For each frame, the name of the file in which its trial begins.

        Trials are what the files tell, or else the files themselves if they hold several frames each. A recording
        without trials is one.
        """
        trials = self.trials
        if trials is None:
            runs = np.cumsum([0, *(after != before for before, after in pairwise(self.files))])
            trials = runs if runs[-1] < len(runs) // 2 else np.zeros_like(runs)
        _, first, of_frame = np.unique(trials, return_index=True, return_inverse=True)
        return [self.files[first[number]] for number in of_frame]


def read_frames(
    path: Path,
    *,
    frames: tuple[int, int] | None = None,
    channel: str | int | None = None,
    plane: int | None = None,
    layout: Layout | None = None,
    chunk_frames: int = 64,
) -> RawFrames:
    """Opens one plane and channel of a recording and checks that it is complete. Only headers are read.

    Args:
        path: folder or file of the recording.
        frames: index of the first frame and of the one after the last; None takes all.
        channel: name of the channel, or its number from 1. May be None where there is only one.
        plane: number of the plane, from 1. May be None where there is only one.
        layout: what the user says of the order of the images.
        chunk_frames: number of frames that are read together.

    Returns:
        The frames, lazy, with their files and pages.

    Raises:
        RecordingError: with all problems: those of the reader (see :class:`RawRecording`), a channel or plane that
            does not exist or is not named although there are several, too few frames.
    """
    recording = inspect_recording(path, layout=layout)
    return select_frames(recording, frames=frames, channel=channel, plane=plane, chunk_frames=chunk_frames)


def select_frames(
    recording: RawRecording,
    *,
    frames: tuple[int, int] | None = None,
    channel: str | int | None = None,
    plane: int | None = None,
    chunk_frames: int = 64,
) -> RawFrames:
    """Selects one plane and channel of a recording whose headers have been read.

    Args:
        recording: with all its images, planes and channels.
        frames: index of the first frame and of the one after the last; None takes all.
        channel: name of the channel, or its number from 1. May be None where there is only one.
        plane: number of the plane, from 1. May be None where there is only one.
        chunk_frames: number of frames that are read together.

    Returns:
        The frames, lazy, with their files and pages.

    Raises:
        RecordingError: with all problems, as :func:`read_frames`.
    """
    path = recording.path
    start, stop = frames or (0, recording.n_frames)
    problems = [*recording.problems, *_selection_problems(recording, channel, plane)]
    problems += _window_problems(recording.n_frames, start, stop)
    if not problems and not recording.n_frames:
        problems.append("there is no whole frame (of all planes and channels): check that the recording is complete")
    if problems:
        raise RecordingError(path, problems)
    numbers = recording.order[start:stop, (plane or 1) - 1, channel_index(recording, channel)]
    reader = _FrameReader(recording, numbers)
    names = _file_names(recording)
    movie = da.from_array(reader, chunks=(chunk_frames, -1, -1), name=False)
    owners, images = reader.owners, reader.images
    frames_per_file = {name: file.n_images for name, file in zip(names, recording.files, strict=True)}
    times = recording.frame_times_s
    return RawFrames(
        movie,
        tuple(names[owner] for owner in owners),
        images,
        path,
        frames_per_file,
        None if times is None else times[start:stop, (plane or 1) - 1],
        None if recording.trials is None else recording.trials[start:stop],
    )


def _file_names(recording: RawRecording) -> list[str]:
    """Names of the files relative to the folder of the recording, followed by the array inside where there is one."""
    path = recording.path
    folder = path if path.is_dir() and all(file.path != path for file in recording.files) else path.parent
    names = [os.path.relpath(file.path, folder).replace(os.sep, "/") for file in recording.files]
    return [f"{name}/{file.inside}" if file.inside else name for name, file in zip(names, recording.files, strict=True)]


def channel_index(recording: RawRecording, channel: str | int | None) -> int:
    """Finds a channel by name or number.

    Args:
        recording: with the names of its channels.
        channel: name, in any case; number from 1; None for the only one.

    Returns:
        Its index, from 0; -1 if there is no such channel, or several and none is named.
    """
    if channel is None:
        return 0 if len(recording.channels) == 1 else -1
    names = [name.lower() for name in recording.channels]
    if str(channel).lower() in names:
        return names.index(str(channel).lower())
    number = int(channel) if str(channel).isdecimal() else 0
    return number - 1 if 1 <= number <= len(names) else -1


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


def _selection_problems(recording: RawRecording, channel: str | int | None, plane: int | None) -> list[str]:
    """Problems of the choice of channel and plane."""
    problems = []
    listed = ", ".join(recording.channels)
    if channel_index(recording, channel) < 0:
        first = recording.channels[0]
        problems.append(
            f"there are {len(recording.channels)} channels ({listed}): say which one shows the indicator, such as "
            f"`channels: {{functional: {first}}}`"
            if channel is None
            else f"there is no channel {channel}, there are {listed}: correct `channels` in the manifest"
        )
    if plane is None and recording.n_planes > 1:
        problems.append(f"there are {recording.n_planes} planes: add `planes: {recording.n_planes}` in the manifest")
    elif plane is not None and not 1 <= plane <= recording.n_planes:
        problems.append(f"there is no plane {plane}, there are {recording.n_planes}: correct `planes` in the manifest")
    return problems


def _window_problems(n_frames: int, start: int, stop: int) -> list[str]:
    """Problems of the range of frames."""
    if n_frames and stop > n_frames:
        return [f"frames {start} to {stop} are requested, {n_frames} exist: correct `frames` in the manifest"]
    if n_frames and stop - start < MINIMUM_FRAMES:
        return [
            f"{stop - start} frames are too few, at least {MINIMUM_FRAMES} are needed: check that the recording is "
            "complete, and `frames` in the manifest"
        ]
    return []


def _state(path: Path) -> tuple[int, int]:
    """Size and time of change of a file; 0 of a folder, whose files have their own, and of what is not there."""
    if not path.is_file():
        return 0, 0
    found = path.stat()
    return found.st_size, found.st_mtime_ns


class _FrameReader:
    """Array interface of files for dask; reads only the images that are requested, and no file that has changed."""

    ndim = 3

    def __init__(self, recording: RawRecording, numbers: NDArray[np.int64]) -> None:
        self._files = recording.files
        ends = np.cumsum([file.n_images for file in recording.files])
        self.owners = np.searchsorted(ends, numbers, side="right")
        self.images = numbers - ends[self.owners] + np.array([file.n_images for file in recording.files])[self.owners]
        self.shape = (len(numbers), *recording.shape)
        self.dtype = recording.dtype
        self._states = {path: _state(path) for path in {file.path for file in recording.files}}

    def __getitem__(self, index: tuple[Any, ...]) -> NDArray:
        frames, rows, columns = tuple([*index, *[slice(None)] * 3][:3])
        owners, images = np.atleast_1d(self.owners[frames]), np.atleast_1d(self.images[frames])
        movie = np.empty((len(owners), *self.shape[1:]), self.dtype)
        for owner, group in groupby(range(len(owners)), key=lambda i: owners[i]):
            run = list(group)
            file = self._files[owner]
            file.read([int(images[i]) for i in run], movie[run[0] : run[-1] + 1])
            if _state(file.path) != self._states[file.path]:
                problem = f"{file.path.name} changed while it was read: wait until it is complete, then run again"
                raise RecordingError(file.path, [problem])
        part = movie if isinstance(frames, slice) or np.ndim(frames) else movie[0]
        return part[..., rows, :][..., columns]
