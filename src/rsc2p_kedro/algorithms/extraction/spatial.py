"""Spatial update: footprints, and the gain of the neuropil, from traces.

Each pixel p of the binned movie D (see :mod:`.binned_movie`) is a non-negative sum of the traces c_j of the components
near it and of the neuropil u_p = sum_k phi_k(p) f_k around it::

    minimize over a >= 0, h >= 0    1/2 |d_p - sum_j a_j c_j - h u_p|^2 + kappa/2 (h - h0_p)^2

with h0 the gain expected from the mean image and kappa = 1 / (sd of the gain around it)^2. Only inner products of
traces are needed (Gram form), so that the cost of coordinate descent does not depend on the number of frames (Friedrich
et al. 2017, doi 10.1371/journal.pcbi.1005685). A term `INERTIA` |c_j|^2 (a_j - current a_j)^2 / 2 keeps footprints from
drifting. They are then made compact and connected (:func:`clean_footprints`).
"""

import numpy as np
import scipy.ndimage as ndi
import scipy.sparse as sp
from numba import njit
from numpy.typing import NDArray

from rsc2p_kedro.algorithms import blocks
from rsc2p_kedro.algorithms.extraction import partition
from rsc2p_kedro.algorithms.extraction.background import NeuropilBasis
from rsc2p_kedro.algorithms.extraction.footprints import cut_window, stack_columns, window_to_column
from rsc2p_kedro.core.parameters import Compute

Float = NDArray[np.float32]
GAIN_PRIOR_SD = 0.2
"""Sd of the neuropil's gain in a pixel around the one expected from the mean image, as a fraction of the latter. Not
tuned; other values are compared in docs/methods_extraction.md."""
MIN_SIGNIFICANCE_SD = 2.0
"""Pixels below this many sd of their noise are set to 0. Not tuned; other values are compared in
docs/methods_extraction.md."""
INERTIA = 1.0
"""Weight of the current footprint in its regression, as a multiple of the trace's energy. Regression alternates with
traces that carry some of what surrounds a neuron; without inertia each of four more updates lost 1 to 4 % of the somata
of simulated tissue, with it 0 to 1.5 %. Chosen on four simulated tissues among 0, 0.3, 1 and 3."""
SMOOTHING = (0.12, 0.2, 0.3)
"""Sd of the Gaussian that a footprint is smoothed with, in neuron half-widths: the first that gives it `ENOUGH_SNR`.
Chosen, not tuned."""
ENOUGH_SNR = 10.0
"""Peak of a smoothed footprint over its noise from which it is not smoothed further. Chosen, not tuned."""
MIN_OF_PEAK = 0.28
"""Pixels of a smoothed footprint below this fraction of its peak are set to 0. With 0.35, the blurred rim of a neuron
stayed unexplained and was found as a component of its own."""
MIN_OF_PEAK_IN_RESULT = 0.35
"""The same in the result, whose footprints are also masks. A blurred edge is at one half of the peak; with 0.2 masks
were half as large again as simulated or marked neurons."""
OPENING = 0.3
"""Radius in neuron half-widths of the disc of the opening that cuts processes off a soma. Chosen, not tuned."""
MAX_RADIUS = 2.0
"""Largest distance of a pixel from the centre of its footprint, in neuron half-widths. Of marked neurons 99 % are
within 1.5 (minor axis) to 2 (major axis) of the median half-width of their field."""
_PEAK_PERCENTILE = 75
"""The peak of a smoothed footprint is this percentile of its pixels above half of the maximum: a single bright pixel
does not decide. Chosen, not tuned."""
_MEAN_OF_CLIPPED_NOISE = 0.4
"""Mean of Gaussian noise of variance 1 whose negative values are set to 0, as a non-negative regression does."""
_MIN_VALUE = 0.02
"""Least value of a pixel inside a footprint as a fraction of its peak, so that a dark nucleus stays part of it."""
_MIN_SIGMA_PX = 0.5
"""Least sd of the smoothing in px: a narrower Gaussian does nothing."""
_OPENING_PAD = 8
"""Pixels added around a window for the opening, at least the radius of its disc; changes no result."""
_BLOCK_PX = 48
"""Size of the blocks that are regressed in parallel, for memory and the CPU's cache; not tuned."""
_MAX_SWEEPS = 200
"""Maximum number of sweeps of coordinate descent in a pixel. Not tuned."""
_TOLERANCE = 1e-5
"""Coordinate descent stops when no coefficient changes by more than this fraction of the largest one. Not tuned."""


