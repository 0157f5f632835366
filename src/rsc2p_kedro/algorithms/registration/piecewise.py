"""The displacement field of each frame by maximum likelihood: Gauss-Newton steps against the template.

Where the content of a frame I has moved by a field u(theta), it reads I(x + u(x)) = a T(x) + c + noise, with the
template T, a gain a and an offset c. Around the present field the residual r(x) = (I(x + u(x)) - c) / a - T(x) is, to
first order, minus the gradient of T times the error of u, and the best step solves the normal equations (Lucas & Kanade
1981; in the inverse compositional form of Baker & Matthews 2004, doi 10.1023/B:VISI.0000011205.11775.fd)

    M step = -b,   b_ai = sum_x q_a(x) B_i(x) r(x),   M_ai,bj = sum_x q_a(x) g_b(x) B_i(x) B_j(x)

with the nodes' splines B_i, the gradient g of T and, for white noise of variance s2(x), q = g / s2. Three things follow
from the form. (1) M depends on the template alone: its inverse is computed once for all frames. (2) Noise of the frame
meets only the noiseless gradient of the template, so that low light makes the estimate noisy and not biased, and there
is no pull towards whole pixels. (3) Any filter of the residual can be moved to q: here L (1/s2) L g, with L a high-pass
that takes away slow changes of brightness (neuropil, bleaching). The variance s2 is measured in each pixel around the
registered template, so that pixels of active cells, whose brightness says little about motion, weigh little.

A Gaussian prior keeps the field near its mean where a patch has no texture; M + prior is what is solved. Residuals are
clipped at some standard deviations, against flashes and hot pixels.
"""

from dataclasses import dataclass

import numpy as np
import scipy.ndimage as ndi
from numba import njit
from numpy.typing import NDArray

from rsc2p_kedro.algorithms.registration.field import FieldGrid
from rsc2p_kedro.algorithms.registration.warp import field_row, locate_row, pad_edges, run_end

Float = NDArray[np.float32]
Double = NDArray[np.float64]

CLIP_SD = 4.0
"""Residuals beyond this many standard deviations are clipped: 0.006 % of Gaussian noise."""

LARGEST_CLIP = 1.5
"""Residuals are never believed beyond this many times the limit of a typical pixel, however much their own one varies:
the high-pass would carry the light of a flashing cell, whose pixels hardly count, to neighbours that do."""

WEAKEST_PRIOR = 1e-2
"""Share of the prior that even estimates without prior keep, so that patches without any texture stay finite."""

SMALLEST_GAIN = 0.05
"""A frame dimmer than this share of the template, or opposite to it, is divided by this share instead."""


@dataclass(frozen=True, eq=False)
class FieldModel:
    """All of the normal equations that does not depend on the frame.

    Attributes:
        grid: nodes of the field.
        template: (H, W) float32.
        trust: (H, W) float32, 0..1, weight of pixels in the gain and offset of a frame: 1 over the variance, 0 if
            unusable.
        limit: (H, W) float32, largest residual that is believed.
        projection: (2, H, W) float32, q.
        information: (2 P, 2 P), M.
        inverse_information: (2 P, 2 P), its inverse.
        noise_covariance: (2 P, 2 P), covariance of the noise of an estimate without prior.
        prior: (2 P, 2 P), inverse covariance of the prior.
        solver: (2 P, 2 P), inverse of information + prior.
    """

    grid: FieldGrid
    template: Float
    trust: Float
    limit: Float
    projection: Float
    information: Double
    inverse_information: Double
    noise_covariance: Double
    prior: Double
    solver: Double


def high_pass(image: NDArray, sigma: float) -> Float:
    """An image less its Gaussian blur of `sigma` px."""
    image = np.asarray(image, np.float32)
    return image - ndi.gaussian_filter(image, sigma, mode="nearest", truncate=3)


