"""Summary images of a whole movie, and statistics of each of its frames.

With d = x - x0 (x0 the value of the pixel in the first frame, which avoids cancellation of large numbers), the sums
over time of d, of d^2 and of d d' for each pair of neighbouring pixels give the mean, variance and all correlations in
one pass: var = (sum d^2 - (sum d)^2 / T) / T,  cov = (sum d d' - sum d sum d' / T) / T,  r = cov / sqrt(var var'). The
local correlation of a pixel is the mean of r over its (up to) 8 neighbours, as in Smith & Haeusser 2010
(doi 10.1038/nn.2620).

The sums are float64 and taken frame by frame within fixed blocks of the movie, which are added in order, so that the
images are identical for any number of threads and any block size. Time is linear in the number of pixels; memory does
not grow with the length of the movie.
"""

import numba
import numpy as np
from numpy.typing import NDArray

from rsc2p_kedro.algorithms import blocks
from rsc2p_kedro.core.parameters import Compute
from rsc2p_kedro.core.results import FrameStatistics, SummaryImages

Sums = NDArray[np.float64]
Image = NDArray[np.float64]
_NEIGHBOURS = ((0, 1), (1, -1), (1, 0), (1, 1))
"""Offsets (dy, dx) of half of the 8 neighbours; the other half are the same pairs of pixels."""


@numba.njit(nogil=True, cache=True)
def _add_row(
    frame: NDArray, first_frame: Image, y: int, sums: Sums, maximum: NDArray, here: NDArray, below: NDArray
) -> None:
    """Adds row y of one frame (H, W) to the sums (6, H, W); `here` and `below` (W,) are scratch arrays."""
    H, W = frame.shape
    for x in range(W):
        here[x] = frame[y, x] - first_frame[y, x]
        maximum[y, x] = max(maximum[y, x], frame[y, x])
    for x in range(W):
        sums[0, y, x] += here[x]
        sums[1, y, x] += here[x] * here[x]
    for x in range(W - 1):
        sums[2, y, x] += here[x] * here[x + 1]
    if y + 1 < H:
        for x in range(W):
            below[x] = frame[y + 1, x] - first_frame[y + 1, x]
        for x in range(W):
            sums[4, y, x] += here[x] * below[x]
        for x in range(W - 1):
            sums[3, y, x + 1] += here[x + 1] * below[x]
            sums[5, y, x] += here[x] * below[x + 1]


@numba.njit(nogil=True, cache=True)
def _add_frames(frames: NDArray, first_frame: Image, sums: Sums, maximum: NDArray) -> None:
    """Adds frames to running sums, in place and in order, a row of all frames at a time to keep its sums in the cache.

    Args:
        frames: (n, H, W) float32.
        first_frame: (H, W) float64, x0, the first frame of the movie.
        sums: (6, H, W) float64: d, d^2, and d d' with the neighbours at `_NEIGHBOURS`.
        maximum: (H, W) float32, running maximum.
    """
    n, H, W = frames.shape
    here, below = np.empty(W), np.empty(W)
    for y in range(H):
        for t in range(n):
            _add_row(frames[t], first_frame, y, sums, maximum, here, below)


def _sum_block(
    movie: blocks.Movie, block: slice, first_frame: Image, frames_at_once: int
) -> tuple[Sums, NDArray[np.float32]]:
    """Sums (6, H, W) and maximum (H, W) of a block of a movie, of which some frames at a time are in memory."""
    sums = np.zeros((6, *first_frame.shape))
    maximum = np.full(first_frame.shape, -np.inf, np.float32)
    for part in blocks.frame_blocks(block.stop - block.start, frames_at_once):
        frames = blocks.read(movie, slice(block.start + part.start, block.start + part.stop))
        _add_frames(np.ascontiguousarray(frames, np.float32), first_frame, sums, maximum)
    return sums, maximum


def _pair(image: NDArray, dy: int, dx: int) -> tuple[NDArray, NDArray]:
    """Views of an image at the pixels that have a neighbour at (dy, dx), dy >= 0, and at those neighbours."""
    H, W = image.shape
    first = image[: H - dy, max(-dx, 0) : W - max(dx, 0)]
    return first, image[dy:, max(dx, 0) : W - max(-dx, 0)]


