"""Features of the outline of a footprint, for :mod:`.classifier`: compact as a soma, ragged, or a line.

The mask of a component is the pixels of its footprint above a fifth of the maximum. With A its area, H that of its
convex hull and P its perimeter::

    solidity = A / H,    raggedness = log(P^2 / (4 pi A))    (1 and 0 for a disc; both are worse for a ragged outline)

Half-axes are those of the ellipse with the second moments of the footprint's energy
(:func:`rsc2p_kedro.algorithms.extraction.footprints.half_axes`), in half-widths of a neuron.
"""

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

from rsc2p_kedro.algorithms.extraction.footprints import MASK_LEVEL


def mask_image(pixels: NDArray, values: NDArray, width: int, margin: int = 0) -> tuple[NDArray[np.bool_], int, int]:
    """The window around some pixels, true where the values exceed a fifth of their maximum.

    Args:
        pixels: (P,), indices, row * `width` + column.
        values: (P,), of a footprint there.
        width: W of the image in px.
        margin: pixels to add around the bounding box of all pixels, true nowhere.

    Returns:
        The mask (h, w), and the row and column at which it starts.
    """
    y, x = np.divmod(pixels, width)
    top, left = int(y.min()) - margin, int(x.min()) - margin
    mask = np.zeros((int(y.max()) - top + 1 + margin, int(x.max()) - left + 1 + margin), bool)
    mask[y - top, x - left] = values > MASK_LEVEL * values.max()
    return mask, top, left


def perimeter(mask: NDArray[np.bool_]) -> float:
    """Perimeter by the formula of Cauchy and Crofton, from the crossings of lines in four directions.

    Args:
        mask: (h, w), false along its border.

    Returns:
        In px; 2 pi r, 5 to 10 % more, for a disc of radius r.
    """
    straight = (mask[1:] != mask[:-1]).sum() + (mask[:, 1:] != mask[:, :-1]).sum()
    diagonal = (mask[1:, 1:] != mask[:-1, :-1]).sum() + (mask[1:, :-1] != mask[:-1, 1:]).sum()
    return float(np.pi / 8 * (straight + diagonal / np.sqrt(2)))


def outline_features(pixels: NDArray, values: NDArray, *, width: int, half_width_px: float) -> dict[str, float]:
    """Features of the outline of a footprint.

    Args:
        pixels: (P,), indices of its pixels, row * `width` + column.
        values: (P,), its values there; not all 0.
        width: W of the image in px.
        half_width_px: half-width of a neuron in px.

    Returns:
        `solidity`, `raggedness`, `largest_part_fraction` (of the area, in one connected part); `elongation`, 0 for a
        disc and 1 for a line; `log_radius_ratio`, logarithm of the root mean square distance from the centre over that
        in a disc of the same area; `log_area_ratio` to a disc of a neuron's half-width; `log_minor_half_axis` and
        `log_major_half_axis` over that half-width; `flatness`, logarithm of the area of the ellipse with these
        half-axes over that of the mask: 0 for a uniform disc, below for a footprint that fades towards its edge.
    """
    mask, _, _ = mask_image(pixels, values, width, margin=1)
    y, x = np.nonzero(mask)
    area, (small, large) = len(y), _moments(y, x, np.ones(len(y)))
    parts, _ = ndi.label(mask)
    rows, columns = np.divmod(pixels, width)
    minor, major = 2 * np.sqrt(_moments(rows, columns, np.asarray(values, np.float64) ** 2))
    corners = np.concatenate([np.stack([y + dy, x + dx], axis=1) for dy in (0, 1) for dx in (0, 1)])
    return {
        "solidity": area / ConvexHull(corners).volume,
        "raggedness": float(np.log(perimeter(mask) ** 2 / (4 * np.pi * area))),
        "largest_part_fraction": np.bincount(parts.ravel())[1:].max() / area,
        "elongation": 1 - np.sqrt(small / large),
        "log_radius_ratio": 0.5 * np.log((small + large) * 2 * np.pi / area),
        "log_area_ratio": np.log(area / (np.pi * half_width_px**2)),
        "log_minor_half_axis": np.log(minor / half_width_px),
        "log_major_half_axis": np.log(major / half_width_px),
        "flatness": np.log(np.pi * minor * major / area),
    }


def _moments(y: NDArray, x: NDArray, weights: NDArray) -> NDArray[np.float64]:
    """The two second moments of weighted pixels in px^2, ascending.

    1/12 px^2 is the variance of position within a pixel: a single one is not a line.
    """
    share = weights / weights.sum()
    offsets = np.stack([y - share @ y, x - share @ x])
    return np.linalg.eigvalsh((offsets * share) @ offsets.T + np.eye(2) / 12)