def weighted_products(q: NDArray, g: NDArray, grid: FieldGrid) -> Double:
    """Sums over pixels of q g B_i B_j as a symmetric (P, P) matrix."""
    pairs_y, pairs_x = (
        np.einsum("ih,jh->ijh", b, b).reshape(-1, b.shape[1]).astype(np.float64) for b in (grid.basis_y, grid.basis_x)
    )
    Py, Px = len(grid.basis_y), len(grid.basis_x)
    sums = pairs_y @ (q * g).astype(np.float64) @ pairs_x.T
    return sums.reshape(Py, Py, Px, Px).transpose(0, 2, 1, 3).reshape(grid.n_nodes, grid.n_nodes)


def weighted_median(values: NDArray, weights: NDArray) -> float:
    """The value that as much weight lies below as above; the plain median where nothing has weight."""
    order = np.argsort(values, axis=None)
    below = np.cumsum(weights.ravel()[order], dtype=np.float64)
    return float(values.ravel()[order][np.searchsorted(below, below[-1] / 2)] if below[-1] > 0 else np.median(values))


def deviation_prior(grid: FieldGrid, *, rigid_sd: float, deviation_sd: float) -> Double:
    """Inverse covariance (2 P, 2 P) of values at the nodes: a common shift plus independent deviations from it."""
    P = grid.n_nodes
    mean = np.full((P, P), 1 / P)
    one_axis = mean / (P * rigid_sd**2) + (np.eye(P) - mean) / deviation_sd**2
    return np.kron(np.eye(2), one_axis)


def field_model(
    template: NDArray,
    variance: NDArray,
    usable: NDArray[np.bool_],
    grid: FieldGrid,
    *,
    prior: Double,
    high_pass_sigma: float,
    blur_sigma: float = 0.0,
) -> FieldModel:
    """The normal equations of a template.

    Args:
        template: (H, W).
        variance: (H, W), variance of a residual in each pixel, > 0.
        usable: (H, W), false for pixels that must not count, such as those of empty borders.
        grid: nodes of the field.
        prior: (2 P, 2 P), inverse covariance of the prior.
        high_pass_sigma: sigma in px of the blur that residuals are freed of.
        blur_sigma: sigma in px of a blur of residuals; more makes steps coarser, and catches larger errors.
    """
    template = np.asarray(template, np.float32)

    def filtered(image: NDArray) -> Float:
        image = high_pass(image, high_pass_sigma)
        return ndi.gaussian_filter(image, blur_sigma, mode="nearest", truncate=3) if blur_sigma else image

    weight = usable / variance
    gradient = np.stack(np.gradient(template)) * usable
    projection = np.stack([usable * filtered(filtered(g) * weight) for g in gradient]).astype(np.float32)
    information = symmetric([[weighted_products(q, g, grid) for g in gradient] for q in projection])
    scatter = symmetric([[weighted_products(q * variance, p, grid) for p in projection] for q in projection])
    inverse = np.linalg.inv(information + WEAKEST_PRIOR * prior)
    noise = inverse @ scatter @ inverse
    typical = weighted_median(variance, (gradient**2).sum(0) * weight)
    limit = (CLIP_SD * np.sqrt(np.minimum(variance, LARGEST_CLIP**2 * typical))).astype(np.float32)
    solver = np.linalg.inv(information + prior)
    trust = usable * np.minimum(np.median(variance) / variance, 1)
    return FieldModel(
        grid,
        template,
        trust=trust.astype(np.float32),
        limit=limit,
        projection=projection,
        information=information,
        inverse_information=np.asarray(inverse, np.float64),
        noise_covariance=symmetric([[noise]]),
        prior=prior,
        solver=np.asarray(solver, np.float64),
    )


def symmetric(blocks: list[list[Double]]) -> Double:
    """The symmetric part of a matrix of blocks."""
    whole = np.block(blocks)
    return (whole + whole.T) / 2


@njit(nogil=True, cache=True, fastmath=True)
def _bilinear_run(upper, lower, a, b, out):  # type: ignore[no-untyped-def]
    """Pixels whose sources are the 2 x 2 from consecutive places of two consecutive rows on."""
    for x in range(len(out)):
        top = upper[x] + b[x] * (upper[x + 1] - upper[x])
        out[x] = top + a[x] * (lower[x] + b[x] * (lower[x + 1] - lower[x]) - top)


