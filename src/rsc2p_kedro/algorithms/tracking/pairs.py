"""Probability that two footprints of different sessions are one neuron, modelled from the data themselves.

As in CellReg (Sheintuch et al. 2017, doi 10.1016/j.celrep.2017.10.013), pairs of neighbouring footprints are a mixture
of two kinds, the same neuron and different ones, with respect to the distance of their centroids and the correlation of
their shapes. What different neurons look like beside each other is seen in two ways: within one session, where all are
different and keep their distance, and in sessions that are displaced against each other by several neurons, where one
lies on another as it is by chance if a neuron has gone and another has come. The pairs of the same neuron are a normal
distribution of

    (ln(d / R + 0.1), arctanh(0.98 r))

of the distance d in radii R of a neuron, and the cosine similarity r, fitted together with the shares of the three
kinds by expectation maximization.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import scipy.ndimage as ndi
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.stats import multivariate_normal

from rsc2p_kedro.algorithms.evaluation.description import centres
from rsc2p_kedro.algorithms.tracking.alignment import unit_columns

REACH_RADII = 2.5
"""Largest distance of the centroids of a pair, in radii of a neuron. Farther pairs are never the same neuron."""
_GRID = (np.linspace(np.log(0.1), np.log(REACH_RADII + 0.1), 41), np.linspace(0.0, np.arctanh(0.98), 41))
"""Edges of the bins of the distribution of different neurons."""
_PRIOR_MEAN, _PRIOR_SPREAD, _PRIOR_PAIRS = np.array([-1.4, 1.5]), np.array([0.5, 0.4]), 5.0
"""What pairs of the same neuron look like before any was seen: centroids a sixth of a radius apart, cosine 0.92; counts
as so many pairs. Chosen, not tuned."""
_PRIOR_SHARES = np.array([0.3, 0.5, 0.2])
"""Shares of the same neuron, of neighbours that keep their distance, and of those that do not, before any was seen."""
_N_DISPLACEMENTS = 12
_WHOLE, _LEAST_SEEN = 0.97, 0.1
"""Share of a footprint from which it counts as seen whole, and share that both sessions must see at least."""
_OUTLIERS = 0.03
"""Share of the pairs of the same neuron with three times the spread."""
_N_ITERATIONS = 60


@dataclass(frozen=True, eq=False)
class Pairs:
    """Neighbouring footprints of different sessions, each pair once.

    Attributes:
        first: (M,), index of one footprint.
        second: (M,), index of the other, larger.
        distance: (M,), distance of their centroids in radii of a neuron.
        similarity: (M,), cosine similarity of their shapes.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    distance: NDArray[np.float64]
    similarity: NDArray[np.float64]

    @property
    def features(self) -> NDArray[np.float64]:
        """(M, 2), logarithm of the distance and transformed similarity."""
        return np.stack([np.log(self.distance + 0.1), np.arctanh(0.98 * np.clip(self.similarity, 0, 1))], axis=1)


@dataclass(frozen=True, eq=False)
class PairModel:
    """Distributions of the two kinds of pairs.

    Attributes:
        mean: (2,), of the features of pairs of the same neuron.
        covariance: (2, 2).
        different: (40, 40), density of pairs of different neurons over the bins of the features, both ways together.
        same_share: share of pairs of the same neuron.
    """

    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]
    different: NDArray[np.float64]
    same_share: float

    def probability(self, pairs: Pairs) -> NDArray[np.float64]:
        """Probability that each pair is one neuron.

        Args:
            pairs: M pairs.

        Returns:
            (M,), 0 to 1.
        """
        same = self.same_share * _same_density(pairs.features, self.mean, self.covariance)
        other = (1 - self.same_share) * _binned_density(pairs.features, self.different)
        probability = same / (same + other)
        # Nearer and more similar can never mean less probable; the tails of a normal distribution would say so.
        closer = (pairs.features[:, 0] <= self.mean[0]) & (pairs.features[:, 1] >= self.mean[1])
        at_mean = self.same_share * _same_density(self.mean[None], self.mean, self.covariance)
        floor = at_mean / (at_mean + (1 - self.same_share) * _binned_density(self.mean[None], self.different))
        return np.where(closer, np.maximum(probability, floor[0]), probability)


