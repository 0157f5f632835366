"""Refinement of a placement: smooth deformation, found by Gauss-Newton steps.

With the channels T of the reference and I(q) of the session at the places q(p) = q0(p) + u(p), the field u minimizes

    sum over channels and pixels of [T - a I(q)]^2 / (2 (1 - a^2) n_c) + bending(u) / (2 tau^2)

where a is the correlation of T and I over the common field, so that a channel without structure has no influence and an
inverted one fits as well; n_c is the area over which the channels are correlated; and bending is the sum of the squared
second differences of the field between its nodes. The field is refined from four nodes at the corners (rotation, scale
and shear) to nodes a few neurons apart.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from rsc2p_kedro.algorithms.tracking.placement import Placement, within
from rsc2p_kedro.algorithms.tracking.sampling import sample

Float = NDArray[np.float32]
BENDING_PX = 2.0
"""Typical second difference tau of the deformation from node to node in px. Between 1 and 10 the error of the centroids
of simulated neurons changes by less than a tenth of a pixel."""
_N_STEPS = 6
"""Gauss-Newton steps at each number of nodes."""
_TOLERANCE_PX = 0.02
"""Steps end when no node moves further."""


def refine(
    placement: Placement, reference: Float, session: Float, *, step: int, node_distance_px: float, smoothing_px: float
) -> Placement:
    """Refines a placement, from the corners of the frame to nodes at a given distance.

    Args:
        placement: where the session lies, to within about a neuron.
        reference: (K, H, W) channels of the reference.
        session: (K, h, w) channels of the session.
        step: only every so many pixels of the reference are compared.
        node_distance_px: distance of the nodes in px of the reference.
        smoothing_px: standard deviation of the Gaussian with which the channels were smoothed.

    Returns:
        The placement, with a field at these nodes.
    """
    data = _Data(reference, session, step, smoothing_px)
    final = [max(2, round(size / node_distance_px) + 1) for size in placement.shape]
    n = [2, 2]
    while True:
        placement = _with_nodes(placement, n)
        for _ in range(_N_STEPS):
            placement, largest = data.step(placement)
            if largest < _TOLERANCE_PX:
                break
        if n == final:
            return placement
        n = [min(2 * have - 1, want) for have, want in zip(n, final, strict=True)]


def _with_nodes(placement: Placement, n: list[int]) -> Placement:
    """The same placement with a field of so many nodes along each axis."""
    nodes = [np.linspace(0, size - 1, count) for size, count in zip(placement.shape, n, strict=True)]
    grid = placement.grid
    rows, columns = (np.rint(axis).astype(int) for axis in nodes)
    field = np.stack(
        [grid.basis_y[:, rows].T.astype(float) @ axis @ grid.basis_x[:, columns] for axis in placement.field]
    )
    return replace(placement, nodes_y=nodes[0], nodes_x=nodes[1], field=field)


class _Data:
    """The channels of both fields, and the equations of one step."""

    def __init__(self, reference: Float, session: Float, step: int, smoothing_px: float) -> None:
        self._target, self._step = reference[:, ::step, ::step].astype(float), step
        self._session = np.stack([session, *np.gradient(session, axis=(1, 2))]).astype(np.float32)
        self._correlated = max(4 * np.pi * smoothing_px**2 / step**2, 1.0)

    def step(self, placement: Placement) -> tuple[Placement, float]:
        """One Gauss-Newton step; returns the placement, and the largest change of a node in px."""
        grid = placement.grid
        by, bx = (basis[:, :: self._step].astype(float) for basis in (grid.basis_y, grid.basis_x))
        places = placement.places(step=self._step)
        inside = within(places, self._session.shape[2:])
        weights, pull = self._weights(places, inside)
        hessian = _normal_matrix(weights, by, bx)
        gradient = np.concatenate([np.einsum("ay,yx,bx->ab", by, p, bx, optimize=True).ravel() for p in pull])
        penalty = bending(len(by), len(bx)) / BENDING_PX**2
        theta = placement.field.reshape(2, -1)
        for axis in range(2):
            part = slice(axis * penalty.shape[0], (axis + 1) * penalty.shape[0])
            hessian[part, part] += penalty
            gradient[part] -= penalty @ theta[axis]
        damping = 1e-3 * np.trace(hessian) / len(hessian) + 1e-9
        change = np.linalg.solve(hessian + damping * np.eye(len(hessian)), gradient).reshape(placement.field.shape)
        change = np.clip(change, -4 * self._step, 4 * self._step)
        return replace(placement, field=placement.field + change), float(np.abs(change).max())

    def _weights(self, places: NDArray, inside: NDArray) -> tuple[list[NDArray], list[NDArray]]:
        """Weights yy, yx, xx of the normal equations at each pixel, and the pull along each axis."""
        weights = [np.zeros(inside.shape) for _ in range(3)]
        pull = [np.zeros(inside.shape) for _ in range(2)]
        sampled = sample(self._session, places).astype(float)
        for target, moved, gy, gx in zip(self._target, *sampled, strict=True):
            scaled = _standardized(target, moved, inside)
            if scaled is None:
                continue
            t, m, spread, a = scaled
            precision = inside / ((1 - a**2) * self._correlated)
            residual = t - a * m
            robust = 1 / (1 + residual**2 / (4 * (1 - a**2)))  # a neuron that is gone pulls nowhere
            gy, gx = a * gy / spread, a * gx / spread
            w = precision * robust
            for total, product in zip(weights, (gy * gy, gy * gx, gx * gx), strict=True):
                total += w * product
            for total, g in zip(pull, (gy, gx), strict=True):
                total += w * g * residual
        return weights, pull


def _standardized(target: NDArray, moved: NDArray, inside: NDArray) -> tuple[NDArray, NDArray, float, float] | None:
    """Both images with mean 0 and variance 1 within the common field, the spread of the second, and the correlation."""
    t, m = target[inside], moved[inside]
    if len(t) < 16 or not (t.std() > 0 and m.std() > 0):
        return None
    spread = float(m.std())
    t_all, m_all = (target - t.mean()) / t.std(), (moved - m.mean()) / spread
    a = float(np.mean(t_all[inside] * m_all[inside]))
    return t_all, m_all, spread, float(np.clip(a, -0.98, 0.98))


def _normal_matrix(weights: list[NDArray], by: NDArray, bx: NDArray) -> NDArray[np.float64]:
    """Normal matrix of the nodes (2 Py Px, 2 Py Px), from the weights at each pixel and the bases of both axes."""
    ny, nx = len(by), len(bx)
    pairs_y = (by[:, None] * by[None]).reshape(ny * ny, -1)
    pairs_x = (bx[:, None] * bx[None]).reshape(nx * nx, -1)
    blocks = []
    for w in weights:
        product = (pairs_y @ (w @ pairs_x.T)).reshape(ny, ny, nx, nx)
        blocks.append(product.transpose(0, 2, 1, 3).reshape(ny * nx, ny * nx))
    yy, yx, xx = blocks
    return np.block([[yy, yx], [yx, xx]])


def bending(ny: int, nx: int) -> NDArray[np.float64]:
    """Matrix of the sum of squared second differences of a field of nodes; the mixed ones count twice.

    Args:
        ny: number of nodes along y.
        nx: number of nodes along x.

    Returns:
        (ny nx, ny nx), symmetric.
    """
    d1 = [np.diff(np.eye(n), axis=0) for n in (ny, nx)]
    d2 = [np.diff(np.eye(n), 2, axis=0) for n in (ny, nx)]
    rows = np.kron(d2[0].T @ d2[0], np.eye(nx)) + np.kron(np.eye(ny), d2[1].T @ d2[1])
    mixed = np.kron(d1[0].T @ d1[0], d1[1].T @ d1[1])
    return rows + (2 * mixed if ny > 2 and nx > 2 else 0)
