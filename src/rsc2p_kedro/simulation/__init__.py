"""Movies with known motion, footprints, traces and spikes: one simulator for demo, tests and benchmarks."""

from rsc2p_kedro.simulation.truth import SimulatedTruth

__all__ = ["SimulatedTruth"]
