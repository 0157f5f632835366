"""Spatial consistency: does the movie look like the footprint when the component is active?

For component i, on the pixels p of its footprint and a margin around it as wide as the cell (5/4 of the radius of a
disc of its area),

    m(p) = sum over frames t of k_i(t) [ Y(t, p) - b(p) f(t) - sum over j != i of a_j(p) c_j(t) ]
    r_value = Pearson correlation over p of a_i(p) and m(p), both blurred by a Gaussian of a sixth of that radius

k_i are the weights by which least squares of any pixel's light on the component's trace at its transients gives the
coefficient of that trace. Beside it stand the rest of the trace, the traces of all neighbours (components whose
footprint has a cosine of 0.1 or more with that of i) and a constant. So k_i does not see the neighbours' activity even
where their footprints are not exact, and no transient has to be left out because a neighbour was active, too: what
tells them apart is that they are not active in the same way. (A small ridge keeps traces that are all but the same from
having large weights against each other.)

The margin, on which the footprint is 0, makes components that rise together with all of their surroundings come out
low; the blur lets faint cells be judged by their shape and not by the noise of single pixels. Pixels without noise have
not been seen in every frame, and are left out. (The evaluation of Giovannucci et al. 2019, doi 10.7554/eLife.38173,
correlates with the mean of the transients' frames; here background and neighbours are taken out indeed.)

The weighted sum of the movie is taken in one pass, on the pixels that are needed. Sums are float64, four frames
by four within fixed stretches of the movie that are added in their order.
"""

from dataclasses import dataclass

import numba
import numpy as np
import scipy.ndimage as ndi
import scipy.sparse as sp
from numpy.typing import NDArray

from rsc2p_kedro.algorithms import blocks
from rsc2p_kedro.algorithms.evaluation.description import radii
from rsc2p_kedro.core.parameters import Compute
from rsc2p_kedro.core.results import Components

MARGIN_RADII = 1.25
"""Width of the margin, in radii of the cell."""
BLUR_RADII = 1 / 6
"""Standard deviation of the blur, in radii of the cell."""
_NEIGHBOUR_COSINE = 0.1
_READ_AS_THEY_ARE = (np.uint8, np.uint16, np.int16, np.float32)
_RIDGE = 1e-3


def _near(pixels: NDArray, shape: tuple[int, int], margin_px: float) -> NDArray[np.int64]:
    """Sorted indices of the pixels within `margin_px` of some pixels, all of them as rows * W + columns."""
    y, x = np.divmod(pixels, shape[1])
    reach = int(np.ceil(margin_px))
    top, left = max(y.min() - reach, 0), max(x.min() - reach, 0)
    clear = np.ones((min(y.max() + reach + 1, shape[0]) - top, min(x.max() + reach + 1, shape[1]) - left), bool)
    clear[y - top, x - left] = False
    rows, columns = np.nonzero(ndi.distance_transform_edt(clear) <= margin_px)
    return (rows + top) * shape[1] + columns + left


def surroundings(components: Components) -> sp.csc_array:
    """Pixels (1) on which each component is judged, CSC (H*W, N) with sorted indices.

    Pixels without noise are left out, unless the noise is not known of any.
    """
    A, seen = components.footprints, components.pixel_noise.ravel() > 0
    seen = seen | (not seen.any())
    parts = [A.indices[A.indptr[i] : A.indptr[i + 1]] for i in range(A.shape[1])]
    margins = MARGIN_RADII * radii(A)
    near = [_near(p, components.shape, m) if len(p) else p for p, m in zip(parts, margins, strict=True)]
    near = [pixels[seen[pixels]] for pixels in near]
    indptr = np.concatenate([[0], np.cumsum([len(pixels) for pixels in near])])
    indices = np.concatenate([*near, np.zeros(0, np.int64)]).astype(np.int64)
    return sp.csc_array((np.ones(len(indices), np.int32), indices, indptr), shape=A.shape)


def blur(values: NDArray, pixels: NDArray, width: int, sigma_px: float) -> NDArray[np.float64]:
    """Values (n, P) at pixels (P,) of an image `width` wide, blurred by a Gaussian among these pixels alone."""
    y, x = np.divmod(pixels, width)
    place = (slice(None), y - y.min(), x - x.min())
    image = np.zeros((len(values) + 1, int(np.ptp(y)) + 1, int(np.ptp(x)) + 1))
    image[place] = np.concatenate([values, np.ones((1, len(pixels)))])
    smooth = ndi.gaussian_filter(image, (0, sigma_px, sigma_px), mode="constant")[place]
    return smooth[:-1] / smooth[-1]


