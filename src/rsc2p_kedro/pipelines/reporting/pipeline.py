"""reporting: what a recording gave -> figures, verdicts, a page; and tables and an index over all recordings."""

import warnings
from collections.abc import Callable, Iterable

from kedro.pipeline import Node, Pipeline

from rsc2p_kedro.manifest.recordings import Recording
from rsc2p_kedro.pipelines.reporting import nodes
from rsc2p_kedro.pipelines.stage import Stage

FIGURES: dict[str, tuple[Callable, list[str]]] = {
    "summary_figure": (nodes.plot_summary_images, ["corrected_summary_images"]),
    "correction_figure": (nodes.plot_correction, ["summary_images", "corrected_summary_images"]),
    "template_figure": (nodes.plot_template, ["motion"]),
    "shifts_figure": (nodes.plot_shifts, ["motion_table"]),
    "patch_shifts_figure": (nodes.plot_patch_shifts, ["motion"]),
    "motion_quality_figure": (nodes.plot_motion_quality, ["motion_table", "motion_quality"]),
    "contours_figure": (
        nodes.plot_contours,
        ["corrected_summary_images", "fit_components", "components", "component_table"],
    ),
    "component_map_figure": (nodes.plot_component_map, ["corrected_summary_images", "components", "component_table"]),
    "footprints_figure": (nodes.plot_footprints, ["components", "component_table"]),
    "quality_figure": (nodes.plot_quality, ["component_table", "component_quality"]),
    "traces_figure": (
        nodes.plot_traces,
        ["dff", "components", "spike_inference", "component_table", "component_quality"],
    ),
}
"""Figure -> the node that draws it, and what it draws."""

WITH_THRESHOLDS = {"quality_figure", "traces_figure"}
"""Figures that show the thresholds of the evaluation."""


def create_pipeline(recordings) -> Pipeline:
    return Pipeline([*[n for r in recordings for n in _nodes(r)], *create_index_pipeline(recordings).nodes])


def _nodes(recording: Recording) -> list[Node]:
    figures = [_figure(name, function, drawn) for name, (function, drawn) in FIGURES.items()]
    truth = [_truth()] if recording.simulation is not None else []
    nodes_ = [*figures, *truth, _verdicts(), _report(bool(truth)), _view(recording), _summary()]
    stage = Stage(recording, "reporting")
    return [stage.node(n.func, n._inputs, n._outputs) for n in nodes_]


def _figure(name: str, function: Callable, drawn: list[str]) -> Node:
    thresholds = ["params:evaluation"] if name in WITH_THRESHOLDS else []
    return Node(function, inputs=[*drawn, "params:recording", *thresholds], outputs=name, name=function.__name__)


def _truth() -> Node:
    return Node(
        nodes.score_against_truth,
        inputs=["truth", "motion", "components", "component_table"],
        outputs="truth_score_table",
        name="score_against_truth",
    )


def _verdicts() -> Node:
    return Node(
        nodes.judge_recording,
        inputs=[
            "params:recording",
            "params:motion_correction",
            "params:evaluation",
            "frame_table",
            "motion_table",
            "motion_quality",
            "component_table",
            "component_quality",
            "dff",
            "inspection_table",
        ],
        outputs="verdict_table",
        name="judge_recording",
    )


def _report(has_truth: bool) -> Node:
    shown = [
        "verdict_table",
        "motion",
        "motion_quality",
        "components",
        "component_table",
        "component_quality",
        "dff",
        "lineage_table",
        "inspection_table",
        *FIGURES,
    ]
    parameters = ("recording", "motion_correction", "source_extraction", "evaluation")
    inputs = {name: f"params:{name}" for name in parameters} | {name: name for name in shown}
    if has_truth:
        inputs["truth_scores"] = "truth_score_table"
    return Node(nodes.write_report, inputs=inputs, outputs="report", name="write_report")


def _view(recording: Recording) -> Node:
    shown = [
        "corrected_summary_images",
        "components",
        "component_table",
        "component_quality",
        "dff",
        "spike_inference",
    ]
    return Node(
        nodes.write_view,
        inputs={
            "recording": "params:recording",
            "evaluation": "params:evaluation",
            **{s: s for s in shown},
            **Stage(recording, "reporting").optional("curation"),
        },
        outputs="view",
        name="write_view",
    )


def _summary() -> Node:
    return Node(
        nodes.summarize_recording,
        inputs=[
            "params:recording",
            "motion",
            "motion_quality",
            "fit_components",
            "components",
            "component_table",
            "inspection_table",
        ],
        outputs="summary_table",
        name="summarize_recording",
    )


def create_index_pipeline(recordings: Iterable[Recording]) -> Pipeline:
    """A table, figures and a page over all recordings. Its nodes belong to no recording, so they bear no namespace."""
    names = [recording.name for recording in recordings]

    def of_all(*kinds: str) -> list[str]:
        return [f"{name}.{kind}" for name in names for kind in kinds]

    with warnings.catch_warnings():
        # Kedro keeps dots for namespaces, and it is datasets of namespaces that these nodes bring together.
        warnings.filterwarnings("ignore", message="One or more dataset names contain '.'", category=UserWarning)
        return Pipeline(
            [
                Node(
                    nodes.tabulate_recordings,
                    inputs=of_all("summary_table"),
                    outputs="recordings_table",
                    name="tabulate_recordings",
                ),
                Node(
                    nodes.plot_recordings,
                    inputs=["recordings_table", *of_all("summary_images", "corrected_summary_images")],
                    outputs="recordings_figure",
                    name="plot_recordings",
                ),
                Node(
                    nodes.plot_recordings_contours,
                    inputs=["recordings_table", *of_all(*FIGURES["contours_figure"][1])],
                    outputs="recordings_contours_figure",
                    name="plot_recordings_contours",
                ),
                Node(
                    nodes.plot_recordings_traces,
                    inputs=["recordings_table", *of_all("dff", "components", "spike_inference", "component_table")],
                    outputs="recordings_traces_figure",
                    name="plot_recordings_traces",
                ),
                Node(
                    nodes.write_index,
                    inputs=[
                        "recordings_table",
                        "recordings_figure",
                        "recordings_contours_figure",
                        "recordings_traces_figure",
                        *of_all("verdict_table"),
                    ],
                    outputs="index",
                    name="write_index",
                ),
            ],
            tags="reporting",
        )
