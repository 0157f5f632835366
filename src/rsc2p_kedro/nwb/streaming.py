"""Large arrays on their way into HDF5, a piece at a time.

A movie or a set of masks never stands in memory whole: pynwb asks the iterators for one piece after the other. HDF5
itself compresses on one thread, and with the slowest of the libraries that can write gzip's format; so
:func:`write_nwb` lets pynwb lay out the file, and fills in the chunks of movies itself, compressed by libdeflate on
several threads. Readers cannot tell the difference, and the bytes do not depend on the number of threads.
"""

import math
import os
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import dask.array as da
import h5py
import imagecodecs
import numpy as np
import scipy.sparse as sp
from hdmf.backends.hdf5 import H5DataIO
from hdmf.backends.hdf5.h5tools import RDCC_NBYTES
from hdmf.data_utils import GenericDataChunkIterator
from numpy.typing import NDArray
from pynwb import NWBHDF5IO, NWBFile
from tqdm.auto import tqdm

from rsc2p_kedro.algorithms.blocks import Movie, read
from rsc2p_kedro.nwb.guarded_file import GuardedFile
from rsc2p_kedro.nwb.orientation import images_to_nwb

CHUNK_BYTES = 10_000_000
"""Size of a chunk of whole frames before compression: a good one for reading from the cloud too."""

READ_BYTES = 40_000_000
"""Frames that are read at a time: chunks of what a movie is read from are longer than its chunks in HDF5, and those of
large frames would be decompressed once for each of them."""

LIBDEFLATE_LEVEL = 2
"""As small as zlib at level 4, the level that the file names, in less than half of its time."""

BLOSC = 32001
"""HDF5's number of the filter blosc."""

MOST_THREADS = 8
"""Each holds a chunk or two in memory, which is to stay below 300 MB; few disks are faster than they are."""


def _frame_bytes(movie: Movie) -> int:
    return int(math.prod(movie.shape[1:])) * movie.dtype.itemsize


def _source_frames(movie: Movie) -> int:
    """Frames in a chunk of what a movie is read from."""
    return int(movie.chunksize[0]) if isinstance(movie, da.Array) else 1


