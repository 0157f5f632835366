"""Gauss-Newton registration of frames by a displacement field (maximum likelihood with a Gaussian prior).

A frame I whose content is displaced by a field u(theta) is modelled as I(x + u(x)) = a T(x) + c + noise, with the
template T, a gain a and an offset c. Around the present field the residual r(x) = (I(x + u(x)) - c) / a - T(x) is, to
first order, minus the gradient of T times the error of u, and the best step solves the normal equations (Lucas & Kanade
1981; in the inverse compositional form of Baker & Matthews 2004, doi 10.1023/B:VISI.0000011205.11775.fd)

    M step = -b,   b_ai = sum_x q_a(x) B_i(x) r(x),   M_ai,bj = sum_x q_a(x) g_b(x) B_i(x) B_j(x)

for the axes a, b and the nodes i, j, with the nodes' splines B_i, the gradient g of T and, for white noise of variance
s2(x), q = g / s2. Three properties follow. (1) The Hessian M depends on the template only: it is inverted once for all
frames. (2) Noise of the frame is multiplied by the gradient of the denoised template only, so that a low photon count
makes the estimate noisy but not biased, without a bias towards whole pixels either. (3) Any filter of the
residual can be applied to q instead: here q = L (1/s2) L g, with a high-pass L that removes slow changes of brightness
(neuropil, bleaching). The variance s2 is measured in each pixel around the registered template, so that pixels of
active cells, whose brightness changes are not due to motion, have a low weight.

A Gaussian prior keeps the field near its mean where a patch has no texture: M + prior is inverted. Residuals are
clipped at some standard deviations, for robustness against flashes and hot pixels.
"""

from dataclasses import dataclass

import numpy as np
import scipy.ndimage as ndi
from numba import njit
from numpy.typing import NDArray

from rsc2p_kedro.algorithms.registration.field import FieldGrid
from rsc2p_kedro.algorithms.registration.frames import high_pass
from rsc2p_kedro.algorithms.registration.warp import field_row, locate_sources, pad_edges, run_end

Float = NDArray[np.float32]
Double = NDArray[np.float64]

CLIP_SD = 4.0
"""Residuals are clipped at this many standard deviations, which 0.006 % of Gaussian noise exceeds. Chosen for that
fraction; not tuned."""

LARGEST_CLIP = 1.5
"""Largest clipping limit of a pixel, as a multiple of the limit of a typical pixel. Without it the high-pass filter
spreads the brightness of a flashing cell, whose own pixels have a low weight, to neighbours of high weight: introduced
with the test `test_cells_that_outshine_the_tissue_do_not_move_their_neighbours`; figures under Known limits in
docs/methods_registration.md."""

WEAKEST_PRIOR = 1e-2
"""Share of the prior that is added to the Hessian of unregularized estimates, so that it can be inverted where patches
have no texture. Chosen small against the Hessian of textured patches; not tuned."""

SMALLEST_GAIN = 0.05
"""Smallest gain of a frame relative to the template. Protects the division by the gain for blank frames and frames
that correlate negatively with the template; such frames are flagged by their peak quality. Not tuned."""


@dataclass(frozen=True, eq=False)
class NormalEquations:
    """The part of the normal equations that is the same for all frames.

    Attributes:
        grid: nodes of the field.
        template: (H, W) float32.
        pixel_weights: (H, W) float32, 0..1, weights in the regression of gain and offset: the median variance over
            that of the pixel, at most 1; 0 if unusable.
        clip_limit: (H, W) float32, largest absolute residual in units of the template; larger ones are clipped.
        weighted_gradient: (2, H, W) float32, q.
        inverse_hessian: (2 P, 2 P), inverse of M with `WEAKEST_PRIOR` of the prior.
        noise_covariance: (2 P, 2 P), covariance in px^2 of the noise of an estimate without prior.
        prior_precision: (2 P, 2 P), inverse covariance of the prior in px^-2.
        inverse_regularized_hessian: (2 P, 2 P), inverse of M plus the prior.
    """

    grid: FieldGrid
    template: Float
    pixel_weights: Float
    clip_limit: Float
    weighted_gradient: Float
    inverse_hessian: Double
    noise_covariance: Double
    prior_precision: Double
    inverse_regularized_hessian: Double


