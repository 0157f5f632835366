"""The page about the neurons of one animal over its sessions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rsc2p_kedro.algorithms.evaluation.description import centres
from rsc2p_kedro.algorithms.tracking.alignment import neuron_radius
from rsc2p_kedro.algorithms.tracking.images import local_contrast
from rsc2p_kedro.core.tracking import FieldOfView, SessionAlignment, Tracking
from rsc2p_kedro.plots import tracking as plots
from rsc2p_kedro.reports import html

_MAX_NEURONS = 30
"""Number of neurons on the contact sheet."""
_SNIPPET_RADII = 3.5
"""Half-width of a snippet in radii of a neuron."""


@dataclass(frozen=True)
class TrackingSummary:
    """Figures of the tracking of one animal or plane, for the page over all recordings.

    Attributes:
        animal: its name.
        plane: `plane_k`; empty for recordings of one plane.
        n_sessions: number of sessions.
        n_aligned: number of those that show the same place.
        n_neurons: number of neurons.
        n_on_all: number of those that were found in all aligned sessions.
        n_doubtful: number of doubtful components.
    """

    animal: str
    plane: str
    n_sessions: int
    n_aligned: int
    n_neurons: int
    n_on_all: int
    n_doubtful: int

    @property
    def link(self) -> str:
        """Address of the page, from the page over all recordings."""
        return "/".join(part for part in (self.animal, self.plane, "tracking.html") if part)

    @property
    def text(self) -> str:
        """The figures in a sentence."""
        return (
            f"{self.n_neurons} neurons in {self.n_aligned} of {self.n_sessions} sessions, {self.n_on_all} of them in "
            f"all; {self.n_doubtful} doubtful components"
        )


def summarize_tracking(field: str, tracking: Tracking) -> TrackingSummary:
    """Counts sessions and neurons.

    Args:
        field: `animal`, or `animal.plane_k`.
        tracking: alignment and neurons.

    Returns:
        The figures.
    """
    animal, _, plane = field.partition(".")
    _, counts = np.unique(tracking.neuron_id, return_counts=True)
    n_aligned = len(tracking.sessions)
    return TrackingSummary(
        animal=animal,
        plane=plane,
        n_sessions=len(tracking.alignments),
        n_aligned=n_aligned,
        n_neurons=len(counts),
        n_on_all=int((counts == n_aligned).sum()) if n_aligned > 1 else 0,
        n_doubtful=int(tracking.doubtful.sum()),
    )


def render_tracking_page(field: str, tracking: Tracking, fields: Sequence[FieldOfView]) -> str:
    """Renders the page.

    Args:
        field: `animal`, or `animal.plane_k`.
        tracking: alignment and neurons.
        fields: the sessions, for the traces.

    Returns:
        The page.
    """
    summary = summarize_tracking(field, tracking)
    _, inverse, counts = np.unique(tracking.neuron_id, return_inverse=True, return_counts=True)
    figures = []
    if len(tracking.sessions) > 1 and len(counts):
        shared = counts[inverse] > 1
        figures = [
            (
                plots.aligned_sessions(
                    tracking.images, _before(tracking, fields), tracking.footprints, tracking.session, shared
                ),
                "The sessions over each other as they were recorded, and aligned (white where they agree); and the "
                "aligned mean images (as local contrast), with the outlines of neurons that were found in another "
                "session as well (blue) and of those that were found once (orange).",
            ),
            (
                plots.found_in_sessions(counts, len(tracking.sessions)),
                "Number of neurons by the number of sessions in which they were found.",
            ),
            (
                plots.pairs_of_footprints(tracking.pair_distance, tracking.pair_similarity, tracking.pair_probability),
                "Neighbouring footprints of two sessions, and the probability that they are one neuron.",
            ),
            (
                _contact_sheet(tracking, fields),
                "Neurons over the sessions at the same aligned place, the most doubtful first: aligned mean image with "
                "the outline of the component, and its dF/F. A cross marks where a neuron was not found; grey is "
                "beyond the field of view.",
            ),
        ]
    return html.render(
        "tracking.html",
        title=f"{field}: the same neurons over sessions",
        summary=summary,
        left_out=[one for one in tracking.alignments if not one.aligned],
        facts=_facts(tracking, summary),
        alignments=html.table_of(pd.DataFrame([_row(one) for one in tracking.alignments]), "Alignment"),
        regions=html.table_of(pd.DataFrame(_region_rows(tracking.alignments)), "Correlation by region", folded=True),
        doubtful=html.table_of(_doubtful_rows(tracking), "Doubtful components", folded=True),
        figures=[{"uri": html.data_uri(figure), "caption": caption} for figure, caption in figures],
    )


def _before(tracking: Tracking, fields: Sequence[FieldOfView]) -> dict[str, NDArray[np.float32]]:
    """Images of the aligned sessions on the canvas, frame on frame as they were recorded."""
    images = {}
    for field in fields:
        if field.session in tracking.images:
            top, left = (-place for place in tracking.origin)
            canvas = np.full(tracking.shape, np.nan, np.float32)
            part = canvas[top : top + field.shape[0], left : left + field.shape[1]]
            part[:] = local_contrast(field.mean, 2.5 * neuron_radius([field]))[: part.shape[0], : part.shape[1]]
            images[field.session] = canvas
    return images


def _facts(tracking: Tracking, summary: TrackingSummary) -> list[tuple[str, str]]:
    return [
        ("sessions", f"{summary.n_aligned} of {summary.n_sessions} show the same place"),
        ("neurons", f"{summary.n_neurons}, of which {summary.n_on_all} in all aligned sessions"),
        ("doubtful components", str(summary.n_doubtful)),
        ("estimated false positives", f"{100 * tracking.false_positive_share:.1f} % of the pairs in one neuron"),
        ("estimated false negatives", f"{100 * tracking.false_negative_share:.1f} % of the pairs that are one neuron"),
        ("radius of a neuron", f"{tracking.radius_px:.1f} px"),
    ]


def _row(one: SessionAlignment) -> dict[str, object]:
    """One row of the table of alignments."""
    best = int(np.argmax(np.abs(one.correlation_after)))
    kinds = ("footprints", "mean image", "correlation image")
    return {
        "session": one.session,
        "same_place": "yes" if one.aligned else "no",
        "shift_y_px": round(one.shift_px[0], 1),
        "shift_x_px": round(one.shift_px[1], 1),
        "rotation_deg": round(one.rotation_deg, 2) + 0.0,
        "scale": round(one.scale, 3),
        "deformation_px": round(one.deformation_px, 2),
        "correlation_of": kinds[best],
        "before": round(one.correlation_before[best], 2),
        "after": round(one.correlation_after[best], 2),
        "coincident_footprints": f"{100 * one.overlap_share:.0f} %",
        "by_chance": f"{100 * one.overlap_by_chance:.0f} %",
    }


def _region_rows(alignments: Sequence[SessionAlignment]) -> list[dict[str, object]]:
    """Correlation in each ninth of the field, before and after."""
    rows = []
    for one in alignments:
        for i, vertical in enumerate(("top", "middle", "bottom")):
            row: dict[str, object] = {"session": one.session, "region": vertical}
            for j, horizontal in enumerate(("left", "middle", "right")):
                before, after = one.region_before[i, j], one.region_after[i, j]
                row[horizontal] = "–" if np.isnan(after) else f"{before:.2f} → {after:.2f}"
            rows.append(row)
    return rows


def _doubtful_rows(tracking: Tracking) -> pd.DataFrame:
    """Doubtful components, the least probable first."""
    order = [k for k in np.argsort(tracking.probability - tracking.rival, kind="stable") if tracking.doubtful[k]]
    return pd.DataFrame(
        {
            "neuron": tracking.neuron_id[order].astype(object),
            "session": tracking.session[order].astype(object),
            "component": tracking.component_id[order],
            "probability": tracking.probability[order].round(2),
            "of_another_neuron": tracking.rival[order].round(2),
        }
    )


def _contact_sheet(tracking: Tracking, fields: Sequence[FieldOfView]) -> plots.Figure:
    """Neurons that were found more than once or are doubtful, the most doubtful first."""
    sure = tracking.probability - tracking.rival
    worst: dict[str, float] = {}
    for neuron, value in zip(tracking.neuron_id.tolist(), sure, strict=True):
        worst[neuron] = min(worst.get(neuron, 1.0), float(value))
    chosen = sorted(worst, key=lambda name: worst[name])[:_MAX_NEURONS]
    places = centres(tracking.footprints, tracking.shape)
    by_session = {field.session: field for field in fields}
    rows, middle = [], []
    for neuron in chosen:
        members = np.flatnonzero(tracking.neuron_id == neuron)
        found = {}
        for k in members:
            field = by_session[str(tracking.session[k])]
            position = int(np.flatnonzero(field.ids == tracking.component_id[k])[0])
            trace = field.traces[position] if len(field.traces) else np.zeros(0)
            found[str(tracking.session[k])] = (tracking.footprints[:, [k]].toarray().ravel(), trace)
        rows.append((f"{neuron}, p = {tracking.probability[members].min():.2f}", found))
        middle.append(places[members].mean(axis=0))
    half = max(6, round(_SNIPPET_RADII * tracking.radius_px))
    return plots.neurons_over_sessions(tracking.images, rows, np.array(middle), half_px=half)
