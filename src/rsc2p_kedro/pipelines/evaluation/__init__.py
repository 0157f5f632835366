"""The stage `evaluation`: quality and acceptance of components, spike rates, component table and dF/F."""

from rsc2p_kedro.pipelines.evaluation.pipeline import create_pipeline

__all__ = ["create_pipeline"]