@njit(nogil=True, cache=True)
def _bilinear_row(padded, pitch, start, a, b, out):  # type: ignore[no-untyped-def]
    """A row of the warped frame, from the padded frame as one row after the other."""
    x, own = 0, pitch + 1  # the frame's first pixel is [1, 1] of the padded one
    while x < len(out):
        end = run_end(start, x)
        k, n = start[x] + x + own, end - x + 1
        _bilinear_run(padded[k : k + n], padded[k + pitch : k + pitch + n], a[x:end], b[x:end], out[x:end])
        x = end


@njit(nogil=True, cache=True, fastmath=True)
def _trust_in_seen(y, u, v, H, W, trust, seen):  # type: ignore[no-untyped-def]
    """The trust in the pixels of row y whose sources lie within the frame, 0 elsewhere."""
    zero, bottom, right = np.float32(0), np.float32(H - 1), np.float32(W - 1)
    for x in range(W):
        fy, fx = np.float32(y) + u[x], np.float32(x) + v[x]
        seen[x] = trust[x] * np.float32((fy >= zero) & (fx >= zero) & (fy <= bottom) & (fx <= right))


@njit(nogil=True, cache=True, fastmath=True)
def _add_sums(warped, seen, template, sums):  # type: ignore[no-untyped-def]
    """Adds to the weighted sums over seen pixels those of a row: 1, I, T, I I, I T, T T."""
    zero = np.float32(0)
    n, i, t, ii, it, tt = zero, zero, zero, zero, zero, zero
    for x in range(len(warped)):
        s = seen[x]
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
def _warp_and_sum(frame, template, trust, theta, basis_y, basis_x, padded, rows, start, warped, seen, sums):  # type: ignore[no-untyped-def]
    """Warps a frame, and sums over its seen pixels."""
    H, W = frame.shape
    pad_edges(frame, padded)
    flat, pitch = padded.reshape(-1), np.int32(padded.shape[1])
    u, v, a, b = rows[0], rows[1], rows[2], rows[3]
    sums[:] = 0
    for y in range(H):
        field_row(theta[0], basis_y, y, basis_x, u)
        field_row(theta[1], basis_y, y, basis_x, v)
        locate_row(y, u, v, H, W, pitch, start, a, b)
        _bilinear_row(flat, pitch, start, a, b, warped[y])
        _trust_in_seen(y, u, v, H, W, trust[y], seen[y])
        _add_sums(warped[y], seen[y], template[y], sums)


@njit(nogil=True, cache=True)
def gain_and_offset(sums):  # type: ignore[no-untyped-def]
    """Gain, at least `SMALLEST_GAIN`, and offset of the regression of a frame on the template, from the six sums."""
    n = max(sums[0], 1.0)
    var_t = max(sums[5] / n - (sums[2] / n) ** 2, 0.0)
    cov = sums[4] / n - sums[1] * sums[2] / (n * n)
    gain = max(cov / var_t if var_t > 0 else 0.0, SMALLEST_GAIN)
    return gain, (sums[1] - gain * sums[2]) / n


@njit(nogil=True, cache=True, fastmath=True)
def _project_row(warped, template, seen, limit, projection, y, scale, shift, ry, rx):  # type: ignore[no-untyped-def]
    """Row y of q times the clipped residual, for both axes."""
    for x in range(len(warped)):
        e = (warped[x] * scale - shift - template[x]) * np.float32(seen[x] > 0)
        e = min(max(e, -limit[x]), limit[x])
        ry[x] = e * projection[0, y, x]
        rx[x] = e * projection[1, y, x]


