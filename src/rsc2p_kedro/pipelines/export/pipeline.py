"""export: everything a recording gave -> its NWB file, and what the validators say of it."""

from kedro.pipeline import Node, Pipeline

from rsc2p_kedro.manifest.recordings import Recording
from rsc2p_kedro.pipelines.export.nodes import build_nwb, inspect_nwb


def create_pipeline(recording: Recording) -> Pipeline:
    return Pipeline(
        [
            Node(
                build_nwb,
                inputs=[
                    "movie",
                    "corrected_movie",
                    "frame_table",
                    "motion",
                    "components",
                    "component_table",
                    "dff",
                    "spike_inference",
                    "corrected_summary_images",
                    "params:recording",
                    "params:nwb",
                    "params:ingestion",
                    "params:motion_correction",
                    "params:source_extraction",
                    "params:evaluation",
                    "component_quality",
                ],
                outputs="nwb",
                name="build_nwb",
            ),
            Node(inspect_nwb, inputs="nwb", outputs="inspection_table", name="inspect_nwb"),
        ]
    )
