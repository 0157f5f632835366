"""Outlines of somata with the shapes, sizes and overlaps of neurons that people have marked.

An outline is a closed curve around the centre of a soma, in polar coordinates of an ellipse: r(phi) = 1 + sum_k a_k
cos(k phi + p_k), k = 3 ... 8, where phi and r are measured after the ellipse has been mapped to the unit circle.

All constants were fitted to 1663 neurons of six marked fields: 0, 2 and 4 (Allen Brain Observatory) and 10, 12 and 14
(neurofinder) of the markings published with STNeuroNet (Soltanian-Zadeh et al. 2019, 10.1073/pnas.1812995116). Neurons
at the border of a field were left out. Six other fields (1664 neurons) were held out; `benchmarks/tissue.py` compares
outlines drawn here with both.
"""

from typing import NamedTuple

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

Mask = NDArray[np.bool_]

_LOG_RADIUS_SPREAD = 0.128
"""Standard deviation of the logarithm of the radius within a field. Measured: 0.129 over the fitted fields (0.107 to
0.144 in each), 0.136 over the held-out ones; drawn: 0.130."""
_RADIUS_RANGE = (0.6, 1.5)
"""Smallest and largest radius relative to the median. Measured: 0.71 and 1.33 are the 1st and the 99th percentile."""
_AXIS_RATIO_BETA = (11.0, 2.75)
"""Parameters of the Beta distribution of minor / major axis. Measured on the fitted fields: mean 0.810, standard
deviation 0.098. The standard deviation here is 0.104, as the upper tail is cut by the limit of 1."""
_ORIENTATION_CONCENTRATION = 0.53
"""Concentration of the von Mises distribution of twice the orientation around the field's main direction. Measured:
mean resultant length 0.18 to 0.37 in the fitted fields, median 0.25, which is 0.53 for a von Mises distribution."""
_HARMONICS = (0.072, 0.050, 0.031, 0.022, 0.018, 0.014)
"""Root mean square amplitudes of the harmonics 3 to 8 of the radius. Measured on the fitted fields: 0.079, 0.055,
0.037, 0.030, 0.026, 0.022, of which pixels of radii of 5 to 8 px explain about 0.015."""
_LOG_ROUGHNESS_SPREAD = 0.55
"""Standard deviation of the logarithm of the factor of all harmonics of one outline, for the tail of solidity. Measured
on the fitted fields, 1st and 5th percentile: 0.786 and 0.840; drawn: 0.800 and 0.860, with 0.4: 0.829 and 0.866. The
root mean square of each harmonic exceeds its median by a factor of 1.3 to 1.4 (equal roughness would give 1.2)."""
_LARGEST_OVERLAP = 0.65
"""Overlap with another outline, as a fraction of the smaller one, that no outline exceeds. Measured: 0.1 % of marked
neurons share more than 0.6 of their area."""
_MANY_ATTEMPTS = 20_000
"""Number of rejected positions of one outline after which the frame counts as full."""


class OutlineStatistics(NamedTuple):
    """Shapes of N outlines.

    Attributes:
        area: (N,) in px.
        radius: (N,) radius of the circle of the same area in px.
        axis_ratio: (N,) minor / major axis of the ellipse of the same second moments.
        solidity: (N,) area / area of the convex hull of all pixels, corners included.
        orientation: (N,) direction of the major axis in rad, 0 along x, 0 to pi.
    """

    area: NDArray[np.float64]
    radius: NDArray[np.float64]
    axis_ratio: NDArray[np.float64]
    solidity: NDArray[np.float64]
    orientation: NDArray[np.float64]


def outline_statistics(masks: list[Mask] | Mask) -> OutlineStatistics:
    """Measures the shapes of masks; of a mask of several parts, the largest part.

    Args:
        masks: N masks (h, w), each with pixels in at least two rows and columns.

    Returns:
        One value per mask of each measure.
    """
    rows = []
    for mask in masks:
        labels, n_parts = ndi.label(mask, np.ones((3, 3)))
        part = labels == 1 + np.argmax(np.bincount(labels.ravel())[1:]) if n_parts > 1 else mask
        points = np.argwhere(part).astype(float)
        corners = np.concatenate([points + np.array([dy, dx]) for dy in (-0.5, 0.5) for dx in (-0.5, 0.5)])
        moments, axes = np.linalg.eigh(np.cov(points.T, bias=True) + np.eye(2) / 12)
        orientation = np.arctan2(axes[0, 1], axes[1, 1]) % np.pi
        hull = ConvexHull(corners).volume
        radius, ratio = np.sqrt(len(points) / np.pi), np.sqrt(moments[0] / moments[1])
        rows.append((len(points), radius, ratio, len(points) / hull, orientation))
    return OutlineStatistics(*np.array(rows, float).reshape(-1, 5).T)


def overlap_fractions(masks: Mask) -> NDArray[np.float64]:
    """Largest fraction of each mask that one other mask covers.

    Args:
        masks: (N, H, W).

    Returns:
        (N,) float64, 0 for a mask that overlaps no other.
    """
    flat = np.reshape(masks, (len(masks), -1)).astype(np.float32)
    common = flat @ flat.T
    areas = np.diag(common).copy()
    np.fill_diagonal(common, 0)
    return (common / np.maximum(areas, 1)[:, None]).max(axis=1).astype(float)


