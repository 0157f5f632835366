"""Simulated movies with known motion, footprints, traces and spikes, for the demo, the tests and the benchmarks.

Imports `algorithms` and `core`, and neither Kedro nor libraries that read or write files.
"""

from rsc2p_kedro.simulation.truth import SimulatedTruth

__all__ = ["SimulatedTruth"]