@njit(nogil=True, cache=True)
def _descend(gram, linear, x):
    """Non-negative coordinate descent of x^T gram x / 2 - linear^T x, in place."""
    n = linear.size
    for _ in range(_MAX_SWEEPS):
        largest, moved = 0.0, 0.0
        for i in range(n):
            if gram[i, i] <= 0.0:
                continue
            g = linear[i]
            for j in range(n):
                g -= gram[i, j] * x[j]
            new = max(0.0, x[i] + g / gram[i, i])
            scale = np.sqrt(gram[i, i])
            moved = max(moved, abs(new - x[i]) * scale)
            largest = max(largest, new * scale)
            x[i] = new
        if moved <= _TOLERANCE * largest:
            break


@njit(nogil=True, cache=True)
def _regress_pixels(CC, CD, CU, UU, UD, prior, kappa, indptr, members, start, gain, values):
    """:func:`_descend` for each pixel p. members[indptr[p]:indptr[p + 1]] are its components, values their results.

    CC: inner products of traces. CD, CU: of traces with data and neuropil, by pixel. UU, UD: of neuropil with itself
    and with data. prior, kappa: of the gain. start, gain: where descent starts; gain is overwritten with the result.
    """
    for p in range(UU.size):
        first, n = indptr[p], indptr[p + 1] - indptr[p]
        gram, linear, x = np.zeros((n + 1, n + 1)), np.zeros(n + 1), np.zeros(n + 1)
        for i in range(n):
            a = members[first + i]
            for j in range(n):
                gram[i, j] = CC[a, members[first + j]]
            gram[i, n] = gram[n, i] = CU[a, p]
            linear[i] = CD[a, p]
            x[i] = start[first + i]
            gram[i, i] += INERTIA * CC[a, a]
            linear[i] += INERTIA * CC[a, a] * start[first + i]
        gram[n, n] = UU[p] + kappa[p]
        linear[n] = UD[p] + kappa[p] * prior[p]
        x[n] = gain[p]
        _descend(gram, linear, x)
        for i in range(n):
            values[first + i] = x[i]
        gain[p] = x[n]


@njit(nogil=True, cache=True)
def _column_products(U, D):
    """Sums (p,) over t of U U and of U D, in float64, for U and D (t, p)."""
    UU, UD = np.zeros(U.shape[1]), np.zeros(U.shape[1])
    for t in range(U.shape[0]):
        for p in range(U.shape[1]):
            UU[p] += np.float64(U[t, p]) * U[t, p]
            UD[p] += np.float64(U[t, p]) * D[t, p]
    return UU, UD


def _dilate(footprints: sp.csc_array, shape: tuple[int, int], grow_px: int) -> sp.csc_array:
    """Footprints (H*W, N) dilated by a disc; the pixels they may grow to are explicit zeros."""
    disc = np.hypot(*np.mgrid[-grow_px : grow_px + 1, -grow_px : grow_px + 1]) <= grow_px + 0.3
    columns = []
    for j in range(footprints.shape[1]):
        window, top, left = cut_window(footprints, j, shape, grow_px + 1)
        y, x = np.nonzero(ndi.binary_dilation(window > 0, disc))
        columns.append(((y + top) * shape[1] + x + left, window[y, x]))
    return stack_columns(columns, footprints.shape[0])


