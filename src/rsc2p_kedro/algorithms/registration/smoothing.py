"""Smoothing of displacement fields over space and time by a Wiener filter whose strength is estimated from the data.

The estimates z (T, K) of all K values of the fields are signal plus noise. The covariance of the noise follows from the
normal equations; with its Cholesky factor L the noise of y = L^-1 z is white. Along each spatial mode of y, and for
each frequency f of the cosine transform over time, the power is S(f) + c, c being the variance of the noise; the
Wiener filter

    s(f) = y(f) S(f) / (S(f) + c),   S(f) + c estimated by the smoothed periodogram

is the best linear estimate (Wiener 1949). Fast motion, such as heartbeat or the jerks of a running animal, is kept
where it exceeds the noise: no time constant is assumed. The lower the photon count, the stronger the smoothing. Power
that is no higher than expected by chance is set to 0: only those modes and frequencies are kept that are significant by
the procedure of Benjamini & Hochberg (1995, doi 10.1111/j.2517-6161.1995.tb02031.x). Tissue that does not move thus
gets no shifts, and rigid motion gets no local ones.

The noise of real frames is somewhat larger than photon noise (cells change their brightness). Motion occupies few of
all modes and frequencies, so that the median power of all of them estimates the noise c, within bounds in case motion
occupies more.

The modes, in the units of y, are first the shift of the whole frame, then its linear deformations (stretch and shear),
then the principal axes of smooth random fields; the first of these are smooth and well measured, the last rough and
noisy. They are not estimated from the data, whose own principal axes would fit noise as motion.
"""

import numpy as np
import scipy.fft as sf
import scipy.ndimage as ndi
import scipy.special as sx
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from scipy.stats import false_discovery_control

Float = NDArray[np.float32]
Double = NDArray[np.float64]

CORRELATION_LENGTH_HALF_WIDTHS = 30.0
"""Length over which smooth fields are correlated (sigma of a Gaussian), in half-widths of a neuron: 120 px at the
default of 4 px. Chosen by hand; it has little effect: the local error on a simulated movie (400 frames of 192 x 192 px,
12 photons) is the same to four decimals at 60, 120 and 240 px."""

LARGEST_EXCESS = 3.0
"""Largest variance of the noise in units of the one expected from the normal equations. Raised from 2 for dim movies
and movies with moving bright spots (git log, "Register dim and glaring movies"); not tuned further."""

FALSE_DISCOVERY_RATE = 3e-4
"""Expected share of noise among the modes and frequencies that are kept. Lowered from 1e-3 and not tuned further; at
both rates no shift is left in eight still movies of 300 frames (128 x 128 px, 12 photons)."""


def smooth_covariance(centres: NDArray, length: float) -> Double:
    """Covariance of smooth random fields at the nodes; the two axes are independent.

    Args:
        centres: (P, 2), nodes in px.
        length: sigma in px of the Gaussian correlation function.

    Returns:
        (2 P, 2 P) float64, 1 on the diagonal.
    """
    squared_distance = cdist(centres.astype(np.float64), centres.astype(np.float64), "sqeuclidean")
    return np.kron(np.eye(2), np.exp(-squared_distance / (2 * length**2)))


def linear_fields(centres: NDArray) -> Double:
    """Fields that shift the whole frame, and those that stretch or shear it.

    Args:
        centres: (P, 2), nodes in px.

    Returns:
        (2 P, n) float64, one field per column: the two shifts first; n is 2, 4 or 6 for nodes along 0, 1 or 2 axes.
    """
    from_middle = (centres - centres.mean(0)).astype(np.float64)
    slopes = [axis / np.ptp(axis) for axis in from_middle.T if np.ptp(axis) > 0]
    return np.concatenate([np.kron(np.eye(2), shape[:, None]) for shape in (np.ones(len(centres)), *slopes)], axis=1)


def spatial_modes(lower: Double, centres: NDArray, length: float) -> Double:
    """Orthonormal spatial modes of whitened fields.

    Args:
        lower: (K, K), K = 2 P, Cholesky factor of the covariance of the noise.
        centres: (P, 2), nodes in px.
        length: correlation length in px of smooth fields.

    Returns:
        (K, K) float64, one mode per column: linear fields first, then smooth ones by increasing variance.
    """
    linear = np.linalg.solve(lower, linear_fields(centres))
    basis, n = np.linalg.qr(linear, mode="complete")[0], linear.shape[1]
    half = np.linalg.solve(lower, smooth_covariance(centres, length))
    others = basis[:, n:].T @ np.linalg.solve(lower, half.T) @ basis[:, n:]
    return np.hstack([basis[:, :n], basis[:, n:] @ np.linalg.eigh((others + others.T) / 2)[1]])


def wiener_filter(series: Double) -> Double:
    """Removes white noise from series by a Wiener filter in the cosine transform over time.

    `scipy.signal.wiener` is a different filter, which uses local means and variances.

    Args:
        series: (T, K), signal plus white noise of a variance of 1 to `LARGEST_EXCESS`.

    Returns:
        (T, K) float64.
    """
    spectrum = sf.dct(series, axis=0, norm="ortho", workers=1)
    width = max(2.0, float(np.sqrt(len(series))))
    power = ndi.gaussian_filter1d(spectrum**2, width, axis=0, mode="reflect")
    noise = np.clip(np.median(power), 1, LARGEST_EXCESS)
    half_freedom = np.sqrt(np.pi) * width  # half the degrees of freedom of a Gaussian mean of squares
    p_values = sx.gammaincc(half_freedom, half_freedom * power / noise)
    significant = false_discovery_control(p_values, axis=None).reshape(power.shape) <= FALSE_DISCOVERY_RATE
    gain = np.maximum(1 - noise / np.maximum(power, noise), 0) * significant
    return sf.idct(spectrum * gain, axis=0, norm="ortho", workers=1)


def smooth_fields(fields: Float, noise: Double, centres: NDArray, *, neuron_half_width_px: float = 4) -> Float:
    """Removes noise from the fields of a movie.

    Args:
        fields: (T, K), K = 2 P values at the nodes in px, those along y first.
        noise: (K, K), covariance in px^2 of the noise of one frame.
        centres: (P, 2), nodes in px.
        neuron_half_width_px: half-width of a neuron in px, the unit of length of tissue.

    Returns:
        (T, K) float32, in px; the mean over time is unchanged.
    """
    mean = fields.mean(0, dtype=np.float64)
    lower = np.asarray(np.linalg.cholesky(noise), np.float64)
    white = np.linalg.solve(lower, (fields - mean).T.astype(np.float64)).T
    modes = spatial_modes(lower, centres, CORRELATION_LENGTH_HALF_WIDTHS * neuron_half_width_px)
    smooth = wiener_filter(white @ modes) @ modes.T
    return (smooth @ lower.T + mean).astype(np.float32)
