"""What fields of view are compared by: their footprints, mean and correlation image, whatever their brightness."""

import numpy as np
import scipy.ndimage as ndi
import scipy.sparse as sp
from numpy.typing import NDArray

from rsc2p_kedro.core.tracking import FieldOfView

Float = NDArray[np.float32]
N_CHANNELS = 3
"""Footprints, mean image, correlation image."""
_LIMIT = 3.0
"""Contrast is clipped at this many local standard deviations, so that no bright cell outweighs the others."""


def scaled_to_maximum(footprints: sp.csc_array) -> sp.csc_array:
    """Footprints whose maximum is 1.

    Args:
        footprints: CSC (H*W, N).

    Returns:
        CSC (H*W, N) float32; empty columns stay empty.
    """
    peaks = np.asarray(abs(footprints).max(axis=0).todense()).ravel() if footprints.shape[1] else np.zeros(0)
    scale = np.divide(1.0, peaks, out=np.zeros(len(peaks)), where=peaks > 0)
    return sp.csc_array(footprints @ sp.diags_array(scale), dtype=np.float32)


def local_contrast(image: NDArray, scale_px: float) -> Float:
    """Deviation of an image from its surroundings, in local standard deviations.

    Args:
        image: (H, W).
        scale_px: standard deviation of the Gaussian surroundings.

    Returns:
        (H, W) float32, about 0 on average and at most 3; 0 everywhere for a constant image.
    """
    values = np.asarray(image, np.float64)
    values = values - values.mean()
    spread = values.std()
    if not spread > 0:
        return np.zeros(image.shape, np.float32)
    deviation = values / spread
    deviation = deviation - ndi.gaussian_filter(deviation, scale_px, mode="reflect")
    local = np.sqrt(ndi.gaussian_filter(deviation**2, 2 * scale_px, mode="reflect"))
    floor = 0.3 * np.sqrt(np.mean(deviation**2))  # where nothing is, noise is not blown up
    return np.clip(deviation / np.maximum(local, max(floor, 1e-12)), -_LIMIT, _LIMIT).astype(np.float32)


def channels_of(field: FieldOfView, radius_px: float, smoothing_px: float) -> Float:
    """Images of one session that alignment compares.

    Args:
        field: the session.
        radius_px: radius of a neuron in its pixels.
        smoothing_px: standard deviation of the Gaussian that smooths them, in its pixels.

    Returns:
        (3, H, W) float32: footprints, mean image and correlation image, each as local contrast.
    """
    drawn = np.asarray(scaled_to_maximum(field.footprints).sum(axis=1)).reshape(field.shape)
    images = (np.minimum(drawn, 1.5), field.mean, field.correlation)
    smooth = [ndi.gaussian_filter(np.asarray(image, np.float64), smoothing_px) for image in images]
    return np.stack([local_contrast(image, 2.5 * radius_px) for image in smooth])
