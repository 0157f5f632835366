"""Simulated movies with known motion, footprints, traces and spikes, for the demo, the tests and the benchmarks."""

from rsc2p_kedro.simulation.truth import SimulatedTruth

__all__ = ["SimulatedTruth"]
