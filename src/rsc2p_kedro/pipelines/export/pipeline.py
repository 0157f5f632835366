"""export: everything a recording gave -> its NWB file, and the messages of the validators about it."""

from kedro.pipeline import Pipeline

from rsc2p_kedro.manifest.recordings import Recording
from rsc2p_kedro.pipelines.export.nodes import build_nwb, tabulate_inspection
from rsc2p_kedro.pipelines.stage import Stage

RESULTS = (
    "movie",
    "corrected_movie",
    "file_table",
    "frame_table",
    "motion",
    "components",
    "component_table",
    "component_quality",
    "dff",
    "spike_inference",
    "corrected_summary_images",
)
PARAMETERS = ("recording", "nwb", "ingestion", "motion_correction", "source_extraction", "evaluation")


def create_pipeline(recording: Recording) -> Pipeline:
    """The stage for one recording.

    Args:
        recording: a recording of the manifest; the times of its frames are an input where it has a table of them.

    Returns:
        Its pipeline. The NWB file is one dataset in two forms: `nwb@pynwb` is the file, `nwb@inspection` the messages
        of the validators about it.
    """
    stage = Stage(recording, "export")
    inputs = {name: name for name in RESULTS} | {name: f"params:{name}" for name in PARAMETERS}
    return Pipeline(
        [
            stage.node(build_nwb, inputs={**inputs, **stage.optional("frame_times")}, outputs="nwb@pynwb"),
            stage.node(tabulate_inspection, inputs="nwb@inspection", outputs="inspection_table"),
        ]
    )
