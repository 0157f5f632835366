"""tracking: accepted components and images of all sessions of an animal -> the same neurons, and the page about them.

Each session gives one small dataset. A node over the sessions of an animal (and plane) tracks those that have results,
as the pages over all recordings show those. What it finds comes back to each session as a file that the export reads,
`tracked_ids`, and not as an edge of the pipeline: a session that fails keeps no other from being exported, and a
session is exported again only if its own ids have changed.
"""

from collections.abc import Iterable, Sequence

from kedro.pipeline import Node, Pipeline

from rsc2p_kedro.manifest.recordings import Recording
from rsc2p_kedro.pipelines.stage import Stage, bind, node_of_all
from rsc2p_kedro.pipelines.tracking.nodes import collect_field_of_view, track_sessions, write_tracking_page
from rsc2p_kedro.runners.joint import sessions_of_fields

STAGE = "tracking"


def create_pipeline(recordings: Iterable[Recording], names: Sequence[str]) -> Pipeline:
    """Makes the nodes of the stage for all animals that have several sessions of a plane.

    Args:
        recordings: recordings of the manifest, or their planes.
        names: names of all of them, whatever the run selects.

    Returns:
        The nodes of each session, in its namespace, and those over the sessions of an animal, which have none.
    """
    tracked = {name for of_field in sessions_of_fields(names).values() for name in of_field}
    of_each = [_collect(recording) for recording in recordings if recording.name in tracked]
    return Pipeline([*of_each, *over_sessions(names).nodes])


def over_sessions(names: Sequence[str]) -> Pipeline:
    """Makes the nodes over the sessions of each animal and plane.

    Args:
        names: names of all recordings, or of their planes.

    Returns:
        The nodes, which have no namespace.
    """
    return Pipeline([node for field, of_field in sessions_of_fields(names).items() for node in _nodes(field, of_field)])


def _collect(recording: Recording) -> Node:
    stage = Stage(recording, STAGE)
    inputs = ("components", "component_table", "corrected_summary_images", "dff")
    return stage.node(
        collect_field_of_view,
        inputs={
            **{name: name for name in inputs},
            "recording": "params:recording",
            **stage.optional("tracking_decisions", "tracking_known"),
        },
        outputs="field_of_view",
    )


def _nodes(field: str, names: Sequence[str]) -> list[Node]:
    fields = [f"{name}.field_of_view" for name in names]
    tracked = [f"{field}.tracking", f"{field}.tracking_table", *(f"{name}.new_tracked_ids" for name in names)]
    pages = [f"{field}.tracking_report", f"{field}.tracking_summary"]
    return [
        node_of_all(bind(track_sessions, tuple(names)), fields, tracked, STAGE, of=field),
        node_of_all(write_tracking_page, [*tracked[:2], *fields], pages, STAGE, of=field),
    ]