def chunk_frames(movie: Movie) -> int:
    """Whole frames in one HDF5 chunk: near `CHUNK_BYTES`, where possible whole chunks, or an equal part of a chunk, of
    what they are read from."""
    most = max(1, min(len(movie), CHUNK_BYTES // _frame_bytes(movie)))
    source = _source_frames(movie)
    if most >= source:
        return most - most % source
    part = max(n for n in range(1, most + 1) if source % n == 0)
    return part if 2 * part > most else most


def read_frames(movie: Movie) -> int:
    """Whole frames that are read at a time: whole HDF5 chunks, near `READ_BYTES`, and where possible whole chunks of
    what they are read from."""
    chunk, source = chunk_frames(movie), _source_frames(movie)
    most = max(chunk, READ_BYTES // _frame_bytes(movie))
    step = math.lcm(chunk, source)
    return most - most % (step if step <= most else chunk)


class MovieIterator(GenericDataChunkIterator):
    """A movie (T, H, W), lazy or not, as (T, x, y), a chunk of whole frames at a time.

    Args:
        movie: (T, H, W) of any numeric dtype, which is kept.

    Attributes:
        postponed: whether pynwb is to make the dataset and leave it empty, for :func:`write_nwb` to fill.
        check: called before each piece is read; raises where what was written so far has not arrived.
    """

    def __init__(self, movie: Movie) -> None:
        self._movie, self.postponed = movie, False
        self.check: Callable[[], None] = lambda: None
        H, W = movie.shape[1:]
        chunk = (chunk_frames(movie), W, H)
        super().__init__(chunk_shape=chunk, buffer_shape=chunk)

    def __next__(self) -> Any:
        if self.postponed:
            raise StopIteration
        return super().__next__()

    def chunks(self) -> Iterator[tuple[int, NDArray]]:
        """Each chunk of frames as the movie has them, (n, H, W), after its first frame; the last may be shorter."""
        n_chunk, n_read = self.chunk_shape[0], read_frames(self._movie)
        for start in range(0, len(self._movie), n_read):
            self.check()
            frames = read(self._movie, slice(start, start + n_read))
            for first in range(0, len(frames), n_chunk):
                yield start + first, frames[first : first + n_chunk]

    def _get_data(self, selection: tuple[slice, ...]) -> NDArray:
        self.check()
        return np.ascontiguousarray(images_to_nwb(read(self._movie, selection[0])))

    def _get_maxshape(self) -> tuple[int, int, int]:
        T, H, W = self._movie.shape
        return T, W, H

    def _get_dtype(self) -> np.dtype:
        return np.dtype(self._movie.dtype)


class MaskIterator(GenericDataChunkIterator):
    """Footprints, sparse (H*W, N) with rows in C order, as dense masks (N, x, y) float32, a few at a time.

    Args:
        footprints: CSC (H*W, N), N > 0.
        shape: (H, W).
    """

    def __init__(self, footprints: sp.csc_array, shape: tuple[int, int]) -> None:
        self._footprints, self._shape = footprints, shape
        H, W = shape
        n_buffer = max(1, min(footprints.shape[1], CHUNK_BYTES // (4 * H * W)))
        super().__init__(chunk_shape=(1, W, H), buffer_shape=(n_buffer, W, H))

    def _get_data(self, selection: tuple[slice, ...]) -> NDArray[np.float32]:
        columns = self._footprints[:, selection[0]].toarray().T
        return np.ascontiguousarray(images_to_nwb(columns.reshape(-1, *self._shape)), dtype=np.float32)

    def _get_maxshape(self) -> tuple[int, int, int]:
        H, W = self._shape
        return self._footprints.shape[1], W, H

    def _get_dtype(self) -> np.dtype:
        return np.dtype(np.float32)


def compressed(data: Any, compression: str = "gzip") -> H5DataIO:
    """An array or iterator with its filters: gzip 4 after a byte shuffle, or blosc (lz4, bit shuffle). Lossless."""
    if compression == "gzip":
        return H5DataIO(data=data, compression="gzip", compression_opts=4, shuffle=True)
    try:
        import hdf5plugin
    except ImportError as error:
        raise ModuleNotFoundError(
            "`compression: blosc` needs hdf5plugin, to write and to read: pip install hdf5plugin, or use gzip."
        ) from error
    blosc = dict(hdf5plugin.Blosc(cname="lz4", clevel=5, shuffle=hdf5plugin.Blosc.BITSHUFFLE))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*compression may not be available", category=UserWarning)
        return H5DataIO(data=data, allow_plugin_filters=True, **blosc)  # who asks for blosc knows


def gzip_chunk(frames: NDArray, chunk_frames: int) -> bytes:
    """One chunk as HDF5's filters `shuffle` and `gzip` store it; one at the end of a movie is filled up with zeros.

    Args:
        frames: (n, H, W), n at most `chunk_frames`, C-contiguous. They are stored as (x, y).
        chunk_frames: of the whole chunk.
    """
    size = frames.dtype.itemsize
    stored = images_to_nwb(frames.view(np.uint8).reshape(*frames.shape, size).transpose(3, 0, 1, 2))
    planes = np.zeros((size, chunk_frames, *stored.shape[2:]), np.uint8)
    planes[:, : len(frames)] = stored  # all first bytes of the numbers, then all second bytes, ...
    return bytes(imagecodecs.deflate_encode(planes, LIBDEFLATE_LEVEL))  # type: ignore[arg-type]


def blosc_chunk(frames: NDArray, chunk_frames: int) -> bytes:
    """One chunk as HDF5's filter blosc stores it, with the settings of :func:`compressed` (see :func:`gzip_chunk`)."""
    H, W = frames.shape[1:]
    whole = np.zeros((chunk_frames, W, H), frames.dtype)
    whole[: len(frames)] = images_to_nwb(frames)
    bits = imagecodecs.BLOSC.SHUFFLE.BITSHUFFLE  # of numbers as wide as those of the array
    stored = imagecodecs.blosc_encode(whole, level=5, compressor="lz4", shuffle=bits, numthreads=1)  # type: ignore[arg-type]
    return bytes(stored)


ENCODERS: dict[Any, Callable[[NDArray, int], bytes]] = {"gzip": gzip_chunk, BLOSC: blosc_chunk}
"""By the name or number of HDF5's filter, what makes its chunks."""


def _ahead(
    movie: MovieIterator, encode: Callable[[NDArray, int], bytes], threads: int
) -> Iterator[tuple[int, int, bytes]]:
    """Compressed chunks of a movie in order: first frame, number of frames, bytes.

    The calling thread reads. One chunk for each thread, and one more for the time of reading, wait in memory.
    """
    waiting: deque[tuple[int, int, Future[bytes]]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for start, frames in movie.chunks():
                waiting.append((start, len(frames), pool.submit(encode, frames, movie.chunk_shape[0])))
                if len(waiting) > threads:
                    first, n_frames, done = waiting.popleft()
                    yield first, n_frames, done.result()
            for first, n_frames, done in waiting:
                yield first, n_frames, done.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _movies(nwb: NWBFile) -> dict[str, H5DataIO]:
    """The data of all movies that are to be written, by the object id of their series."""
    found = {}
    for series in nwb.objects.values():
        data = series.fields.get("data") if hasattr(series, "fields") else None
        if isinstance(data, H5DataIO) and isinstance(data.data, MovieIterator):
            found[series.object_id] = data
    return found


def _series_of(file: h5py.File) -> dict[str, h5py.Group]:
    groups: dict[str, h5py.Group] = {}

    def note(_: str, item: Any) -> None:
        if isinstance(item, h5py.Group) and "object_id" in item.attrs:
            groups[str(item.attrs["object_id"])] = item

    file.visititems(note)
    return groups


def settle_object_ids(file: h5py.File) -> None:
    """Gives each object an id that follows from its place and from what the file was made of, so that the same input
    and parameters make the same file."""
    table = file.get("processing/ophys/processing_parameters/value")
    made_of = [file["identifier"][()], *(table[:] if table is not None else [])]
    seed = uuid5(NAMESPACE_URL, b"\n".join(made_of).decode())

    def settle(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if "object_id" in item.attrs:
            item.attrs["object_id"] = str(uuid5(seed, name))

    settle("/", file)
    file.visititems(settle)


def write_nwb(nwb: NWBFile, path: Path, *, threads: int | None = None, show_progress: bool = True) -> None:
    """Writes a file, its movies read and compressed a chunk at a time.

    Args:
        nwb: as :func:`rsc2p_kedro.nwb.build.build_nwb_file` makes it.
        path: must not be that of a file worth keeping.
        threads: that compress; none: one for each core. No more than `MOST_THREADS` are used, and the file is the same
            for any number.
        show_progress: whether to show a bar for each movie.

    Raises:
        OSError: the file cannot be written, as the disk is full, for one.
    """
    threads = min(MOST_THREADS, threads or os.cpu_count() or 1)
    movies = _movies(nwb)
    with GuardedFile(path) as guarded:
        for data in movies.values():
            data.data.check, data.data.postponed = guarded.check, True
        with h5py.File(guarded, "w", rdcc_nbytes=RDCC_NBYTES) as file:
            NWBHDF5IO(file=file, mode="w").write(nwb)
            groups = _series_of(file)
            for object_id, data in movies.items():
                _fill(groups[object_id], data, threads, show_progress)
            guarded.check()
            settle_object_ids(file)
        guarded.check()
    nwb.container_source = str(path)


def _fill(group: h5py.Group, data: H5DataIO, threads: int, show_progress: bool) -> None:
    """Writes the chunks of a movie into the dataset that pynwb has left empty."""
    movie, encode = data.data, ENCODERS[data.get_io_params()["compression"]]
    bar = {"desc": f"{Path(group.name).name} to NWB", "unit": "frame", "leave": False}
    with tqdm(total=movie.maxshape[0], disable=None if show_progress else True, **bar) as progress:
        for start, n_frames, stored in _ahead(movie, encode, threads):
            group["data"].id.write_direct_chunk((start, 0, 0), stored)
            progress.update(n_frames)
