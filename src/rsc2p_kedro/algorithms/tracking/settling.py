"""Correction of placements by the matched neurons themselves: the centroids of one neuron should coincide.

The displacement of each matched component from the mean of the other components of its neuron is noise of its outline
plus what the alignment has missed. A smooth field with the nodes of the placement is fitted to the displacements,

    sum over components of w |d - u|^2 / (2 sigma^2) + bending(u) / (2 tau^2)

with weights w that fall off for displacements that do not fit in with those around them.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from rsc2p_kedro.algorithms.registration.field import spline_basis
from rsc2p_kedro.algorithms.tracking.placement import Placement
from rsc2p_kedro.algorithms.tracking.refinement import bending

_CENTROID_NOISE_PX = 0.7
"""Standard deviation of the distance of two centroids of one neuron along each axis, by different outlines. Chosen."""
_BENDING_PX = 0.5
"""Typical second difference of what the alignment has missed. Chosen, not tuned."""
_N_REWEIGHTINGS = 4


def displacements(
    centroids: NDArray[np.float64], labels: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Displacement of each component from the other components of its neuron.

    Args:
        centroids: (N, 2) in px.
        labels: (N,), neuron of each component.

    Returns:
        (N, 2), from the component to the mean of the others, and whether there are any.
    """
    sizes = np.bincount(labels)[labels]
    sums = np.stack([np.bincount(labels, weights=axis) for axis in centroids.T], axis=1)[labels]
    others = np.maximum(sizes - 1, 1)[:, None]
    return (sums - centroids) / others - centroids, sizes > 1


def settle(placement: Placement, centroids: NDArray[np.float64], displacement: NDArray[np.float64]) -> Placement:
    """Corrects a placement.

    Args:
        placement: of the session.
        centroids: (n, 2), of its matched components in px of the reference.
        displacement: (n, 2), to the other components of their neurons.

    Returns:
        The corrected placement.
    """
    nodes = (placement.nodes_y, placement.nodes_x)
    if len(centroids) < 3 or min(map(len, nodes)) < 2:
        return placement
    by, bx = (
        spline_basis(size, axis)[:, np.clip(np.rint(c), 0, size - 1).astype(int)]
        for size, axis, c in zip(placement.shape, nodes, centroids.T, strict=True)
    )
    design = (by[:, None] * bx[None]).reshape(-1, len(centroids)).T
    penalty = bending(len(nodes[0]), len(nodes[1])) / _BENDING_PX**2
    penalty += np.eye(len(penalty)) * 1e-3
    weights = np.ones(len(centroids))
    for _ in range(_N_REWEIGHTINGS):
        precision = weights / _CENTROID_NOISE_PX**2
        normal = (design * precision[:, None]).T @ design + penalty
        field = np.linalg.solve(normal, (design * precision[:, None]).T @ displacement)
        rest = np.linalg.norm(displacement - design @ field, axis=1) / (2 * _CENTROID_NOISE_PX)
        weights = 1 / (1 + rest**2) ** 2
    moved = -(placement.matrix @ field.T).reshape(2, len(nodes[0]), len(nodes[1]))
    return replace(placement, field=placement.field + moved)
