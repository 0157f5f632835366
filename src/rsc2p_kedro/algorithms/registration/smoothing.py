"""Smoothing of the fields over space and time, by as much as the data say (empirical Bayes).

The estimates z (T, K) of all K values of the fields are signal plus noise. The covariance of the noise follows from the normal
equations; with its Cholesky factor L the noise of y = L^-1 z is white. Along each spatial mode of y, and for each frequency f of
the cosine transform over time, the power is S(f) + c, where c is the variance of the noise, and the Wiener filter

    s(f) = y(f) S(f) / (S(f) + c),   S(f) + c estimated by the smoothed periodogram

is the best linear estimate (Wiener 1949). Fast motion, such as heartbeat or the jerks of a running animal, is kept wherever it
stands above the noise: no time constant is assumed. With much light little is smoothed, with little light much.

The noise of real frames is somewhat larger than photons alone make it (cells change their brightness). Motion fills few of all
modes and frequencies, so the median power of all of them is the noise: c, held within 1..2 in case motion fills more than half.

The modes are the principal axes of y. As T estimates determine K x K covariances poorly when T is not much larger than K, a
covariance of smooth fields is added with the weight of 3 K frames: fields that agree over 120 px are thought likelier.
"""

import numpy as np
import scipy.fft as sf
import scipy.ndimage as ndi
from numpy.typing import NDArray

Float = NDArray[np.float32]
Double = NDArray[np.float64]

AGREEMENT_PX = 120.0
PRIOR_FRAMES_PER_VALUE = 3
LARGEST_EXCESS = 2.0


def smooth_covariance(centres: NDArray, length: float) -> Double:
    """Covariance (2 P, 2 P) of fields that agree over a length in px, at nodes (P, 2); the axes are independent."""
    distance = ((centres[:, None].astype(np.float64) - centres[None]) ** 2).sum(-1)
    return np.kron(np.eye(2), np.exp(-distance / (2 * length**2)))


def spatial_modes(white: Double, lower: Double, centres: NDArray) -> Double:
    """Modes (K, K), in columns, of whitened fields (T, K), their noise having had the Cholesky factor `lower`."""
    T, K = white.shape
    half = np.linalg.solve(lower, smooth_covariance(centres, AGREEMENT_PX))
    prior = np.linalg.solve(lower, half.T)
    scatter = white.T @ white
    excess = max(np.trace(scatter) / T - K, 0.05 * K)
    return np.linalg.eigh(scatter + PRIOR_FRAMES_PER_VALUE * K * excess / np.trace(prior) * (prior + prior.T) / 2)[1]


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
    lower = np.linalg.cholesky(noise)
    white = np.linalg.solve(lower, (fields - mean).T.astype(np.float64)).T
    modes = spatial_modes(white, lower, centres)
    smooth = wiener(white @ modes) @ modes.T
    return (smooth @ lower.T + mean).astype(np.float32)