def cosines(footprints: sp.csc_array) -> sp.csr_array:
    """Cosine (N, N) of each footprint with every other one, 0 with itself."""
    A = sp.csc_array(footprints, dtype=np.float64)
    norms = np.sqrt(np.maximum(np.asarray((A * A).sum(axis=0)).ravel(), 1e-30))
    cosine = sp.csr_array((A.T @ A).multiply(1 / norms[:, None]).multiply(1 / norms))
    cosine.setdiag(0)
    return cosine


def neighbours(footprints: sp.csc_array) -> list[NDArray[np.intp]]:
    """For each component, those whose footprints overlap with its own by a cosine of 0.1 or more."""
    cosine = cosines(footprints)
    rows = [slice(*cosine.indptr[i : i + 2]) for i in range(cosine.shape[0])]
    return [np.sort(cosine.indices[row][cosine.data[row] >= _NEIGHBOUR_COSINE]) for row in rows]


def _weights_of_first(regressors: NDArray) -> NDArray[np.float64]:
    """Weights (T,) that give the coefficient of the first of some regressors (n, T) from a trace, by ridge regression.

    0 where the first regressor is 0 everywhere.
    """
    sizes = np.sqrt((regressors**2).sum(axis=1))
    if sizes[0] == 0:
        return np.zeros(regressors.shape[1])
    unit = regressors[sizes > 0] / sizes[sizes > 0, None]
    gram = unit @ unit.T + _RIDGE * np.eye(len(unit))
    return np.linalg.solve(gram, np.eye(len(unit))[0]) @ unit / sizes[0]


def transient_weights(traces: NDArray, frames: NDArray[np.bool_], near: list[NDArray[np.intp]]) -> NDArray[np.float64]:
    """Weights k (N, T) of frames, by which a pixel's light gives its share in each component's transients.

    Args:
        traces: (N, T), denoised.
        frames: (N, T), frames of each component's transients.
        near: neighbours of each component, whose traces shall count for nothing.

    Returns:
        (N, T); 0 for components that are silent in the frames of their transients.
    """
    C, constant = traces.astype(np.float64), np.ones((1, traces.shape[1]))
    own = ((c * f, c * ~f) for c, f in zip(C, frames, strict=True))
    rows = [
        _weights_of_first(np.concatenate([pair, C[others], constant])) for pair, others in zip(own, near, strict=True)
    ]
    return np.array(rows).reshape(traces.shape)


@numba.njit(nogil=True, cache=True)
def _add_pixels(f0, f1, f2, f3, weights, pixels, sums):
    """Adds the pixels (n,) of four frames (H*W,), each times its weight (4,), to sums (n,)."""
    w0, w1, w2, w3 = weights[0], weights[1], weights[2], weights[3]
    for k in range(len(pixels)):
        p = pixels[k]
        sums[k] += (w0 * f0[p] + w1 * f1[p]) + (w2 * f2[p] + w3 * f3[p])


@numba.njit(nogil=True, cache=True)
def _add_frames(frames, weights, indptr, pixels, sums):
    """Adds the weighted frames, in order, to each component's sums over its pixels; four frames stay in the cache.

    There are weights of 0 up to a multiple of four.
    """
    last = len(frames) - 1
    for t in range(0, len(frames), 4):
        f1, f2, f3 = frames[min(t + 1, last)], frames[min(t + 2, last)], frames[min(t + 3, last)]
        for i in range(len(indptr) - 1):
            start, stop = indptr[i], indptr[i + 1]
            _add_pixels(frames[t], f1, f2, f3, weights[i, t : t + 4], pixels[start:stop], sums[start:stop])


