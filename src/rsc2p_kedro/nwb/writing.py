"""Writing of NWB files, with the chunks of movies compressed on several threads.

HDF5 compresses on a single thread, and with zlib, the slowest of the libraries that write gzip's format. Therefore
:func:`write_nwb` lets pynwb lay out the file, and writes the chunks of movies itself, compressed by libdeflate on
several threads. The chunks have the standard format of the gzip filter, and their bytes do not depend on the number of
threads.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import h5py
import imagecodecs
import numpy as np
from hdmf.backends.hdf5 import H5DataIO
from hdmf.backends.hdf5.h5tools import RDCC_NBYTES
from numpy.typing import NDArray
from pynwb import NWBHDF5IO, NWBFile
from tqdm.auto import tqdm

from rsc2p_kedro.nwb.guarded_file import GuardedFile
from rsc2p_kedro.nwb.interrupts import held_interrupts
from rsc2p_kedro.nwb.iterators import MovieIterator
from rsc2p_kedro.nwb.orientation import images_to_nwb

LIBDEFLATE_LEVEL = 2
"""Compression level. On 512 x 512 px of photon noise (uint16, shuffled) a chunk is 1.5 % smaller than with zlib at
level 4, the level that is recorded in the file, and takes 0.27 of its time; level 4 would save 1 % more in 0.36 of that
time."""

BLOSC = 32001
"""Number under which HDF5 registers the filter blosc."""

MAX_THREADS = 8
"""Upper limit of compressing threads. Each holds one or two chunks, and memory is to stay below 300 MB (240 MB were
measured with eight threads, see docs/nwb_and_dandi.md)."""


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
    """Compresses one chunk as HDF5's filter blosc does.

    The settings are those of :func:`~rsc2p_kedro.nwb.iterators.compressed`.

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
        KeyboardInterrupt: ctrl-C was pressed; the file is closed, and incomplete.
    """
    threads = min(MAX_THREADS, threads or os.cpu_count() or 1)
    movies = _movies_to_write(nwb)
    with held_interrupts() as check_interrupt, GuardedFile(path) as guarded:

        def check() -> None:
            check_interrupt()
            guarded.check()

        for data in movies.values():
            data.data.check, data.data.deferred = check, True
        with h5py.File(guarded, "w", rdcc_nbytes=RDCC_NBYTES) as file:
            NWBHDF5IO(file=file, mode="w").write(nwb)
            groups = _groups_by_object_id(file)
            for object_id, data in movies.items():
                _write_movie(groups[object_id], data, threads, show_progress)
            check()
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
