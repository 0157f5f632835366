"""engine_comparison: raw movie -> results of both engines, by the nodes of the stages -> their agreement and cost."""

from collections.abc import Callable, Iterable

from kedro.pipeline import Node, Pipeline

from rsc2p_kedro.core.parameters import EngineName
from rsc2p_kedro.manifest.recordings import Recording
from rsc2p_kedro.pipelines.engine_comparison import nodes
from rsc2p_kedro.pipelines.evaluation.nodes import compute_dff, evaluate_components
from rsc2p_kedro.pipelines.motion_correction.nodes import apply_motion, estimate_motion, summarize_corrected_movie
from rsc2p_kedro.pipelines.source_extraction.nodes import fit_components, refit_components
from rsc2p_kedro.pipelines.stage import Stage, bind

ENGINES: tuple[EngineName, EngineName] = ("embedded", "caiman")
STAGE = "engine_comparison"

_MOVIE = ["corrected_movie", "motion", "bad_frames", "detector_saturation"]
_EXTRACTION = ["recording", "source_extraction", "compute", "caiman"]
MEASURED: list[tuple[Callable, list[str], str]] = [
    (
        estimate_motion,
        ["movie", "bad_frames", "recording", "motion_correction", "source_extraction", "compute", "caiman"],
        "motion",
    ),
    (fit_components, [*_MOVIE, *_EXTRACTION], "fit_components"),
    (refit_components, [*_MOVIE, "fit_components", *_EXTRACTION], "components"),
    (
        evaluate_components,
        ["corrected_movie", "components", "bad_frames", "recording", "evaluation", "compute", "caiman"],
        "component_quality",
    ),
    (
        compute_dff,
        ["components", "bad_frames", "frame_table", "detector_response", "recording", "evaluation", "caiman"],
        "dff",
    ),
]
"""Nodes of the stages whose cost is measured, their inputs and their output. Both engines leave out the frames that are
bad in the raw movie; which others could be registered differs."""

PARAMETERS = {"recording", "motion_correction", "source_extraction", "evaluation", "compute", "caiman"}


def create_pipeline(recordings: Iterable[Recording]) -> Pipeline:
    """Makes the comparison of both engines, which starts from the raw movie and changes no other result.

    Args:
        recordings: recordings of the manifest.

    Returns:
        Its nodes, in the namespace of each recording.
    """
    return Pipeline([node for recording in recordings for node in _nodes(recording)])


def _nodes(recording: Recording) -> list[Node]:
    """The nodes of one recording."""
    stage = Stage(recording, STAGE)
    runs = [f"{STAGE}.{engine}.run" for engine in ENGINES]
    images = f"{STAGE}.{ENGINES[0]}.corrected_summary_images"
    return [
        *(node for engine in ENGINES for node in _nodes_of(recording, engine)),
        _stage_of(recording, ENGINES[0]).node(
            summarize_corrected_movie,
            inputs=["corrected_movie", "motion", "bad_frames", "params:compute"],
            outputs="corrected_summary_images",
        ),
        stage.node(nodes.tabulate_agreement, inputs=runs, outputs="engine_agreement_table"),
        stage.node(nodes.plot_agreement, inputs=[*runs, images, "params:recording"], outputs="engine_agreement_figure"),
    ]


def _nodes_of(recording: Recording, engine: EngineName) -> list[Node]:
    """Nodes of the workflow from the raw movie to dF/F by one engine."""
    stage = _stage_of(recording, engine)
    measured = [
        stage.node(
            bind(nodes.measured_by_engine, function, engine, like=function),
            inputs=_inputs(stage, function, names),
            outputs=[output, f"{output}_cost"],
        )
        for function, names, output in MEASURED
    ]
    applied = _params("movie", "motion", "recording", "motion_correction")
    return [
        *measured,
        stage.node(
            bind(nodes.by_engine, apply_motion, engine, like=apply_motion),
            inputs=[*applied, "params:caiman"],
            outputs="corrected_movie",
        ),
        stage.node(
            bind(nodes.measure_apply_motion, engine),
            inputs=[*applied, "params:compute", "params:caiman"],
            outputs="corrected_movie_cost",
        ),
        stage.node(
            bind(nodes.collect_run, engine),
            inputs=[
                *("motion", "components", "component_quality", "dff"),
                *("motion_cost", "corrected_movie_cost", "fit_components_cost", "components_cost"),
                *("component_quality_cost", "dff_cost"),
            ],
            outputs="run",
        ),
    ]


def _stage_of(recording: Recording, engine: EngineName) -> Stage:
    """Nodes and datasets of one engine; what is known of the raw movie and the seeds are those of the recording."""
    name = f"{STAGE}.{engine}"
    raw = {"movie", "structural_movie", "bad_frames", "detector_saturation", "detector_response", "frame_table"}
    shared = frozenset(raw | {"seeds"})
    return Stage(recording, name, own=name, shared=shared)


def _params(*names: str) -> list[str]:
    return [f"params:{name}" if name in PARAMETERS else name for name in names]


def _inputs(stage: Stage, function: Callable, names: list[str]) -> list[str]:
    """Inputs of a node, and the seeds and the structural channel where the recording has any."""
    seeds = stage.optional("seeds") if function is fit_components else {}
    structural = stage.structural("structural_movie") if function is estimate_motion else {}
    return [*_params(*names), *seeds, *structural]
