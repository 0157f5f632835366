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
def field_row(theta: Float, basis_y: Float, y: int, basis_x: Float, out: Float) -> None:
    """Row y of a field (W,): `out[x] = sum_ij basis_y[i, y] * theta[i, j] * basis_x[j, x]`."""
    out[:] = 0
    for j in range(theta.shape[1]):
        c = np.float32(0)
        for i in range(theta.shape[0]):
            c += basis_y[i, y] * theta[i, j]
        for x in range(len(out)):
            out[x] += c * basis_x[j, x]


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
def locate_row(y, u, v, H, W, pitch, start, a, b):  # type: ignore[no-untyped-def]
    """Where the pixels of row y, displaced by (u, v), come from: pixel `start[x] + x` of the padded frame, and (a, b).

    The place is held within the frame. (a, b) in 0..1 is what it lies further than the upper left one of the four
    pixels around it.
    """
    zero, bottom, right = np.float32(0), np.float32(H - 1), np.float32(W - 1)
    for x in range(W):
        fy = min(max(np.float32(y) + u[x], zero), bottom)
        fx = min(max(np.float32(x) + v[x], zero), right)
        iy, ix = np.int32(fy), np.int32(fx)
        a[x], b[x] = fy - np.float32(iy), fx - np.float32(ix)
        start[x] = iy * pitch + ix - np.int32(x)


@njit(nogil=True, inline="always")
def run_end(start, x):  # type: ignore[no-untyped-def]
    """End of the run of equal values that begins at x.

    Fields are smooth, so that long runs of pixels have their sources in one row too: reading these as they lie is three
    times as fast as gathering them one by one.
    """
    k, n = start[x], len(start)
    x += 1
    while x + 4 <= n and ((start[x] ^ k) | (start[x + 1] ^ k) | (start[x + 2] ^ k) | (start[x + 3] ^ k)) == 0:
        x += 4
    while x < n and start[x] == k:
        x += 1
    return x


@njit(nogil=True, cache=True, fastmath=True)
def _cubic_run(r0, r1, r2, r3, a, b, out):  # type: ignore[no-untyped-def]
    """Pixels whose sources are the 4 x 4 around consecutive places of four consecutive rows."""
    for x in range(len(out)):
        a0, a1, a2, a3 = _keys(a[x])
        b0, b1, b2, b3 = _keys(b[x])
        s0 = b0 * r0[x] + b1 * r0[x + 1] + b2 * r0[x + 2] + b3 * r0[x + 3]
        s1 = b0 * r1[x] + b1 * r1[x + 1] + b2 * r1[x + 2] + b3 * r1[x + 3]
        s2 = b0 * r2[x] + b1 * r2[x + 1] + b2 * r2[x + 2] + b3 * r2[x + 3]
        s3 = b0 * r3[x] + b1 * r3[x + 1] + b2 * r3[x + 2] + b3 * r3[x + 3]
        out[x] = a0 * s0 + a1 * s1 + a2 * s2 + a3 * s3


@njit(nogil=True, cache=True)
def _cubic_row(padded, pitch, start, a, b, out):  # type: ignore[no-untyped-def]
    """A row of the warped frame, from the padded frame as one row after the other."""
    x = 0
    while x < len(out):
        end = run_end(start, x)
        k, n = start[x] + x, end - x + 3
        r0, r1 = padded[k : k + n], padded[k + pitch : k + pitch + n]
        r2, r3 = padded[k + 2 * pitch : k + 2 * pitch + n], padded[k + 3 * pitch : k + 3 * pitch + n]
        _cubic_run(r0, r1, r2, r3, a[x:end], b[x:end], out[x:end])
        x = end


@njit(nogil=True, cache=True)
def _warp_frame(frame, theta, basis_y, basis_x, padded, rows, start, out):  # type: ignore[no-untyped-def]
    H, W = frame.shape
    pad_edges(frame, padded)
    flat, pitch = padded.reshape(-1), np.int32(padded.shape[1])
    u, v, a, b = rows[0], rows[1], rows[2], rows[3]
    for y in range(H):
        field_row(theta[0], basis_y, y, basis_x, u)
        field_row(theta[1], basis_y, y, basis_x, v)
        locate_row(y, u, v, H, W, pitch, start, a, b)
        _cubic_row(flat, pitch, start, a, b, out[y])


@njit(nogil=True, cache=True)
def _warp_frames(frames, thetas, basis_y, basis_x, out):  # type: ignore[no-untyped-def]
    T, H, W = frames.shape
    rows, start = np.empty((4, W), np.float32), np.empty(W, np.int32)
    padded = np.empty((H + 4, W + 4), np.float32)
    for t in range(T):
        _warp_frame(frames[t], thetas[t], basis_y, basis_x, padded, rows, start, out[t])


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
def _mark_line(line, n_lines, across, along, seen):  # type: ignore[no-untyped-def]
    """Takes from a line of the mask the pixels whose source, displaced by (across, along), is beyond the frame."""
    low, high = np.float32(-1e-3), np.float32(1e-3)
    last_line, last = np.float32(n_lines - 1) + high, np.float32(len(seen) - 1) + high
    for x in range(len(seen)):
        fy, fx = np.float32(line) + across[x], np.float32(x) + along[x]
        seen[x] &= (fy >= low) & (fx >= low) & (fy <= last_line) & (fx <= last)


@njit(nogil=True, cache=True)
def _mark_outer_lines(across, along, basis_lines, basis_along, margin, seen):  # type: ignore[no-untyped-def]
    """Marks the first and last `margin` lines of the mask (n_lines, n_along), for fields (T, n, m) across and along."""
    n_lines, n = seen.shape
    u, v = np.empty(n, np.float32), np.empty(n, np.float32)
    for t in range(len(across)):
        for line in range(n_lines):
            if line < margin or line >= n_lines - margin:
                field_row(across[t], basis_lines, line, basis_along, u)
                field_row(along[t], basis_lines, line, basis_along, v)
                _mark_line(line, n_lines, u, v, seen[line])


def seen_mask(thetas: Float, grid: FieldGrid) -> NDArray[np.bool_]:
    """Pixels (H, W) whose source lies within the frame in every one of the fields (T, 2, Py, Px)."""
    rows = np.ones(grid.shape, np.bool_)
    columns = np.ones(grid.shape[::-1], np.bool_)
    if len(thetas):
        overshoot = np.abs(grid.basis_y).sum(0).max() * np.abs(grid.basis_x).sum(0).max()
        margin = int(np.ceil(np.abs(thetas).max() * overshoot)) + 1  # no field reaches beyond it
        by_row = np.ascontiguousarray(thetas.transpose(1, 0, 2, 3), np.float32)
        by_column = np.ascontiguousarray(thetas.transpose(1, 0, 3, 2), np.float32)
        _mark_outer_lines(by_row[0], by_row[1], grid.basis_y, grid.basis_x, margin, rows)
        _mark_outer_lines(by_column[1], by_column[0], grid.basis_x, grid.basis_y, margin, columns)
    return rows & columns.T


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
