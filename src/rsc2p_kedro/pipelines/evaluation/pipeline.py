"""evaluation: components -> quality and acceptance, spike rates, red labels, component table, dF/F."""

from collections.abc import Iterable

from kedro.pipeline import Node, Pipeline

from rsc2p_kedro.manifest.recordings import Recording
from rsc2p_kedro.pipelines.evaluation.nodes import (
    compute_dff,
    evaluate_components,
    infer_component_spikes,
    measure_red_labels,
    tabulate_components,
)
from rsc2p_kedro.pipelines.stage import Stage

LABEL_INPUTS = (
    "structural_movie",
    "corrected_movie",
    "motion",
    "components",
    "excluded_frames",
    "corrected_summary_images",
    "structural_summary_images",
)
SPIKE_PARAMETERS = ("recording", "evaluation", "compute", "nwb")
LABEL_PARAMETERS = ("recording", "motion_correction", "compute", "caiman")


def create_pipeline(recordings: Iterable[Recording]) -> Pipeline:
    """Makes the nodes of the stage for all recordings.

    Args:
        recordings: recordings of the manifest.

    Returns:
        Its nodes, in the namespace of each recording.
    """
    return Pipeline([node for recording in recordings for node in _nodes(recording)])


def _nodes(recording: Recording) -> list[Node]:
    """The nodes of one recording; the curation table is an input where the recording has one."""
    stage = Stage(recording, "evaluation")
    described = ("components", "component_quality", "spike_inference", "excluded_frames")
    return [
        stage.node(
            evaluate_components,
            inputs=[
                "corrected_movie",
                "components",
                "excluded_frames",
                "params:recording",
                "params:evaluation",
                "params:compute",
                "params:caiman",
            ],
            outputs="component_quality",
        ),
        stage.node(
            infer_component_spikes,
            inputs=["components", "excluded_frames", *(f"params:{name}" for name in SPIKE_PARAMETERS)],
            outputs="spike_inference",
        ),
        stage.node(
            tabulate_components,
            inputs={
                **{name: name for name in described},
                "recording": "params:recording",
                **stage.optional("curation"),
                **stage.structural("red_labels"),
            },
            outputs="component_table",
        ),
        stage.node(
            compute_dff,
            inputs=[
                "components",
                "excluded_frames",
                "frame_table",
                "detector_response",
                "params:recording",
                "params:evaluation",
                "params:caiman",
            ],
            outputs="dff",
        ),
        *_structural(stage),
    ]


def _structural(stage: Stage) -> list[Node]:
    """The measurement of the label, where there is a structural channel."""
    if not stage.recording.has_structural_channel:
        return []
    inputs = {name: name for name in LABEL_INPUTS} | {name: f"params:{name}" for name in LABEL_PARAMETERS}
    return [stage.node(measure_red_labels, inputs=inputs, outputs="red_labels")]
