"""reporting: results of a recording -> figures, assessment and pages; tables and an index of all recordings."""

from collections.abc import Collection, Sequence

from kedro.pipeline import Node, Pipeline

from rsc2p_kedro.manifest.recordings import Recording
from rsc2p_kedro.pipelines.reporting import nodes
from rsc2p_kedro.pipelines.stage import Stage, node_of_all
from rsc2p_kedro.reports.report import FIGURES
from rsc2p_kedro.runners.joint import sessions_of_fields

PARAMETERS = ("recording", "motion_correction", "source_extraction", "evaluation")
STRUCTURAL_FIGURE = "structural_figure"
REPORTED = (
    "assessment_table",
    "motion",
    "motion_quality",
    "components",
    "component_table",
    "component_quality",
    "dff",
    "lineage_table",
    "component_measure_table",
    "inspection_table",
    *(name for name in FIGURES if name != STRUCTURAL_FIGURE),
)
CURATED = (
    "corrected_summary_images",
    "components",
    "component_table",
    "dff",
    "spike_inference",
    "excluded_frames",
)


def create_pipeline(
    recordings: Sequence[Recording], exported: Collection[str] | None = None, tracked: Collection[str] = ()
) -> Pipeline:
    """Makes the nodes of the stage for all recordings.

    Args:
        recordings: recordings of the manifest.
        exported: names of the recordings whose NWB file is written. None means all. In the reports of the others, the
            metadata that are missing take the place of the messages about the file.
        tracked: names of the recordings whose neurons are tracked over sessions.

    Returns:
        Its nodes, in the namespace of each recording, and the table and the page over all recordings.
    """
    names = {recording.name for recording in recordings} if exported is None else exported
    of_each = [
        node
        for recording in recordings
        for node in _nodes(recording, recording.name in names, recording.name in tracked)
    ]
    return Pipeline([*of_each, *over_all_recordings([recording.name for recording in recordings]).nodes])


def over_all_recordings(names: Sequence[str]) -> Pipeline:
    """Makes the nodes of the tables and the page over all recordings, from one small dataset of each.

    Args:
        names: names of the recordings.

    Returns:
        The nodes, which have no namespace.
    """
    entries = [f"{name}.index_entry" for name in names]
    summaries = [f"{field}.tracking_summary" for field in sessions_of_fields(names)]
    return Pipeline(
        [
            node_of_all(nodes.tabulate_recordings, entries, "recordings_table", "reporting"),
            node_of_all(nodes.tabulate_all_components, entries, "components_table", "reporting"),
            node_of_all(nodes.write_index, ["recordings_table", *entries, *summaries], "index", "reporting"),
        ]
    )


def _nodes(recording: Recording, exported: bool, tracked: bool) -> list[Node]:
    """The nodes of one recording; a simulated one is also scored against its ground truth."""
    stage = Stage(recording, "reporting")
    return [*([] if exported else _reason(stage)), *_figures(stage), *_tables(stage), *_pages(stage, tracked)]


def _reason(stage: Stage) -> list[Node]:
    """Why there is no NWB file: once a session, which may have several planes."""
    if stage.recording.plane not in (None, 1):
        return []
    return [stage.node(nodes.explain_missing_nwb, ["params:recording", "params:nwb"], "inspection_table")]


