"""source_extraction: corrected movie -> components of the first fit, components of the refit, their lineage."""

from collections.abc import Iterable

from kedro.pipeline import Node, Pipeline

from rsc2p_kedro.manifest.recordings import Recording
from rsc2p_kedro.pipelines.source_extraction.nodes import fit_components, refit_components, tabulate_lineage
from rsc2p_kedro.pipelines.stage import Stage

PARAMETERS = {
    "recording": "params:recording",
    "parameters": "params:source_extraction",
    "compute": "params:compute",
    "caiman": "params:caiman",
}


def create_pipeline(recordings: Iterable[Recording]) -> Pipeline:
    """Makes the nodes of the stage for all recordings.

    Args:
        recordings: recordings of the manifest.

    Returns:
        Its nodes, in the namespace of each recording.
    """
    return Pipeline([node for recording in recordings for node in _nodes(recording)])


def _nodes(recording: Recording) -> list[Node]:
    """The nodes of one recording; seeds are an input where the recording has any."""
    stage = Stage(recording, "source_extraction")
    movie = {name: name for name in ("corrected_movie", "motion", "excluded_frames", "detector_saturation")}
    return [
        stage.node(fit_components, inputs={**movie, **PARAMETERS, **stage.optional("seeds")}, outputs="fit_components"),
        stage.node(
            refit_components,
            inputs={**movie, "fit_components": "fit_components", **PARAMETERS},
            outputs="components",
        ),
        stage.node(tabulate_lineage, inputs="components", outputs="lineage_table"),
    ]