def spline_gram_matrix(weights: NDArray, grid: FieldGrid) -> Double:
    """Weighted inner products of the splines of all pairs of nodes: sum over x of w(x) B_i(x) B_j(x).

    Args:
        weights: (H, W), w.
        grid: nodes of the field.

    Returns:
        (P, P) float64, symmetric.
    """
    pairs_y, pairs_x = (
        np.einsum("ih,jh->ijh", b, b).reshape(-1, b.shape[1]).astype(np.float64) for b in (grid.basis_y, grid.basis_x)
    )
    Py, Px = len(grid.basis_y), len(grid.basis_x)
    sums = pairs_y @ weights.astype(np.float64) @ pairs_x.T
    return sums.reshape(Py, Py, Px, Px).transpose(0, 2, 1, 3).reshape(grid.n_nodes, grid.n_nodes)


def prior_precision(grid: FieldGrid, *, rigid_sd: float, deviation_sd: float) -> Double:
    """Precision matrix of the Gaussian prior: a common shift plus independent deviations of the nodes from it.

    Args:
        grid: nodes of the field.
        rigid_sd: standard deviation of the common shift in px.
        deviation_sd: standard deviation of the nodes' deviations from it in px.

    Returns:
        (2 P, 2 P) float64, inverse covariance in px^-2; the two axes are independent.
    """
    P = grid.n_nodes
    mean = np.full((P, P), 1 / P)
    one_axis = mean / (P * rigid_sd**2) + (np.eye(P) - mean) / deviation_sd**2
    return np.kron(np.eye(2), one_axis)


def _symmetrized(matrix: Double) -> Double:
    """The symmetric part of a matrix."""
    return (matrix + matrix.T) / 2


def _clip_limits(variance: NDArray, information: NDArray) -> Float:
    """Clipping limits (H, W) of residuals; the typical variance is the median weighted by the pixels' information."""
    if information.any():
        typical = np.quantile(variance, 0.5, weights=information, method="inverted_cdf")
    else:
        typical = np.median(variance)
    return (CLIP_SD * np.sqrt(np.minimum(variance, LARGEST_CLIP**2 * float(typical)))).astype(np.float32)


def normal_equations(
    template: NDArray,
    variance: NDArray,
    usable: NDArray[np.bool_],
    grid: FieldGrid,
    *,
    prior: Double,
    high_pass_sigma: float,
    blur_sigma: float = 0.0,
) -> NormalEquations:
    """Prepares the normal equations of a template.

    Args:
        template: (H, W).
        variance: (H, W), variance of a residual in each pixel, > 0.
        usable: (H, W), false for pixels to ignore, such as those of empty borders.
        grid: nodes of the field.
        prior: (2 P, 2 P), inverse covariance of the prior, see :func:`prior_precision`.
        high_pass_sigma: sigma in px of the high-pass filter of residuals.
        blur_sigma: sigma in px of a blur of residuals; a larger blur makes steps less exact, and corrects larger
            errors.

    Returns:
        The normal equations, to be solved for any number of frames.
    """
    template = np.asarray(template, np.float32)

    def filtered(image: NDArray) -> Float:
        image = high_pass(image, high_pass_sigma)
        return ndi.gaussian_filter(image, blur_sigma, mode="nearest", truncate=3) if blur_sigma else image

    weight = usable / variance
    gradient = np.stack(np.gradient(template)) * usable
    q = np.stack([usable * filtered(filtered(g) * weight) for g in gradient]).astype(np.float32)
    hessian = _symmetrized(np.block([[spline_gram_matrix(p * g, grid) for g in gradient] for p in q]))
    scatter = _symmetrized(np.block([[spline_gram_matrix(p * variance * s, grid) for s in q] for p in q]))
    inverse = np.asarray(np.linalg.inv(hessian + WEAKEST_PRIOR * prior), np.float64)
    return NormalEquations(
        grid,
        template,
        pixel_weights=(usable * np.minimum(np.median(variance) / variance, 1)).astype(np.float32),
        clip_limit=_clip_limits(variance, (gradient**2).sum(0) * weight),
        weighted_gradient=q,
        inverse_hessian=inverse,
        noise_covariance=_symmetrized(inverse @ scatter @ inverse),
        prior_precision=prior,
        inverse_regularized_hessian=np.asarray(np.linalg.inv(hessian + prior), np.float64),
    )


@njit(nogil=True, cache=True, fastmath=True)
def _bilinear_run(upper, lower, a, b, out):  # type: ignore[no-untyped-def]
    """Pixels whose sources are consecutive 2 x 2 blocks of the same two rows."""
    for x in range(len(out)):
        top = upper[x] + b[x] * (upper[x + 1] - upper[x])
        out[x] = top + a[x] * (lower[x] + b[x] * (lower[x + 1] - lower[x]) - top)


