"""Downsampling of the residual for detection: sums of pixels, and running sums over time, with noise of variance 1."""

from math import sqrt

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]


def bin_pixels(movie: NDArray, factor: int) -> Float:
    """Sums of factor x factor pixels, divided by the factor, so that white noise keeps its variance.

    Args:
        movie: (n, H, W).
        factor: pixels in a bin along each axis.

    Returns:
        (n, H // factor, W // factor) float32. Rows and columns that do not fill a bin are left out.
    """
    n, h, w = movie.shape[0], movie.shape[1] // factor, movie.shape[2] // factor
    cut = movie[:, : h * factor, : w * factor].reshape(n, h, factor, w, factor)
    return np.asarray(cut.sum(axis=(2, 4)) / factor, np.float32)


def expand_footprints(footprints: NDArray, factor: int, mask: NDArray[np.bool_]) -> Float:
    """Footprints on binned pixels (see :func:`bin_pixels`) as footprints on the pixels themselves.

    Args:
        footprints: (k, H // factor, W // factor).
        factor: pixels in a bin along each axis.
        mask: (H, W), pixels to use.

    Returns:
        (k, H, W) float32, 0 outside the mask and in pixels that no bin holds.
    """
    expanded = np.zeros((len(footprints), *mask.shape), np.float32)
    blocks = np.kron(footprints, np.ones((1, factor, factor), np.float32)) / factor
    expanded[:, : blocks.shape[1], : blocks.shape[2]] = blocks
    return expanded * mask


def running_sum(movie: NDArray, length: int) -> Float:
    """Running sums over time divided by sqrt(length), so that white noise keeps its variance.

    Args:
        movie: (n, H, W).
        length: bins in a sum.

    Returns:
        (n, H, W) float32, the sum of each bin and the length - 1 before it; of fewer at the start.
    """
    length = min(length, len(movie))
    total = np.cumsum(movie, axis=0, dtype=np.float32)
    total[length:] -= total[:-length].copy()
    return total / np.float32(sqrt(length))
