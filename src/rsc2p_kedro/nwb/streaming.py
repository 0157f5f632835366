"""Writing of large arrays to HDF5, in pieces.

Neither a movie nor a stack of masks is ever in memory as a whole: pynwb asks iterators for one piece after the other.
HDF5 compresses on a single thread, and with zlib, the slowest of the libraries that write gzip's format. Therefore
:func:`write_nwb` lets pynwb lay out the file, and writes the chunks of movies itself, compressed by libdeflate on
several threads. The chunks have the standard format of the gzip filter, and their bytes do not depend on the number of
threads.
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
"""Bytes in a chunk of whole frames before compression. Of the order that NWB and DANDI recommend for reading from the
cloud (https://nwbinspector.readthedocs.io, large data chunking: about 10 MB); not tuned."""

READ_BYTES = 40_000_000
"""Bytes of frames that are read from the movie at a time. Chunks of a stored movie hold more frames than its chunks in
HDF5, so large frames would otherwise be decompressed several times (four times at 512 x 512 px, uint16, with 64 frames
in a stored chunk)."""

LIBDEFLATE_LEVEL = 2
"""Compression level. On 512 x 512 px of photon noise (uint16, shuffled) a chunk is 1.5 % smaller than with zlib at
level 4, the level that is recorded in the file, and takes 0.27 of its time; level 4 would save 1 % more in 0.36 of that
time."""

BLOSC = 32001
"""Number under which HDF5 registers the filter blosc."""

MAX_THREADS = 8
"""Upper limit of compressing threads. Each holds one or two chunks, and memory is to stay below 300 MB (240 MB were
measured with eight threads, see docs/nwb_and_dandi.md)."""


def _frame_bytes(movie: Movie) -> int:
    return int(math.prod(movie.shape[1:])) * movie.dtype.itemsize


def _source_frames(movie: Movie) -> int:
    """Number of frames in a chunk of the stored movie."""
    return int(movie.chunksize[0]) if isinstance(movie, da.Array) else 1


def chunk_frames(movie: Movie) -> int:
    """Chooses the number of whole frames in one HDF5 chunk of a movie.

    Args:
        movie: (T, H, W), lazy or in memory.

    Returns:
        A number of frames of at most `CHUNK_BYTES` together, but at least one; where possible, a multiple or an equal
        part of the chunks of the stored movie.
    """
    most = max(1, min(len(movie), CHUNK_BYTES // _frame_bytes(movie)))
    source = _source_frames(movie)
    if most >= source:
        return most - most % source
    part = max(n for n in range(1, most + 1) if source % n == 0)
    return part if 2 * part > most else most


def read_frames(movie: Movie) -> int:
    """Chooses the number of whole frames that are read from a movie at a time.

    Args:
        movie: (T, H, W), lazy or in memory.

    Returns:
        A multiple of :func:`chunk_frames` of about `READ_BYTES`; where possible, a multiple of the chunks of the stored
        movie too.
    """
    chunk, source = chunk_frames(movie), _source_frames(movie)
    most = max(chunk, READ_BYTES // _frame_bytes(movie))
    step = math.lcm(chunk, source)
    return most - most % (step if step <= most else chunk)


class MovieIterator(GenericDataChunkIterator):
    """Iterates over a movie (T, H, W), lazy or in memory, as (T, x, y), a chunk of whole frames at a time.

    Attributes:
        deferred: whether pynwb only creates the dataset and leaves it empty, for :func:`write_nwb` to fill.
        check: called before each piece is read; raises if an earlier piece could not be written.
    """

    def __init__(self, movie: Movie) -> None:
        """Chooses the chunks; nothing is read yet.

        Args:
            movie: (T, H, W) of any numeric dtype, which is kept.
        """
        self._movie, self.deferred = movie, False
        self.check: Callable[[], None] = lambda: None
        H, W = movie.shape[1:]
        chunk = (chunk_frames(movie), W, H)
        super().__init__(chunk_shape=chunk, buffer_shape=chunk)

    def __next__(self) -> Any:
        if self.deferred:
            raise StopIteration
        return super().__next__()

    def chunks(self) -> Iterator[tuple[int, NDArray]]:
        """Reads the movie chunk by chunk.

        Yields:
            Index of the first frame, and the frames (n, H, W) as the movie has them; the last chunk may be shorter.
        """
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
    """Iterates over sparse footprints (H*W, N) as dense masks (N, x, y) float32, a few at a time."""

    def __init__(self, footprints: sp.csc_array, shape: tuple[int, int]) -> None:
        """Chooses the chunks: one mask each.

        Args:
            footprints: CSC (H*W, N), N > 0, rows in C order.
            shape: (H, W).
        """
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
    """Wraps data with the filters that HDF5 stores them with. All of them are lossless.

    Args:
        data: an array or an iterator.
        compression: `gzip` (level 4 after a byte shuffle) or `blosc` (lz4, level 5, after a bit shuffle).

    Returns:
        The data with their filters, for pynwb.

    Raises:
        ModuleNotFoundError: blosc is asked for and hdf5plugin is not installed.
    """
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
        return H5DataIO(data=data, allow_plugin_filters=True, **blosc)  # the documentation of the option says so


def gzip_chunk(frames: NDArray, chunk_frames: int) -> bytes:
    """Compresses one chunk as HDF5's filters `shuffle` and `gzip` do.

    Args:
        frames: (n, H, W), n at most `chunk_frames`, C-contiguous. They are stored as (x, y).
        chunk_frames: number of frames in a full chunk; a shorter one, at the end of a movie, is padded with zeros.

    Returns:
        The bytes to store.
    """
    size = frames.dtype.itemsize
    stored = images_to_nwb(frames.view(np.uint8).reshape(*frames.shape, size).transpose(3, 0, 1, 2))
    planes = np.zeros((size, chunk_frames, *stored.shape[2:]), np.uint8)
    planes[:, : len(frames)] = stored  # all first bytes of the numbers, then all second bytes, ...
    return bytes(imagecodecs.deflate_encode(planes, LIBDEFLATE_LEVEL))  # type: ignore[arg-type]


def blosc_chunk(frames: NDArray, chunk_frames: int) -> bytes:
    """Compresses one chunk as HDF5's filter blosc does, with the settings of :func:`compressed`.

    Args:
        frames: (n, H, W), n at most `chunk_frames`. They are stored as (x, y).
        chunk_frames: number of frames in a full chunk; a shorter one, at the end of a movie, is padded with zeros.

    Returns:
        The bytes to store.
    """
    H, W = frames.shape[1:]
    whole = np.zeros((chunk_frames, W, H), frames.dtype)
    whole[: len(frames)] = images_to_nwb(frames)
    bits = imagecodecs.BLOSC.SHUFFLE.BITSHUFFLE
    stored = imagecodecs.blosc_encode(whole, level=5, compressor="lz4", shuffle=bits, numthreads=1)  # type: ignore[arg-type]
    return bytes(stored)


ENCODERS: dict[Any, Callable[[NDArray, int], bytes]] = {"gzip": gzip_chunk, BLOSC: blosc_chunk}
"""For the name or number of each HDF5 filter, the function that compresses its chunks."""


def _compressed_chunks(
    movie: MovieIterator, encode: Callable[[NDArray, int], bytes], threads: int
) -> Iterator[tuple[int, int, bytes]]:
    """Compressed chunks of a movie in order: index of the first frame, number of frames, bytes.

    The calling thread reads. At most one chunk for each thread, and the one being read, are in memory.
    """
    pending: deque[tuple[int, int, Future[bytes]]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for start, frames in movie.chunks():
                pending.append((start, len(frames), pool.submit(encode, frames, movie.chunk_shape[0])))
                if len(pending) > threads:
                    first, n_frames, chunk = pending.popleft()
                    yield first, n_frames, chunk.result()
            for first, n_frames, chunk in pending:
                yield first, n_frames, chunk.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _movies_to_write(nwb: NWBFile) -> dict[str, H5DataIO]:
    """The data of all movies of a file, by the object id of their series."""
    movies = {}
    for series in nwb.objects.values():
        data = series.fields.get("data") if hasattr(series, "fields") else None
        if isinstance(data, H5DataIO) and isinstance(data.data, MovieIterator):
            movies[series.object_id] = data
    return movies


def _groups_by_object_id(file: h5py.File) -> dict[str, h5py.Group]:
    groups: dict[str, h5py.Group] = {}

    def collect(_: str, item: Any) -> None:
        if isinstance(item, h5py.Group) and "object_id" in item.attrs:
            groups[str(item.attrs["object_id"])] = item

    file.visititems(collect)
    return groups


def set_reproducible_object_ids(file: h5py.File) -> None:
    """Replaces the random object ids of pynwb, so that the same input and parameters make the same file.

    Args:
        file: open for writing. The id of each object becomes a UUID of its path and of the identifier of the file and
            the values in `processing_parameters`, which cover parameters, versions and the content of all inputs.
    """
    table = file.get("processing/ophys/processing_parameters/value")
    contents = [file["identifier"][()], *(table[:] if table is not None else [])]
    namespace = uuid5(NAMESPACE_URL, b"\n".join(contents).decode())

    def set_id(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if "object_id" in item.attrs:
            item.attrs["object_id"] = str(uuid5(namespace, name))

    set_id("/", file)
    file.visititems(set_id)


def write_nwb(nwb: NWBFile, path: Path, *, threads: int | None = None, show_progress: bool = True) -> None:
    """Writes a file, reading and compressing its movies chunk by chunk.

    Args:
        nwb: as :func:`rsc2p_kedro.nwb.build.build_nwb_file` makes it.
        path: of the file; a file that exists there is overwritten.
        threads: number of compressing threads; None uses one for each core. At most `MAX_THREADS` are used, and the
            file is the same for any number.
        show_progress: show a progress bar for each movie.

    Raises:
        OSError: the file cannot be written, for example because the disk is full.
    """
    threads = min(MAX_THREADS, threads or os.cpu_count() or 1)
    movies = _movies_to_write(nwb)
    with GuardedFile(path) as guarded:
        for data in movies.values():
            data.data.check, data.data.deferred = guarded.check, True
        with h5py.File(guarded, "w", rdcc_nbytes=RDCC_NBYTES) as file:
            NWBHDF5IO(file=file, mode="w").write(nwb)
            groups = _groups_by_object_id(file)
            for object_id, data in movies.items():
                _write_movie(groups[object_id], data, threads, show_progress)
            guarded.check()
            set_reproducible_object_ids(file)
        guarded.check()
    nwb.container_source = str(path)


def _write_movie(group: h5py.Group, data: H5DataIO, threads: int, show_progress: bool) -> None:
    """Writes the chunks of a movie into the dataset that pynwb has left empty."""
    movie, encode = data.data, ENCODERS[data.get_io_params()["compression"]]
    bar = {"desc": f"{Path(group.name).name} to NWB", "unit": "frame", "leave": False}
    with tqdm(total=movie.maxshape[0], disable=None if show_progress else True, **bar) as progress:
        for start, n_frames, stored in _compressed_chunks(movie, encode, threads):
            group["data"].id.write_direct_chunk((start, 0, 0), stored)
            progress.update(n_frames)
