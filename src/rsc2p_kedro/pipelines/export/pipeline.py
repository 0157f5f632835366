"""export: results of all planes of a recording -> its NWB file, and the messages of the validators about it."""

from collections.abc import Collection, Iterable
from dataclasses import fields

from kedro.pipeline import Node, Pipeline

from rsc2p_kedro.manifest.recordings import Recording
from rsc2p_kedro.pipelines.export.nodes import PlaneResults, build_nwb, tabulate_inspection
from rsc2p_kedro.pipelines.stage import Stage, names_in_planes

OF_STRUCTURAL = ("structural_movie", "structural_summary_images")
"""Results of recordings with a structural channel."""
PARAMETERS = ("recording", "nwb", "ingestion", "motion_correction", "source_extraction", "evaluation")


def create_pipeline(recordings: Iterable[Recording], tracked: Collection[str] = ()) -> Pipeline:
    """Makes the nodes of the stage for all recordings.

    Args:
        recordings: recordings of the manifest.
        tracked: names of the recordings, or of their planes, whose neurons are tracked over sessions.

    Returns:
        Its nodes, in the namespace of each recording.
    """
    return Pipeline([node for recording in recordings for node in _nodes(recording, tracked)])


def _nodes(recording: Recording, tracked: Collection[str]) -> list[Node]:
    """The nodes of one recording; frame times are an input if the recording has a table of them."""
    stage = Stage(recording, "export")
    left_out = set() if recording.has_structural_channel else set(OF_STRUCTURAL)
    left_out |= set() if any(unit.name in tracked for unit in recording.units) else {"tracked_ids"}
    results = [field.name for field in fields(PlaneResults) if field.name not in left_out]
    inputs = {name.replace(".", "_"): name for result in results for name in names_in_planes(recording, result)} | {
        name: f"params:{name}" for name in PARAMETERS
    }
    return [
        stage.node(build_nwb, inputs={**inputs, **stage.optional("frame_times")}, outputs="nwb@pynwb"),
        stage.node(tabulate_inspection, inputs="nwb@inspection", outputs="inspection_table"),
    ]