@njit(nogil=True, cache=True)
def _bilinear_row(padded, pitch, start, a, b, out):  # type: ignore[no-untyped-def]
    """A row of the warped frame, from the flattened padded frame."""
    x, own = 0, pitch + 1  # the frame's first pixel is [1, 1] of the padded one
    while x < len(out):
        end = run_end(start, x)
        k, n = start[x] + x + own, end - x + 1
        _bilinear_run(padded[k : k + n], padded[k + pitch : k + pitch + n], a[x:end], b[x:end], out[x:end])
        x = end


@njit(nogil=True, cache=True, fastmath=True)
def _weigh_valid(y, u, v, H, W, pixel_weights, valid):  # type: ignore[no-untyped-def]
    """The weights of the pixels of row y whose sources lie within the frame, 0 elsewhere."""
    zero, bottom, right = np.float32(0), np.float32(H - 1), np.float32(W - 1)
    for x in range(W):
        fy, fx = np.float32(y) + u[x], np.float32(x) + v[x]
        valid[x] = pixel_weights[x] * np.float32((fy >= zero) & (fx >= zero) & (fy <= bottom) & (fx <= right))


@njit(nogil=True, cache=True, fastmath=True)
def _add_sums(warped, valid, template, sums):  # type: ignore[no-untyped-def]
    """Adds the weighted sums over the valid pixels of a row: 1, I, T, I I, I T, T T."""
    zero = np.float32(0)
    n, i, t, ii, it, tt = zero, zero, zero, zero, zero, zero
    for x in range(len(warped)):
        s = valid[x]
        p, q = warped[x], template[x]
        n += s
        i += s * p
        t += s * q
        ii += s * p * p
        it += s * p * q
        tt += s * q * q
    sums[0] += n
    sums[1] += i
    sums[2] += t
    sums[3] += ii
    sums[4] += it
    sums[5] += tt


@njit(nogil=True, cache=True)
def _warp_and_sum(frame, template, pixel_weights, theta, basis_y, basis_x, padded, rows, start, warped, valid, sums):  # type: ignore[no-untyped-def]
    """Warps a frame, and takes the sums over its valid pixels."""
    H, W = frame.shape
    pad_edges(frame, padded)
    flat, pitch = padded.reshape(-1), np.int32(padded.shape[1])
    u, v, a, b = rows[0], rows[1], rows[2], rows[3]
    sums[:] = 0
    for y in range(H):
        field_row(theta[0], basis_y, y, basis_x, u)
        field_row(theta[1], basis_y, y, basis_x, v)
        locate_sources(y, u, v, H, W, pitch, start, a, b)
        _bilinear_row(flat, pitch, start, a, b, warped[y])
        _weigh_valid(y, u, v, H, W, pixel_weights[y], valid[y])
        _add_sums(warped[y], valid[y], template[y], sums)


@njit(nogil=True, cache=True)
def _gain_and_offset(sums):  # type: ignore[no-untyped-def]
    """Gain, at least `SMALLEST_GAIN`, and offset of the regression of a frame on the template, from the six sums."""
    n = max(sums[0], 1.0)
    var_t = max(sums[5] / n - (sums[2] / n) ** 2, 0.0)
    cov = sums[4] / n - sums[1] * sums[2] / (n * n)
    gain = max(cov / var_t if var_t > 0 else 0.0, SMALLEST_GAIN)
    return gain, (sums[1] - gain * sums[2]) / n


@njit(nogil=True, cache=True, fastmath=True)
def _weigh_residuals(warped, template, valid, clip_limit, q, y, scale, shift, ry, rx):  # type: ignore[no-untyped-def]
    """Row y of q times the clipped residual, for both axes."""
    for x in range(len(warped)):
        e = (warped[x] * scale - shift - template[x]) * np.float32(valid[x] > 0)
        e = min(max(e, -clip_limit[x]), clip_limit[x])
        ry[x] = e * q[0, y, x]
        rx[x] = e * q[1, y, x]


@njit(nogil=True, cache=True, fastmath=True)
def _add_to_nodes(ry, rx, basis_y, basis_x, y, out):  # type: ignore[no-untyped-def]
    """Adds to b (2, Py, Px) the products of row y with the splines of the nodes."""
    for j in range(basis_x.shape[0]):
        by, bx = np.float32(0), np.float32(0)
        for x in range(len(ry)):
            by += ry[x] * basis_x[j, x]
            bx += rx[x] * basis_x[j, x]
        for i in range(basis_y.shape[0]):
            out[0, i, j] += basis_y[i, y] * by
            out[1, i, j] += basis_y[i, y] * bx


