"""Makes recordings up, with a truth to compare results with."""

from rsc2p_kedro.datasets.tiff_recording import RawFrames
from rsc2p_kedro.recordings import Recording
from rsc2p_kedro.simulation.movie import SimulatedTruth, simulate


def simulate_recording(recording: Recording) -> tuple[RawFrames, SimulatedTruth]:
    """The frames of a made-up recording, made as they are written, and what is true of them."""
    simulated = simulate(recording.simulation, recording.acquisition)
    return simulated.movie, simulated.truth