def regress_footprints(
    movie: NDArray,
    mask: NDArray[np.bool_],
    A: sp.csc_array,
    C: NDArray,
    neuropil: NeuropilBasis,
    F: NDArray,
    gain: Float,
    expected_gain: Float,
    *,
    grow_px: int,
    compute: Compute,
) -> tuple[sp.csc_array, Float]:
    """Footprints and gain by regression of each pixel on the traces and the neuropil.

    Args:
        movie: D (n, H, W), 0 outside the mask.
        mask: (H, W); pixels outside get neither footprint nor gain.
        A: current footprints (H*W, N) in units of the noise.
        C: traces (N, n) of mean 0.
        neuropil: splines of the neuropil.
        F: (K, n), time courses of the splines.
        gain: (H, W), current gain in units of the noise.
        expected_gain: (H, W), h0 in units of the noise.
        grow_px: by how many px a footprint may grow.
        compute: resources of the machine; the result does not depend on them.

    Returns:
        New footprints CSC (H*W, N) float32, not yet cleaned, and gain (H, W) float32, in units of the noise.
    """
    shape = mask.shape
    allowed = sp.csr_array(_dilate(A, shape, grow_px))
    C32, CC = np.ascontiguousarray(C, np.float32), C @ C.T
    new_gain = np.zeros(shape, np.float32)

    def regress(block: partition.SpatialBlock) -> tuple[NDArray, NDArray, NDArray]:
        rows, columns = block.core_rows, block.core_columns
        pixels = (np.arange(rows.start, rows.stop)[:, None] * shape[1] + np.arange(columns.start, columns.stop)).ravel()
        local_A = allowed[pixels]
        near = np.unique(local_A.indices)
        members = np.searchsorted(near, local_A.indices)
        D = np.ascontiguousarray(movie[:, rows, columns]).reshape(len(movie), -1)
        U = neuropil.evaluate(F, rows, columns).reshape(D.shape) if neuropil.n_splines else np.zeros_like(D)
        UU, UD = _column_products(U, D)
        h0 = expected_gain[rows, columns].ravel().astype(np.float64)
        kappa = 1 / np.maximum(GAIN_PRIOR_SD * h0, 1e-3) ** 2
        h, values = gain[rows, columns].ravel().astype(np.float64), np.zeros(local_A.nnz)
        c = C32[near]
        _regress_pixels(
            CC[np.ix_(near, near)], (c @ D).astype(np.float64), (c @ U).astype(np.float64), UU, UD, h0, kappa,
            local_A.indptr, members, local_A.data.astype(np.float64), h, values,
        )  # fmt: skip
        new_gain[rows, columns] = np.where(mask[rows, columns], h.reshape(mask[rows, columns].shape), 0)
        return np.repeat(pixels, np.diff(local_A.indptr)), local_A.indices, values

    parts = blocks.run(
        regress, partition.spatial_blocks(shape, _BLOCK_PX, 0), compute=compute, description="updating footprints"
    )
    row, column, value = (np.concatenate([part[k] for part in parts]) for k in range(3))
    inside = mask.ravel()[row]
    new = sp.csc_array(sp.coo_array((value[inside].astype(np.float32), (row[inside], column[inside])), shape=A.shape))
    new.sort_indices()
    return new, new_gain


def clean_footprints(
    A: sp.csc_array, C: NDArray, scale: NDArray, shape: tuple[int, int], half_width_px: float
) -> sp.csc_array:
    """Makes each footprint compact and connected, and removes noise.

    A footprint is smoothed, the more the weaker it is; its pixels above a fraction of the peak and above the noise are
    kept, of these the largest connected part, without holes, without processes (opening), and not farther from its
    centre than a neuron reaches. Detail finer than the smoothing is put back as far as it exceeds the noise.

    Args:
        A: (H*W, N) in units of the noise.
        C: traces (N, n) that they were regressed on; their norms give the significance of a pixel.
        scale: (H, W), unit of the noise: a footprint in units of the movie is A times scale.
        shape: (H, W).
        half_width_px: half-width of a neuron in px.

    Returns:
        CSC (H*W, N) float32 in units of the noise. Footprints of which nothing is significant are empty.
    """
    norms = np.sqrt(np.einsum("nt,nt->n", C, C)) * np.sqrt(1 + INERTIA)
    margin = max(2, round(half_width_px / 2))
    columns = []
    for j in range(A.shape[1]):
        window, top, left = cut_window(A, j, shape, margin)
        if window.size:
            local = scale[top : top + window.shape[0], left : left + window.shape[1]]
            window = _clean_window(window * local, local / max(norms[j], 1e-30), half_width_px) / local
        columns.append(window_to_column(window, top, left, shape))
    return stack_columns(columns, A.shape[0])


