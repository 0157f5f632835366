"""Large arrays on their way into HDF5, a piece at a time.

A movie or a set of masks never stands in memory whole: pynwb asks these iterators for one piece after the other.
"""

import math
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
"""Size of a chunk of whole frames before compression: a good one for reading from the cloud too."""


def chunk_frames(movie: Movie) -> int:
    """Whole frames in one HDF5 chunk: near `CHUNK_BYTES`, and where possible whole chunks of what they are read from."""
    frame_bytes = int(math.prod(movie.shape[1:])) * movie.dtype.itemsize
    n_frames = max(1, min(len(movie), CHUNK_BYTES // frame_bytes))
    source = int(movie.chunksize[0]) if isinstance(movie, da.Array) else 1
    return n_frames - n_frames % source if n_frames > source else n_frames


class MovieIterator(GenericDataChunkIterator):
    """A movie (T, H, W), lazy or not, as (T, x, y), a chunk of whole frames at a time.

    Args:
        movie: (T, H, W) of any numeric dtype, which is kept.
        description: shown beside the progress bar; none: no bar.
    """

    def __init__(self, movie: Movie, description: str | None = None) -> None:
        self._movie = movie
        H, W = movie.shape[1:]
        chunk = (chunk_frames(movie), W, H)
        bar = {"desc": description, "unit": "chunk", "leave": False}
        super().__init__(
            chunk_shape=chunk, buffer_shape=chunk, display_progress=description is not None, progress_bar_options=bar
        )

    def _get_data(self, selection: tuple[slice, ...]) -> NDArray:
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
    """An array or iterator with its filters: gzip 4 after a byte shuffle, or blosc (lz4, bit shuffle); both lossless."""
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
