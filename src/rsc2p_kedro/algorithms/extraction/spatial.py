"""Spatial update: footprints, and the gain of the neuropil, from traces.

Each pixel p of the short movie D (see :mod:`.noise`) is a non-negative sum of the traces c_j of the components near
it and of the neuropil u_p = sum_k phi_k(p) f_k around it::

    minimize over a >= 0, h >= 0    1/2 |d_p - sum_j a_j c_j - h u_p|^2 + kappa/2 (h - h0_p)^2

with h0 the gain expected from the mean image and kappa the weight of that expectation. Only inner products of traces
are needed (Gram form), so coordinate descent costs nothing that depends on the number of frames (Friedrich et al. 2017,
doi 10.1371/journal.pcbi.1005685). Footprints are then tidied: median filter, thresholds of energy and significance,
closing, largest connected part.
"""

import numpy as np
import scipy.ndimage as ndi
import scipy.sparse as sp
from numba import njit
from numpy.typing import NDArray

from rsc2p_kedro.algorithms import blocks
from rsc2p_kedro.algorithms.extraction import patches
from rsc2p_kedro.algorithms.extraction.background import Tiles
from rsc2p_kedro.algorithms.extraction.initialization import stack_columns, to_column
from rsc2p_kedro.core.parameters import Compute

Float = NDArray[np.float32]
GAIN_PRIOR_SD = 0.2
"""Relative sd of the neuropil's gain in a pixel around what its mean brightness lets expect."""
TILE_PX = 48
ENERGY_KEPT = 0.995
LOWEST_OF_PEAK = 0.1
SIGNIFICANT = 2.0
_MOST_SWEEPS = 200
_PRECISION = 1e-5


@njit(nogil=True, cache=True)
def _descend(gram, linear, x):
    """Non-negative coordinate descent of x^T gram x / 2 - linear^T x, in place."""
    n = linear.size
    for _ in range(_MOST_SWEEPS):
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
        if moved <= _PRECISION * largest:
            break


@njit(nogil=True, cache=True)
def _regress(CC, CD, CU, UU, UD, prior, kappa, indptr, members, start, gain, values):
    """:func:`_descend` for every pixel p; members[indptr[p]:indptr[p + 1]] are its components, values theirs."""
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
        gram[n, n] = UU[p] + kappa[p]
        linear[n] = UD[p] + kappa[p] * prior[p]
        x[n] = gain[p]
        _descend(gram, linear, x)
        for i in range(n):
            values[first + i] = x[i]
        gain[p] = x[n]


@njit(nogil=True, cache=True)
def _column_products(U, D, UU, UD):
    for t in range(U.shape[0]):
        for p in range(U.shape[1]):
            UU[p] += np.float64(U[t, p]) * U[t, p]
            UD[p] += np.float64(U[t, p]) * D[t, p]


