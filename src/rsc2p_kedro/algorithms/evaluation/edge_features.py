"""Features of the edge of a component and of what lies beyond it, for :mod:`.classifier`.

In the transient image m a soma ends at its edge; a process continues beyond it in one or two directions; a soma out of
focus fades. With d(p) the distance of pixel p from the outline of the mask (negative inside) in half-widths h of a
neuron, footprint and transient image are averaged over bands along the outline::

    band k: pixels weighted by max(0, 1 - |d / 0.25 - k|),    k = -3 ... 3

and m over eight sectors of the surroundings (0.15 < d < 0.9), seen from the centre of the footprint. m is blurred by a
Gaussian of 0.2 h and in units of its mean within the mask. (The same measures of the mean image, which differs more
between microscopes, added nothing on movies not used in training.)
"""

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray

from rsc2p_kedro.algorithms.evaluation.outline_features import mask_image
from rsc2p_kedro.algorithms.evaluation.spatial_consistency import blur

N_BANDS = 7
"""Bands along the outline, the middle one on it. Part of the trained model, as all values here."""
BAND_SPACING = 0.25
"""Distance of neighbouring bands, in half-widths of a neuron."""
_BLUR_HALF_WIDTHS = 0.2
_SURROUNDINGS = (0.15, 0.9)
"""Range of distances from the outline in half-widths; the margin of the smallest components reaches as far."""
_RIM = 0.5
"""Width of the rims inside and outside of the outline, in half-widths."""
_N_SECTORS = 8
_MIN_PIXELS = 2
"""Fewest pixels of a band or sector that has a mean."""
_LIMIT = 3.0
"""Clip of relative values, so that a transient image of noise has no extreme ones."""
_TINY = 1e-12


def signed_distances(pixels: NDArray, footprint: NDArray, width: int) -> NDArray[np.float64]:
    """Distance of pixels from the outline of a component's mask.

    Args:
        pixels: (P,), indices of the pixels of the component and its margin, row * `width` + column.
        footprint: (P,), its values there.
        width: W of the image in px.

    Returns:
        (P,), in px; negative inside the mask. The outline runs between pixels: distances are half-integers or more.
    """
    mask, top, left = mask_image(pixels, footprint, width, margin=1)
    inside, outside = ndi.distance_transform_edt(mask), ndi.distance_transform_edt(~mask)
    distance = np.where(mask, 0.5 - inside, outside - 0.5)
    y, x = np.divmod(pixels, width)
    return distance[y - top, x - left]


def band_means(distances: NDArray, images: NDArray) -> NDArray[np.float64]:
    """Weighted means of images over bands along the outline.

    Args:
        distances: (P,), from the outline in half-widths of a neuron.
        images: (n, P).

    Returns:
        (n, `N_BANDS`), in the units of the images; 0 in a band of less than two pixels.
    """
    k = np.arange(N_BANDS) - N_BANDS // 2
    weights = np.maximum(1 - np.abs(distances / BAND_SPACING - k[:, None]), 0)
    sums = weights.sum(axis=1)
    means = np.einsum("np,kp->nk", images, weights) / np.maximum(sums, _TINY)
    return np.where(sums >= _MIN_PIXELS, means, 0)


def sector_means(angles: NDArray, values: NDArray) -> NDArray[np.float64]:
    """Means of an image over sectors.

    Args:
        angles: (P,), of the pixels, in rad.
        values: (P,).

    Returns:
        Mean of each of eight sectors that holds two pixels or more; 0 if none does.
    """
    sector = np.floor((angles + np.pi) / (2 * np.pi) * _N_SECTORS).astype(int) % _N_SECTORS
    n = np.bincount(sector, minlength=_N_SECTORS)
    means = np.bincount(sector, values, minlength=_N_SECTORS)[n >= _MIN_PIXELS] / n[n >= _MIN_PIXELS]
    return means if len(means) else np.zeros(1)


def edge_features(pixels: NDArray, pair: NDArray, *, width: int, half_width_px: float) -> dict[str, float]:
    """Features of the edge and the surroundings of one component.

    Args:
        pixels: (P,), indices of its pixels and their margin, row * `width` + column.
        pair: (2, P), footprint and transient image there; the footprint is not 0 everywhere.
        width: W of the image in px.
        half_width_px: half-width of a neuron in px.

    Returns:
        `footprint_edge_k` and `transient_edge_k` of seven bands; `sharpness`, the step of the transient image between
        the rims on both sides of the outline; of the transient image in the surroundings, `outside_mean`,
        `outside_max_sector`, `outside_median_sector`, `outside_two_fold` (the share that points in two opposite
        directions) and `outside_energy` (square root of the share of its energy).
    """
    distances = signed_distances(pixels, pair[0], width) / half_width_px
    blurred = blur(pair[1:], pixels, width, _BLUR_HALF_WIDTHS * half_width_px)[0]
    inside = distances < 0
    level = max(float(blurred[inside].mean()), _TINY * (float(np.abs(blurred).max()) or 1))
    transient = np.clip(blurred / level, -_LIMIT, _LIMIT)
    bands = band_means(distances, np.stack([pair[0] / pair[0].max(), transient]))
    names = ("footprint_edge", "transient_edge")
    y, x = np.divmod(pixels, width)
    share = pair[0] / pair[0].sum()
    angles = np.arctan2(y - share @ y, x - share @ x)
    return {
        f"{name}_{k}": value for name, row in zip(names, bands, strict=True) for k, value in enumerate(row)
    } | _surroundings(distances, angles, transient)


def _surroundings(distances: NDArray, angles: NDArray, transient: NDArray) -> dict[str, float]:
    """Features of the surroundings of one component in its transient image; 0 for one without surroundings."""
    inside, around = distances < 0, (distances > _SURROUNDINGS[0]) & (distances < _SURROUNDINGS[1])
    inner, outer = inside & (distances > -_RIM), around & (distances < _RIM)
    sectors, energy = sector_means(angles[around], transient[around]), np.maximum(transient, 0) ** 2
    return {
        "sharpness": _mean(transient[inner]) - _mean(transient[outer]),
        "outside_mean": _mean(transient[around]),
        "outside_max_sector": sectors.max(),
        "outside_median_sector": float(np.median(sectors)),
        "outside_two_fold": abs(_mean(transient[around] * np.exp(2j * angles[around]))),
        "outside_energy": np.sqrt(energy[~inside].sum() / max(energy.sum(), _TINY)),
    }


def _mean(values: NDArray) -> float:
    """The mean; 0 of no values."""
    return values.mean() if len(values) else 0.0
