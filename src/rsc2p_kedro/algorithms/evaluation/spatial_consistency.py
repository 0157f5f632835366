"""Spatial consistency: correlation of a footprint with the image of its transients in the movie.

For component i, on the pixels p of its footprint and a margin around it as wide as the cell (5/4 of the radius of a
disc of its area)::

    m_i(p) = sum over frames t of k_i(t) [ Y(t, p) - b(p) f(t) - sum over j != i of a_j(p) c_j(t) ]
    r_value = Pearson correlation over p of a_i(p) and m_i(p), both blurred by a Gaussian of a sixth of that radius

m_i is the transient image, an event-triggered average. k_i are the weights by which least squares of a pixel's
fluorescence gives the coefficient of the component's trace within its transients. The other regressors are the rest of
that trace and the traces of all neighbours (components whose footprints have a cosine of 0.1 or more with that of i);
all have their mean subtracted. k_i is thus orthogonal to the activity of neighbours even where their footprints are
inexact, and transients that coincide with a neighbour's need not be left out: the time courses separate them. It sums
to 0, so that no constant offset of the pixels matters. A small ridge penalty keeps nearly identical traces from having
large weights of opposite sign.

On the margin the footprint is 0, so that components that brighten together with all of their surroundings have a low
r_value. The blur reduces the noise of single pixels, so that faint cells are compared by their shape. Pixels without
noise were not in view in every frame, and are left out. (The evaluation of Giovannucci et al. 2019,
doi 10.7554/eLife.38173, correlates the footprint with the mean frame of the transients; here background and neighbours
are subtracted first.)

The weighted sum over the movie takes one pass over the pixels that are needed. Sums are float64, four frames at a time
within fixed stretches of the movie, which are added in order: the result does not depend on blocks or threads.
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

# Evidence: precision and recall at default thresholds with `greedy_roi` (benchmarks/evaluation_calibration.py
# thresholds), 0.892 and 0.963 with the values below, with one of them changed.
MARGIN_RADII = 1.25
"""Width of the margin, in radii of the cell. With half of it 0.782 and 0.973, with twice 1.000 and 0.915."""
BLUR_RADII = 1 / 6
"""Standard deviation of the blur, in radii of the cell. With half of it 0.959 and 0.872, with twice 0.631 and 1.000."""
_MIN_NEIGHBOUR_COSINE = 0.1
"""Cosine of two footprints from which components are neighbours. 0.03 and 0.3 give the same figures."""
_RIDGE = 1e-3
"""Ridge penalty of the regressors, which have unit norm. 1e-4 and 1e-2 give the same figures."""
_NATIVE_DTYPES = (np.uint8, np.uint16, np.int16, np.float32)
"""Types of pixels that are summed without conversion; one compiled kernel each."""


@dataclass(frozen=True, eq=False)
class SpatialSnippets:
    """Footprint and transient image of each component, on its pixels and their margin.

    Attributes:
        region: CSC (H*W, N), those pixels (see :func:`evaluation_regions`).
        footprint: a_i(p), (region.nnz,) float64, in the order of the region's indices.
        transient_image: m_i(p), (region.nnz,) float64, in the same order and units.
    """

    region: sp.csc_array
    footprint: NDArray[np.float64]
    transient_image: NDArray[np.float64]

    def component(self, i: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Snippets of one component.

        Args:
            i: index of the component.

        Returns:
            Pixels (P,), and the footprint and transient image there (2, P).
        """
        part = slice(self.region.indptr[i], self.region.indptr[i + 1])
        return self.region.indices[part], np.stack([self.footprint[part], self.transient_image[part]])


def spatial_snippets(
    movie: blocks.Movie, components: Components, weights: NDArray, *, compute: Compute
) -> SpatialSnippets:
    """Footprints and transient images m_i(p) of components.

    Args:
        movie: (T, H, W).
        components: of that movie.
        weights: k, (N, T), from :func:`transient_weights`.
        compute: resources of the machine; the result does not depend on them.

    Returns:
        Images on the pixels of each component; the transient image of a component without weights is 0.
    """
    region = evaluation_regions(components)
    others = components.traces.astype(np.float64) @ weights.T
    np.fill_diagonal(others, 0)
    transient_image = weighted_frame_sums(movie, weights, region, compute=compute)
    transient_image -= combine_on_region(components.footprints, others, region)
    background = components.background_traces @ weights.T
    transient_image -= combine_on_region(components.background_footprints, background, region)
    own = combine_on_region(components.footprints, np.eye(components.n_components), region)
    return SpatialSnippets(region, own, transient_image)


def r_values(snippets: SpatialSnippets, components: Components) -> NDArray[np.float64]:
    """Correlation of blurred footprint and transient image of each component.

    Args:
        snippets: of the components.
        components: of a movie.

    Returns:
        r_value (N,), in -1..1; 0 for a transient image of zeros.
    """
    radius, result = radii(components.footprints), np.zeros(components.n_components)
    for i in range(components.n_components):
        pixels, pair = snippets.component(i)
        if len(pixels) and pair[1].any():
            result[i] = pearson(*blur(pair, pixels, components.shape[1], BLUR_RADII * radius[i]))
    return result


