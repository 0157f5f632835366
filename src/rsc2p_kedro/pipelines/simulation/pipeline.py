"""simulation: settings -> folder of TIFF frames, and their truth."""

from kedro.pipeline import Node, Pipeline

from rsc2p_kedro.manifest.recordings import Recording
from rsc2p_kedro.pipelines.simulation.nodes import simulate_recording


def create_pipeline(recording: Recording) -> Pipeline:
    return Pipeline(
        [
            Node(
                simulate_recording,
                inputs="params:recording",
                outputs=["raw_frames", "truth"],
                name="simulate_recording",
            )
        ]
    )
