"""source_extraction: corrected movie -> components of the first fit, components of the refit, their lineage."""

from kedro.pipeline import Node, Pipeline

from rsc2p_kedro.manifest.recordings import Recording
from rsc2p_kedro.pipelines.source_extraction.nodes import fit_components, refit_components, tabulate_lineage


def create_pipeline(recording: Recording) -> Pipeline:
    return Pipeline(
        [
            Node(
                fit_components,
                inputs=[
                    "corrected_movie",
                    "motion",
                    "params:recording",
                    "params:source_extraction",
                    "params:compute",
                    "params:caiman",
                ],
                outputs="fit_components",
                name="fit_components",
            ),
            Node(
                refit_components,
                inputs=[
                    "corrected_movie",
                    "fit_components",
                    "motion",
                    "params:recording",
                    "params:source_extraction",
                    "params:compute",
                    "params:caiman",
                ],
                outputs="components",
                name="refit_components",
            ),
            Node(tabulate_lineage, inputs="components", outputs="lineage_table", name="tabulate_lineage"),
        ]
    )
