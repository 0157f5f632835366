"""simulation: settings -> folder of TIFF frames, and their truth."""

from kedro.pipeline import Pipeline

from rsc2p_kedro.manifest.recordings import Recording
from rsc2p_kedro.pipelines.simulation.nodes import simulate_recording
from rsc2p_kedro.pipelines.stage import Stage


def create_pipeline(recording: Recording) -> Pipeline:
    """The stage for one recording.

    Args:
        recording: a recording of the manifest.

    Returns:
        Its pipeline, empty for a recording that is not simulated.
    """
    stage = Stage(recording, "simulation")
    if recording.simulation is None:
        return Pipeline([])
    return Pipeline(
        [stage.node(simulate_recording, inputs="params:recording", outputs=["raw_frames", "truth"])],
    )
