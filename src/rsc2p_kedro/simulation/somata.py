"""Brightness of somata inside and around their outlines: dark nuclei, texture and optical blur.

The outline of a soma is where its brightness crosses a fifth of its maximum, so that the mask of a footprint
(:func:`~rsc2p_kedro.algorithms.extraction.footprints.footprint_masks`) is the outline itself, whatever nucleus and
texture. Strengths were chosen by eye beside two-photon images of mouse cortex; they were not fitted to data.
"""

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray

from rsc2p_kedro.simulation.anatomy import smooth_noise
from rsc2p_kedro.simulation.outlines import Mask

_EDGE_PX = 0.5
"""Width of the edge of a soma in px: the logistic blur of the outline by the optics."""
_LEVEL_INSIDE, _LEVEL_OUTSIDE = 0.22, 0.18
"""Lowest brightness inside and highest brightness outside the outline, either side of the fifth that defines masks."""
_NUCLEUS_PART = 0.55
"""Radius of the nucleus relative to that of the soma."""


def signed_distance(mask: Mask) -> NDArray[np.float64]:
    """Distance of each pixel's centre from the outline of a mask.

    Args:
        mask: (h, w).

    Returns:
        (h, w) float64 in px, positive inside; half a pixel on either side of the outline.
    """
    return np.where(mask, ndi.distance_transform_edt(mask) - 0.5, 0.5 - ndi.distance_transform_edt(~mask))


def draw_soma_brightness(rng: np.random.Generator, outline: Mask, nucleus_darkness: float) -> NDArray[np.float32]:
    """Draws the brightness of a soma.

    Args:
        rng: Random generator.
        outline: (h, w), the soma.
        nucleus_darkness: Fraction of brightness that the middle of the nucleus lacks; negative for a bright one.

    Returns:
        (h, w) float32 with a maximum of 1: above a fifth inside the outline and below it outside; 0 where below 0.03.
    """
    distance, radius = signed_distance(outline), np.sqrt(max(outline.sum(), 1) / np.pi)
    brightness = 1 / (1 + np.exp(-(distance - _EDGE_PX) / _EDGE_PX))
    inner = ndi.shift(distance, 0.12 * radius * rng.standard_normal(2), order=1, mode="nearest")
    rim = max(distance.max(), 1.0) * (1 - _NUCLEUS_PART)
    brightness *= 1 - nucleus_darkness / (1 + np.exp(-(inner - rim) / (0.12 * radius)))
    brightness *= np.clip(1 + 0.13 * smooth_noise(rng, outline.shape, 0.25 * radius), 0.5, None)
    brightness /= brightness[outline].max() if outline.any() else 1
    brightness = np.where(outline, brightness.clip(_LEVEL_INSIDE, 1), brightness.clip(0, _LEVEL_OUTSIDE))
    return np.where(brightness > 0.03, brightness, 0).astype(np.float32)


def draw_nucleus_darkness(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    """Draws how dark nuclei are: most are darker than the cytoplasm to different degrees, some are filled.

    Args:
        rng: Random generator.
        n: Number of nuclei.

    Returns:
        (n,) float64, -0.15 (filled, a little brighter) to 0.85 (a ring).
    """
    return -0.15 + rng.beta(1.6, 1.1, n)


def blur_soma(brightness: NDArray[np.float32], sigma_px: float) -> NDArray[np.float32]:
    """Blurs a soma as one that lies out of focus.

    Args:
        brightness: (h, w).
        sigma_px: Standard deviation of the blur in px.

    Returns:
        (h + 2 p, w + 2 p) float32 with a maximum of 1, where p is three standard deviations; 0 where below 0.03.
    """
    wide = ndi.gaussian_filter(np.pad(brightness, int(np.ceil(3 * sigma_px))), sigma_px, mode="constant")
    wide /= wide.max()
    return np.where(wide > 0.03, wide, 0).astype(np.float32)