def local_correlation(sums: Sums, n_frames: int, valid_mask: NDArray[np.bool_] | None = None) -> Image:
    """Mean correlation of each pixel with its neighbours, from running sums.

    Args:
        sums: (6, H, W) of d, d^2, and d d' with the neighbours at `_NEIGHBOURS`.
        n_frames: number of frames that were added.
        valid_mask: (H, W), pixels to include. None includes all.

    Returns:
        (H, W) float64, -1..1, over those neighbours that are valid and not constant; 0 where there is none.
    """
    spread = np.sqrt(_variance(sums, n_frames))
    usable = spread > 0 if valid_mask is None else (spread > 0) & valid_mask
    total, number = np.zeros(spread.shape), np.zeros(spread.shape)
    for products, (dy, dx) in zip(sums[2:], _NEIGHBOURS, strict=True):
        first, second = _pair(sums[0], dy, dx)
        covariance = (_pair(products, dy, dx)[0] - first * second / n_frames) / n_frames
        good = np.logical_and(*_pair(usable, dy, dx))
        scale = np.where(good, np.multiply(*_pair(spread, dy, dx)), 1)
        r = np.where(good, np.clip(covariance / scale, -1, 1), 0)
        for side in (0, 1):
            _pair(total, dy, dx)[side][...] += r
            _pair(number, dy, dx)[side][...] += good
    return total / np.maximum(number, 1)


def _variance(sums: Sums, n_frames: int) -> Image:
    """Variance (H, W) over time, from running sums."""
    return np.maximum(sums[1] - sums[0] ** 2 / n_frames, 0) / n_frames


def summarize(movie: blocks.Movie, *, compute: Compute, valid_mask: NDArray[np.bool_] | None = None) -> SummaryImages:
    """Computes mean, maximum, standard deviation and local correlation of a movie in one pass.

    Args:
        movie: (T, H, W), lazy or not, of real numbers or integers, without NaN.
        compute: resources of the machine; the images do not depend on them.
        valid_mask: (H, W), pixels that lie within the frame in all frames; the correlation of the others is 0, and they
            do not count as neighbours. None includes all.

    Returns:
        Images (H, W) float32: all but the correlation (-1..1) in units of the movie.

    Raises:
        ValueError: the movie is not (T, H, W) with at least one frame.
    """
    if movie.ndim != 3 or not len(movie):
        raise ValueError(f"A movie should be (T, H, W) with at least one frame; this one has shape {movie.shape}.")
    n_frames, first_frame = len(movie), blocks.read(movie, 0).astype(np.float64)
    parts_of_movie = blocks.fixed_blocks(n_frames)
    parts = blocks.run(
        lambda block: _sum_block(movie, block, first_frame, compute.block_frames),
        parts_of_movie,
        compute=compute,
        description="Summary images",
        unit="frame",
        sizes=[block.stop - block.start for block in parts_of_movie],
    )
    sums, maximum = parts[0]
    for block_sums, block_maximum in parts[1:]:
        sums += block_sums
        np.maximum(maximum, block_maximum, out=maximum)
    return SummaryImages(
        mean=(first_frame + sums[0] / n_frames).astype(np.float32),
        maximum=maximum,
        standard_deviation=np.sqrt(_variance(sums, n_frames)).astype(np.float32),
        correlation=local_correlation(sums, n_frames, valid_mask).astype(np.float32),
    )


def frame_statistics(movie: blocks.Movie, *, compute: Compute) -> FrameStatistics:
    """Computes minimum, mean, maximum and saturated share of each frame.

    A detector may saturate below the largest number of the dtype: 12-bit values stored in 16 bits end at 4095.
    Therefore the pixels at the highest value of the movie are counted; there are many of them only if the movie is
    saturated.

    Args:
        movie: (T, H, W), lazy or not, without NaN.
        compute: resources of the machine.

    Returns:
        Statistics (T,) float64 in units of the movie, and shares of pixels (T,), 0..1.
    """

    def statistics(block: slice) -> NDArray[np.float64]:
        frames = np.ascontiguousarray(blocks.read(movie, block))
        rows = [(f.min(), f.mean(dtype=np.float64), f.max(), (f == f.max()).mean()) for f in frames]
        return np.array(rows, dtype=np.float64).T

    frame_blocks = blocks.frame_blocks(len(movie), compute.block_frames)
    parts = blocks.run(
        statistics,
        frame_blocks,
        compute=compute,
        description="Frame statistics",
        unit="frame",
        sizes=[block.stop - block.start for block in frame_blocks],
    )
    minimum, mean, maximum, share_at_maximum = np.concatenate(parts, axis=1)
    reached = (maximum == maximum.max()) & (maximum > minimum.min())
    return FrameStatistics(minimum, mean, maximum, np.where(reached, share_at_maximum, 0.0))