def evaluation_regions(components: Components) -> sp.csc_array:
    """Pixels of each component and its margin, without those that have no noise (unless none has).

    Args:
        components: of a movie.

    Returns:
        CSC (H*W, N) of ones, with sorted indices.
    """
    A, in_view = components.footprints, components.pixel_noise.ravel() > 0
    in_view = in_view | (not in_view.any())
    parts = [A.indices[A.indptr[i] : A.indptr[i + 1]] for i in range(A.shape[1])]
    margins = MARGIN_RADII * radii(A)
    near = [_pixels_within(p, components.shape, m) if len(p) else p for p, m in zip(parts, margins, strict=True)]
    near = [pixels[in_view[pixels]] for pixels in near]
    indptr = np.concatenate([[0], np.cumsum([len(pixels) for pixels in near])])
    indices = np.concatenate([*near, np.zeros(0, np.int64)]).astype(np.int64)
    return sp.csc_array((np.ones(len(indices), np.int32), indices, indptr), shape=A.shape)


def _pixels_within(pixels: NDArray, shape: tuple[int, int], margin_px: float) -> NDArray[np.int64]:
    """Sorted indices of the pixels within `margin_px` of some pixels, all of them as row * W + column."""
    y, x = np.divmod(pixels, shape[1])
    reach = int(np.ceil(margin_px))
    top, left = max(y.min() - reach, 0), max(x.min() - reach, 0)
    outside = np.ones((min(y.max() + reach + 1, shape[0]) - top, min(x.max() + reach + 1, shape[1]) - left), bool)
    outside[y - top, x - left] = False
    rows, columns = np.nonzero(ndi.distance_transform_edt(outside) <= margin_px)
    return (rows + top) * shape[1] + columns + left


def blur(values: NDArray, pixels: NDArray, width: int, sigma_px: float) -> NDArray[np.float64]:
    """Gaussian blur among the given pixels only: each becomes a weighted mean of them; other pixels have no influence.

    Args:
        values: (n, P), of n images at the pixels.
        pixels: (P,), indices, row * `width` + column.
        width: W of the images in px.
        sigma_px: standard deviation of the Gaussian in px.

    Returns:
        (n, P), in the units of the values.
    """
    y, x = np.divmod(pixels, width)
    place = (slice(None), y - y.min(), x - x.min())
    image = np.zeros((len(values) + 1, int(np.ptp(y)) + 1, int(np.ptp(x)) + 1))
    image[place] = np.concatenate([values, np.ones((1, len(pixels)))])
    smooth = ndi.gaussian_filter(image, (0, sigma_px, sigma_px), mode="constant")[place]
    return smooth[:-1] / smooth[-1]


def pearson(first: NDArray, second: NDArray) -> float:
    """Pearson correlation of two vectors.

    (numpy.corrcoef and scipy.stats.pearsonr warn of constant vectors and give NaN.)

    Args:
        first: (n,).
        second: (n,).

    Returns:
        -1..1; 0 where one of them is constant.
    """
    first, second = first - first.mean(), second - second.mean()
    scale = np.sqrt((first @ first) * (second @ second))
    return float(np.clip((first @ second) / scale, -1, 1)) if scale > 0 else 0.0


def footprint_cosines(footprints: sp.csc_array) -> sp.csr_array:
    """Cosine of each pair of footprints.

    Args:
        footprints: A, CSC (H*W, N).

    Returns:
        (N, N), 0 on the diagonal.
    """
    A = sp.csc_array(footprints, dtype=np.float64)
    norms = np.sqrt(np.maximum(np.asarray((A * A).sum(axis=0)).ravel(), 1e-30))
    cosine = sp.csr_array((A.T @ A).multiply(1 / norms[:, None]).multiply(1 / norms))
    cosine.setdiag(0)
    return cosine


def neighbours(footprints: sp.csc_array) -> list[NDArray[np.intp]]:
    """Neighbours of each component: those with a cosine of the footprints of 0.1 or more.

    Args:
        footprints: A, CSC (H*W, N).

    Returns:
        N arrays of indices, sorted.
    """
    cosine = footprint_cosines(footprints)
    rows = [slice(*cosine.indptr[i : i + 2]) for i in range(cosine.shape[0])]
    return [np.sort(cosine.indices[row][cosine.data[row] >= _MIN_NEIGHBOUR_COSINE]) for row in rows]


def transient_weights(traces: NDArray, frames: NDArray[np.bool_], near: list[NDArray[np.intp]]) -> NDArray[np.float64]:
    """Weights k of frames: their product with a pixel's fluorescence is its coefficient in a component's transients.

    Args:
        traces: C, (N, T), denoised.
        frames: (N, T), frames of each component's transients.
        near: N arrays, neighbours of each component, whose traces are regressed out.

    Returns:
        (N, T), in 1 / units of the traces; 0 for components that are silent within their transients.
    """
    C = traces.astype(np.float64)
    own = ((c * f, c * ~f) for c, f in zip(C, frames, strict=True))
    rows = [_weights_of_first(np.concatenate([pair, C[others]])) for pair, others in zip(own, near, strict=True)]
    return np.array(rows).reshape(traces.shape)


