"""simulation: settings -> folder of TIFF frames, and the ground truth of each plane."""

from collections.abc import Iterable

from kedro.pipeline import Pipeline

from rsc2p_kedro.manifest.recordings import Recording
from rsc2p_kedro.pipelines.simulation.nodes import simulate_recording
from rsc2p_kedro.pipelines.stage import Stage, names_in_planes


def create_pipeline(recordings: Iterable[Recording]) -> Pipeline:
    """Makes the nodes of the stage for all simulated recordings.

    Args:
        recordings: recordings of the manifest; those that are not simulated are skipped.

    Returns:
        Its nodes, in the namespace of each recording.
    """
    return Pipeline(
        [
            Stage(recording, "simulation").node(
                simulate_recording,
                inputs="params:recording",
                outputs=["raw_frames", *names_in_planes(recording, "truth")],
            )
            for recording in recordings
            if recording.simulation is not None
        ]
    )
