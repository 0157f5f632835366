"""Nodes of the stage tracking."""

from typing import Any

import numpy as np
import pandas as pd

from rsc2p_kedro.algorithms.tracking import track_neurons
from rsc2p_kedro.core.fingerprints import uses
from rsc2p_kedro.core.results import Components, DeltaFOverF, SummaryImages
from rsc2p_kedro.core.tracking import UNTRACKED, FieldOfView, Tracking
from rsc2p_kedro.manifest.recordings import Recording
from rsc2p_kedro.reports.tracking_page import TrackingSummary, render_tracking_page, summarize_tracking

_MAX_TRACE_POINTS = 400
"""Number of moments at which traces are kept for pictures."""


@uses(recording="pixel_size_um")
def collect_field_of_view(
    components: Components,
    component_table: pd.DataFrame,
    corrected_summary_images: SummaryImages,
    dff: DeltaFOverF,
    recording: Recording,
    tracking_decisions: pd.DataFrame | None = None,
    tracking_known: pd.DataFrame | None = None,
) -> FieldOfView:
    """Collects what tracking needs of one session.

    Args:
        components: components of the refit.
        component_table: which of them are accepted.
        corrected_summary_images: images of the corrected movie.
        dff: their dF/F.
        recording: the recording, for its name and pixel size.
        tracking_decisions: the user's decisions on neurons.
        tracking_known: an earlier tracking table, whose ids are kept.

    Returns:
        Accepted components and images.
    """
    accepted = component_table.set_index("component_id").loc[components.ids, "accepted"].to_numpy(bool)
    keep = np.flatnonzero(accepted)
    step = max(1, -(-components.n_frames // _MAX_TRACE_POINTS))
    n = components.n_frames // step
    traces = dff.dff[keep][:, : n * step].reshape(len(keep), n, step).mean(axis=2)
    return FieldOfView(
        session=recording.session_key,
        shape=components.shape,
        ids=components.ids[keep],
        footprints=components.select(keep).footprints,
        mean=corrected_summary_images.mean,
        correlation=corrected_summary_images.correlation,
        pixel_size_um=recording.pixel_size_um,
        traces=traces.astype(np.float32),
        decisions=_columns(tracking_decisions),
        known=_columns(tracking_known),
    )


def _columns(table: pd.DataFrame | None) -> dict[str, list[Any]]:
    return {} if table is None else {str(name): table[name].tolist() for name in table.columns}


def track_sessions(names: tuple[str, ...], *fields: FieldOfView) -> tuple[Tracking | pd.DataFrame, ...]:
    """Finds the same neurons in the sessions of one animal and plane that have results.

    Args:
        names: of all its recordings, `animal.session` or `animal.session.plane_k`.
        *fields: of those that have results, in their order.

    Returns:
        The tracking; the :class:`~rsc2p_kedro.core.schemas.TrackingTable`; and for each of `names` its
        :class:`~rsc2p_kedro.core.schemas.TrackedIdTable`, empty for those without results.
    """
    tracking = track_neurons(fields)
    animal = names[0].partition(".")[0]
    table = pd.DataFrame(
        {
            "animal": animal,
            "neuron_id": tracking.neuron_id,
            "session": tracking.session,
            "component_id": tracking.component_id,
            "probability": tracking.probability,
            "rival_probability": tracking.rival,
            "n_sessions": pd.Series(tracking.neuron_id).groupby(tracking.neuron_id).transform("size").to_numpy(),
            "doubtful": tracking.doubtful,
        }
    ).astype({"neuron_id": object, "session": object})
    known = {field.session: field for field in fields}
    sessions = [name.split(".")[1] for name in names]
    return tracking, table, *(_ids_of(known.get(session), tracking, table) for session in sessions)


def _ids_of(field: FieldOfView | None, tracking: Tracking, table: pd.DataFrame) -> pd.DataFrame:
    """Ids of the components of one session."""
    if field is None:
        return pd.DataFrame({"component_id": [], "tracked_id": [], "tracking_probability": [], "tracking_reason": []})
    own = table[table["session"] == field.session].set_index("component_id")
    if field.session in tracking.sessions:
        rows = own.loc[field.ids]
        ids, probability, reason = rows["neuron_id"].tolist(), rows["probability"].tolist(), ""
    else:
        ids, probability = [UNTRACKED] * field.n_components, [0.0] * field.n_components
        reason = next(one.reason for one in tracking.alignments if one.session == field.session)
    return pd.DataFrame(
        {
            "component_id": field.ids,
            "tracked_id": ids,
            "tracking_probability": probability,
            "tracking_reason": [reason] * field.n_components,
        }
    )


def write_tracking_page(
    tracking: Tracking, tracking_table: pd.DataFrame, *fields: FieldOfView
) -> tuple[str, TrackingSummary]:
    """Writes the page about the tracking of one animal and plane.

    Args:
        tracking: alignment and neurons.
        tracking_table: the neurons.
        *fields: the sessions, for the traces.

    Returns:
        A page of HTML, and its figures for the page over all recordings.
    """
    animal = str(tracking_table["animal"].iloc[0]) if len(tracking_table) else ""
    return render_tracking_page(animal, tracking, fields), summarize_tracking(animal, tracking)