def _weights_of_first(regressors: NDArray) -> NDArray[np.float64]:
    """Weights (T,) whose product with a trace is the coefficient of the first of some regressors (n, T), by ridge.

    They sum to 0, so that what is constant in time adds nothing, however bright; all are 0 where the first regressor is
    constant.
    """
    centred = regressors - regressors.mean(axis=1, keepdims=True)
    norms = np.sqrt((centred**2).sum(axis=1))
    varies = norms > 1e-9 * np.abs(regressors).max(axis=1)
    if not varies[0]:
        return np.zeros(regressors.shape[1])
    unit = centred[varies] / norms[varies, None]
    gram = unit @ unit.T + _RIDGE * np.eye(len(unit))
    return np.linalg.solve(gram, np.eye(len(unit))[0]) @ unit / norms[0]


def weighted_frame_sums(
    movie: blocks.Movie, weights: NDArray, region: sp.csc_array, *, compute: Compute
) -> NDArray[np.float64]:
    """Weighted sum of the frames of a movie for each component, on its pixels.

    Args:
        movie: (T, H, W).
        weights: (N, T), weights of the frames for each component.
        region: CSC (H*W, N), pixels of each component.
        compute: resources of the machine; the sums do not depend on them.

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


def _sum_stretch(
    movie: blocks.Movie, stretch: slice, weights: NDArray, region: sp.csc_array, block_frames: int
) -> NDArray[np.float64]:
    """Weighted sums (region.nnz,) over the frames of one stretch of a movie; blocks without weight are not read.

    Blocks have a multiple of four frames, so that their size does not change which four are added at a time.
    """
    sums = np.zeros(region.nnz)
    for part in blocks.frame_blocks(stretch.stop - stretch.start, -(-block_frames // 4) * 4):
        frames = slice(stretch.start + part.start, stretch.start + part.stop)
        if weights[:, frames].any():
            block = np.ascontiguousarray(blocks.read(movie, frames))
            block = block if block.dtype in _NATIVE_DTYPES else block.astype(np.float32)
            padded = np.pad(weights[:, frames], ((0, 0), (0, -len(block) % 4)))
            _add_frames(block.reshape(len(block), -1), padded, region.indptr, region.indices, sums)
    return sums


@numba.njit(nogil=True, cache=True)
def _add_frames(frames, weights, indptr, pixels, sums):
    """Adds weighted frames, in order, to each component's sums over its pixels; four frames stay in the cache.

    The weights are padded with 0 to a multiple of four frames.
    """
    last = len(frames) - 1
    for t in range(0, len(frames), 4):
        f1, f2, f3 = frames[min(t + 1, last)], frames[min(t + 2, last)], frames[min(t + 3, last)]
        for i in range(len(indptr) - 1):
            start, stop = indptr[i], indptr[i + 1]
            _add_pixels(frames[t], f1, f2, f3, weights[i, t : t + 4], pixels[start:stop], sums[start:stop])


@numba.njit(nogil=True, cache=True)
def _add_pixels(f0, f1, f2, f3, weights, pixels, sums):
    """Adds the pixels (n,) of four frames (H*W,), each times its weight (4,), to sums (n,)."""
    w0, w1, w2, w3 = weights[0], weights[1], weights[2], weights[3]
    for k in range(len(pixels)):
        p = pixels[k]
        sums[k] += (w0 * f0[p] + w1 * f1[p]) + (w2 * f2[p] + w3 * f3[p])


def combine_on_region(images: sp.csc_array, weights: NDArray, region: sp.csc_array) -> NDArray[np.float64]:
    """Linear combinations of images for each component, on its pixels: images @ weights, restricted to the region.

    Args:
        images: (H*W, n).
        weights: (n, N), weight of each image for each component.
        region: CSC (H*W, N), pixels of each component.

    Returns:
        (region.nnz,), in the order of the region's indices.
    """
    rows, sums = sp.csr_array(images, dtype=np.float64), np.zeros(region.nnz)
    by_component = np.ascontiguousarray(weights.T, np.float64)
    _sum_rows(rows.indptr, rows.indices, rows.data, by_component, region.indptr, region.indices, sums)
    return sums


@numba.njit(nogil=True, cache=True)
def _sum_rows(indptr, columns, values, weights, region_indptr, pixels, sums):
    """Fills the sums (region.nnz,) of images (CSR) at each pixel, with the weights (N, images) of its component."""
    for i in range(len(region_indptr) - 1):
        for k in range(region_indptr[i], region_indptr[i + 1]):
            for e in range(indptr[pixels[k]], indptr[pixels[k] + 1]):
                sums[k] += values[e] * weights[i, columns[e]]
