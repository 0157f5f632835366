"""ingestion: raw frames -> movie, tables of files and frames, summary images, response of the detector."""

from collections.abc import Iterable

from kedro.pipeline import Node, Pipeline

from rsc2p_kedro.manifest.recordings import Recording
from rsc2p_kedro.pipelines.ingestion.nodes import (
    find_bad_frames,
    find_line_offset,
    ingest_frames,
    ingest_structural_frames,
    measure_detector,
    summarize_movie,
    tabulate_files,
    tabulate_frames,
)
from rsc2p_kedro.pipelines.stage import Stage


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
    stage = Stage(recording, "ingestion")
    return [
        stage.node(
            find_line_offset,
            inputs=["raw_frames", "params:recording", "params:ingestion", "params:compute"],
            outputs="line_offset",
        ),
        stage.node(
            ingest_frames, inputs=["raw_frames", "line_offset", "params:recording", "params:ingestion"], outputs="movie"
        ),
        *_structural(stage),
        stage.node(tabulate_files, inputs=["raw_frames", "params:recording"], outputs="file_table"),
        stage.node(
            tabulate_frames,
            inputs=["raw_frames", "movie", "params:recording", "params:compute"],
            outputs="frame_table",
        ),
        stage.node(
            find_bad_frames,
            inputs={
                "movie": "movie",
                "recording": "params:recording",
                "parameters": "params:ingestion",
                "compute": "params:compute",
                **stage.optional("exclusion_table"),
            },
            outputs="bad_frames",
        ),
        stage.node(
            measure_detector,
            inputs=["movie", "bad_frames", "frame_table", "params:compute"],
            outputs=["detector_response", "detector_saturation"],
        ),
        stage.node(summarize_movie, inputs=["movie", "bad_frames", "params:compute"], outputs="summary_images"),
    ]


def _structural(stage: Stage) -> list[Node]:
    """The movie of the structural channel, where there is one."""
    if not stage.recording.has_structural_channel:
        return []
    inputs = ["raw_frames", "line_offset", "params:recording", "params:ingestion"]
    return [stage.node(ingest_structural_frames, inputs=inputs, outputs="structural_movie")]
