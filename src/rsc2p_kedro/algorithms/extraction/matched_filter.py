"""Matched filter: a movie blurred with a Gaussian of the size of a neuron, so that a neuron becomes a peak.

With k the kernel and M the mask of valid pixels, the filtered residual is Z = (k * R) / sqrt(k^2 * M), where * is
correlation: white noise of variance 1 in R has variance 1 in Z, at the edge of the mask as well. Motion correction
interpolates, which correlates the noise of neighbouring pixels; :func:`filtered_noise` measures the actual sd of Z.

SciPy's `correlate1d` along the rows and columns of (h, w, n) strides over whole traces; the kernel here adds contiguous
traces and is 3 times as fast (76 x 76 px, 500 bins, kernel of 13 px; `python -m benchmarks.extraction --filter`).
"""

from math import sqrt

import numpy as np
import scipy.ndimage as ndi
from numba import njit
from numpy.typing import NDArray

Float = NDArray[np.float32]
_SD_OF_HALF_WIDTH = 0.6
"""Sd of the Gaussian in neuron half-widths. The Gaussian that correlates best (0.90) with a disc of radius r has sd
0.63 r (computed on a disc with r = 20 px, over sd in steps of 0.01 r). Not tuned; other values are compared in
docs/methods_extraction.md."""
_CUT_OFF_SD = 2.5
"""Where the Gaussian is cut off, in sd: at 4 % of its peak."""


def gaussian_kernel(neuron_half_width_px: float) -> Float:
    """The one-dimensional Gaussian that matches a neuron.

    Args:
        neuron_half_width_px: half-width of a neuron in px.

    Returns:
        (2 reach + 1,) float32, its peak 1 in the middle.
    """
    sigma = max(_SD_OF_HALF_WIDTH * neuron_half_width_px, 0.5)
    reach = int(np.ceil(_CUT_OFF_SD * sigma))
    return np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2).astype(np.float32)


def matched_filter(residual: NDArray, mask: NDArray[np.bool_], kernel: Float) -> tuple[Float, Float]:
    """Filters a movie with a separable kernel, normalized so that white noise of variance 1 keeps its variance.

    Args:
        residual: (h, w, n), time last; 0 outside the mask.
        mask: (h, w), valid pixels.
        kernel: one-dimensional kernel for both axes, of odd length.

    Returns:
        The filtered movie Z (h, w, n) float32, 0 outside the mask; and the norm (h, w) float32 of the part of the
        kernel within the mask, that it was divided by.
    """
    squared = ndi.correlate1d(
        ndi.correlate1d(mask.astype(np.float32), kernel**2, 0, mode="constant"), kernel**2, 1, mode="constant"
    )
    norm = np.where(mask, np.sqrt(squared), 0).astype(np.float32)
    filtered = np.zeros(residual.shape, np.float32)
    scale = np.divide(1, norm, out=np.zeros_like(norm), where=norm > 0)
    _correlate(np.ascontiguousarray(residual, np.float32), np.asarray(kernel, np.float32), scale, filtered)
    return filtered, norm


@njit(nogil=True, cache=True, fastmath=True)
def _add_scaled(scale, a, b):
    """b += scale a."""
    for t in range(len(a)):
        b[t] += scale * a[t]


@njit(nogil=True, cache=True)
def _correlate(R, kernel, scale, out):
    """Separable correlation of R (h, w, n) with a kernel along y and x, zeros beyond the ends, times scale (h, w)."""
    h, w, n = R.shape
    reach = kernel.size // 2
    row = np.empty((w, n), np.float32)
    for y in range(h):
        row[:] = 0
        for yy in range(max(0, y - reach), min(h, y + reach + 1)):
            for x in range(w):
                _add_scaled(kernel[yy - y + reach], R[yy, x], row[x])
        for x in range(w):
            for xx in range(max(0, x - reach), min(w, x + reach + 1)):
                _add_scaled(kernel[xx - x + reach] * scale[y, x], row[xx], out[y, x])


def filtered_noise(filtered: NDArray, norm: NDArray, step_px: int = 6) -> float:
    """Noise sd of a filtered movie, from the typical change of a pixel from one bin to the next.

    Args:
        filtered: (h, w, n), see :func:`matched_filter`.
        norm: (h, w), > 0 in valid pixels.
        step_px: distance in px of the pixels that are sampled; more than a kernel's sd apart, they are nearly
            independent.

    Returns:
        Median over the pixels of the median absolute change / (0.6745 sqrt(2)), which is the sd of Gaussian noise; 1
        where there is nothing to measure.
    """
    some = filtered[::step_px, ::step_px][norm[::step_px, ::step_px] > 0]
    if some.size == 0 or some.shape[1] < 2:
        return 1.0
    changes = np.median(np.abs(np.diff(some, axis=1)), axis=1) / (0.6745 * sqrt(2))
    return max(float(np.median(changes)), 1e-6)
