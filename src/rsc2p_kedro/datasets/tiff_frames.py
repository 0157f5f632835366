"""Raw frames on disk: the files of a recording, checks that they are complete, and the movie, read lazily.

A recording is one TIFF or a folder of them, with one or many frames (pages) in each file. TIFF, BigTIFF, OME-TIFF and
ImageJ stacks (also those with a single image file directory for all frames) are read, compressed or not. Headers are
read once, by a pool of threads; pixels of uncompressed files are read directly from their position in the file, others
with tifffile.
"""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import tifffile
from natsort import natsorted
from numpy.typing import NDArray

MINIMUM_FRAMES = 16
"""Smallest number of frames from which motion and calcium can be estimated: chosen to catch wrong folders and `frames`,
not tuned."""

_SUFFIXES = {".tif", ".tiff", ".btf", ".tf8"}
_MAX_CHANNELS = 8
"""Channels of a microscope, at most. ImageJ stacks that claim more are stacks of frames whose axis was mislabelled."""

_THREADS = 8  # waiting for the disk (or a network drive) is most of the work of reading headers


class RecordingError(ValueError):
    """Raw data cannot be used. The message lists all problems, the files concerned and what to do.

    Attributes:
        path: folder or file of the recording.
        problems: one text for each problem.
    """

    def __init__(self, path: Path, problems: Sequence[str]) -> None:
        """Keeps the problems; the message is composed when it is shown.

        Args:
            path: folder or file of the recording.
            problems: one text for each problem.
        """
        super().__init__(path, problems)
        self.path, self.problems = path, tuple(problems)

    def __str__(self) -> str:
        return "\n- ".join([f"The recording at {self.path} cannot be used:", *self.problems])


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
class TIFFFile:
    """The content of the header of one file.

    Attributes:
        path: the file.
        shape: (H, W) of its frames.
        dtype: of its pixels, with the byte order of the file.
        offsets: (n,) int64, for each frame the offset in bytes of its pixels or, if the file is not `plain`, of its
            image file directory.
        plain: whether the pixels of each frame are uncompressed, in order and contiguous.
        problems: problems of the file, one text each.
    """

    path: Path
    shape: tuple[int, ...] = ()
    dtype: np.dtype = field(default_factory=lambda: np.dtype("V"))
    offsets: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    plain: bool = False
    problems: tuple[str, ...] = ()

    @property
    def n_frames(self) -> int:
        """Number of frames in the file."""
        return len(self.offsets)

    def read(self, pages: Sequence[int], out: NDArray) -> None:
        """Reads some frames of the file.

        Args:
            pages: indices of the frames in the file.
            out: (len(pages), H, W), filled with the frames.

        Raises:
            RecordingError: the file is missing, shorter than its header says, or its compressed data are damaged.
        """
        try:
            (self._read_plain if self.plain else self._read_decoded)(pages, out)
        except Exception as error:  # decoders raise errors of many kinds on damaged data
            problem = (
                f"{self.path.name} cannot be read (pages {pages[0]} to {pages[-1]}: {error}): "
                "copy it again from where it was recorded"
            )
            raise RecordingError(self.path, [problem]) from error

    def _read_plain(self, pages: Sequence[int], out: NDArray) -> None:
        buffer = np.empty(self.shape, self.dtype)
        with self.path.open("rb", buffering=0) as stream:
            for image, page in zip(out, pages, strict=True):
                stream.seek(self.offsets[page])
                if stream.readinto(buffer.data.cast("B")) != buffer.nbytes:  # type: ignore[attr-defined]
                    raise EOFError("the file is truncated")
                image[...] = buffer

    def _read_decoded(self, pages: Sequence[int], out: NDArray) -> None:
        with tifffile.TiffFile(self.path) as tif:
            for image, page in zip(out, pages, strict=True):
                tif.filehandle.seek(int(self.offsets[page]))
                image[...] = tifffile.TiffPage(tif, index=page).asarray(maxworkers=1)


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
            f"{stop - start} frames are too few, at least {MINIMUM_FRAMES} are needed: is the recording complete?"
        )
    if problems:
        raise RecordingError(path, problems)
    reader = _FrameReader(recording.files, recording.shape, recording.dtype, start, stop)
    movie = da.from_array(reader, chunks=(chunk_frames, -1, -1), name=False)
    frames_per_file = {_name(file.path, path): file.n_frames for file in recording.files}
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
            named = _some([f"frame {i} ({frames.files[i]}, page {frames.pages[i]})" for i in bad])
            problem = f"pixels are NaN or infinite in {named}: replace them, or leave these frames out by `frames`"
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
        The files in natural order (`frame_2` before `frame_10`), and the problem if there is none.
    """
    if path.is_dir():
        files = tiffs_in(path)
        if files:
            return files, []
        inside = sorted({str(file.parent.relative_to(path)) for file in path.glob("*/**/*") if _is_tiff(file)})
        hint = f"there are TIFFs in {_some(inside)}, give one of these folders" if inside else "correct `path`"
        return [], [f"there is no TIFF (.tif, .tiff) in this folder: {hint}"]
    if not path.exists():
        return [], ["there is no such file or folder: correct `path`, or bring the data there"]
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


def inspect_file(path: Path) -> TIFFFile:
    """Reads the header of a file.

    Args:
        path: of a TIFF.

    Returns:
        The content of the header. A file that is not a readable TIFF has no frames and a problem.
    """
    try:
        with tifffile.TiffFile(path) as tif:
            return _describe_file(path, tif)
    except Exception as error:  # damaged headers raise errors of many kinds
        return TIFFFile(path, problems=(f"cannot be read as TIFF ({error}): copy it again, or remove it",))


def numbering_problems(names: Sequence[str]) -> list[str]:
    """Finds gaps and duplicates in the numbers of file names, and names that differ in pattern from the others.

    Names are split into text and numbers. The last number that differs between files counts the frames; each value of
    the numbers before it (a cycle, for example) has a count of its own. Equal steps larger than 1 are not gaps.

    Args:
        names: file names in natural order.

    Returns:
        One text for each problem.
    """
    patterns: dict[str, list[str]] = defaultdict(list)
    for name in names:
        patterns[re.sub(r"\d+", "#", name)].append(name)
    if len(patterns) > 1:
        usual = max(patterns, key=lambda pattern: len(patterns[pattern]))
        others = [name for name in names if name not in set(patterns[usual])]
        return [f"most files are named like {usual}, but not {_some(others)}: move these elsewhere or rename them"]
    numbers = np.array([[int(number) for number in re.findall(r"\d+", name)] for name in names], dtype=object)
    if len(names) < 2 or not numbers.size:
        return []
    varying = [column for column in range(numbers.shape[1]) if len(set(numbers[:, column])) > 1]
    if not varying:
        return [f"files have the same number: {_some(names)}. Keep one of each"]
    return _gaps_and_duplicates(names, numbers, varying[-1])


def _gaps_and_duplicates(names: Sequence[str], numbers: NDArray, counter: int) -> list[str]:
    counts: dict[tuple[int, ...], dict[int, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name, row in zip(names, numbers, strict=True):
        counts[tuple(np.delete(row, counter))][row[counter]].append(name)
    duplicates = [" and ".join(same) for count in counts.values() for same in count.values() if len(same) > 1]
    problems = [f"files have the same number: {_some(duplicates)}. Keep one of each"] if duplicates else []
    missing = [gap for count in counts.values() for gap in _gaps(sorted(count))]
    if missing:
        problems.append(
            f"the numbering of the files has gaps, {_some(missing)} missing: bring these frames back or, if none is "
            "missing, number the files without gaps"
        )
    return problems


def _gaps(numbers: list[int]) -> list[str]:
    steps = np.diff(np.array(numbers, dtype=object))
    if len(set(steps)) <= 1:
        return []
    step = min(steps)
    holes = [(a + step, b - step) for a, b in pairwise(numbers) if b - a > step]
    return [f"{first}" if first == last else f"{first} to {last}" for first, last in holes]


def _describe_file(path: Path, tif: tifffile.TiffFile) -> TIFFFile:
    tif.pages.useframes = False  # frames would take the shape of the first page for granted
    size = path.stat().st_size
    kinds: Counter[tuple] = Counter()
    places, ends = [], []
    for page in tif.pages:
        assert isinstance(page, tifffile.TiffPage)
        plain = page.is_final
        kinds[tuple(page.shape), page.dtype, page.samplesperpixel, plain] += 1
        places.append(page.dataoffsets[0] if plain else page.offset)
        ends.append(max((o + n for o, n in zip(page.dataoffsets, page.databytecounts, strict=True)), default=size + 1))
    (shape, dtype, _, plain), _ = kinds.most_common(1)[0]
    offsets = np.array(places, np.int64)
    problems = _page_problems(kinds)
    declared, channels = _declared(tif)
    if declared > len(offsets) == 1 and plain:  # ImageJ: one directory for a whole stack
        n_bytes = int(np.prod(shape)) * dtype.itemsize
        offsets = offsets[0] + n_bytes * np.arange(declared)
        ends.append(int(offsets[-1]) + n_bytes)
    if max(ends) > size or declared > len(offsets) or _has_broken_chain(tif):
        problems.append("is truncated: copy it again from where it was recorded")
    if channels > 1:
        problems.append(f"holds {channels} channels: save the one with the indicator as a stack of its own")
    typed = dtype.newbyteorder(tif.byteorder) if dtype is not None else np.dtype("V")
    return TIFFFile(path, tuple(shape), typed, offsets, plain, tuple(problems))


def _page_problems(kinds: Counter[tuple]) -> list[str]:
    problems = []
    if len({kind[:2] for kind in kinds}) > 1:
        listed = ", ".join(f"{n} of {shape} {dtype}" for (shape, dtype, *_), n in kinds.items())
        problems.append(f"mixes pages of several kinds ({listed}): keep the frames of one recording only")
    elif len({kind[3] for kind in kinds}) > 1:
        problems.append("mixes compressed and uncompressed pages: save it again in one way")
    (shape, dtype, samples, _), _ = kinds.most_common(1)[0]
    if samples > 1 or len(shape) != 2:
        problems.append(
            f"is in colour or has several samples a pixel {shape}: save the channel of the indicator as grey"
        )
    elif dtype is None or dtype.kind not in "uif":
        problems.append(f"has pixels of kind {dtype}: save as integers or floats")
    return problems


def _declared(tif: tifffile.TiffFile) -> tuple[int, int]:
    """Numbers of frames and channels according to the description of a file; 0 where it does not give them."""
    first = tif.pages.first
    if first.is_imagej:
        found = {key: int(n) for key, n in re.findall(r"(images|channels)=(\d+)", first.description)}
        images = found.get("images", 0)
        return images, _true_channels(found.get("channels", 0), images)
    if first.is_ome:  # its frames may lie in several files
        sizes = [
            int((re.findall(rf'{size}="(\d+)"', first.description) or ["1"])[0]) for size in ("SizeC", "SizeZ", "SizeT")
        ]
        return 0, _true_channels(sizes[0], int(np.prod(sizes)))
    if first.is_shaped:
        described = re.search(r"\{.*\}", first.description)
        shape = json.loads(described[0]).get("shape", []) if described else []
        return int(np.prod(shape[:-2])) if len(shape) > 2 and first.samplesperpixel == 1 else 0, 0
    return 0, 0


def _true_channels(channels: int, images: int) -> int:
    """Number of channels of a stack, or 0 where frames are only labelled as channels, as tifffile does by default."""
    return 0 if channels == images > _MAX_CHANNELS else channels


def _has_broken_chain(tif: tifffile.TiffFile) -> bool:
    """Whether the last image file directory that could be read points to another one."""
    tif.filehandle.seek(tif.pages.next_page_offset or 0)
    return any(tif.filehandle.read(tif.tiff.offsetsize))


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
    return [f"{_some(names)} {problem}" for problem, names in affected.items()]


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


def _name(file: Path, recording: Path) -> str:
    return file.name if file == recording else str(file.relative_to(recording))


def _some(names: Sequence[str], most: int = 5) -> str:
    """The first few of many names, and the number of the others."""
    listed = ", ".join(names[:most])
    return listed if len(names) <= most else f"{listed} and {len(names) - most} more"