def find_pairs(
    footprints: sp.csc_array,
    session_of: NDArray[np.int64],
    shape: tuple[int, int],
    radius_px: float,
    seen: NDArray[np.bool_] | None = None,
) -> Pairs:
    """Finds neighbouring footprints of different sessions.

    Args:
        footprints: CSC (pixels of the canvas, N), of all sessions.
        session_of: (N,), session of each.
        shape: of the canvas.
        radius_px: radius R of a neuron.
        seen: (S, pixels) bool, what each session sees of the canvas. Neurons that the border of one field of view cuts
            are compared within what both sessions see. None compares whole footprints.

    Returns:
        Pairs that overlap and whose centroids are near.
    """
    unit = unit_columns(footprints)
    places = centres(unit, shape)
    overlap = sp.coo_array(sp.triu(unit.T @ unit, k=1))
    i, j, r = overlap.row.astype(np.int64), overlap.col.astype(np.int64), overlap.data.astype(float)
    distance = np.linalg.norm(places[i] - places[j], axis=1) / radius_px
    if seen is not None:
        _compare_what_both_see(unit, session_of, shape, seen, (i, j, distance, r), radius_px)
    keep = (session_of[i] != session_of[j]) & (distance < REACH_RADII) & (r > 0)
    i, j, r, distance = i[keep], j[keep], r[keep], distance[keep]
    order = np.lexsort((j, i))
    return Pairs(i[order], j[order], distance[order], r[order])


def _compare_what_both_see(
    unit: sp.csc_array,
    session_of: NDArray[np.int64],
    shape: tuple[int, int],
    seen: NDArray[np.bool_],
    pairs: tuple[NDArray, NDArray, NDArray, NDArray],
    radius_px: float,
) -> None:
    """Corrects distance and similarity, in place, of pairs of which one reaches beyond what the other session sees."""
    i, j, distance, r = pairs
    total = np.asarray(unit.sum(axis=0)).ravel()
    share = (seen.astype(np.float32) @ unit) / np.maximum(total, 1e-12)
    cut = (share[session_of[j], i] < _WHOLE) | (share[session_of[i], j] < _WHOLE)
    for k in np.flatnonzero(cut & (session_of[i] != session_of[j])):
        both = seen[session_of[i[k]]] & seen[session_of[j[k]]]
        places, weights, norms = [], [], []
        for column in (i[k], j[k]):
            part = slice(unit.indptr[column], unit.indptr[column + 1])
            inside = both[unit.indices[part]]
            values = unit.data[part][inside].astype(float)
            y, x = np.divmod(unit.indices[part][inside], shape[1])
            weights.append(values.sum())
            norms.append(np.sqrt(np.sum(values**2)))
            places.append(np.array([values @ y, values @ x]) / max(values.sum(), 1e-12))
        if min(weights[0] / total[i[k]], weights[1] / total[j[k]]) < _LEAST_SEEN:
            r[k] = 0
            continue
        r[k] = min(r[k] / (norms[0] * norms[1]), 1.0)
        distance[k] = np.linalg.norm(places[0] - places[1]) / radius_px


def displaced_pairs(
    footprints: sp.csc_array, session_of: NDArray[np.int64], shape: tuple[int, int], radius_px: float
) -> list[Pairs]:
    """Finds neighbouring footprints where each session is displaced against the one before it.

    Args:
        footprints: as :func:`find_pairs`.
        session_of: likewise.
        shape: likewise.
        radius_px: likewise.

    Returns:
        The pairs of each two consecutive sessions, for each of several displacements; indices are those of the two.
    """
    sessions = np.unique(session_of)
    own = [footprints[:, np.flatnonzero(session_of == session)] for session in sessions]
    found = []
    for k in range(_N_DISPLACEMENTS if len(sessions) > 1 else 0):
        angle, length = 2 * np.pi * k / _N_DISPLACEMENTS, radius_px * (5 + 2 * (k % 3))
        by = (round(length * np.sin(angle)), round(length * np.cos(angle)))
        parts = [displace(part, shape, by) if number % 2 else part for number, part in enumerate(own)]
        for earlier, later in pairwise(parts):
            both = sp.csc_array(sp.hstack([earlier, later], format="csc"))
            owners = np.repeat([0, 1], [earlier.shape[1], later.shape[1]])
            found.append(find_pairs(both, owners, shape, radius_px))
    return found


