"""Node of the stage simulation: it simulates recordings with known ground truth."""

import dask.array as da

from rsc2p_kedro.core.fingerprints import uses
from rsc2p_kedro.manifest.recordings import Recording
from rsc2p_kedro.simulation import SimulatedTruth
from rsc2p_kedro.simulation.movie import simulate


@uses(recording="simulation frame_rate_hz decay_time_s")
def simulate_recording(recording: Recording) -> tuple[da.Array, SimulatedTruth]:
    """Simulates a recording.

    Args:
        recording: the recording, with its `simulation`.

    Returns:
        Its frames (T, H, W), lazy: they are simulated as they are written; and their ground truth.

    Raises:
        ValueError: the recording has no `simulation` in the manifest.
    """
    if recording.simulation is None:
        raise ValueError(f"{recording.name} has no `simulation:` in the manifest, so it cannot be simulated.")
    simulated = simulate(recording.simulation, recording.acquisition)
    return simulated.movie, simulated.truth
