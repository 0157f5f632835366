"""Large arrays on their way into HDF5, a piece at a time.

A movie or a set of masks never stands in memory whole: pynwb asks the iterators for one piece after the other. HDF5
itself compresses on one thread, and with the slowest of the libraries that can write gzip's format; so
:func:`write_nwb` lets pynwb lay out the file, and fills in the chunks of movies itself, compressed by libdeflate on
several threads. Readers cannot tell the difference, and the bytes do not depend on the number of threads.
"""

import math
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dask.array as da
import h5py
import imagecodecs
import numpy as np
import scipy.sparse as sp
from hdmf.backends.hdf5 import H5DataIO
from hdmf.data_utils import GenericDataChunkIterator
from numpy.typing import NDArray
from pynwb import NWBHDF5IO, NWBFile
from tqdm.auto import tqdm

from rsc2p_kedro.algorithms.blocks import Movie, read
from rsc2p_kedro.nwb.orientation import images_to_nwb

CHUNK_BYTES = 10_000_000
"""Size of a chunk of whole frames before compression: a good one for reading from the cloud too."""

LIBDEFLATE_LEVEL = 2
"""As small as zlib at level 4, the level that the file names, in less than half of its time."""

MOST_THREADS = 4
"""Each holds a few chunks in memory, and disks are not faster than four of them."""


def chunk_frames(movie: Movie) -> int:
    """Whole frames in one HDF5 chunk: near `CHUNK_BYTES`, where possible whole chunks of what they are read from."""
    frame_bytes = int(math.prod(movie.shape[1:])) * movie.dtype.itemsize
    n_frames = max(1, min(len(movie), CHUNK_BYTES // frame_bytes))
    source = int(movie.chunksize[0]) if isinstance(movie, da.Array) else 1
    return n_frames - n_frames % source if n_frames > source else n_frames


class MovieIterator(GenericDataChunkIterator):
    """A movie (T, H, W), lazy or not, as (T, x, y), a chunk of whole frames at a time.

    Args:
        movie: (T, H, W) of any numeric dtype, which is kept.

    Attributes:
        postponed: whether pynwb is to make the dataset and leave it empty, for :func:`write_nwb` to fill.
    """

    def __init__(self, movie: Movie) -> None:
        self._movie, self.postponed = movie, False
        H, W = movie.shape[1:]
        chunk = (chunk_frames(movie), W, H)
        super().__init__(chunk_shape=chunk, buffer_shape=chunk)

    def __next__(self) -> Any:
        if self.postponed:
            raise StopIteration
        return super().__next__()

    def frames(self, start: int) -> NDArray:
        """The chunk of frames (n, x, y) that begins at `start`, C-contiguous; fewer frames at the end of the movie."""
        part = read(self._movie, slice(start, start + self.chunk_shape[0]))
        return np.ascontiguousarray(images_to_nwb(part))

    def _get_data(self, selection: tuple[slice, ...]) -> NDArray:
        return self.frames(selection[0].start)

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
    return H5DataIO(data=data, allow_plugin_filters=True, **blosc)


def gzip_chunk(data: NDArray, chunk_frames: int) -> bytes:
    """One chunk as HDF5's filters `shuffle` and `gzip` store it; a chunk at the end is filled up with zeros."""
    whole = np.zeros((chunk_frames, *data.shape[1:]), data.dtype)
    whole[: len(data)] = data
    planes = whole.reshape(-1, 1).view(np.uint8).T  # all first bytes of the numbers, then all second bytes, ...
    return bytes(imagecodecs.deflate_encode(planes.tobytes(), LIBDEFLATE_LEVEL))


def _ahead(movie: MovieIterator, threads: int) -> Iterator[tuple[int, bytes]]:
    """Compressed chunks of a movie in order, each with its first frame; no more than `threads` wait in memory."""

    def chunk(start: int) -> bytes:
        return gzip_chunk(movie.frames(start), movie.chunk_shape[0])

    waiting: deque[tuple[int, Future[bytes]]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for start in range(0, movie.maxshape[0], movie.chunk_shape[0]):
                waiting.append((start, pool.submit(chunk, start)))
                if len(waiting) == threads:
                    first, done = waiting.popleft()
                    yield first, done.result()
            for first, done in waiting:
                yield first, done.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _postponed(nwb: NWBFile) -> dict[str, MovieIterator]:
    """Movies that are to be stored with gzip, by the object id of their series."""
    found = {}
    for series in nwb.objects.values():
        data = series.fields.get("data") if hasattr(series, "fields") else None
        if not isinstance(data, H5DataIO) or data.get_io_params().get("compression") != "gzip":
            continue
        if isinstance(data.data, MovieIterator):
            found[series.object_id] = data.data
    return found


def _series_of(file: h5py.File) -> dict[str, h5py.Group]:
    groups: dict[str, h5py.Group] = {}

    def note(_: str, item: Any) -> None:
        if isinstance(item, h5py.Group) and "object_id" in item.attrs:
            groups[str(item.attrs["object_id"])] = item

    file.visititems(note)
    return groups


def write_nwb(nwb: NWBFile, path: Path, *, threads: int | None = None, show_progress: bool = True) -> None:
    """Writes a file, its movies read and compressed a chunk at a time.

    Args:
        nwb: as :func:`rsc2p_kedro.nwb.build.build_nwb_file` makes it.
        path: must not be that of a file worth keeping.
        threads: that compress; none: one for each core, at most `MOST_THREADS`. The file is the same for any number.
        show_progress: whether to show a bar for each movie.
    """
    threads = threads or min(MOST_THREADS, os.cpu_count() or 1)
    movies = _postponed(nwb)
    for movie in movies.values():
        movie.postponed = True
    with NWBHDF5IO(path, "w") as io:
        io.write(nwb)
    with h5py.File(path, "r+") as file:
        groups = _series_of(file)
        for object_id, movie in movies.items():
            group = groups[object_id]
            bar = {"desc": f"{Path(group.name).name} to NWB", "unit": "frame", "leave": False}
            with tqdm(total=movie.maxshape[0], disable=None if show_progress else True, **bar) as progress:
                for start, stored in _ahead(movie, threads):
                    group["data"].id.write_direct_chunk((start, 0, 0), stored)
                    progress.update(min(movie.chunk_shape[0], movie.maxshape[0] - start))
