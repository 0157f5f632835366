"""Makes recordings up, with a truth to compare results with."""

import dask.array as da

from rsc2p_kedro.manifest.recordings import Recording
from rsc2p_kedro.simulation import SimulatedTruth
from rsc2p_kedro.simulation.movie import simulate


def simulate_recording(recording: Recording) -> tuple[da.Array, SimulatedTruth]:
    """The frames of a made-up recording, made as they are written, and what is true of them.

    Raises:
        ValueError: the recording has no `simulation` in the manifest.
    """
    if recording.simulation is None:
        raise ValueError(f"{recording.name} has no `simulation:` in the manifest, so nothing can be made up.")
    simulated = simulate(recording.simulation, recording.acquisition)
    return simulated.movie, simulated.truth