def _sum_stretch(
    movie: blocks.Movie, stretch: slice, weights: NDArray, region: sp.csc_array, block_frames: int
) -> NDArray[np.float64]:
    """Weighted sums (region.nnz,) over the frames of one stretch of a movie; blocks without weight are not read.

    Four frames are added together: a block has a multiple of four, so that its size does not change which.
    """
    sums = np.zeros(region.nnz)
    for part in blocks.frame_blocks(stretch.stop - stretch.start, -(-block_frames // 4) * 4):
        frames = slice(stretch.start + part.start, stretch.start + part.stop)
        if weights[:, frames].any():
            block = np.ascontiguousarray(blocks.read(movie, frames))
            block = block if block.dtype in _READ_AS_THEY_ARE else block.astype(np.float32)
            padded = np.pad(weights[:, frames], ((0, 0), (0, -len(block) % 4)))
            _add_frames(block.reshape(len(block), -1), padded, region.indptr, region.indices, sums)
    return sums


def weighted_sums(
    movie: blocks.Movie, weights: NDArray, region: sp.csc_array, *, compute: Compute
) -> NDArray[np.float64]:
    """Weighted sum of the frames of a movie for each component, on its pixels.

    Args:
        movie: (T, H, W).
        weights: (N, T), weights of the frames for each component.
        region: CSC (H*W, N), pixels of each component.
        compute: what the machine may use; it does not change the sums by a bit.

    Returns:
        (region.nnz,), in the order of the region's indices.
    """
    stretches = blocks.fixed_blocks(weights.shape[1])
    parts = blocks.run(
        lambda stretch: _sum_stretch(movie, stretch, weights, region, compute.block_frames),
        stretches,
        compute=compute,
        description="Evaluation",
        unit="frame",
        sizes=[s.stop - s.start for s in stretches],
    )
    total = np.zeros(region.nnz)
    for part in parts:
        total += part
    return total


def pearson(first: NDArray, second: NDArray) -> float:
    """Correlation of two vectors, 0 where one of them is constant."""
    first, second = first - first.mean(), second - second.mean()
    scale = np.sqrt((first @ first) * (second @ second))
    return float(np.clip((first @ second) / scale, -1, 1)) if scale > 0 else 0.0


@numba.njit(nogil=True, cache=True)
def _sum_rows(indptr, columns, values, weights, region_indptr, pixels, sums):
    """Sums (n,) of the images (CSR) at each pixel, weighted as the pixel's component (N, images) says."""
    for i in range(len(region_indptr) - 1):
        for k in range(region_indptr[i], region_indptr[i + 1]):
            for e in range(indptr[pixels[k]], indptr[pixels[k] + 1]):
                sums[k] += values[e] * weights[i, columns[e]]


def on_region(sources: sp.csc_array, weights: NDArray, region: sp.csc_array) -> NDArray[np.float64]:
    """Weighted sums of images on the pixels of each component: sources @ weights, where the region is and only there.

    Args:
        sources: (H*W, n), images.
        weights: (n, N), weight of each image for each component.
        region: CSC (H*W, N), pixels of each component.

    Returns:
        (region.nnz,), in the order of the region's indices.
    """
    rows, sums = sp.csr_array(sources, dtype=np.float64), np.zeros(region.nnz)
    by_component = np.ascontiguousarray(weights.T, np.float64)
    _sum_rows(rows.indptr, rows.indices, rows.data, by_component, region.indptr, region.indices, sums)
    return sums


@dataclass(frozen=True, eq=False)
class Portraits:
    """Footprints, and what the movie shows of them, on the pixels of each component and its margin.

    Attributes:
        region: CSC (H*W, N), those pixels (see :func:`surroundings`).
        footprint: (region.nnz,) float64, a_i(p), in the order of the region's indices.
        seen: (region.nnz,) float64, m(p), in the same order and units.
    """

    region: sp.csc_array
    footprint: NDArray[np.float64]
    seen: NDArray[np.float64]

    def of(self, i: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Pixels (P,) of component i, and its footprint and what is seen of it (2, P) there."""
        part = slice(self.region.indptr[i], self.region.indptr[i + 1])
        return self.region.indices[part], np.stack([self.footprint[part], self.seen[part]])


def portraits(movie: blocks.Movie, components: Components, weights: NDArray, *, compute: Compute) -> Portraits:
    """Portraits of components, given the weights (N, T) of :func:`transient_weights`; nothing seen where they are 0."""
    region = surroundings(components)
    others = components.traces.astype(np.float64) @ weights.T
    np.fill_diagonal(others, 0)
    seen = weighted_sums(movie, weights, region, compute=compute)
    seen -= on_region(components.footprints, others, region)
    seen -= on_region(components.background_footprints, components.background_traces @ weights.T, region)
    own = on_region(components.footprints, np.eye(components.n_components), region)
    return Portraits(region, own, seen)


def agreement(images: Portraits, components: Components) -> NDArray[np.float64]:
    """r_value (N,): correlation of both images of each component, blurred; 0 where nothing was seen."""
    radius, result = radii(components.footprints), np.zeros(components.n_components)
    for i in range(components.n_components):
        pixels, pair = images.of(i)
        if len(pixels) and pair[1].any():
            result[i] = pearson(*blur(pair, pixels, components.shape[1], BLUR_RADII * radius[i]))
    return result
