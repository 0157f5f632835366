"""ingestion: TIFF frames -> movie, frame table, summary images."""

from kedro.pipeline import Node, Pipeline

from rsc2p_kedro.manifest.recordings import Recording
from rsc2p_kedro.pipelines.ingestion.nodes import ingest_frames, summarize_movie, tabulate_frames


def create_pipeline(recording: Recording) -> Pipeline:
    return Pipeline(
        [
            Node(
                ingest_frames,
                inputs=["raw_frames", "params:recording", "params:ingestion"],
                outputs="movie",
                name="ingest_frames",
            ),
            Node(
                tabulate_frames,
                inputs=["raw_frames", "movie", "params:compute"],
                outputs="frame_table",
                name="tabulate_frames",
            ),
            Node(summarize_movie, inputs=["movie", "params:compute"], outputs="summary_images", name="summarize_movie"),
        ]
    )
