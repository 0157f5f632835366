"""Rigid displacement of each frame: the peak of its correlation with the template.

The peak is sought at whole pixels within ±max_shift, both ends included, and refined by a parabola through it and its
neighbours along each axis. That serves as a start: the maximum-likelihood steps of :mod:`.piecewise` give the final
figure.

What remains of the correlation surface when the template's own, moved to the peak and scaled to its height, is taken
away is noise. The peak's height over the standard deviation of this noise says how far a frame can be trusted; unlike a
ratio of the first peak to the second, it does not suffer from a template that resembles its own shifted copies.
"""

import numpy as np
from numpy.typing import NDArray

from rsc2p_kedro.algorithms.registration.spectra import Correlator

Float = NDArray[np.float32]


def parabola_peak(left: NDArray, middle: NDArray, right: NDArray) -> NDArray:
    """Place in px, within ±0.5 of the middle, of the top of parabolas through three points one px apart."""
    curvature = left - 2 * middle + right
    top = np.divide(left - right, 2 * curvature, out=np.zeros_like(middle), where=curvature < 0)
    return np.clip(top, -0.5, 0.5)


def peaks(surface: Float, *, max_shift: float) -> tuple[NDArray[np.int64], Float]:
    """Highest points of correlation surfaces.

    Args:
        surface: (T, 2 ry + 1, 2 rx + 1), lag 0 in the middle.
        max_shift: largest displacement in px along each axis, included.

    Returns:
        Whole-pixel displacement (T, 2) and its refinement (T, 2) float32, within ±max_shift.
    """
    T, ny, nx = surface.shape
    ry, rx = ny // 2, nx // 2
    reach = int(np.ceil(max_shift))
    my, mx = min(reach, ry), min(reach, rx)
    window = surface[:, ry - my : ry + my + 1, rx - mx : rx + mx + 1].reshape(T, -1)
    iy, ix = np.divmod(window.argmax(1), 2 * mx + 1)
    iy, ix = iy + ry - my, ix + rx - mx
    t = np.arange(T)
    at = surface[t, iy, ix]
    dy = parabola_peak(surface[t, np.maximum(iy - 1, 0), ix], at, surface[t, np.minimum(iy + 1, ny - 1), ix])
    dx = parabola_peak(surface[t, iy, np.maximum(ix - 1, 0)], at, surface[t, iy, np.minimum(ix + 1, nx - 1)])
    whole = np.stack([iy - ry, ix - rx], 1)
    fine = np.clip(whole + np.stack([dy, dx], 1), -max_shift, max_shift)
    return whole, fine.astype(np.float32)


def peak_quality(surface: Float, whole: NDArray[np.int64], own: Float) -> Float:
    """Height of each peak over the noise around it.

    Args:
        surface: (T, ny, nx), correlation of frames.
        whole: (T, 2), whole-pixel place of the peaks.
        own: (2 ny - 1, 2 nx - 1), correlation of the template with itself, 1 in the middle.

    Returns:
        (T,) float32, 0 for a frame without contrast.
    """
    T, ny, nx = surface.shape
    quality = np.zeros(T, np.float32)
    for t, (dy, dx) in enumerate(whole):
        height = surface[t, ny // 2 + dy, nx // 2 + dx]
        expected = own[ny // 2 - dy : ny // 2 - dy + ny, nx // 2 - dx : nx // 2 - dx + nx]
        noise = (surface[t] - height * expected).std(dtype=np.float64)
        quality[t] = height / noise if noise > 0 and height > 0 else 0
    return quality


def rigid_displacement(surface: Float, correlator: Correlator, *, max_shift: float) -> tuple[Float, Float]:
    """Displacement (T, 2) in px of the content of frames, and the quality (T,) of their peaks."""
    whole, fine = peaks(surface, max_shift=max_shift)
    return fine, peak_quality(surface, whole, correlator.own)
