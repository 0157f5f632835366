"""Background: a static image, and neuropil that fluctuates smoothly in space under the fine texture of the tissue.

Neuropil in pixel p at time t is modelled as::

    gain(p) sum_k phi_k(p) f_k(t)

phi_k are cubic B-splines on a coarse grid (each non-negative, together 1 everywhere), f_k their time courses, gain the
relative brightness of the pixel: vessels are dark, bright tissue fluctuates more. So the columns gain phi_k of the
background footprints b have local support, a neuron sees the neuropil of its own surroundings, and, as time courses
are found together with the traces of the neurons (joint least squares), neither is mistaken for the other. The
splines are separable, phi_k(y, x) = u_i(y) v_j(x): projecting a frame on all of them takes two small matrix products.

Pachitariu et al. 2017 (doi 10.1101/061507) model neuropil by smooth basis functions of this kind.
"""

from dataclasses import dataclass
from functools import cached_property
from math import ceil

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.interpolate import BSpline

Float = NDArray[np.float32]
PRIOR_SD = 0.3
"""Neuropil changes by about this part of the mean; holds the time courses of tiles that have few pixels."""


@dataclass(frozen=True, eq=False)
class Tiles:
    """The splines phi of a frame (H, W): u (H, ny) and v (W, nx) float32.

    Tile k is row k // nx and column k % nx of the grid.
    """

    u: Float
    v: Float

    @property
    def n(self) -> int:
        return self.u.shape[1] * self.v.shape[1]

    def project(self, frames: NDArray) -> Float:
        """Sums (n_tiles, n) over the pixels of frames (n, H, W) times each spline."""
        n = len(frames)
        half = (frames.reshape(-1, frames.shape[2]) @ self.v).reshape(n, frames.shape[1], -1)
        return np.ascontiguousarray(np.matmul(self.u.T, half).reshape(n, -1).T)

    def evaluate(self, f: NDArray, rows: slice = slice(None), columns: slice = slice(None)) -> Float:
        """Smooth fields (n, h, w) of time courses f (n_tiles, n) within part of the frame."""
        grid = np.ascontiguousarray(f.T, np.float32).reshape(-1, self.u.shape[1], self.v.shape[1])
        return np.matmul(np.matmul(self.u[rows], grid), self.v[columns].T)

    def footprints(self, gain: NDArray) -> sp.csc_array:
        """gain phi as CSC (H*W, n_tiles) float32, without explicit zeros."""
        columns = sp.csc_array(self.splines.multiply(np.asarray(gain, np.float32).reshape(-1, 1)))
        columns.eliminate_zeros()
        columns.sort_indices()
        return columns

    def gram(self, gain: NDArray) -> sp.csc_array:
        """Inner products (n_tiles, n_tiles) of the columns gain phi, through products of splines along each axis."""
        (i, k, uu), (j, m, vv) = _products(self.u), _products(self.v)
        nx, values = self.v.shape[1], uu.T @ np.asarray(gain, np.float64) ** 2 @ vv
        row, column = i[:, None] * nx + j, k[:, None] * nx + m
        return sp.csc_array(sp.coo_array((values.ravel(), (row.ravel(), column.ravel())), shape=(self.n, self.n)))

    @cached_property
    def splines(self) -> sp.csr_array:
        """phi as CSR (H*W, n_tiles) float32."""
        return sp.csr_array(sp.kron(sp.csr_array(self.u), sp.csr_array(self.v), format="csr"))


def _products(splines: Float) -> tuple[NDArray, NDArray, NDArray[np.float64]]:
    """Pairs (i, k) of splines (length, n) that overlap, and their products (length, pairs)."""
    n = splines.shape[1]
    i, k = np.nonzero(np.abs(np.subtract.outer(np.arange(n), np.arange(n))) <= 3)
    return i, k, splines[:, i].astype(np.float64) * splines[:, k]


def _splines(length: int, spacing: float) -> Float:
    """Cubic B-splines (length, n) on pixels 0..length-1 with knots about `spacing` apart."""
    intervals = max(1, ceil((length - 1) / spacing))
    step = max(length - 1, 1) / intervals
    knots = (np.arange(-3, intervals + 4)) * step
    x = np.clip(np.arange(length, dtype=float), 0, intervals * step * (1 - 1e-12))
    return np.maximum(BSpline.design_matrix(x, knots, 3).toarray(), 0).astype(np.float32)


def tiles(shape: tuple[int, int], spacing_px: float, n_background: int) -> Tiles:
    """The splines of a frame: none for `n_background` 0 or 1, knots `spacing_px` apart for 2, denser for more."""
    if n_background < 2:
        return Tiles(np.zeros((shape[0], 0), np.float32), np.zeros((shape[1], 0), np.float32))
    spacing = spacing_px / np.sqrt(n_background - 1)
    return Tiles(_splines(shape[0], spacing), _splines(shape[1], spacing))
