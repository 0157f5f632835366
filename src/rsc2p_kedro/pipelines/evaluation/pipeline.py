"""evaluation: components -> their quality and acceptance, spikes, a table of all of that, dF/F."""

from kedro.pipeline import Node, Pipeline

from rsc2p_kedro.pipelines.evaluation.nodes import (
    compute_dff,
    evaluate_components,
    infer_component_spikes,
    tabulate_components,
)
from rsc2p_kedro.recordings import Recording


def create_pipeline(recording: Recording) -> Pipeline:
    return Pipeline(
        [
            Node(
                evaluate_components,
                inputs=[
                    "corrected_movie",
                    "components",
                    "params:recording",
                    "params:evaluation",
                    "params:compute",
                    "params:caiman",
                ],
                outputs="component_quality",
                name="evaluate_components",
            ),
            Node(
                infer_component_spikes,
                inputs=["components", "params:recording", "params:evaluation", "params:compute"],
                outputs="spike_inference",
                name="infer_component_spikes",
            ),
            Node(
                tabulate_components,
                inputs=["components", "component_quality", "spike_inference", "params:recording"],
                outputs="component_table",
                name="tabulate_components",
            ),
            Node(
                compute_dff,
                inputs=["components", "params:recording", "params:evaluation", "params:caiman"],
                outputs="dff",
                name="compute_dff",
            ),
        ]
    )
