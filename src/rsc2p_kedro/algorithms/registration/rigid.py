"""Rigid displacement of each frame: the peak of its cross-correlation with the template.

The peak is searched at whole pixels within ±max_shift, both ends included, and refined by a parabola through it and its
neighbours along each axis. The result is where the Gauss-Newton steps of :mod:`.gauss_newton` start.

The noise of a correlation surface is its residual after the autocorrelation of the template, shifted to the peak and
scaled to its height, is subtracted. The quality of the peak is its height over the standard deviation of this noise.
Unlike the ratio of the highest to the second-highest peak, it is not reduced by a template that resembles shifted
copies of itself.
"""

import numpy as np
from numpy.typing import NDArray

from rsc2p_kedro.algorithms.registration.cross_correlation import Correlator

Float = NDArray[np.float32]


def parabola_peak(left: NDArray, middle: NDArray, right: NDArray) -> NDArray:
    """Subpixel position of a maximum: the vertex of the parabola through three points one px apart.

    Args:
        left: (T,), values at -1 px.
        middle: (T,), values at 0, the highest.
        right: (T,), values at 1 px.

    Returns:
        (T,), in px from the middle, within ±0.5; 0 where the three points have no maximum.
    """
    curvature = left - 2 * middle + right
    top = np.divide(left - right, 2 * curvature, out=np.zeros_like(middle), where=curvature < 0)
    return np.clip(top, -0.5, 0.5)


def peaks(surface: Float, *, max_shift: float) -> tuple[NDArray[np.int64], Float]:
    """Highest points of correlation surfaces.

    Args:
        surface: (T, 2 ry + 1, 2 rx + 1), lag 0 in the middle.
        max_shift: largest displacement in px along each axis, included.

    Returns:
        Whole-pixel displacement (T, 2) and its refinement (T, 2) float32, within ±max_shift, both as (dy, dx) in px.
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
    refined = np.clip(whole + np.stack([dy, dx], 1), -max_shift, max_shift)
    return whole, refined.astype(np.float32)


def peak_quality(surface: Float, whole: NDArray[np.int64], template_correlation: Float) -> Float:
    """Height of each correlation peak over the noise around it.

    Args:
        surface: (T, ny, nx), correlation of frames.
        whole: (T, 2), whole-pixel displacement of the peaks.
        template_correlation: (2 ny - 1, 2 nx - 1), correlation of the template with itself, 1 in the middle.

    Returns:
        (T,) float32, in standard deviations of the noise; 0 for a frame without contrast.
    """
    T, ny, nx = surface.shape
    quality = np.zeros(T, np.float32)
    for t, (dy, dx) in enumerate(whole):
        height = surface[t, ny // 2 + dy, nx // 2 + dx]
        expected = template_correlation[ny // 2 - dy : ny // 2 - dy + ny, nx // 2 - dx : nx // 2 - dx + nx]
        noise = (surface[t] - height * expected).std(dtype=np.float64)
        quality[t] = height / noise if noise > 0 and height > 0 else 0
    return quality


def rigid_displacement(surface: Float, correlator: Correlator, *, max_shift: float) -> tuple[Float, Float]:
    """Rigid displacement of frames from their correlation surfaces.

    Args:
        surface: (T, 2 ry + 1, 2 rx + 1), correlation of the frames.
        correlator: that made the surfaces.
        max_shift: largest displacement in px along each axis, included.

    Returns:
        Displacement (T, 2) float32 of the content as (dy, dx) in px, and the quality (T,) float32 of the peaks.
    """
    whole, refined = peaks(surface, max_shift=max_shift)
    return refined, peak_quality(surface, whole, correlator.template_correlation)
