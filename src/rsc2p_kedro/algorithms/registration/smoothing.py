"""Smoothing of the fields over space and time, by as much as the data say (empirical Bayes).

The estimates z (T, K) of all K values of the fields are signal plus noise. The covariance of the noise follows from the
normal equations; with its Cholesky factor L the noise of y = L^-1 z is white. Along each spatial mode of y, and for
each frequency f of the cosine transform over time, the power is S(f) + c, c being the variance of the noise; the
Wiener filter

    s(f) = y(f) S(f) / (S(f) + c),   S(f) + c estimated by the smoothed periodogram

is the best linear estimate (Wiener 1949). Fast motion, such as heartbeat or the jerks of a running animal, is kept
wherever it stands above the noise: no time constant is assumed. With much light little is smoothed, with little light
much. Where the power is no higher than chance makes it, nothing is kept: of all modes and frequencies, those count that
the procedure of Benjamini & Hochberg (1995, doi 10.1111/j.2517-6161.1995.tb02031.x) finds at a false discovery rate of
0.03 %. So tissue that stands still comes back without shifts, and motion that is the same everywhere as just that.

The noise of real frames is somewhat larger than photons alone make it (cells change their brightness). Motion fills
few of all modes and frequencies, so the median power of all of them is the noise: c, held within 1..3 in case motion
fills more.

The modes, in the units of y: first the shift of the whole frame, then its stretch and shear, then those of fields that
agree over 120 px, the first of which are smooth and well measured, the last rough and noisy. They are not taken from
the estimates themselves, whose principal axes would gather chance into motion.
"""

import numpy as np
import scipy.fft as sf
import scipy.ndimage as ndi
import scipy.special as sx
from numpy.typing import NDArray

Float = NDArray[np.float32]
Double = NDArray[np.float64]

AGREEMENT_PX = 120.0
LARGEST_EXCESS = 3.0
FALSE_DISCOVERIES = 3e-4


def smooth_covariance(centres: NDArray, length: float) -> Double:
    """Covariance (2 P, 2 P) of fields that agree over a length in px, at nodes (P, 2); the axes are independent."""
    distance = ((centres[:, None].astype(np.float64) - centres[None]) ** 2).sum(-1)
    return np.kron(np.eye(2), np.exp(-distance / (2 * length**2)))


def linear_fields(centres: NDArray) -> Double:
    """Fields (2 P, n), in columns, that shift the whole frame, then those that stretch or shear it, at nodes (P, 2)."""
    from_middle = (centres - centres.mean(0)).astype(np.float64)
    slopes = [axis / np.ptp(axis) for axis in from_middle.T if np.ptp(axis) > 0]
    return np.concatenate([np.kron(np.eye(2), shape[:, None]) for shape in (np.ones(len(centres)), *slopes)], axis=1)


def spatial_modes(lower: Double, centres: NDArray) -> Double:
    """Modes (K, K), in columns, of whitened fields whose noise had the Cholesky factor `lower`, at nodes (P, 2)."""
    linear = np.linalg.solve(lower, linear_fields(centres))
    basis, n = np.linalg.qr(linear, mode="complete")[0], linear.shape[1]
    half = np.linalg.solve(lower, smooth_covariance(centres, AGREEMENT_PX))
    others = basis[:, n:].T @ np.linalg.solve(lower, half.T) @ basis[:, n:]
    return np.hstack([basis[:, :n], basis[:, n:] @ np.linalg.eigh((others + others.T) / 2)[1]])


def discoveries(chances: Double, rate: float) -> NDArray[np.bool_]:
    """Which of some p-values count, where at most a share `rate` of those that do shall be chance."""
    ordered = np.sort(chances, axis=None)
    enough = np.flatnonzero(ordered <= rate * np.arange(1, ordered.size + 1) / ordered.size)
    return chances <= ordered[enough[-1]] if len(enough) else np.zeros(chances.shape, np.bool_)


def wiener(series: Double) -> Double:
    """Series (T, K) of signal plus white noise of a variance somewhat above 1, less the noise."""
    spectrum = sf.dct(series, axis=0, norm="ortho", workers=1)
    width = max(2.0, float(np.sqrt(len(series))))
    power = ndi.gaussian_filter1d(spectrum**2, width, axis=0, mode="reflect")
    noise = np.clip(np.median(power), 1, LARGEST_EXCESS)
    half_freedom = np.sqrt(np.pi) * width  # of the chi-squared that a Gaussian mean of squares follows
    chances = sx.gammaincc(half_freedom, half_freedom * power / noise)
    gain = np.maximum(1 - noise / np.maximum(power, noise), 0) * discoveries(chances, FALSE_DISCOVERIES)
    return sf.idct(spectrum * gain, axis=0, norm="ortho", workers=1)


def smooth_fields(fields: Float, noise: Double, centres: NDArray) -> Float:
    """Fields less as much of their noise as can be told from motion.

    Args:
        fields: (T, K), K = 2 P values at the nodes, those along y first.
        noise: (K, K), covariance of the noise of one frame.
        centres: (P, 2), places of the nodes in px.

    Returns:
        (T, K) float32; the mean over time is unchanged.
    """
    mean = fields.mean(0, dtype=np.float64)
    lower = np.asarray(np.linalg.cholesky(noise), np.float64)
    white = np.linalg.solve(lower, (fields - mean).T.astype(np.float64)).T
    modes = spatial_modes(lower, centres)
    smooth = wiener(white @ modes) @ modes.T
    return (smooth @ lower.T + mean).astype(np.float32)
