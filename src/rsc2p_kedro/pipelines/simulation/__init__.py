"""The stage `simulation`: raw frames of simulated recordings, and their ground truth."""

from rsc2p_kedro.pipelines.simulation.pipeline import create_pipeline

__all__ = ["create_pipeline"]
