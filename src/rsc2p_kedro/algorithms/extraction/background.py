"""Background: a static image, and neuropil that fluctuates smoothly in space, scaled by the brightness of each pixel.

Neuropil in pixel p at time t is modelled as::

    gain(p) sum_k phi_k(p) f_k(t)

phi_k are cubic B-splines on a coarse grid (each non-negative, their sum 1 everywhere), f_k their time courses, gain the
relative brightness of the pixel: neuropil fluctuates little in dark pixels (vessels), and more in bright ones. The
columns gain phi_k of the background footprints b have local support, so that a neuron's background is the neuropil
around it. The time courses are solved for jointly with the traces of the neurons (least squares), so that neither
absorbs the other. The splines are separable, phi_k(y, x) = u_i(y) v_j(x): projecting a frame on all of them takes two
small matrix products.

Pachitariu et al. 2017 (doi 10.1101/061507) model neuropil by smooth basis functions of this kind.
"""

from dataclasses import dataclass
from functools import cached_property
from math import ceil

import numpy as np
import scipy.ndimage as ndi
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.interpolate import BSpline

from rsc2p_kedro.algorithms.extraction.binned_movie import BinnedMovie

Float = NDArray[np.float32]
_INTERPOLATION_SD = 1.5
"""Sd of the Gaussian that interpolates the mean image under footprints, in neuron half-widths: reaches beyond the
footprint (up to 2 half-widths), not beyond its surroundings. Not tuned; other values are compared in
docs/methods_extraction.md."""
_MIN_FREE_SHARE = 0.05
"""Fraction of the pixels that must be outside all footprints for the line through gain and mean image to be fitted to
these only; otherwise it is fitted to all pixels. Not tuned."""
_SAMPLED_PX = 4
"""Every how many rows and columns the typical fluctuation is measured. Chosen for its cost."""
_MIN_FLUCTUATION_SD = 0.1
"""Least fluctuation of a pixel in sd of its noise: about the error of the variance of 150 bins. Chosen, not tuned."""


@dataclass(frozen=True, eq=False)
class NeuropilBasis:
    """The splines phi of a frame (H, W).

    Spline k is in row k // nx and column k % nx of the grid.

    Attributes:
        u: (H, ny) float32, splines along y.
        v: (W, nx) float32, splines along x.
    """

    u: Float
    v: Float

    @property
    def n_splines(self) -> int:
        """Number K of splines, ny * nx."""
        return self.u.shape[1] * self.v.shape[1]

    def project(self, frames: NDArray) -> Float:
        """Inner products of frames with each spline.

        Args:
            frames: (n, H, W).

        Returns:
            (K, n) float32.
        """
        n = len(frames)
        half = (frames.reshape(-1, frames.shape[2]) @ self.v).reshape(n, frames.shape[1], -1)
        return np.ascontiguousarray(np.matmul(self.u.T, half).reshape(n, -1).T)

    def evaluate(self, f: NDArray, rows: slice = slice(None), columns: slice = slice(None)) -> Float:
        """The smooth field sum_k phi_k f_k within part of the frame.

        Args:
            f: (K, n), time courses.
            rows: rows of the frame.
            columns: columns of the frame.

        Returns:
            (n, h, w) float32.
        """
        grid = np.ascontiguousarray(f.T, np.float32).reshape(-1, self.u.shape[1], self.v.shape[1])
        return np.matmul(np.matmul(self.u[rows], grid), self.v[columns].T)

    def footprints(self, gain: NDArray) -> sp.csc_array:
        """The background footprints of the neuropil, gain phi.

        Args:
            gain: (H, W), brightness of the neuropil.

        Returns:
            CSC (H*W, K) float32, sorted, without explicit zeros.
        """
        columns = sp.csc_array(self.splines.multiply(np.asarray(gain, np.float32).reshape(-1, 1)))
        columns.eliminate_zeros()
        columns.sort_indices()
        return columns

    def gram(self, gain: NDArray) -> sp.csc_array:
        """Inner products of the background footprints gain phi, through products of splines along each axis.

        Args:
            gain: (H, W), brightness of the neuropil.

        Returns:
            CSC (K, K) float64.
        """
        (i, k, uu), (j, m, vv) = _pairwise_products(self.u), _pairwise_products(self.v)
        nx, values = self.v.shape[1], uu.T @ np.asarray(gain, np.float64) ** 2 @ vv
        row, column = i[:, None] * nx + j, k[:, None] * nx + m
        shape = (self.n_splines, self.n_splines)
        return sp.csc_array(sp.coo_array((values.ravel(), (row.ravel(), column.ravel())), shape=shape))

    def roughness(self) -> sp.csc_array:
        """Quadratic form (K, K) that sums the squared differences between splines next to each other.

        Returns:
            CSC (K, K) float64, positive semidefinite; 0 for equal coefficients.
        """
        ny, nx = self.u.shape[1], self.v.shape[1]
        along_y = sp.kron(_squared_differences(ny), sp.eye_array(nx))
        return sp.csc_array(along_y + sp.kron(sp.eye_array(ny), _squared_differences(nx)))

    @cached_property
    def splines(self) -> sp.csr_array:
        """phi as CSR (H*W, K) float32."""
        return sp.csr_array(sp.kron(sp.csr_array(self.u), sp.csr_array(self.v), format="csr"))


def _squared_differences(n: int) -> sp.csr_array:
    """Quadratic form (n, n) of the sum of the squared differences between successive values."""
    steps = np.diff(np.eye(n), axis=0) if n else np.zeros((0, 0))
    return sp.csr_array(steps.T @ steps)


