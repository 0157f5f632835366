"""Shapes and duplicates among components: measures of an extraction that need no ground truth.

For comparison, of 5900 neurons that people marked in 21 fields (Allen Brain Observatory and neurofinder) 0.4 % are
ragged and 0.1 % nested as defined here, and 99 % have a minor half-axis above half of the median of their field.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

from rsc2p_kedro.algorithms.extraction.footprints import footprint_masks, half_axes
from rsc2p_kedro.core.results import Components

RAGGED_SOLIDITY = 0.7
"""Solidity below which a mask is ragged. Of 5900 marked neurons 0.4 % are below; their median is 0.92."""
THIN_MINOR_AXIS = 0.58
"""Minor half-axis in neuron half-widths below which a component is thin. Of the marked neurons 98 % are within 0.55 and
1.45 times the median of their field."""
THIN_OF_MEDIAN = 0.5
"""The same relative to the median of the accepted components, where the half-width of a neuron is unknown."""
NESTED_SHARE = 0.6
"""Share of the smaller of two masks that lies within the larger above which it is nested. Of the marked neurons 0.1 %
are."""
DUPLICATE_IOU = 0.5
"""IoU of two masks from which one is a duplicate. A convention."""
DUPLICATE_CORRELATION, DUPLICATE_OVERLAP = 0.8, 0.2
"""Correlation of the traces from which two components that share more than this part of the smaller mask are
duplicates. Chosen, not tuned; 9 to 18 % of the marked neurons of dense fields share more than a fifth of their area
with another, so that overlap alone is no reason."""
SATURATED_SHARE = 0.1
"""Share of a mask's pixels above the level of saturation from which a component counts as saturated. Chosen, not
tuned."""


@dataclass(frozen=True, eq=False)
class ShapeMeasures:
    """Shapes and duplicates among n components; masks are the pixels above a fifth of a footprint's maximum.

    Attributes:
        solidity: (n,) float64, area of the mask over that of its convex hull, 0 to 1; 0 for an empty footprint.
        minor_half_axis_px: (n,) float64, of the ellipse that has the second moments of the footprint's energy.
        ragged: (n,) bool, solidity below 0.7.
        thin: (n,) bool, minor half-axis below 0.58 half-widths of a neuron, or below half the median if that is
            unknown.
        nested: (n,) bool, more than 60 % of the mask lies within a larger one.
        duplicate: (n,) bool, another component, not smaller, has an IoU of at least 0.5 with it, or shares more than a
            fifth of its mask and has a trace that correlates with 0.8 or more.
    """

    solidity: NDArray[np.float64]
    minor_half_axis_px: NDArray[np.float64]
    ragged: NDArray[np.bool_]
    thin: NDArray[np.bool_]
    nested: NDArray[np.bool_]
    duplicate: NDArray[np.bool_]


def solidities(mask_columns: sp.csc_array, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Area of masks over the area of their convex hulls, which enclose the corners of their pixels.

    Args:
        mask_columns: CSC (H*W, n), from :func:`.footprint_masks`.
        shape: (H, W).

    Returns:
        (n,), 0 to 1; 1 for a convex mask, 0 for an empty one. All parts of a mask count.
    """
    corners = np.array([(dy, dx) for dy in (-0.5, 0.5) for dx in (-0.5, 0.5)])
    values = np.zeros(mask_columns.shape[1])
    for j in range(mask_columns.shape[1]):
        pixels = mask_columns.indices[mask_columns.indptr[j] : mask_columns.indptr[j + 1]]
        if len(pixels):
            points = np.stack(np.divmod(pixels, shape[1]), axis=1)
            values[j] = len(pixels) / ConvexHull((points[:, None] + corners).reshape(-1, 2)).volume
    return values


def _correlations(traces: NDArray) -> NDArray[np.float64]:
    """Pearson correlations (n, n) of traces (n, T); 0 for a constant trace."""
    centred = traces.astype(np.float64) - traces.mean(axis=1, keepdims=True, dtype=np.float64)
    norms = np.sqrt((centred**2).sum(axis=1, keepdims=True))
    centred /= np.where(norms > 0, norms, 1)
    return centred @ centred.T


