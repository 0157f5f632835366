"""motion_correction: movie -> template and shifts, corrected movie, tables of both."""

from kedro.pipeline import Node, Pipeline

from rsc2p_kedro.manifest.recordings import Recording
from rsc2p_kedro.pipelines.motion_correction.nodes import (
    apply_motion,
    assess_motion,
    estimate_motion,
    summarize_corrected_movie,
)


def create_pipeline(recording: Recording) -> Pipeline:
    return Pipeline(
        [
            Node(
                estimate_motion,
                inputs=[
                    "movie",
                    "params:recording",
                    "params:motion_correction",
                    "params:compute",
                    "params:caiman",
                ],
                outputs="motion",
                name="estimate_motion",
            ),
            Node(
                apply_motion,
                inputs=["movie", "motion", "params:recording", "params:motion_correction", "params:caiman"],
                outputs="corrected_movie",
                name="apply_motion",
            ),
            Node(
                summarize_corrected_movie,
                inputs=["corrected_movie", "motion", "params:compute"],
                outputs="corrected_summary_images",
                name="summarize_corrected_movie",
            ),
            Node(
                assess_motion,
                inputs=["movie", "corrected_movie", "motion", "params:compute"],
                outputs=["motion_table", "motion_quality"],
                name="assess_motion",
            ),
        ]
    )