def pairs_within(
    footprints: sp.csc_array, session_of: NDArray[np.int64], shape: tuple[int, int], radius_px: float
) -> list[Pairs]:
    """Finds neighbouring footprints of the same session, which are different neurons.

    Args:
        footprints: as :func:`find_pairs`.
        session_of: likewise.
        shape: likewise.
        radius_px: likewise.

    Returns:
        The pairs of each session.
    """
    found = []
    for session in np.unique(session_of):
        own = footprints[:, np.flatnonzero(session_of == session)]
        found.append(find_pairs(own, np.arange(own.shape[1]), shape, radius_px))
    return found


def displace(footprints: sp.csc_array, shape: tuple[int, int], by: tuple[int, int]) -> sp.csc_array:
    """Displaces footprints by whole pixels; what leaves the canvas is cut off.

    Args:
        footprints: CSC (pixels, N).
        shape: of the canvas.
        by: (dy, dx) in px.

    Returns:
        CSC (pixels, N).
    """
    entries = sp.coo_array(footprints)
    y, x = np.divmod(entries.row, shape[1])
    y, x = y + by[0], x + by[1]
    keep = (y >= 0) & (y < shape[0]) & (x >= 0) & (x < shape[1])
    return sp.csc_array((entries.data[keep], ((y * shape[1] + x)[keep], entries.col[keep])), shape=footprints.shape)


def fit_model(pairs: Pairs, within: Sequence[Pairs], displaced: Sequence[Pairs]) -> PairModel:
    """Fits the mixture of pairs of the same neuron and of different ones.

    Args:
        pairs: of the aligned sessions.
        within: of single sessions.
        displaced: of sessions that were displaced against each other.

    Returns:
        The model.
    """
    apart, chance = (_different_density([d.features for d in kind if len(d.first)]) for kind in (within, displaced))
    features = pairs.features
    mean, covariance, shares = _PRIOR_MEAN.copy(), np.diag(_PRIOR_SPREAD**2), np.array([0.3, 0.5, 0.2])
    others = [_binned_density(features, density) for density in (apart, chance)]
    for _ in range(_N_ITERATIONS):
        densities = np.stack([_same_density(features, mean, covariance), *others]) * shares[:, None]
        weights = densities / densities.sum(axis=0)
        n = weights[0].sum() + _PRIOR_PAIRS
        mean = (weights[0] @ features + _PRIOR_PAIRS * _PRIOR_MEAN) / n
        deviation = features - mean
        scatter = (weights[0][:, None] * deviation).T @ deviation + _PRIOR_PAIRS * np.diag(_PRIOR_SPREAD**2)
        covariance = scatter / n + np.diag([0.02, 0.005])
        counts = weights.sum(axis=1) + _PRIOR_SHARES * _PRIOR_PAIRS
        shares = counts / counts.sum()
    different = (shares[1] * apart + shares[2] * chance) / (shares[1] + shares[2])
    return PairModel(mean, covariance, different, float(shares[0]))


def _same_density(features: NDArray, mean: NDArray, covariance: NDArray) -> NDArray[np.float64]:
    """Density of pairs of the same neuron."""
    narrow = multivariate_normal(mean, covariance).pdf(features)
    wide = multivariate_normal(mean, 9 * covariance).pdf(features)
    return np.atleast_1d((1 - _OUTLIERS) * narrow + _OUTLIERS * wide)


def _different_density(features: Sequence[NDArray]) -> NDArray[np.float64]:
    """Smoothed histogram of pairs of different neurons, as a density; even where there are none."""
    edges = _GRID
    counts = np.zeros((40, 40))
    for values in features:
        clipped = [np.clip(values[:, k], edges[k][0], edges[k][-1]) for k in range(2)]
        counts += np.histogram2d(clipped[0], clipped[1], bins=[edges[0], edges[1]])[0]
    total = counts.sum()
    smooth = ndi.gaussian_filter(counts, 1.5, mode="nearest")
    area = (edges[0][1] - edges[0][0]) * (edges[1][1] - edges[1][0])
    even = 1 / (1600 * area)
    weight = total / (total + 20)  # few pairs say little
    density = smooth / (smooth.sum() * area) if total > 0 else np.full_like(smooth, even)
    return weight * 0.99 * density + (1 - weight * 0.99) * even


def _binned_density(features: NDArray, density: NDArray) -> NDArray[np.float64]:
    """Density at given features, interpolated between the middles of the bins."""
    places = [(features[:, k] - _GRID[k][0]) / (_GRID[k][1] - _GRID[k][0]) - 0.5 for k in range(2)]
    return ndi.map_coordinates(density, places, order=1, mode="nearest")