def column_products(U: Float, D: Float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sums over t of U U and of U D (p,), for U and D (t, p)."""
    UU, UD = np.zeros(U.shape[1]), np.zeros(U.shape[1])
    _column_products(U, D, UU, UD)
    return UU, UD


def support(footprints: sp.csc_array, shape: tuple[int, int], grow_px: int) -> sp.csc_array:
    """Where each footprint may grow to: its pixels and those within `grow_px`, as CSC (H*W, N) of its values.

    Pixels it may grow to are explicit zeros.
    """
    disc = np.hypot(*np.mgrid[-grow_px : grow_px + 1, -grow_px : grow_px + 1]) <= grow_px + 0.3
    columns = []
    for j in range(footprints.shape[1]):
        window, top, left = cut_window(footprints, j, shape, grow_px + 1)
        grown = ndi.binary_dilation(window > 0, disc)
        y, x = np.nonzero(grown)
        columns.append(((y + top) * shape[1] + x + left, window[y, x]))
    return stack_columns(columns, footprints.shape[0])


def cut_window(footprints: sp.csc_array, j: int, shape: tuple[int, int], margin: int) -> tuple[Float, int, int]:
    """Dense window of one footprint with a margin around it, and its top left corner; no pixels if it is empty."""
    part = slice(footprints.indptr[j], footprints.indptr[j + 1])
    y, x = np.divmod(footprints.indices[part], shape[1])
    if len(y) == 0:
        return np.zeros((0, 0), np.float32), 0, 0
    top, left = max(0, y.min() - margin), max(0, x.min() - margin)
    window = np.zeros(
        (min(shape[0], y.max() + margin + 1) - top, min(shape[1], x.max() + margin + 1) - left), np.float32
    )
    window[y - top, x - left] = footprints.data[part]
    return window, int(top), int(left)


def half_axes(footprints: sp.csc_array, shape: tuple[int, int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Short and long half-axes in px (N,) of the ellipse that has the second moments of each footprint's energy.

    A uniform disc of radius r has half-axes r. Energy is the square of the footprint: faint skirts do not count.
    """
    out = np.zeros((footprints.shape[1], 2))
    for j in range(footprints.shape[1]):
        part = slice(footprints.indptr[j], footprints.indptr[j + 1])
        energy = footprints.data[part].astype(np.float64) ** 2
        if energy.sum() > 0:
            position = np.stack(np.divmod(footprints.indices[part], shape[1])).astype(np.float64)
            centred = position - (position @ energy / energy.sum())[:, None]
            moments = (centred * energy) @ centred.T / energy.sum()
            out[j] = 2 * np.sqrt(np.maximum(np.linalg.eigvalsh(moments), 0))
    return out[:, 0], out[:, 1]


def regress(
    movie: NDArray,
    mask: NDArray[np.bool_],
    A: sp.csc_array,
    C: NDArray,
    tiles: Tiles,
    F: NDArray,
    gain: Float,
    expected_gain: Float,
    *,
    grow_px: int,
    compute: Compute,
) -> tuple[sp.csc_array, Float]:
    """New footprints (H*W, N), untidied, and gain (H, W).

    Args:
        movie: D (n, H, W), 0 outside the mask.
        mask: (H, W); pixels outside get neither footprint nor gain.
        A: footprints in units of the noise; they may grow by `grow_px`.
        C: (N, n) traces, means taken out.
        tiles: splines of the neuropil, with their time courses
        F: (K, n).
        gain: (H, W) to start from, in units of the noise.
        expected_gain: (H, W).
        grow_px: see `A`.
        compute: what the machine may use.
    """
    shape = mask.shape
    allowed = sp.csr_array(support(A, shape, grow_px))
    C32, CC = np.ascontiguousarray(C, np.float32), C @ C.T
    new_gain = np.zeros(shape, np.float32)

    def work(tile: patches.Patch) -> tuple[NDArray, NDArray, NDArray]:
        rows, columns = tile.core_rows, tile.core_columns
        pixels = (np.arange(rows.start, rows.stop)[:, None] * shape[1] + np.arange(columns.start, columns.stop)).ravel()
        own = allowed[pixels]
        near = np.unique(own.indices)
        members = np.searchsorted(near, own.indices)
        D = np.ascontiguousarray(movie[:, rows, columns]).reshape(len(movie), -1)
        U = tiles.evaluate(F, rows, columns).reshape(D.shape) if tiles.n else np.zeros_like(D)
        UU, UD = column_products(U, D)
        h0 = expected_gain[rows, columns].ravel().astype(np.float64)
        kappa = 1 / np.maximum(GAIN_PRIOR_SD * h0, 1e-3) ** 2
        h, values = gain[rows, columns].ravel().astype(np.float64), np.zeros(own.nnz)
        c = C32[near]
        _regress(
            CC[np.ix_(near, near)], (c @ D).astype(np.float64), (c @ U).astype(np.float64), UU, UD, h0, kappa,
            own.indptr, members, own.data.astype(np.float64), h, values,
        )  # fmt: skip
        new_gain[rows, columns] = np.where(mask[rows, columns], h.reshape(mask[rows, columns].shape), 0)
        return np.repeat(pixels, np.diff(own.indptr)), own.indices, values

    parts = blocks.run(work, patches.grid(shape, TILE_PX, 0), compute=compute, description="footprints", unit="tile")
    row, column, value = (np.concatenate([part[k] for part in parts]) for k in range(3))
    inside = mask.ravel()[row]
    new = sp.csc_array(sp.coo_array((value[inside].astype(np.float32), (row[inside], column[inside])), shape=A.shape))
    new.sort_indices()
    return new, new_gain


def tidy(
    A: sp.csc_array, C: NDArray, scale: NDArray, shape: tuple[int, int], *, energy_kept: float = ENERGY_KEPT
) -> sp.csc_array:
    """Footprints cleaned of noise and stray parts, one by one.

    Args:
        A: (H*W, N) in units of the noise.
        C: (N, n) traces that they were regressed on; their power says how significant a pixel is.
        scale: (H, W), unit of the noise: a footprint's brightness is A x scale.
        shape: (H, W).
        energy_kept: part of the energy (sum of squares) of a footprint that its pixels must hold.
    """
    power = np.sqrt(np.einsum("nt,nt->n", C, C))
    columns = []
    for j in range(A.shape[1]):
        window, top, left = cut_window(A, j, shape, 2)
        if window.size:
            local = scale[top : top + window.shape[0], left : left + window.shape[1]]
            window = tidy_window(window * local, local / max(power[j], 1e-30), energy_kept) / local
        columns.append(to_column(window, top, left, shape))
    return stack_columns(columns, A.shape[0])


def tidy_window(window: NDArray, noise: NDArray, energy_kept: float = ENERGY_KEPT) -> Float:
    """One footprint (h, w), given its pixels' noise: median filter, thresholds, closing, largest part."""
    # squares of what a trace of nearly nothing was regressed on do not fit into float32
    smooth = ndi.median_filter(window, 3, mode="constant").astype(np.float64)
    peak = smooth.max()
    if peak <= 0:
        return np.zeros_like(window, np.float32)
    order = np.sort(smooth, axis=None)[::-1]
    kept = np.searchsorted(np.cumsum(order**2), energy_kept * np.sum(order**2))
    # the median of nine values has about 0.41 of the noise of one
    level = np.maximum(max(order[min(kept, order.size - 1)], LOWEST_OF_PEAK * peak), 0.41 * SIGNIFICANT * noise)
    filled = ndi.binary_closing(np.pad(smooth >= level, 1), np.ones((3, 3)))[1:-1, 1:-1]
    labels, n = ndi.label(filled)
    if n == 0:
        return np.zeros_like(window, np.float32)
    energies = ndi.sum_labels(smooth**2, labels, np.arange(1, n + 1))
    largest = labels == 1 + int(np.argmax(energies))
    return np.where(largest, np.maximum(window, smooth), 0).astype(np.float32)
