"""reproducibility: each half of the corrected movie -> components and their quality -> which are found in both."""

from collections.abc import Iterable

from kedro.pipeline import Node, Pipeline

from rsc2p_kedro.engines.reproducibility import HALVES, Half, on_half
from rsc2p_kedro.manifest.recordings import Recording
from rsc2p_kedro.pipelines.evaluation.nodes import evaluate_components
from rsc2p_kedro.pipelines.reproducibility import nodes
from rsc2p_kedro.pipelines.source_extraction.nodes import fit_components, refit_components
from rsc2p_kedro.pipelines.source_extraction.pipeline import PARAMETERS
from rsc2p_kedro.pipelines.stage import Stage, bind

STAGE = "reproducibility"


def create_pipeline(recordings: Iterable[Recording]) -> Pipeline:
    """Makes the extraction of each half of the frames, which starts from the corrected movie.

    Args:
        recordings: recordings of the manifest.

    Returns:
        Its nodes, in the namespace of each recording; they change no other result.
    """
    return Pipeline([node for recording in recordings for node in _nodes(recording)])


def _nodes(recording: Recording) -> list[Node]:
    """The nodes of one recording."""
    stage = Stage(recording, STAGE)
    results = [f"{STAGE}.{half}.{name}" for half in HALVES for name in ("components", "component_quality")]
    return [
        *(node for half in HALVES for node in _nodes_of(recording, half)),
        stage.node(nodes.tabulate_reproducibility, inputs=results, outputs="reproducibility_table"),
        stage.node(
            nodes.plot_reproducibility,
            inputs=[*results, "corrected_summary_images", "params:recording"],
            outputs="reproducibility_figure",
        ),
    ]


def _nodes_of(recording: Recording, half: Half) -> list[Node]:
    """The nodes of the stages source extraction and evaluation, on one half of the frames."""
    name = f"{STAGE}.{half}"
    shared = frozenset({"corrected_movie", "motion", "excluded_frames", "detector_saturation", "seeds"})
    stage = Stage(recording, name, own=name, shared=shared)
    movie = {name: name for name in ("corrected_movie", "motion", "excluded_frames", "detector_saturation")}
    return [
        stage.node(
            bind(on_half, fit_components, half, like=fit_components),
            inputs={**movie, **PARAMETERS, **stage.optional("seeds")},
            outputs="fit_components",
        ),
        stage.node(
            bind(on_half, refit_components, half, like=refit_components),
            inputs={**movie, "fit_components": "fit_components", **PARAMETERS},
            outputs="components",
        ),
        stage.node(
            bind(on_half, evaluate_components, half, like=evaluate_components),
            inputs={
                "corrected_movie": "corrected_movie",
                "components": "components",
                "excluded_frames": "excluded_frames",
                **{**PARAMETERS, "parameters": "params:evaluation"},
            },
            outputs="component_quality",
        ),
    ]
