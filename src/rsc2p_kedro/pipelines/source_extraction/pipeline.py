"""source_extraction: corrected movie -> components of the first fit, components of the refit, their lineage."""

from kedro.pipeline import Pipeline

from rsc2p_kedro.manifest.recordings import Recording
from rsc2p_kedro.pipelines.source_extraction.nodes import fit_components, refit_components, tabulate_lineage
from rsc2p_kedro.pipelines.stage import Stage

PARAMETERS = {
    "recording": "params:recording",
    "parameters": "params:source_extraction",
    "compute": "params:compute",
    "caiman": "params:caiman",
}


def create_pipeline(recording: Recording) -> Pipeline:
    """The stage for one recording.

    Args:
        recording: a recording of the manifest; its seeds are an input where it has any.

    Returns:
        Its pipeline.
    """
    stage = Stage(recording, "source_extraction")
    movie = {"corrected_movie": "corrected_movie", "motion": "motion"}
    return Pipeline(
        [
            stage.node(
                fit_components, inputs={**movie, **PARAMETERS, **stage.optional("seeds")}, outputs="fit_components"
            ),
            stage.node(
                refit_components,
                inputs={**movie, "fit_components": "fit_components", **PARAMETERS},
                outputs="components",
            ),
            stage.node(tabulate_lineage, inputs="components", outputs="lineage_table"),
        ]
    )