def _same_neuron(mask_columns: sp.csc_array, traces: NDArray) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which pairs (n, n) of masks are nested, and which are duplicates, for traces (n, T)."""
    common = (mask_columns.T @ mask_columns).toarray().astype(np.float64)
    areas = common.diagonal()
    of_smaller = common / np.maximum(np.minimum(areas[:, None], areas[None]), 1)
    iou = common / np.maximum(areas[:, None] + areas[None] - common, 1)
    alike = (of_smaller > DUPLICATE_OVERLAP) & (_correlations(traces) >= DUPLICATE_CORRELATION)
    return of_smaller > NESTED_SHARE, (iou >= DUPLICATE_IOU) | alike


def find_repeats(components: Components, accepted: NDArray[np.bool_], rank: NDArray) -> dict[int, int]:
    """Finds accepted components that lie on the same neuron as a better one.

    Args:
        components: N components.
        accepted: (N,) bool.
        rank: (N,), the higher the better.

    Returns:
        For each repeated component the better one that it is nested with or a duplicate of, as indices.
    """
    candidates = np.flatnonzero(accepted)
    chosen = components.select(candidates)
    nested, duplicate = _same_neuron(footprint_masks(chosen.footprints), chosen.traces)
    same = nested | duplicate
    kept: list[int] = []
    repeats: dict[int, int] = {}
    for i in np.lexsort((np.arange(len(candidates)), -np.asarray(rank)[candidates])):
        better = [k for k in kept if same[i, k]]
        if better:
            repeats[int(candidates[i])] = int(candidates[better[0]])
        else:
            kept.append(int(i))
    return repeats


def measure_shapes(components: Components, accepted: NDArray[np.bool_]) -> ShapeMeasures:
    """Measures shapes and duplicates among accepted components.

    Args:
        components: N components.
        accepted: (N,) bool.

    Returns:
        Measures of the n accepted ones, in their order.
    """
    chosen = components.select(np.flatnonzero(accepted))
    columns = footprint_masks(chosen.footprints)
    areas = np.diff(columns.indptr).astype(np.float64)
    solidity = solidities(columns, components.shape)
    minor = half_axes(chosen.footprints, components.shape)[0]
    if components.neuron_half_width_px is not None:
        least = THIN_MINOR_AXIS * components.neuron_half_width_px
    else:
        least = THIN_OF_MEDIAN * float(np.median(minor)) if len(minor) else 0.0
    nested, duplicate = _same_neuron(columns, chosen.traces)
    order = np.lexsort((np.arange(len(areas)), -areas))  # largest first; of equal ones, the first
    rank = np.argsort(order)
    not_smaller = rank[None] < rank[:, None]
    return ShapeMeasures(
        solidity=solidity,
        minor_half_axis_px=minor,
        ragged=solidity < RAGGED_SOLIDITY,
        thin=minor < least,
        nested=np.any(not_smaller & nested, axis=1),
        duplicate=np.any(not_smaller & duplicate, axis=1),
    )


def saturated_components(
    components: Components, accepted: NDArray[np.bool_], mean: NDArray, level: float | None
) -> NDArray[np.bool_]:
    """Finds accepted components with pixels at levels at which the detector saturates.

    A pixel reaches the level if its mean and the component's largest transient do, without noise, which reaches it
    more easily.

    Args:
        components: N components.
        accepted: (N,) bool.
        mean: (H, W), mean over time in counts.
        level: count from which the detector saturates; None if it does not.

    Returns:
        (n,) bool for the n accepted ones: whether a tenth of the mask or more reaches the level.
    """
    chosen = components.select(np.flatnonzero(accepted))
    columns, saturated = footprint_masks(chosen.footprints), np.zeros(chosen.n_components, bool)
    if level is None:
        return saturated
    rises = chosen.traces.max(axis=1, initial=0) - chosen.traces.mean(axis=1)
    for j, rise in enumerate(rises):
        pixels = columns.indices[columns.indptr[j] : columns.indptr[j + 1]]
        peak = mean.ravel()[pixels] + chosen.footprints[:, [j]].toarray().ravel()[pixels] * rise
        saturated[j] = (peak >= level).sum() >= max(SATURATED_SHARE * len(pixels), 1)
    return saturated