def _draw_outline(rng: np.random.Generator, radius: float, orientation: float, reach: int) -> Mask:
    """One outline in the middle of a window (2 reach + 1, 2 reach + 1), in one part."""
    ratio = rng.beta(*_AXIS_RATIO_BETA)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1] - rng.uniform(-0.5, 0.5, 2)[:, None, None]
    along = (np.cos(orientation) * x + np.sin(orientation) * y) * np.sqrt(ratio)
    across = (np.cos(orientation) * y - np.sin(orientation) * x) / np.sqrt(ratio)
    angle, edge = np.arctan2(across, along), np.ones_like(along)
    roughness = np.exp(rng.normal(-(_LOG_ROUGHNESS_SPREAD**2), _LOG_ROUGHNESS_SPREAD))
    for order, spread in enumerate(_HARMONICS, start=3):
        amplitude = roughness * rng.rayleigh(spread / np.sqrt(2))
        edge += amplitude * np.cos(order * angle + rng.uniform(0, 2 * np.pi))
    labels, _ = ndi.label(np.hypot(along, across) < radius * edge)
    return labels == labels[reach, reach] if labels[reach, reach] else np.hypot(along, across) < radius


def draw_outlines(rng: np.random.Generator, n: int, median_radius_px: float) -> list[Mask]:
    """Draws outlines of somata.

    Args:
        rng: Random generator.
        n: Number of outlines.
        median_radius_px: Median radius of the circles of the same area in px.

    Returns:
        n masks, each in the middle of a window of the same odd number of rows and columns.
    """
    reach = int(np.ceil(2.6 * median_radius_px)) + 1
    main_direction = rng.uniform(0, np.pi)
    outlines = []
    for _ in range(n):
        relative = np.clip(np.exp(rng.normal(0, _LOG_RADIUS_SPREAD)), *_RADIUS_RANGE)
        orientation = main_direction + rng.vonmises(0, _ORIENTATION_CONCENTRATION) / 2
        outlines.append(_draw_outline(rng, median_radius_px * relative, orientation, reach))
    return outlines


def _common_pixels(first: Mask, second: Mask, offset: NDArray) -> int:
    """Number of pixels that two windows of equal size share, the second one displaced by whole pixels (dy, dx)."""
    size, (dy, dx) = len(first), offset
    if max(abs(dy), abs(dx)) >= size:
        return 0
    one = first[max(dy, 0) : size + min(dy, 0), max(dx, 0) : size + min(dx, 0)]
    other = second[max(-dy, 0) : size + min(-dy, 0), max(-dx, 0) : size + min(-dx, 0)]
    return int((one & other).sum())


def _propose_place(
    rng: np.random.Generator, outline: Mask, placed: list[Mask], places: NDArray, candidates: NDArray, overlap: bool
) -> tuple[NDArray, NDArray] | None:
    """Place (y, x) of an outline that overlaps others or none, and which ones; None if many attempts fail."""
    areas = np.array([other.sum() for other in placed], int)
    for _ in range(_MANY_ATTEMPTS if len(candidates) else 0):
        place = candidates[rng.integers(len(candidates))]
        near = np.flatnonzero((np.abs(places - place) < len(outline)).all(axis=1))
        common = np.array([_common_pixels(outline, placed[j], places[j] - place) for j in near], int)
        fraction = (common / np.minimum(areas[near], outline.sum())).max(initial=0)
        if (fraction > 0) == overlap and rng.random() < 1 - fraction / _LARGEST_OVERLAP:
            return place, near[common > 0]
    return None


def place_outlines(
    rng: np.random.Generator, outlines: list[Mask], free: Mask, overlap_share: float
) -> NDArray[np.int64]:
    """Draws positions of outlines.

    Positions are uniform over the free pixels. While fewer than `overlap_share` of the outlines placed so far overlap
    another, the next one is put where it overlaps one or more others, else where it overlaps none. An overlap of the
    fraction f of the smaller outline is accepted with the probability 1 - f / 0.65, which gives a third of the
    overlapping outlines an overlap of more than a fifth of their area (measured: 8 to 36 %, median 30 %).

    Args:
        rng: Random generator.
        outlines: N masks in windows of equal odd size.
        free: (H, W), where centres may lie.
        overlap_share: Fraction of outlines that overlap another; less where the free pixels are so many or so
            few that no overlapping place is found.

    Returns:
        (N, 2) int64, (y, x) of the middles of the windows in px.

    Raises:
        RuntimeError: The frame has no room for that many outlines.
    """
    candidates, places = np.argwhere(free), np.zeros((len(outlines), 2), np.int64)
    overlapping = np.zeros(len(outlines), bool)
    for i, outline in enumerate(outlines):
        wanted = i > 0 and overlapping[:i].sum() + 1 < overlap_share * (i + 1)
        for overlap in (True, False) if wanted else (False,):
            proposal = _propose_place(rng, outline, outlines[:i], places[:i], candidates, overlap)
            if proposal is not None:
                break
        else:
            raise RuntimeError("No room for another neuron: simulate fewer of them, or a larger frame.")
        places[i], others = proposal
        overlapping[i], overlapping[others] = len(others) > 0, True
    return places


def masks_in_frame(outlines: list[Mask], places: NDArray, shape: tuple[int, int]) -> Mask:
    """Masks of placed outlines in the frame.

    Args:
        outlines: N masks in windows of equal odd size.
        places: (N, 2), (y, x) of the middles of the windows in px.
        shape: (H, W) of the frame; pixels outside are lost.

    Returns:
        (N, H, W) bool.
    """
    masks = np.zeros((len(outlines), *shape), bool)
    for mask, outline, place in zip(masks, outlines, places, strict=True):
        pixels = np.argwhere(outline) - len(outline) // 2 + place
        inside = ((pixels >= 0) & (pixels < shape)).all(axis=1)
        mask[tuple(pixels[inside].T)] = True
    return masks
