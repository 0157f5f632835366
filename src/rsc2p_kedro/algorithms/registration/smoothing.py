"""Smoothing of the fields over space and time, by as much as the data say (empirical Bayes).

The estimates z (T, K) of all K values of the fields are signal plus noise. The covariance of the noise follows from the
normal equations; with its Cholesky factor L the noise of y = L^-1 z is white. Along each spatial mode of y, and for
each frequency f of the cosine transform over time, the power is S(f) + c, c being the variance of the noise; the
Wiener filter

    s(f) = y(f) S(f) / (S(f) + c),   S(f) + c estimated by the smoothed periodogram

is the best linear estimate (Wiener 1949). Fast motion, such as heartbeat or the jerks of a running animal, is kept
wherever it stands above the noise: no time constant is assumed. With much light little is smoothed, with little light
much.

The noise of real frames is somewhat larger than photons alone make it (cells change their brightness). Motion fills
few of all modes and frequencies, so the median power of all of them is the noise: c, held within 1..3 in case motion
fills more.

The modes are those of fields that agree over 120 px, in the units of y: the first ones are smooth and well measured,
the last ones rough and noisy. They are not taken from the estimates themselves, whose principal axes would gather
chance into motion.
"""

import numpy as np
import scipy.fft as sf
import scipy.ndimage as ndi
from numpy.typing import NDArray

Float = NDArray[np.float32]
Double = NDArray[np.float64]

AGREEMENT_PX = 120.0
LARGEST_EXCESS = 3.0


def smooth_covariance(centres: NDArray, length: float) -> Double:
    """Covariance (2 P, 2 P) of fields that agree over a length in px, at nodes (P, 2); the axes are independent."""
    distance = ((centres[:, None].astype(np.float64) - centres[None]) ** 2).sum(-1)
    return np.kron(np.eye(2), np.exp(-distance / (2 * length**2)))


def spatial_modes(lower: Double, centres: NDArray) -> Double:
    """Modes (K, K), in columns, of whitened fields whose noise had the Cholesky factor `lower`, at nodes (P, 2)."""
    half = np.linalg.solve(lower, smooth_covariance(centres, AGREEMENT_PX))
    whitened = np.linalg.solve(lower, half.T)
    return np.linalg.eigh((whitened + whitened.T) / 2)[1]


def wiener(series: Double) -> Double:
    """Series (T, K) of signal plus white noise of a variance somewhat above 1, less the noise."""
    spectrum = sf.dct(series, axis=0, norm="ortho", workers=1)
    width = max(2.0, float(np.sqrt(len(series))))
    power = ndi.gaussian_filter1d(spectrum**2, width, axis=0, mode="reflect")
    noise = np.clip(np.median(power), 1, LARGEST_EXCESS)
    gain = np.maximum(1 - noise / np.maximum(power, noise), 0)
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
