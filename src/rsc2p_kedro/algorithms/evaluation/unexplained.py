"""Pixels of high local correlation that no accepted component covers: what the extraction may have missed.

The local correlation of pixels without a source of their own forms the bulk of the correlation image, which noise
spreads evenly around a level that changes slowly over the field of view (neuropil, vignetting). Sources only raise it.
The spread is therefore measured on the values below the level, and a pixel whose correlation exceeds the level by
several of these standard deviations is high.

The correlation image of the movie is used, which exists already, and not that of the residual movie, for which the
whole movie would have to be read again.
"""

from dataclasses import dataclass

import numpy as np
import scipy.ndimage as ndi
import scipy.sparse as sp
from numpy.typing import NDArray

from rsc2p_kedro.algorithms.extraction.footprints import footprint_masks

Z_HIGH = 4.0
"""Standard deviations above the level from which a correlation is high. Chosen, not tuned: noise alone exceeds it in
3 of 100 000 pixels."""
LEVEL_WINDOW_PX = 41
"""Side in px of the square in which the level, a median, is taken: several times the diameter of a neuron (9 to 16 px
in marked fields), so that no neuron raises it. Chosen, not tuned."""
_STEP = 3
"""Distance in px of the pixels that the level is taken from; changes only the time."""
MARGIN_PX = 1
"""Pixels around a component's mask that count as covered: their neighbours, with which they correlate, belong to it."""


@dataclass(frozen=True, eq=False)
class UnexplainedCorrelation:
    """Pixels of high local correlation, and those of them that no component covers.

    Attributes:
        high: (H, W) bool.
        unexplained: (H, W) bool, a part of `high`.
    """

    high: NDArray[np.bool_]
    unexplained: NDArray[np.bool_]

    @property
    def share(self) -> float:
        """Unexplained pixels as a fraction of those of high correlation; NaN where there are none."""
        n = int(self.high.sum())
        return float(self.unexplained.sum() / n) if n else float("nan")


def high_correlation(
    correlation: NDArray, valid_mask: NDArray[np.bool_], *, window_px: int = LEVEL_WINDOW_PX
) -> NDArray[np.bool_]:
    """Finds the pixels whose local correlation is high for the noise of the image.

    Args:
        correlation: (H, W), local correlation image.
        valid_mask: (H, W), pixels that were visible in every frame.
        window_px: side of the square in which the level is taken, in px.

    Returns:
        (H, W) bool, false outside the valid mask.
    """
    if not valid_mask.any():
        return np.zeros(correlation.shape, bool)
    filled = np.where(valid_mask, correlation, np.median(correlation[valid_mask]))
    excess = filled - _level(filled, window_px)
    below = -excess[valid_mask & (excess < 0)]
    if not below.size:
        return np.zeros(correlation.shape, bool)
    sd = float(np.median(below)) / 0.6745
    return valid_mask & (excess > Z_HIGH * sd)


def _level(image: NDArray, window_px: int) -> NDArray:
    """Running median (H, W) of an image, from every third pixel of each axis, which takes a ninth of the values."""
    coarse = ndi.median_filter(image[::_STEP, ::_STEP], size=-(-window_px // _STEP), mode="reflect")
    return coarse.repeat(_STEP, axis=0).repeat(_STEP, axis=1)[: image.shape[0], : image.shape[1]]


def find_unexplained(
    correlation: NDArray, footprints: sp.csc_array, valid_mask: NDArray[np.bool_]
) -> UnexplainedCorrelation:
    """Finds pixels of high local correlation that no component covers.

    Args:
        correlation: (H, W), local correlation image.
        footprints: CSC (H*W, n) of the accepted components.
        valid_mask: (H, W), pixels that were visible in every frame.

    Returns:
        The pixels of high correlation, and those more than 1 px away from every mask (pixels above a fifth of a
        footprint's maximum).
    """
    high = high_correlation(correlation, valid_mask)
    covered = np.asarray(footprint_masks(footprints).sum(axis=1)).reshape(correlation.shape) > 0
    covered = ndi.binary_dilation(covered, np.ones((3, 3)), iterations=MARGIN_PX)
    return UnexplainedCorrelation(high, high & ~covered)
