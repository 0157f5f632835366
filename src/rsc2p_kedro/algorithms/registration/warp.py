"""One interpolation of a frame along a displacement field.

A corrected frame is J(y, x) = I(y + u_y, x + u_x), with the field u of :mod:`.field` (the displacement of the content,
that is minus the shifts to apply). Interpolation is by Keys' cubic convolution with a = -1/2 (doi
10.1109/TASSP.1981.1163711), exact for quadratics, on the 4 x 4 pixels around the source. Sources beyond the frame are
taken from the nearest pixel of the frame, so that no value is ever missing; which pixels these are, :func:`seen_mask`
tells.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from rsc2p_kedro.algorithms.registration.field import FieldGrid

Float = NDArray[np.float32]


@njit(nogil=True, cache=True)
def field_row(coefficients: Float, basis_x: Float, out: Float) -> None:
    """One row of a field: `out[x] = sum_j coefficients[j] * basis_x[j, x]`."""
    out[:] = 0
    for j in range(len(coefficients)):
        c = coefficients[j]
        for x in range(len(out)):
            out[x] += c * basis_x[j, x]


@njit(nogil=True, cache=True)
def row_coefficients(theta: Float, basis_y: Float, y: int, out: Float) -> None:
    """Coefficients (Px,) of row y of a field: `out[j] = sum_i basis_y[i, y] * theta[i, j]`."""
    out[:] = 0
    for i in range(theta.shape[0]):
        b = basis_y[i, y]
        for j in range(theta.shape[1]):
            out[j] += b * theta[i, j]


@njit(nogil=True, cache=True)
def _keys(t):  # type: ignore[no-untyped-def]
    """Weights of the 4 neighbours at -1, 0, 1, 2 of a position t in 0..1."""
    one, half = np.float32(1), np.float32(0.5)
    s = one - t
    return (
        -half * t * s * s,
        one + t * t * (np.float32(1.5) * t - np.float32(2.5)),
        one + s * s * (np.float32(1.5) * s - np.float32(2.5)),
        -half * t * t * s,
    )


@njit(nogil=True, cache=True)
def _cubic_at(frame, y, x):  # type: ignore[no-untyped-def]
    """Value of a frame at a position, coordinates clamped to the frame."""
    H, W = frame.shape
    y = min(max(y, np.float32(0)), np.float32(H - 1))
    x = min(max(x, np.float32(0)), np.float32(W - 1))
    iy, ix = min(int(y), H - 2), min(int(x), W - 2)
    wy, wx = _keys(y - np.float32(iy)), _keys(x - np.float32(ix))
    total = np.float32(0)
    if 1 <= iy < H - 2 and 1 <= ix < W - 2:
        for a in range(4):
            row = frame[iy - 1 + a]
            total += wy[a] * (
                wx[0] * np.float32(row[ix - 1])
                + wx[1] * np.float32(row[ix])
                + wx[2] * np.float32(row[ix + 1])
                + wx[3] * np.float32(row[ix + 2])
            )
        return total
    for a in range(4):
        r = min(max(iy - 1 + a, 0), H - 1)
        for b in range(4):
            total += wy[a] * wx[b] * np.float32(frame[r, min(max(ix - 1 + b, 0), W - 1)])
    return total


@njit(nogil=True, cache=True)
def _warp_frame(frame, theta, basis_y, basis_x, u, v, c, out):  # type: ignore[no-untyped-def]
    H, W = frame.shape
    for y in range(H):
        row_coefficients(theta[0], basis_y, y, c)
        field_row(c, basis_x, u)
        row_coefficients(theta[1], basis_y, y, c)
        field_row(c, basis_x, v)
        for x in range(W):
            out[y, x] = _cubic_at(frame, np.float32(y) + u[x], np.float32(x) + v[x])


@njit(nogil=True, cache=True)
def _warp_frames(frames, thetas, basis_y, basis_x, out):  # type: ignore[no-untyped-def]
    u, v = np.empty(frames.shape[2], np.float32), np.empty(frames.shape[2], np.float32)
    c = np.empty(len(basis_x), np.float32)
    for t in range(len(frames)):
        _warp_frame(frames[t], thetas[t], basis_y, basis_x, u, v, c, out[t])


def warp_frames(frames: NDArray, thetas: Float, grid: FieldGrid) -> Float:
    """Frames interpolated along their fields.

    Args:
        frames: (T, H, W), any real dtype.
        thetas: (T, 2, Py, Px), displacement of the content in px at the nodes of the grid.
        grid: the nodes.

    Returns:
        (T, H, W) float32, without missing values.
    """
    out = np.empty(frames.shape, np.float32)
    _warp_frames(
        np.ascontiguousarray(frames), np.ascontiguousarray(thetas, np.float32), grid.basis_y, grid.basis_x, out
    )
    return out


@njit(nogil=True, cache=True)
def _mark_seen(thetas, basis_y, basis_x, margin, seen):  # type: ignore[no-untyped-def]
    H, W = seen.shape
    u, v = np.empty(W, np.float32), np.empty(W, np.float32)
    c = np.empty(len(basis_x), np.float32)
    low, high_y, high_x = np.float32(-1e-3), np.float32(H - 1 + 1e-3), np.float32(W - 1 + 1e-3)
    for t in range(len(thetas)):
        for y in range(H):
            row_coefficients(thetas[t, 0], basis_y, y, c)
            field_row(c, basis_x, u)
            row_coefficients(thetas[t, 1], basis_y, y, c)
            field_row(c, basis_x, v)
            inner_row = margin <= y < H - margin
            for x in range(W):
                if inner_row and margin <= x < W - margin:
                    continue
                fy, fx = np.float32(y) + u[x], np.float32(x) + v[x]
                if fy < low or fx < low or fy > high_y or fx > high_x:
                    seen[y, x] = False


def seen_mask(thetas: Float, grid: FieldGrid) -> NDArray[np.bool_]:
    """Pixels (H, W) whose source lies within the frame in every one of the fields (T, 2, Py, Px)."""
    seen = np.ones(grid.shape, np.bool_)
    if len(thetas):
        overshoot = np.abs(grid.basis_y).sum(0).max() * np.abs(grid.basis_x).sum(0).max()
        margin = int(np.ceil(np.abs(thetas).max() * overshoot)) + 1
        _mark_seen(np.ascontiguousarray(thetas, np.float32), grid.basis_y, grid.basis_x, margin, seen)
    return seen


def round_to(values: Float, dtype: np.dtype) -> NDArray:
    """Values rounded and clipped to a dtype if it is an integer one, cast otherwise."""
    if dtype.kind not in "iu":
        return values.astype(dtype, copy=False)
    limits = np.iinfo(dtype)
    low, high = np.float64(limits.min), np.float64(limits.max)
    return np.clip(np.rint(values).astype(np.float64 if limits.bits > 16 else np.float32), low, high).astype(dtype)
