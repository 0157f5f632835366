"""ingestion: TIFF frames -> movie, tables of files and frames, summary images."""

from kedro.pipeline import Pipeline

from rsc2p_kedro.manifest.recordings import Recording
from rsc2p_kedro.pipelines.ingestion.nodes import ingest_frames, summarize_movie, tabulate_files, tabulate_frames
from rsc2p_kedro.pipelines.stage import Stage


def create_pipeline(recording: Recording) -> Pipeline:
    """The stage for one recording.

    Args:
        recording: a recording of the manifest.

    Returns:
        Its pipeline.
    """
    stage = Stage(recording, "ingestion")
    return Pipeline(
        [
            stage.node(
                ingest_frames, inputs=["raw_frames", "params:recording", "params:ingestion"], outputs="movie"
            ),
            stage.node(tabulate_files, inputs="raw_frames", outputs="file_table"),
            stage.node(tabulate_frames, inputs=["raw_frames", "movie", "params:compute"], outputs="frame_table"),
            stage.node(summarize_movie, inputs=["movie", "params:compute"], outputs="summary_images"),
        ]
    )