def _figures(stage: Stage) -> list[Node]:
    """Figures of the report, and the thumbnail for the page over all recordings."""
    images, table, recording = "corrected_summary_images", "component_table", "params:recording"
    spikes, evaluation = "spike_inference", "params:evaluation"
    return [
        stage.node(
            nodes.plot_photon_transfer,
            ["detector_saturation", "detector_response", recording],
            "photon_transfer_figure",
        ),
        stage.node(nodes.plot_summary_images, [images, recording], "summary_figure"),
        stage.node(nodes.plot_correction, ["summary_images", images, recording], "correction_figure"),
        stage.node(nodes.plot_template, ["motion", recording], "template_figure"),
        stage.node(nodes.plot_shifts, ["motion_table", recording], "shifts_figure"),
        stage.node(nodes.plot_patch_shifts, ["motion", recording], "patch_shifts_figure"),
        stage.node(nodes.plot_motion_quality, ["motion_table", "motion_quality", recording], "motion_quality_figure"),
        stage.node(nodes.plot_contours, [images, "fit_components", "components", table, recording], "contours_figure"),
        stage.node(nodes.plot_component_map, [images, "components", table, recording], "component_map_figure"),
        stage.node(
            nodes.plot_unexplained_correlation,
            [images, "components", table, "motion", recording],
            "unexplained_figure",
        ),
        stage.node(nodes.plot_footprints, ["components", table, recording], "footprints_figure"),
        stage.node(nodes.plot_quality, [table, recording, evaluation], "quality_figure"),
        stage.node(
            nodes.plot_traces,
            ["dff", "components", spikes, table, "excluded_frames", recording, evaluation],
            "traces_figure",
        ),
        *_structural_figure(stage),
        stage.node(nodes.plot_thumbnail, [images, "components", table, recording], "thumbnail"),
    ]


def _structural_figure(stage: Stage) -> list[Node]:
    """The figure of the structural channel, where there is one."""
    if not stage.recording.has_structural_channel:
        return []
    inputs = ["structural_summary_images", "components", "red_labels", "params:recording"]
    return [stage.node(nodes.plot_structural_channel, inputs, STRUCTURAL_FIGURE)]


def _tables(stage: Stage) -> list[Node]:
    """Assessment, summary and, for a simulated recording, scores against the ground truth."""
    return [
        stage.node(
            nodes.tabulate_component_measures,
            inputs=["components", "component_table", "corrected_summary_images", "motion", "detector_saturation"],
            outputs="component_measure_table",
        ),
        stage.node(
            nodes.assess_recording,
            inputs=[
                *("params:recording", "params:motion_correction", "params:evaluation"),
                "frame_table",
                "motion_table",
                "motion_quality",
                "component_table",
                "dff",
                "inspection_table",
                "component_measure_table",
                "detector_saturation",
                "line_offset",
                "excluded_frames",
                "movie",
            ],
            outputs="assessment_table",
        ),
        stage.node(
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
        ),
        *(
            [
                stage.node(
                    nodes.score_against_truth,
                    inputs=["truth", "motion", "components", "component_table", *stage.structural("red_labels")],
                    outputs="truth_score_table",
                )
            ]
            if stage.recording.simulation is not None
            else []
        ),
    ]


def _pages(stage: Stage, tracked: bool) -> list[Node]:
    """The report, the curation page, and the entry for the page over all recordings.

    The entry is a single dataset, so that in Kedro-Viz only one edge connects a recording with that page. Earlier
    manual decisions are an input of the curation page if the recording has any.
    """
    table = "tracked_component_table" if tracked else "component_table"
    ids = ["component_table", "tracked_ids"]
    scores = {} if stage.recording.simulation is None else {"truth_scores": "truth_score_table"}
    parameters = {name: f"params:{name}" for name in PARAMETERS}
    return [
        *([stage.node(nodes.add_tracked_ids, ids, table)] if tracked else []),
        stage.node(
            nodes.write_report,
            inputs={
                **parameters,
                **{name: name for name in REPORTED},
                **scores,
                **stage.structural("red_labels", STRUCTURAL_FIGURE),
            },
            outputs="report",
        ),
        stage.node(
            nodes.write_curation_page,
            inputs={
                "recording": "params:recording",
                "evaluation": "params:evaluation",
                **{name: name for name in CURATED},
                **stage.optional("curation"),
                **stage.structural("structural_summary_images"),
            },
            outputs="curation_page",
        ),
        stage.node(
            nodes.collect_index_entry,
            inputs=["summary_table", "assessment_table", table, "thumbnail", "report", "curation_page"],
            outputs="index_entry",
        ),
    ]