@njit(nogil=True, cache=True, fastmath=True)
def _add_products(ry, rx, basis_y, basis_x, y, out):  # type: ignore[no-untyped-def]
    """Adds to b (2, Py, Px) what row y contributes."""
    for j in range(basis_x.shape[0]):
        by, bx = np.float32(0), np.float32(0)
        for x in range(len(ry)):
            by += ry[x] * basis_x[j, x]
            bx += rx[x] * basis_x[j, x]
        for i in range(basis_y.shape[0]):
            out[0, i, j] += basis_y[i, y] * by
            out[1, i, j] += basis_y[i, y] * bx


@njit(nogil=True, cache=True)
def _residual_sums(frames, thetas, template, trust, limit, projection, basis_y, basis_x, b):  # type: ignore[no-untyped-def]
    T, H, W = frames.shape
    rows, start = np.empty((4, W), np.float32), np.empty(W, np.int32)
    padded = np.empty((H + 4, W + 4), np.float32)
    ry, rx = np.empty(W, np.float32), np.empty(W, np.float32)
    sums = np.empty(6, np.float64)
    warped, seen = np.empty((H, W), np.float32), np.empty((H, W), np.float32)
    for t in range(T):
        _warp_and_sum(frames[t], template, trust, thetas[t], basis_y, basis_x, padded, rows, start, warped, seen, sums)
        gain, offset = gain_and_offset(sums)
        scale, shift = np.float32(1 / gain), np.float32(offset / gain)
        for y in range(H):
            _project_row(warped[y], template[y], seen[y], limit[y], projection, y, scale, shift, ry, rx)
            _add_products(ry, rx, basis_y, basis_x, y, b[t])


def residual_sums(frames: Float, thetas: Float, model: FieldModel) -> Double:
    """What the normal equations need of frames, with fields as they are.

    Args:
        frames: (T, H, W) float32, their mean near the template's (for the precision of float32 sums).
        thetas: (T, 2, Py, Px) float32, displacement of the content at the nodes in px.
        model: of the template.

    Returns:
        b (T, 2, Py, Px).
    """
    b = np.zeros(thetas.shape, np.float64)
    grid = model.grid
    _residual_sums(
        np.ascontiguousarray(frames),
        np.ascontiguousarray(thetas, np.float32),
        model.template,
        model.trust,
        model.limit,
        model.projection,
        grid.basis_y,
        grid.basis_x,
        b,
    )
    return b


@njit(nogil=True, cache=True)
def _products(rows, matrix, out):  # type: ignore[no-untyped-def]
    """Rows (T, K) times a matrix (K, K), each by itself: the same to the last bit however many rows come at once."""
    out[:] = 0
    for t in range(len(rows)):
        for k in range(len(matrix)):
            for j in range(matrix.shape[1]):
                out[t, j] += rows[t, k] * matrix[k, j]


def products(rows: Double, matrix: Double) -> Double:
    """Rows (T, K) times a matrix (K, K), each by itself."""
    out = np.empty((len(rows), matrix.shape[1]))
    _products(np.ascontiguousarray(rows, np.float64), np.ascontiguousarray(matrix), out)
    return out


def step(thetas: Float, b: Double, model: FieldModel, *, largest: float) -> Float:
    """Fields after one Gauss-Newton step of the posterior, no node moving by more than `largest` px."""
    flat = thetas.reshape(len(thetas), -1).astype(np.float64)
    moves = -products(b.reshape(len(b), -1) + products(flat, model.prior), model.solver)
    return (flat + np.clip(moves, -largest, largest)).reshape(thetas.shape).astype(np.float32)


def limit_deviation(thetas: Float, grid: FieldGrid, *, max_shift: float, max_deviation: float) -> Float:
    """Fields whose mean over the frame is within ±max_shift, and whose nodes are within ±max_deviation of that mean."""
    weights = grid.mean_weights.reshape(thetas.shape[2:]).astype(np.float32)
    mean = np.einsum("taij,ij->ta", thetas, weights)[:, :, None, None]
    deviation = np.clip(thetas - mean, -max_deviation, max_deviation)
    return np.clip(mean, -max_shift, max_shift) + deviation
