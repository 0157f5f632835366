"""Smoothing of the fields over space and time, by as much as the data say (empirical Bayes).

The estimates z (T, K) of all K values of the fields are signal plus noise, z = s + n. The noise is known: its
covariance follows from the normal equations. In coordinates that make the noise white, y = z W, the principal
components with variance above 1 carry signal, those near 1 only noise. Along each component the spectrum over time is
S(f) + 1, and the Wiener filter

    s(f) = y(f) S(f) / (S(f) + 1),   S(f) + 1 estimated by the smoothed periodogram

is the best linear estimate (Wiener 1949). Fast motion, such as heartbeat or the jerks of a running animal, is kept
wherever it stands above the noise: no time constant is assumed. With much light nothing is smoothed, with little light
much.
"""

import numpy as np
import scipy.fft as sf
import scipy.ndimage as ndi
from numpy.typing import NDArray

Float = NDArray[np.float32]
Double = NDArray[np.float64]


def reflect_ends(series: Double) -> Double:
    """Series (T, K) followed by themselves backwards, (2 T, K): without a jump where the transform wraps around."""
    return np.concatenate([series, series[::-1]])


def wiener(series: Double, *, width: float) -> Double:
    """Series (T, K) of signal plus white noise of variance 1, less the noise.

    Args:
        series: (T, K).
        width: sigma, in bins of the spectrum, of the smoothing of the periodogram.
    """
    T = len(series)
    spectrum = sf.rfft(reflect_ends(series), axis=0)
    power = ndi.gaussian_filter1d(np.abs(spectrum) ** 2 / (2 * T), width, axis=0, mode="reflect")
    gain = np.maximum(1 - 1 / np.maximum(power, 1e-12), 0)
    return sf.irfft(spectrum * gain, n=2 * T, axis=0)[:T]


def smooth_fields(fields: Float, noise: Double) -> Float:
    """Fields less as much of their noise as can be told from motion.

    Args:
        fields: (T, K), values at the nodes, of both axes.
        noise: (K, K), covariance of the noise of one frame.

    Returns:
        (T, K) float32; the mean over time is unchanged.
    """
    T = len(fields)
    mean = fields.mean(0, dtype=np.float64)
    lower = np.linalg.cholesky(noise)
    white = np.linalg.solve(lower, (fields - mean).T.astype(np.float64)).T
    _, axes = np.linalg.eigh(white.T @ white / T)
    smooth = wiener(white @ axes, width=max(2.0, np.sqrt(T) / 4)) @ axes.T
    return (smooth @ lower.T + mean).astype(np.float32)
