"""What each ROI of a simulated tissue lies on, and how many of the findable somata were found."""

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from rsc2p_kedro.algorithms.extraction.footprints import footprint_masks
from rsc2p_kedro.simulation.objects import ObjectTruth
from rsc2p_kedro.simulation.truth import (
    SimulatedTruth,
    TruthScore,
    align_footprints,
    intersection_over_union,
    match_footprints,
)

ROI_KINDS = ("soma", "piece", "process", "spot", "out_of_focus", "nothing")
"""What an ROI can lie on: the kinds of objects, a part of a soma, or nothing that is simulated."""
NON_CELLS = ("piece", "process", "spot", "nothing")
"""Kinds of ROIs that nobody would mark as neurons."""
_MIN_PART = 0.5
"""Part of a soma that an ROI on it has to cover; less is a piece. A convention, not tuned."""
_MIN_SIMILARITY = 0.3
"""Lowest cosine similarity of an ROI with the object that it lies on. Chosen, not tuned: an ROI of a single pixel in
the middle of a spot of 1 px standard deviation has 0.56."""
_MIN_OFFSET_PX = 3
"""Largest offset in px that is removed even if the motion was smaller; as in other scores; chosen, not tuned."""
_MIN_OBJECT_SNR = 2.0
"""Matched-filter SNR below which an object other than a soma has no transient that an ROI could come from. Chosen, not
tuned."""


def _cosine_similarity(first: sp.csc_array, second: sp.csc_array) -> NDArray[np.float64]:
    """Cosine similarity (N, M) of all pairs of footprints (pixels, N) and (pixels, M)."""
    norms = [np.sqrt(sp.csc_array(a).power(2).sum(axis=0)).ravel() for a in (first, second)]
    return (first.T @ second).toarray() / np.maximum(norms[0][:, None] * norms[1][None], 1e-12)


def kinds_of(footprints: sp.csc_array, objects: ObjectTruth) -> NDArray[np.str_]:
    """Names what each ROI lies on mostly.

    An ROI lies on the soma that covers more than half of the ROI's mask (pixels above a fifth of the maximum); without
    one, on the object whose footprint is most similar to its own by cosine, if that is at least 0.3. On a soma it is a
    `piece` if it covers less than half of that soma's mask and their IoU is below 0.5. Objects other than somata whose
    largest transient has an SNR below 2 are left out.

    Args:
        footprints: CSC (H*W, n), ROIs on the pixels of the ground truth; align them first
            (:func:`~rsc2p_kedro.simulation.truth.align_footprints`).
        objects: Objects of the recording.

    Returns:
        (n,) str: `soma`, `piece`, `process`, `spot`, `out_of_focus` or `nothing`.
    """
    n, footprints = objects.n_somata, sp.csc_array(footprints)
    kept = np.concatenate([np.arange(n), n + np.flatnonzero(objects.snr[n:] >= _MIN_OBJECT_SNR)])
    similarity = _cosine_similarity(footprints, objects.footprints[:, kept])
    masks, somata = footprint_masks(footprints), footprint_masks(objects.footprints[:, :n])
    common = (masks.T @ somata).toarray()
    in_soma = common / np.maximum(masks.sum(axis=0).ravel(), 1)[:, None]
    of_soma = common / np.maximum(somata.sum(axis=0).ravel(), 1)[None]
    kinds = np.full(footprints.shape[1], "nothing", dtype="U12")
    for i in range(footprints.shape[1] if len(kept) else 0):
        best = int(similarity[i].argmax())
        if n and in_soma[i].max() >= _MIN_PART:
            best = int(in_soma[i].argmax())
        elif similarity[i, best] < _MIN_SIMILARITY:
            continue
        kinds[i] = "piece" if best < n and of_soma[i, best] < _MIN_PART else objects.kinds[kept[best]]
    kinds[(intersection_over_union(footprints, objects.footprints[:, :n]) >= 0.5).any(axis=1)] = "soma"
    return kinds


def score_objects(
    truth: SimulatedTruth, objects: ObjectTruth, footprints: sp.csc_array, *, align: bool = True
) -> list[TruthScore]:
    """Measures how many findable somata were found, and what else was taken for neurons.

    An ROI matches a soma in the plane if their IoU is at least 0.5; pairs are assigned by the Hungarian method.
    Somata count for recall if their largest transient has a matched-filter SNR of 8 or more; a match with another soma
    counts as correct for precision. ROIs on somata out of focus count neither way.

    Args:
        truth: Ground truth of the recording.
        objects: Its objects.
        footprints: CSC (H*W, n), the accepted ROIs.
        align: Whether to remove a whole-pixel offset of all ROIs first, of up to the largest rigid motion or 3 px: the
            position of a template within the range of the motion is arbitrary.

    Returns:
        Numbers of findable somata and of ROIs; F1, precision and recall; duplicates (ROIs on a soma that match none,
        most often because another one does), ROIs of each kind and non-cells, as shares of all ROIs.
    """
    if align:
        largest = int(np.ceil(np.abs(truth.rigid_motion).max(initial=0)))
        footprints = align_footprints(truth, footprints, max_offset_px=max(_MIN_OFFSET_PX, largest))
    footprints = sp.csc_array(footprints)
    n, kinds, findable = footprints.shape[1], kinds_of(footprints, objects), objects.findable
    somata = sp.csc_array(objects.footprints[:, : objects.n_somata])
    rows, columns = match_footprints(intersection_over_union(somata, footprints))
    matched = np.isin(np.arange(n), columns)
    counted = matched | (kinds != "out_of_focus")
    recall = np.isin(findable, rows).sum() / max(len(findable), 1)
    precision = matched.sum() / max(counted.sum(), 1)
    f1 = 2 * precision * recall / max(precision + recall, 1e-12)
    values = [
        ("n_findable", len(findable), "Somata whose largest transient has a matched-filter SNR of 8 or more."),
        ("n_rois", n, "ROIs."),
        ("f1_findable", f1, "Harmonic mean of precision and recall."),
        ("precision", precision, "Share of ROIs, but those on somata out of focus, that match a soma (IoU >= 0.5)."),
        ("recall_findable", recall, "Share of findable somata that an ROI matches."),
        ("duplicates", ((kinds == "soma") & ~matched).sum() / max(n, 1), "Share of ROIs on a soma that match none."),
        ("non_cells", np.isin(kinds, NON_CELLS).sum() / max(n, 1), "Share on processes, spots, pieces or nothing."),
    ]
    values += [(f"on_{kind}", (kinds == kind).sum() / max(n, 1), f"Share of ROIs on: {kind}.") for kind in ROI_KINDS]
    return [TruthScore(measure, float(value), "", description) for measure, value, description in values]
