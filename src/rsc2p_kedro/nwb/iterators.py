"""Iterators over movies and masks, from which pynwb writes HDF5 datasets piece by piece.

Neither a movie nor a stack of masks is ever in memory as a whole. Axes are swapped to NWB's order as pieces are read.
"""

import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import dask.array as da
import numpy as np
import scipy.sparse as sp
from hdmf.backends.hdf5 import H5DataIO
from hdmf.data_utils import GenericDataChunkIterator
from numpy.typing import NDArray

from rsc2p_kedro.algorithms.blocks import Movie, read
from rsc2p_kedro.nwb.orientation import images_to_nwb

CHUNK_BYTES = 10_000_000
"""Bytes in a chunk of whole frames before compression. Of the order that NWB and DANDI recommend for reading from the
cloud (https://nwbinspector.readthedocs.io, large data chunking: about 10 MB); not tuned."""

READ_BYTES = 40_000_000
"""Bytes of frames that are read from the movie at a time. Chunks of a stored movie hold more frames than its chunks in
HDF5, so large frames would otherwise be decompressed several times (four times at 512 x 512 px, uint16, with 64 frames
in a stored chunk)."""


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
        deferred: whether pynwb only creates the dataset and leaves it empty, to be filled by
            :func:`~rsc2p_kedro.nwb.writing.write_nwb`.
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
        ModuleNotFoundError: `compression` is `blosc` and hdf5plugin is not installed.
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
        return H5DataIO(data=data, allow_plugin_filters=True, **blosc)  # documented by the option
