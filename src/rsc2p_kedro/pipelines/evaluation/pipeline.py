"""evaluation: components -> their quality and acceptance, spikes, a table of all of that, dF/F."""

from collections.abc import Sequence

from kedro.pipeline import Node, Pipeline

from rsc2p_kedro.manifest.recordings import Recording
from rsc2p_kedro.pipelines.evaluation.nodes import (
    compute_dff,
    evaluate_components,
    infer_component_spikes,
    tabulate_all_components,
    tabulate_components,
)
from rsc2p_kedro.pipelines.stage import Stage, bind, node_of_all


def create_pipeline(recordings: Sequence[Recording]) -> Pipeline:
    """The stage for all recordings.

    Args:
        recordings: recordings of the manifest.

    Returns:
        Its nodes, in the namespace of each recording, and the table of the components of all recordings.
    """
    nodes = [node for recording in recordings for node in _nodes(recording)]
    return Pipeline([*nodes, _node_of_all(recordings)])


def _nodes(recording: Recording) -> list[Node]:
    """The nodes of one recording; the curation table is an input where the recording has one."""
    stage = Stage(recording, "evaluation")
    described = ("components", "component_quality", "spike_inference")
    return [
        stage.node(
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
        ),
        stage.node(
            infer_component_spikes,
            inputs=["components", "params:recording", "params:evaluation", "params:compute"],
            outputs="spike_inference",
        ),
        stage.node(
            tabulate_components,
            inputs={
                **{name: name for name in described},
                "recording": "params:recording",
                **stage.optional("curation"),
            },
            outputs="component_table",
        ),
        stage.node(
            compute_dff,
            inputs=["components", "params:recording", "params:evaluation", "params:caiman"],
            outputs="dff",
        ),
    ]


def _node_of_all(recordings: Sequence[Recording]) -> Node:
    """The table of the components of all recordings; it belongs to no recording, so it has no namespace."""
    names = [recording.name for recording in recordings]
    return node_of_all(
        bind(tabulate_all_components, tuple(names)),
        inputs=[f"{name}.component_table" for name in names],
        outputs="components_table",
        stage="evaluation",
    )
