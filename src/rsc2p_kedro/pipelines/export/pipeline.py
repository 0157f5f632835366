"""export: results of all planes of a recording -> its NWB file, and the messages of the validators about it."""

from collections.abc import Collection, Iterable

from kedro.pipeline import Node, Pipeline

from rsc2p_kedro.manifest.recordings import Recording
from rsc2p_kedro.pipelines.export.nodes import build_nwb, build_nwb_of_planes, tabulate_inspection
from rsc2p_kedro.pipelines.stage import Stage, names_in_planes

RESULTS = (
    "movie",
    "corrected_movie",
    "line_offset",
    "file_table",
    "frame_table",
    "excluded_frames",
    "motion",
    "components",
    "component_table",
    "component_quality",
    "dff",
    "spike_inference",
    "corrected_summary_images",
)
STRUCTURAL = ("structural_movie", "structural_summary_images")
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
    results = [*RESULTS, *(STRUCTURAL if recording.has_structural_channel else ())]
    results += ["tracked_ids"] if any(unit.name in tracked for unit in recording.units) else []
    inputs = {name.replace(".", "_"): name for result in results for name in names_in_planes(recording, result)} | {
        name: f"params:{name}" for name in PARAMETERS
    }
    build = build_nwb if recording.n_planes == 1 else build_nwb_of_planes
    return [
        stage.node(build, inputs={**inputs, **stage.optional("frame_times")}, outputs="nwb@pynwb"),
        stage.node(tabulate_inspection, inputs="nwb@inspection", outputs="inspection_table"),
    ]
