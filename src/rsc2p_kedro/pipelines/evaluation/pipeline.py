"""evaluation: components -> their quality and acceptance, spikes, a table of all of that, dF/F."""

import warnings
from collections.abc import Iterable
from functools import partial, update_wrapper

from kedro.pipeline import Node, Pipeline

from rsc2p_kedro.manifest.recordings import Recording
from rsc2p_kedro.pipelines.evaluation.nodes import (
    compute_dff,
    evaluate_components,
    infer_component_spikes,
    tabulate_all_components,
    tabulate_components,
)


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


def create_table_of_all(recordings: Iterable[Recording]) -> Pipeline:
    """A table of the components of all recordings. Its node belongs to no recording, so it bears no namespace."""
    names = [recording.name for recording in recordings]
    with warnings.catch_warnings():
        # Kedro keeps dots for namespaces, and it is datasets of namespaces that this node brings together.
        warnings.filterwarnings("ignore", message="One or more dataset names contain '.'", category=UserWarning)
        return Pipeline(
            [
                Node(
                    update_wrapper(partial(tabulate_all_components, names), tabulate_all_components),
                    inputs=[f"{name}.component_table" for name in names],
                    outputs="components_table",
                    name="tabulate_all_components",
                )
            ],
            tags="evaluation",
        )
