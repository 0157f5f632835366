"""Tracking of neurons over the sessions of one animal and plane, from their footprints and images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from rsc2p_kedro.algorithms.blocks import one_blas_thread
from rsc2p_kedro.algorithms.evaluation.description import centres
from rsc2p_kedro.algorithms.tracking.alignment import AlignedSessions, align, neuron_radius
from rsc2p_kedro.algorithms.tracking.clustering import cluster, log_odds_matrix
from rsc2p_kedro.algorithms.tracking.identities import decided_pairs, name_neurons
from rsc2p_kedro.algorithms.tracking.images import local_contrast
from rsc2p_kedro.algorithms.tracking.pairs import Pairs, displaced_pairs, find_pairs, fit_model, pairs_within
from rsc2p_kedro.algorithms.tracking.placement import Placement, within
from rsc2p_kedro.algorithms.tracking.sampling import sample, sampling_matrix
from rsc2p_kedro.algorithms.tracking.settling import displacements, settle
from rsc2p_kedro.core.tracking import FieldOfView, Tracking

_LARGEST_MARGIN = 0.5
"""Largest margin of the canvas on each side, as a part of the frame of the reference."""
_N_SETTLINGS = 2
"""Corrections of the alignment by the matched neurons."""
_SURE, _RIVAL = 0.8, 0.3
"""Members below the one probability, or with a rival above the other, are doubtful. Chosen, not tuned."""


def track_neurons(fields: Sequence[FieldOfView]) -> Tracking:
    """Finds the same neurons in the sessions of one animal and plane.

    Args:
        fields: the sessions, in their order; each with its accepted components. Their order decides on ids, and adding
            a session at the end leaves known ids as they are.

    Returns:
        The alignment of all sessions, and the neuron of each component of those that show the same place.

    Raises:
        ValueError: there is no session, names repeat, or decisions of the user cannot be followed.
    """
    names = [field.session for field in fields]
    if not fields or len(set(names)) != len(names):
        raise ValueError(f"Tracking needs sessions with different names, got {names}.")
    with one_blas_thread():
        aligned = align(list(fields))
        return _match(list(fields), aligned)


@dataclass(frozen=True, eq=False)
class _Matched:
    """Components of all aligned sessions on the canvas, their pairs, and the neuron of each."""

    footprints: sp.csc_array
    pairs: Pairs
    probability: NDArray[np.float64]
    labels: NDArray[np.int64]


def _match(fields: list[FieldOfView], aligned: AlignedSessions) -> Tracking:
    """Matches the components of aligned sessions, and corrects the alignment by the matched neurons."""
    members = sorted(aligned.members)
    first = aligned.members[0]
    placements = {m: aligned.placements[aligned.members.index(m)] for m in members}
    margin = _margin([placements[m].corners(fields[m].shape) for m in members], fields[first].shape)
    shape = (fields[first].shape[0] + sum(margin[:2]), fields[first].shape[1] + sum(margin[2:]))
    session_of = np.repeat(np.arange(len(members)), [fields[m].n_components for m in members])
    names = [fields[members[s]].session for s in session_of]
    component_id = np.concatenate([fields[m].ids for m in members])
    decided = decided_pairs(_union([f.decisions for f in fields]), names, component_id)
    radius = neuron_radius([fields[first]])
    for settled in range(_N_SETTLINGS + 1):
        views = [_View.of(fields[m], placements[m], margin) for m in members]
        matched = _match_footprints(views, session_of, shape, radius, decided)
        if settled < _N_SETTLINGS:
            own = centres(matched.footprints, shape) - [margin[0], margin[2]]
            shift, found = displacements(own, matched.labels)
            for s, m in enumerate(members):
                use = found & (session_of == s)
                if m != first:
                    placements[m] = settle(placements[m], own[use], shift[use])
    quality = _quality(matched.labels, session_of, matched.pairs, matched.probability, decided)
    return Tracking(
        alignments=tuple(aligned.reports),
        shape=shape,
        origin=(-margin[0], -margin[2]),
        radius_px=radius,
        session=np.array(names, dtype=np.str_),
        component_id=component_id,
        neuron_id=name_neurons(matched.labels, names, component_id, _known([f.known for f in fields])),
        probability=quality.probability,
        rival=quality.rival,
        doubtful=(quality.probability < _SURE) | (quality.rival > _RIVAL),
        footprints=matched.footprints,
        images={fields[m].session: _image(fields[m], placements[m].places(margin=margin)) for m in members},
        pair_distance=matched.pairs.distance,
        pair_similarity=matched.pairs.similarity,
        pair_probability=matched.probability,
        false_positive_share=quality.false_positive_share,
        false_negative_share=quality.false_negative_share,
    )


def _match_footprints(
    views: Sequence["_View"],
    session_of: NDArray[np.int64],
    shape: tuple[int, int],
    radius_px: float,
    decided: Sequence[tuple[int, int, bool]],
) -> _Matched:
    """Groups aligned footprints of all sessions into neurons."""
    footprints = sp.csc_array(sp.hstack([view.footprints for view in views], format="csc"))
    seen = np.stack([view.seen.ravel() for view in views])
    pairs = find_pairs(footprints, session_of, shape, radius_px, seen)
    within, displaced = (find(footprints, session_of, shape, radius_px) for find in (pairs_within, displaced_pairs))
    probability = fit_model(pairs, within, displaced).probability(pairs)
    odds = log_odds_matrix(len(session_of), pairs.first, pairs.second, probability, decided)
    return _Matched(footprints, pairs, probability, cluster(odds, session_of))


def _margin(corners: Sequence[NDArray], shape: tuple[int, int]) -> tuple[int, int, int, int]:
    """Rows above and below, columns left and right of the reference that other sessions reach to."""
    low, high = np.min([c.min(axis=0) for c in corners], axis=0), np.max([c.max(axis=0) for c in corners], axis=0)
    largest = [int(_LARGEST_MARGIN * size) for size in shape]
    before = [int(np.clip(np.ceil(-low[k]), 0, largest[k])) for k in range(2)]
    after = [int(np.clip(np.ceil(high[k] - shape[k] + 1), 0, largest[k])) for k in range(2)]
    return before[0], after[0], before[1], after[1]


@dataclass(frozen=True, eq=False)
class _View:
    """What one session shows on the canvas: aligned footprints (pixels, n), and which pixels it sees."""

    footprints: sp.csc_array
    seen: NDArray[np.bool_]

    @classmethod
    def of(cls, field: FieldOfView, placement: Placement, margin: tuple[int, int, int, int]) -> "_View":
        """Aligns a session; the faint rim that interpolation adds to footprints is cut off."""
        places = placement.places(margin=margin)
        moved = sp.coo_array(sampling_matrix(places, field.shape) @ field.footprints)
        peaks = np.zeros(moved.shape[1])
        np.maximum.at(peaks, moved.col, moved.data)
        keep = moved.data > 0.1 * peaks[moved.col]
        kept = (moved.data[keep], (moved.row[keep], moved.col[keep]))
        return cls(sp.csc_array(kept, shape=moved.shape, dtype=np.float32), within(places, field.shape))


def _image(field: FieldOfView, places: NDArray) -> NDArray[np.float32]:
    """Aligned mean image as local contrast; NaN outside of the field of view."""
    contrast = local_contrast(field.mean, 2.5 * neuron_radius([field]))
    moved = sample(contrast, places)
    return np.where(within(places, field.shape), moved, np.float32(np.nan)).astype(np.float32)


def _union(tables: Sequence[Mapping[str, Sequence]]) -> dict[str, list]:
    """Rows of all tables; equal rows once."""
    names = list(dict.fromkeys(name for table in tables for name in table))
    rows = dict.fromkeys(row for table in tables if table for row in zip(*(table[name] for name in names), strict=True))
    return {name: [row[k] for row in rows] for k, name in enumerate(names)}


def _known(tables: Sequence[Mapping[str, Sequence]]) -> dict[tuple[str, int], str]:
    """Id of the neuron by session and component, of earlier tables."""
    known = _union([{n: table[n] for n in ("session", "component_id", "neuron_id")} for table in tables if table])
    keys = zip(known.get("session", ()), known.get("component_id", ()), strict=True)
    return {(str(s), int(c)): str(name) for (s, c), name in zip(keys, known.get("neuron_id", ()), strict=True)}


@dataclass(frozen=True, eq=False)
class _Quality:
    """How sure the groups are; see :class:`~rsc2p_kedro.core.tracking.Tracking`."""

    probability: NDArray[np.float64]
    rival: NDArray[np.float64]
    false_positive_share: float
    false_negative_share: float


def _quality(
    labels: NDArray[np.int64],
    session_of: NDArray[np.int64],
    pairs: Pairs,
    probability: NDArray[np.float64],
    decided: Sequence[tuple[int, int, bool]],
) -> _Quality:
    """How sure the groups are, from the probabilities of all pairs; what the user has decided is sure."""
    n, k = len(labels), int(labels.max(initial=-1)) + 1
    entries = dict(zip(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True), probability, strict=True))
    entries |= {(min(i, j), max(i, j)): float(same) for i, j, same in decided}
    index = np.array(list(entries), dtype=np.int64).reshape(-1, 2)
    values = np.array(list(entries.values()), dtype=float)
    upper = sp.coo_array((values, (index[:, 0], index[:, 1])), shape=(n, n))
    members = sp.csr_array((np.ones(n), (np.arange(n), labels)), shape=(n, k))
    sizes = np.bincount(labels, minlength=k)
    sums = sp.coo_array(sp.csr_array(upper + upper.T) @ members)
    own = sums.col == labels[sums.row]
    together = np.zeros(n)
    together[sums.row[own]] = sums.data[own]
    others = sizes[labels] - 1
    rival = np.zeros(n)
    np.maximum.at(rival, sums.row[~own], sums.data[~own] / sizes[sums.col[~own]])
    mean = np.where(others > 0, together / np.maximum(others, 1), 1 - rival)
    within_pairs = sizes @ (sizes - 1) / 2
    same = labels[index[:, 0]] == labels[index[:, 1]]
    expected = float(values[same].sum())
    missed = float(values[~same].sum())
    return _Quality(
        probability=np.clip(mean, 0, 1),
        rival=np.clip(rival, 0, 1),
        false_positive_share=float(1 - expected / within_pairs) if within_pairs else 0.0,
        false_negative_share=missed / (missed + expected) if missed + expected else 0.0,
    )
