"""The stage `simulation`."""

from rsc2p_kedro.pipelines.simulation.pipeline import create_pipeline

__all__ = ["create_pipeline"]
