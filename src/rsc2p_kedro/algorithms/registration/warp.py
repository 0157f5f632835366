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


@njit(nogil=True, cache=True, inline="always")
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
def pad_edges(frame, padded):  # type: ignore[no-untyped-def]
    """Copies a frame (H, W) into (H + 4, W + 4) float32 from [1, 1] on, its edges repeated around it."""
    H, W = frame.shape
    for y in range(H + 4):
        source, row = frame[min(max(y - 1, 0), H - 1)], padded[y]
        for x in range(W):
            row[x + 1] = np.float32(source[x])
        row[0] = row[1]
        row[W + 1 :] = row[W]


@njit(nogil=True, cache=True, fastmath=True)
def _cubic_row(padded, pitch, y, u, v, H, W, out):  # type: ignore[no-untyped-def]
    """Row y of a frame displaced by (u, v), from its padded copy as one row after the other; flat, to be vectorized."""
    zero, bottom, right = np.float32(0), np.float32(H - 1), np.float32(W - 1)
    for x in range(W):
        fy = min(max(np.float32(y) + u[x], zero), bottom)
        fx = min(max(np.float32(x) + v[x], zero), right)
        iy, ix = np.int32(fy), np.int32(fx)
        a0, a1, a2, a3 = _keys(fy - np.float32(iy))
        b0, b1, b2, b3 = _keys(fx - np.float32(ix))
        k = iy * pitch + ix
        r0 = b0 * padded[k] + b1 * padded[k + 1] + b2 * padded[k + 2] + b3 * padded[k + 3]
        k += pitch
        r1 = b0 * padded[k] + b1 * padded[k + 1] + b2 * padded[k + 2] + b3 * padded[k + 3]
        k += pitch
        r2 = b0 * padded[k] + b1 * padded[k + 1] + b2 * padded[k + 2] + b3 * padded[k + 3]
        k += pitch
        r3 = b0 * padded[k] + b1 * padded[k + 1] + b2 * padded[k + 2] + b3 * padded[k + 3]
        out[x] = a0 * r0 + a1 * r1 + a2 * r2 + a3 * r3


@njit(nogil=True, cache=True)
def _warp_frame(frame, theta, basis_y, basis_x, padded, u, v, c, out):  # type: ignore[no-untyped-def]
    H, W = frame.shape
    pad_edges(frame, padded)
    flat, pitch = padded.reshape(-1), np.int32(padded.shape[1])
    for y in range(H):
        row_coefficients(theta[0], basis_y, y, c)
        field_row(c, basis_x, u)
        row_coefficients(theta[1], basis_y, y, c)
        field_row(c, basis_x, v)
        _cubic_row(flat, pitch, y, u, v, H, W, out[y])


@njit(nogil=True, cache=True)
def _warp_frames(frames, thetas, basis_y, basis_x, out):  # type: ignore[no-untyped-def]
    T, H, W = frames.shape
    u, v = np.empty(W, np.float32), np.empty(W, np.float32)
    c, padded = np.empty(len(basis_x), np.float32), np.empty((H + 4, W + 4), np.float32)
    for t in range(T):
        _warp_frame(frames[t], thetas[t], basis_y, basis_x, padded, u, v, c, out[t])


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


@njit(nogil=True, cache=True)
def _round_into(values, low, high, out):  # type: ignore[no-untyped-def]
    for i in range(len(values)):
        out[i] = min(max(np.rint(values[i]), low), high)


def round_to(values: Float, dtype: np.dtype) -> NDArray:
    """Values rounded and clipped to a dtype if it is an integer one, cast otherwise."""
    if dtype.kind not in "iu":
        return values.astype(dtype, copy=False)
    limits, out = np.iinfo(dtype), np.empty(values.shape, dtype)
    work = np.float32 if limits.bits <= 16 else np.float64
    high = limits.max if limits.bits <= 32 else np.nextafter(work(limits.max), work(0))
    _round_into(np.ascontiguousarray(values).ravel(), work(limits.min), work(high), out.ravel())
    return out