def trim_footprints(footprints: sp.csc_array) -> sp.csc_array:
    """Removes the blurred rim of footprints, for the result.

    Args:
        footprints: (H*W, N) in units of the movie.

    Returns:
        CSC (H*W, N) float32: pixels of at least `MIN_OF_PEAK_IN_RESULT` of the peak.
    """
    trimmed = sp.csc_array(footprints, dtype=np.float32, copy=True)
    for j in range(trimmed.shape[1]):
        values = trimmed.data[trimmed.indptr[j] : trimmed.indptr[j + 1]]
        if len(values):
            values[values < MIN_OF_PEAK_IN_RESULT * _robust_peak(values)] = 0
    trimmed.eliminate_zeros()
    return trimmed


def _robust_peak(values: NDArray) -> float:
    """Peak of a footprint from values of which the largest is positive, so that one bright pixel does not decide."""
    return float(np.percentile(values[values > 0.5 * values.max()], _PEAK_PERCENTILE))


def _clean_window(window: NDArray, noise: NDArray, half_width_px: float) -> Float:
    """One footprint (h, w) of :func:`clean_footprints`. noise (h, w): sd of its pixels."""
    # float64: squares of footprints regressed on a trace of almost 0 do not fit into float32
    smooth, peak, gain = _smooth(window.astype(np.float64), noise, half_width_px)
    if peak <= 0:
        return np.zeros_like(window, np.float32)
    significant = (_MEAN_OF_CLIPPED_NOISE + MIN_SIGNIFICANCE_SD * gain) * noise
    mask = smooth >= np.maximum(MIN_OF_PEAK * peak, significant)
    if not mask.any():
        return np.zeros_like(window, np.float32)
    mask = ndi.binary_fill_holes(_strongest_part(mask, smooth))
    opened = ndi.binary_opening(np.pad(mask, _OPENING_PAD), _disc(OPENING * half_width_px))
    opened = opened[_OPENING_PAD:-_OPENING_PAD, _OPENING_PAD:-_OPENING_PAD]
    if opened.any():
        body = ndi.binary_dilation(_strongest_part(opened, smooth))
        mask = _strongest_part(mask & body, smooth)
    weight = np.where(mask, smooth**2, 0)
    y, x = np.indices(mask.shape)
    cy, cx = (weight * y).sum() / weight.sum(), (weight * x).sum() / weight.sum()
    mask &= np.hypot(y - cy, x - cx) <= MAX_RADIUS * half_width_px
    detail = window - smooth
    variance = (detail[mask] ** 2).mean() if mask.any() else 0
    kept = max(0.0, 1 - (noise[mask] ** 2).mean() / variance) if variance > 0 else 0.0
    return np.where(mask, np.maximum(smooth + kept * detail, _MIN_VALUE * peak), 0).astype(np.float32)


def _smooth(window: NDArray, noise: NDArray, half_width_px: float) -> tuple[NDArray, float, float]:
    """A smoothed footprint (h, w), its peak, and the factor by which smoothing reduces white noise."""
    smooth, peak, gain = window, 0.0, 1.0
    for sigma in (max(_MIN_SIGMA_PX, relative * half_width_px) for relative in SMOOTHING):
        smooth = ndi.gaussian_filter(window, sigma, mode="constant")
        gain = 1 / (2 * np.sqrt(np.pi) * sigma)
        if smooth.max() <= 0:
            return smooth, 0.0, gain
        peak = _robust_peak(smooth)
        if peak > ENOUGH_SNR * gain * np.median(noise):
            break
    return smooth, peak, gain


def _disc(radius_px: float) -> NDArray[np.bool_]:
    """Pixels within a radius of the centre of a square."""
    reach = int(np.ceil(radius_px))
    return np.hypot(*np.mgrid[-reach : reach + 1, -reach : reach + 1]) <= radius_px + 0.1


def _strongest_part(mask: NDArray[np.bool_], values: NDArray) -> NDArray[np.bool_]:
    """The connected part of a mask that has the most energy, the sum of squared values."""
    labels, n = ndi.label(mask)
    if n <= 1:
        return mask
    return labels == 1 + int(np.argmax(ndi.sum_labels(values**2, labels, np.arange(1, n + 1))))