def _pairwise_products(splines: Float) -> tuple[NDArray, NDArray, NDArray[np.float64]]:
    """Pairs (i, k) of splines (length, n) that overlap, and their products (length, pairs)."""
    n = splines.shape[1]
    i, k = np.nonzero(np.abs(np.subtract.outer(np.arange(n), np.arange(n))) <= 3)
    return i, k, splines[:, i].astype(np.float64) * splines[:, k]


def _cubic_splines(length: int, spacing: float) -> Float:
    """Cubic B-splines (length, n) on pixels 0..length-1 with knots about `spacing` px apart."""
    intervals = max(1, ceil((length - 1) / spacing))
    step = max(length - 1, 1) / intervals
    knots = (np.arange(-3, intervals + 4)) * step
    x = np.clip(np.arange(length, dtype=float), 0, intervals * step * (1 - 1e-12))
    return np.maximum(BSpline.design_matrix(x, knots, 3).toarray(), 0).astype(np.float32)


def neuropil_basis(shape: tuple[int, int], spacing_px: float, n_background: int) -> NeuropilBasis:
    """The splines of a frame.

    Args:
        shape: (H, W) of the frame in px.
        spacing_px: distance of neighbouring knots in px where `n_background` is 2.
        n_background: 0 or 1 gives no splines; more than 2 gives a denser grid, with n_background - 1 times as many
            splines as 2.

    Returns:
        The basis, of K >= 0 splines.
    """
    if n_background < 2:
        return NeuropilBasis(np.zeros((shape[0], 0), np.float32), np.zeros((shape[1], 0), np.float32))
    spacing = spacing_px / np.sqrt(n_background - 1)
    return NeuropilBasis(_cubic_splines(shape[0], spacing), _cubic_splines(shape[1], spacing))


def typical_fluctuation(binned: BinnedMovie) -> float:
    """Typical sd over time of the fluorescence of a pixel, without noise.

    Args:
        binned: the binned movie, whose noise has variance 1.

    Returns:
        The median over pixels, in units of the movie; independent of a constant that is added to all pixels.
    """
    rows = range(0, binned.shape[0], _SAMPLED_PX)
    variance = np.stack([binned.movie[:, y, ::_SAMPLED_PX].var(axis=0, dtype=np.float64) for y in rows])
    sampled = slice(None, None, _SAMPLED_PX), slice(None, None, _SAMPLED_PX)
    fluctuation = np.sqrt(np.maximum(variance - 1, _MIN_FLUCTUATION_SD**2)) * binned.scale[sampled]
    used = binned.mask[sampled]
    return float(np.median(fluctuation[used] if used.any() else binned.scale))


def expected_gain(binned: BinnedMovie, A: sp.csc_array, gain: Float, neuron_half_width_px: float) -> Float:
    """The gain of the neuropil that the mean image predicts: a straight line through gain over mean brightness.

    The offset of the line is that of the detector. Footprints are left out of the fit. The mean image under a footprint
    contains the resting fluorescence of the neuron, so it is replaced by the mean of the surroundings.

    Args:
        binned: the binned movie, with mean image and mask.
        A: footprints (H*W, N).
        gain: (H, W), current gain, in units of the noise of the binned movie.
        neuron_half_width_px: half-width of a neuron in px.

    Returns:
        (H, W) float32 in the units of `gain`; 0 outside the mask.
    """
    free = _outside_footprints(binned.mask, A)
    if free.sum() < _MIN_FREE_SHARE * binned.mask.sum():
        free = binned.mask
    mean = _interpolate(binned.mean, free, neuron_half_width_px)
    brightness = gain * binned.scale
    if free.sum() < 10 or np.ptp(mean[free]) == 0:  # too few different values for a line
        return gain
    slope, offset = np.polyfit(mean[free], brightness[free], 1)
    line = slope * mean + offset if slope > 0 else np.full_like(mean, brightness[free].mean())
    line = np.maximum(line, 0.1 * max(np.median(line[free]), 1e-30))
    return np.where(binned.mask, line / binned.scale, 0).astype(np.float32)


def resting_fluorescence(
    binned: BinnedMovie, footprints: sp.csc_array, neuron_half_width_px: float
) -> NDArray[np.float64]:
    """Resting fluorescence of each neuron: the excess of the mean image under its footprint over the surroundings.

    Args:
        binned: the binned movie, with mean image and mask.
        footprints: (H*W, N), each of unit norm.
        neuron_half_width_px: half-width of a neuron in px.

    Returns:
        (N,), in units of the traces.
    """
    free = _outside_footprints(binned.mask, footprints)
    excess = binned.mean - _interpolate(binned.mean, free, neuron_half_width_px)
    return np.asarray(footprints.T @ excess.ravel(), np.float64)


def _outside_footprints(mask: NDArray[np.bool_], A: sp.csc_array) -> NDArray[np.bool_]:
    """Pixels (H, W) of the mask that no footprint covers."""
    free = mask.copy().ravel()
    free[A.indices] = False
    return free.reshape(mask.shape)


def _interpolate(image: NDArray, known: NDArray[np.bool_], neuron_half_width_px: float) -> Float:
    """An image (H, W) whose unknown pixels are replaced by Gaussian means of the known ones around them."""
    sigma = _INTERPOLATION_SD * neuron_half_width_px
    weight = ndi.gaussian_filter(known.astype(np.float64), sigma)
    smooth = ndi.gaussian_filter(np.where(known, image, 0).astype(np.float64), sigma)
    overall = image[known].mean() if known.any() else 0
    return np.where(known, image, np.where(weight > 1e-3, smooth / np.maximum(weight, 1e-3), overall))
