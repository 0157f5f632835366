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
from rsc2p_kedro.pipelines.stage import Stage, bind


def create_pipeline(recording: Recording) -> Pipeline:
    """The stage for one recording.

    Args:
        recording: a recording of the manifest; its curation table is an input where it has one.

    Returns:
        Its pipeline.
    """
    stage = Stage(recording, "evaluation")
    described = ("components", "component_quality", "spike_inference")
    return Pipeline(
        [
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
    )


def create_table_of_all(recordings: Sequence[Recording]) -> Pipeline:
    """A table of the components of all recordings. Its node belongs to no recording, so it has no namespace.

    Args:
        recordings: all recordings of the manifest.

    Returns:
        A pipeline of one node.
    """
    names = [recording.name for recording in recordings]
    return Pipeline(
        [
            Node(
                bind(tabulate_all_components, names),
                inputs=[f"{name}.component_table" for name in names],
                outputs="components_table",
                name="tabulate_all_components",
                tags=["evaluation"],
            )
        ]
    )