@njit(nogil=True, cache=True)
def _right_hand_sides(frames, fields, template, pixel_weights, clip_limit, q, basis_y, basis_x, b):  # type: ignore[no-untyped-def]
    T, H, W = frames.shape
    rows, start = np.empty((4, W), np.float32), np.empty(W, np.int32)
    padded = np.empty((H + 4, W + 4), np.float32)
    ry, rx = np.empty(W, np.float32), np.empty(W, np.float32)
    sums = np.empty(6, np.float64)
    warped, valid = np.empty((H, W), np.float32), np.empty((H, W), np.float32)
    for t in range(T):
        _warp_and_sum(
            frames[t], template, pixel_weights, fields[t], basis_y, basis_x, padded, rows, start, warped, valid, sums
        )
        gain, offset = _gain_and_offset(sums)
        scale, shift = np.float32(1 / gain), np.float32(offset / gain)
        for y in range(H):
            _weigh_residuals(warped[y], template[y], valid[y], clip_limit[y], q, y, scale, shift, ry, rx)
            _add_to_nodes(ry, rx, basis_y, basis_x, y, b[t])


def right_hand_sides(frames: Float, fields: Float, equations: NormalEquations) -> Double:
    """Right-hand sides b of the normal equations for frames at their present fields.

    Args:
        frames: (T, H, W) float32, their mean near the template's (for the precision of float32 sums).
        fields: (T, 2, Py, Px) float32, displacement of the content at the nodes in px.
        equations: of the template.

    Returns:
        b (T, 2, Py, Px) float64, in px^-1.
    """
    b = np.zeros(fields.shape, np.float64)
    _right_hand_sides(
        np.ascontiguousarray(frames),
        np.ascontiguousarray(fields, np.float32),
        equations.template,
        equations.pixel_weights,
        equations.clip_limit,
        equations.weighted_gradient,
        equations.grid.basis_y,
        equations.grid.basis_x,
        b,
    )
    return b


@njit(nogil=True, cache=True)
def _multiply_rows(rows, matrix, out):  # type: ignore[no-untyped-def]
    out[:] = 0
    for t in range(len(rows)):
        for k in range(len(matrix)):
            for j in range(matrix.shape[1]):
                out[t, j] += rows[t, k] * matrix[k, j]


def multiply_rows(rows: Double, matrix: Double) -> Double:
    """Product of two matrices, computed row by row.

    The product of BLAS (`rows @ matrix`) is four times as fast, 7 µs against 30 µs for 64 frames and 50 values, but the
    last bits of a row depend on how many rows are multiplied at once (by up to 7e-15 of values near 10): results
    would depend on the size of blocks.

    Args:
        rows: (T, K).
        matrix: (K, J).

    Returns:
        (T, J) float64.
    """
    out = np.empty((len(rows), matrix.shape[1]))
    _multiply_rows(np.ascontiguousarray(rows, np.float64), np.ascontiguousarray(matrix), out)
    return out


def gauss_newton_step(fields: Float, b: Double, equations: NormalEquations, *, largest: float) -> Float:
    """Takes one regularized Gauss-Newton step.

    Args:
        fields: (T, 2, Py, Px), displacement of the content at the nodes in px.
        b: (T, 2, Py, Px), see :func:`right_hand_sides`.
        equations: of the template.
        largest: largest step of a node in px; longer ones are clipped.

    Returns:
        (T, 2, Py, Px) float32, the next fields in px.
    """
    flat = fields.reshape(len(fields), -1).astype(np.float64)
    gradient = b.reshape(len(b), -1) + multiply_rows(flat, equations.prior_precision)
    steps = -multiply_rows(gradient, equations.inverse_regularized_hessian)
    return (flat + np.clip(steps, -largest, largest)).reshape(fields.shape).astype(np.float32)


def clip_fields(fields: Float, grid: FieldGrid, *, max_shift: float, max_deviation: float) -> Float:
    """Clips fields to the limits of rigid shift and deviation.

    Args:
        fields: (T, 2, Py, Px), displacement of the content at the nodes in px.
        grid: nodes of the fields.
        max_shift: largest mean over the frame in px along each axis, included.
        max_deviation: largest deviation of a node from that mean in px along each axis, included.

    Returns:
        (T, 2, Py, Px), in px.
    """
    weights = grid.mean_weights.reshape(fields.shape[2:]).astype(np.float32)
    mean = np.einsum("taij,ij->ta", fields, weights)[:, :, None, None]
    deviation = np.clip(fields - mean, -max_deviation, max_deviation)
    return np.clip(mean, -max_shift, max_shift) + deviation
