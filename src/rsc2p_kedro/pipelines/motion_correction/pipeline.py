"""motion_correction: movie -> template and shifts, corrected movie and its summary images, tables of motion."""

from collections.abc import Iterable

from kedro.pipeline import Node, Pipeline

from rsc2p_kedro.manifest.recordings import Recording
from rsc2p_kedro.pipelines.motion_correction.nodes import (
    apply_motion,
    assess_motion,
    estimate_motion,
    find_excluded_frames,
    summarize_corrected_movie,
    summarize_structural_movie,
)
from rsc2p_kedro.pipelines.stage import Stage

PARAMETERS = {
    "recording": "recording",
    "parameters": "motion_correction",
    "extraction": "source_extraction",
    "compute": "compute",
    "caiman": "caiman",
}
ESTIMATION = tuple(PARAMETERS)


def create_pipeline(recordings: Iterable[Recording]) -> Pipeline:
    """Makes the nodes of the stage for all recordings.

    Args:
        recordings: recordings of the manifest.

    Returns:
        Its nodes, in the namespace of each recording.
    """
    return Pipeline([node for recording in recordings for node in _nodes(recording)])


def _nodes(recording: Recording) -> list[Node]:
    """The nodes of one recording."""
    stage = Stage(recording, "motion_correction")
    return [
        stage.node(
            estimate_motion,
            inputs=_inputs("movie", "bad_frames", *ESTIMATION) | stage.structural("structural_movie"),
            outputs="motion",
        ),
        stage.node(
            apply_motion,
            inputs=["movie", "motion", "params:recording", "params:motion_correction", "params:caiman"],
            outputs="corrected_movie",
        ),
        stage.node(
            find_excluded_frames,
            inputs=[
                *("corrected_movie", "motion", "bad_frames"),
                *("params:recording", "params:ingestion", "params:motion_correction", "params:compute"),
            ],
            outputs="excluded_frames",
        ),
        stage.node(
            summarize_corrected_movie,
            inputs=["corrected_movie", "motion", "excluded_frames", "params:compute"],
            outputs="corrected_summary_images",
        ),
        stage.node(
            assess_motion,
            inputs=_inputs("movie", "corrected_movie", "motion", *ESTIMATION) | stage.structural("structural_movie"),
            outputs=["motion_table", "motion_quality"],
        ),
        *_structural(stage),
    ]


def _structural(stage: Stage) -> list[Node]:
    """The images of the corrected structural channel, where there is one."""
    if not stage.recording.has_structural_channel:
        return []
    parameters = [name for name in ESTIMATION if name != "extraction"]
    return [
        stage.node(
            summarize_structural_movie,
            inputs=_inputs("structural_movie", "motion", *parameters) | {"excluded": "excluded_frames"},
            outputs="structural_summary_images",
        )
    ]


def _inputs(*arguments: str) -> dict[str, str]:
    """The inputs of some arguments: parameters, or datasets of the same name."""
    return {name: f"params:{PARAMETERS[name]}" if name in PARAMETERS else name for name in arguments}
