"""Spatial consistency: does the movie look like the footprint when the component is active?

For component i with transient frames t in E(i), on the pixels p of its footprint and a margin around it,

    m(p) = mean over E(i) of [ Y(t, p) - b(p) f(t) - sum over j != i of a_j(p) c_j(t) ]
    r_value = Pearson correlation over p of a_i(p) and m(p)

Frames in which a neighbour (a component whose footprint has a cosine of 0.1 or more with that of i) is active are left
out of E(i), as what is subtracted of it is never exact. The margin, on which the footprint is 0, makes components that
rise together with all of their surroundings come out low. (The evaluation of Giovannucci et al. 2019,
doi 10.7554/eLife.38173, correlates in the same sense; here background and neighbours are subtracted indeed.)

The mean of the movie is taken in one pass, on the pixels that are needed. Sums are float64, frame by frame within fixed
stretches of the movie that are added in their order.
"""

import numba
import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from rsc2p_kedro.algorithms import blocks
from rsc2p_kedro.algorithms.evaluation.snr import Transients
from rsc2p_kedro.engines.results import Components
from rsc2p_kedro.parameters import Compute

MARGIN_PX = 2
_NEIGHBOUR_COSINE = 0.1


def surroundings(footprints: sp.csc_array, shape: tuple[int, int], margin_px: int) -> sp.csc_array:
    """Pixels (1 or more) within `margin_px` of each footprint, CSC (H*W, N) with sorted indices."""
    entries, (H, W) = sp.coo_array(footprints), shape
    inside = entries.data > 0
    y, x, column = entries.row[inside] // W, entries.row[inside] % W, entries.col[inside]
    steps = np.mgrid[-margin_px : margin_px + 1, -margin_px : margin_px + 1].reshape(2, -1)
    dy, dx = steps[:, (steps**2).sum(axis=0) <= margin_px**2]
    y, x, column = (y[:, None] + dy).ravel(), (x[:, None] + dx).ravel(), np.repeat(column, len(dy))
    seen = (y >= 0) & (y < H) & (x >= 0) & (x < W)
    places = (y[seen] * W + x[seen], column[seen])
    region = sp.csc_array(sp.coo_array((np.ones(len(places[0]), np.int32), places), shape=footprints.shape))
    region.sort_indices()
    return region


def neighbours(footprints: sp.csc_array) -> list[NDArray[np.intp]]:
    """For each component, those whose footprints overlap with its own by a cosine of 0.1 or more."""
    A = sp.csc_array(footprints, dtype=np.float64)
    norms = np.sqrt(np.maximum(np.asarray((A * A).sum(axis=0)).ravel(), 1e-30))
    cosine = sp.csr_array((A.T @ A).multiply(1 / norms[:, None]).multiply(1 / norms))
    cosine.setdiag(0)
    rows = [cosine[[i]] for i in range(A.shape[1])]
    return [np.sort(row.indices[row.data >= _NEIGHBOUR_COSINE]) for row in rows]


def lone_frames(transients: Transients, near: list[NDArray[np.intp]]) -> NDArray[np.bool_]:
    """Frames (N, T) of the transients of each component in which no neighbour is active."""
    frames = transients.frames.copy()
    for i, others in enumerate(near):
        frames[i] &= ~transients.active[others].any(axis=0)
    return frames


@numba.njit(nogil=True, cache=True)
def _add_pixels(frame: NDArray, pixels: NDArray, sums: NDArray) -> None:
    """Adds the pixels (n,) of one frame (H*W,) to sums (n,)."""
    for k in range(len(pixels)):
        sums[k] += frame[pixels[k]]


@numba.njit(nogil=True, cache=True)
def _add_frames(frames: NDArray, chosen: NDArray, indptr: NDArray, pixels: NDArray, sums: NDArray) -> None:
    """Adds the chosen frames of each component, in their order, to the sums over its pixels."""
    for i in range(len(indptr) - 1):
        for t in range(len(frames)):
            if chosen[i, t]:
                _add_pixels(frames[t], pixels[indptr[i] : indptr[i + 1]], sums[indptr[i] : indptr[i + 1]])


def _sum_stretch(
    movie: blocks.Movie, stretch: slice, chosen: NDArray[np.bool_], region: sp.csc_array, block_frames: int
) -> NDArray[np.float64]:
    """Sums (region.nnz,) over the chosen frames of one stretch of a movie; blocks without any are not read."""
    sums = np.zeros(region.nnz)
    for part in blocks.frame_blocks(stretch.stop - stretch.start, block_frames):
        frames = slice(stretch.start + part.start, stretch.start + part.stop)
        if chosen[:, frames].any():
            block = np.ascontiguousarray(blocks.read(movie, frames), np.float32)
            _add_frames(block.reshape(len(block), -1), chosen[:, frames], region.indptr, region.indices, sums)
    return sums


def mean_of_frames(
    movie: blocks.Movie, chosen: NDArray[np.bool_], region: sp.csc_array, *, compute: Compute
) -> NDArray[np.float64]:
    """Mean of the movie over chosen frames of each component, on its pixels.

    Args:
        movie: (T, H, W).
        chosen: (N, T), frames of each component.
        region: CSC (H*W, N), pixels of each component.
        compute: what the machine may use; it does not change the means by a bit.

    Returns:
        (region.nnz,), in the order of the region's indices; 0 for components without frames.
    """
    stretches = blocks.stretches(chosen.shape[1])
    parts = blocks.run(
        lambda stretch: _sum_stretch(movie, stretch, chosen, region, compute.block_frames),
        stretches,
        compute=compute,
        description="Evaluation",
        unit="frame",
        sizes=[s.stop - s.start for s in stretches],
    )
    total = np.zeros(region.nnz)
    for part in parts:
        total += part
    return total / np.repeat(np.maximum(chosen.sum(axis=1), 1), np.diff(region.indptr))


def pearson(first: NDArray, second: NDArray) -> float:
    """Correlation of two vectors, 0 where one of them is constant."""
    first, second = first - first.mean(), second - second.mean()
    scale = np.sqrt((first @ first) * (second @ second))
    return float(np.clip((first @ second) / scale, -1, 1)) if scale > 0 else 0.0


def r_values(
    movie: blocks.Movie, components: Components, chosen: NDArray[np.bool_], *, compute: Compute
) -> NDArray[np.float64]:
    """r_value (N,) of components over chosen frames (N, T) of each; 0 where it has none."""
    region = surroundings(components.footprints, components.shape, MARGIN_PX)
    means = mean_of_frames(movie, chosen, region, compute=compute)
    A = sp.csr_array(components.footprints, dtype=np.float64)
    b = sp.csr_array(components.background_footprints, dtype=np.float64)
    result = np.zeros(components.n_components)
    for i in np.flatnonzero(chosen.any(axis=1)):
        part = slice(region.indptr[i], region.indptr[i + 1])
        pixels = region.indices[part]
        others = components.traces[:, chosen[i]].mean(axis=1, dtype=np.float64)
        others[i] = 0
        background = b[pixels] @ components.background_traces[:, chosen[i]].mean(axis=1, dtype=np.float64)
        own = A[pixels][:, [i]].toarray().ravel()
        result[i] = pearson(own, means[part] - background - A[pixels] @ others)
    return result
