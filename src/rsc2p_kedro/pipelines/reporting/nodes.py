"""Nodes of the stage reporting: they draw figures and write pages from results and tables."""

import base64
from typing import Any
from urllib.parse import quote

import dask.array as da
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from rsc2p_kedro.algorithms.bad_frames import NOT_REGISTERED
from rsc2p_kedro.algorithms.evaluation.measures import measure_components
from rsc2p_kedro.algorithms.evaluation.unexplained import find_unexplained
from rsc2p_kedro.core.fingerprints import uses
from rsc2p_kedro.core.parameters import EvaluationParameters, ExtractionParameters, MotionCorrectionParameters
from rsc2p_kedro.core.provenance import collect_provenance
from rsc2p_kedro.core.results import (
    ComponentQuality,
    Components,
    DeltaFOverF,
    DetectorResponse,
    DetectorSaturation,
    LineOffset,
    MotionCorrection,
    RedLabels,
    SpikeInference,
    SummaryImages,
)
from rsc2p_kedro.datasets.raw.alternation import alternating_frames
from rsc2p_kedro.datasets.tracked import with_tracked_ids
from rsc2p_kedro.manifest.recordings import Recording
from rsc2p_kedro.nwb.inspection import TOLERATED_CHECKS
from rsc2p_kedro.nwb.metadata import NwbParameters
from rsc2p_kedro.nwb.metadata_checks import missing_metadata
from rsc2p_kedro.pipelines.evaluation.curation import match_decisions
from rsc2p_kedro.plots import components as component_plots
from rsc2p_kedro.plots import coverage as coverage_plots
from rsc2p_kedro.plots import detector as detector_plots
from rsc2p_kedro.plots import images as image_plots
from rsc2p_kedro.plots import motion as motion_plots
from rsc2p_kedro.plots import red_label as red_label_plots
from rsc2p_kedro.plots import style
from rsc2p_kedro.plots import traces as trace_plots
from rsc2p_kedro.plots.thumbnails import thumbnail
from rsc2p_kedro.reports import assessment, html, report
from rsc2p_kedro.reports.curation_page import render_curation_page
from rsc2p_kedro.reports.index import IndexEntry, render_index
from rsc2p_kedro.reports.tracking_page import TrackingSummary
from rsc2p_kedro.simulation.truth import SimulatedTruth, score_results


def _rows_of(component_table: pd.DataFrame, components: Components) -> pd.DataFrame:
    """The rows of the component table in the order of the components."""
    missing = sorted(set(components.ids.tolist()) - set(component_table["component_id"]))
    if missing:
        raise ValueError(
            f"The component table should have all components, but lacks {missing}: it is older than the components. "
            "Run the stage `evaluation` again."
        )
    return component_table.set_index("component_id").loc[components.ids].reset_index()


def _accepted(component_table: pd.DataFrame, components: Components) -> np.ndarray:
    """(N,) whether each component was accepted."""
    return _rows_of(component_table, components)["accepted"].to_numpy(dtype=bool)


@uses(recording="pixel_size_um")
def plot_summary_images(corrected_summary_images: SummaryImages, recording: Recording) -> Figure:
    """Draws the summary images of the corrected movie.

    Args:
        corrected_summary_images: of the corrected movie.
        recording: gives title and pixel size.

    Returns:
        The figure.
    """
    images = corrected_summary_images
    return image_plots.summary_images(
        images.maximum,
        images.correlation,
        images.mean,
        images.standard_deviation,
        title=recording.name,
        pixel_size_um=recording.pixel_size_um,
    )


@uses(recording="pixel_size_um")
def plot_correction(
    summary_images: SummaryImages, corrected_summary_images: SummaryImages, recording: Recording
) -> Figure:
    """Draws maximum projection and correlation image before and after motion correction.

    Args:
        summary_images: of the raw movie.
        corrected_summary_images: of the corrected movie.
        recording: gives title and pixel size.

    Returns:
        The figure.
    """
    return image_plots.original_and_corrected(
        summary_images.maximum,
        corrected_summary_images.maximum,
        summary_images.correlation,
        corrected_summary_images.correlation,
        title=recording.name,
        pixel_size_um=recording.pixel_size_um,
    )


@uses(recording="pixel_size_um")
def plot_template(motion: MotionCorrection, recording: Recording) -> Figure:
    """Draws the template of the registration.

    Args:
        motion: holds the template, and the mask of pixels visible in every frame.
        recording: gives title and pixel size.

    Returns:
        The figure.
    """
    return image_plots.template(
        motion.template, motion.valid_mask, title=recording.name, pixel_size_um=recording.pixel_size_um
    )


@uses(recording="frame_rate_hz pixel_size_um")
def plot_shifts(motion_table: pd.DataFrame, recording: Recording) -> Figure:
    """Draws the shifts over time.

    Args:
        motion_table: one row per frame.
        recording: gives title, frame rate and pixel size.

    Returns:
        The figure.
    """
    return motion_plots.shifts_over_time(
        motion_table[["shift_y_px", "shift_x_px"]].to_numpy(),
        motion_table["largest_deviation_px"].to_numpy(),
        motion_table["registered"].to_numpy(dtype=bool),
        frame_rate_hz=recording.frame_rate_hz,
        title=recording.name,
        pixel_size_um=recording.pixel_size_um,
    )


@uses(recording="frame_rate_hz pixel_size_um")
def plot_patch_shifts(motion: MotionCorrection, recording: Recording) -> Figure:
    """Draws the shifts of the patches in the most deformed frame, and their RMS over all frames.

    Args:
        motion: holds template, rigid shifts and shifts of the patches.
        recording: gives title, frame rate and pixel size.

    Returns:
        The figure.
    """
    return motion_plots.patch_shift_field(
        motion.template,
        motion.shifts,
        motion.patch_shifts,
        motion.patch_centres,
        motion.registered,
        frame_rate_hz=recording.frame_rate_hz,
        title=recording.name,
        pixel_size_um=recording.pixel_size_um,
    )


@uses(recording="frame_rate_hz")
def plot_motion_quality(motion_table: pd.DataFrame, motion_quality: pd.DataFrame, recording: Recording) -> Figure:
    """Draws the quality of the motion correction.

    Args:
        motion_table: one row per frame.
        motion_quality: one row per measure, before and after.
        recording: gives title and frame rate.

    Returns:
        The figure.
    """
    measures = motion_quality.set_index("measure")[["before", "after"]].reindex(["crispness", "residual_motion_px"])
    crispness, residual = (tuple(pair) for pair in measures.to_numpy(dtype=float).tolist())
    return motion_plots.motion_quality(
        motion_table["correlation_before"].to_numpy(),
        motion_table["correlation_after"].to_numpy(),
        motion_table["registered"].to_numpy(dtype=bool),
        crispness,
        residual,
        frame_rate_hz=recording.frame_rate_hz,
        title=recording.name,
    )


@uses(recording="pixel_size_um")
def plot_contours(
    corrected_summary_images: SummaryImages,
    fit_components: Components,
    components: Components,
    component_table: pd.DataFrame,
    recording: Recording,
) -> Figure:
    """Draws the contours of the first fit, of the refit, and of the refit after its evaluation.

    Args:
        corrected_summary_images: of the corrected movie.
        fit_components: of the first fit.
        components: of the refit.
        component_table: one row per component, in any order.
        recording: gives title and pixel size.

    Returns:
        The figure.
    """
    return component_plots.fit_and_refit(
        corrected_summary_images.correlation,
        fit_components.footprints,
        components.footprints,
        _accepted(component_table, components),
        title=recording.name,
        pixel_size_um=recording.pixel_size_um,
    )


@uses(recording="pixel_size_um")
def plot_component_map(
    corrected_summary_images: SummaryImages, components: Components, component_table: pd.DataFrame, recording: Recording
) -> Figure:
    """Draws the contours of the components, with the ids of the accepted ones.

    Args:
        corrected_summary_images: of the corrected movie.
        components: of the refit.
        component_table: one row per component, in any order.
        recording: gives title and pixel size.

    Returns:
        The figure.
    """
    accepted = _accepted(component_table, components)
    return component_plots.contours(
        corrected_summary_images.correlation,
        components.footprints,
        accepted=accepted,
        ids=components.ids,
        title=f"{recording.name}: {style.count(int(accepted.sum()), 'accepted component')} with ids (orange), "
        f"{(~accepted).sum()} rejected (dashed)",
        pixel_size_um=recording.pixel_size_um,
    )


@uses(recording="")
def plot_photon_transfer(
    detector_saturation: DetectorSaturation, detector_response: DetectorResponse, recording: Recording
) -> Figure:
    """Draws the noise of the pixels of the raw movie over their level.

    Args:
        detector_saturation: the curve, and the level from which the detector saturates.
        detector_response: dark level and gain.
        recording: gives the title.

    Returns:
        The figure.
    """
    found = detector_saturation
    return detector_plots.photon_transfer_curve(
        found.levels,
        found.noise_variance,
        found.expected_variance,
        found.level,
        response=detector_response,
        title=recording.name,
    )


def plot_structural_channel(
    structural_summary_images: SummaryImages, components: Components, red_labels: RedLabels, recording: Recording
) -> Figure:
    """Draws the structural channel, the components with its label, and the crosstalk.

    Args:
        structural_summary_images: of the structural channel, corrected.
        components: of the refit.
        red_labels: their signals and probabilities.
        recording: gives title and pixel size.

    Returns:
        The figure.
    """
    return red_label_plots.structural_channel(
        structural_summary_images.mean,
        components.footprints,
        red_labels.red_probability,
        red_labels.red_contrast,
        red_labels.functional_contrast,
        crosstalk=red_labels.crosstalk,
        crosstalk_error=red_labels.crosstalk_error,
        title=recording.name,
        pixel_size_um=recording.pixel_size_um,
    )


@uses(recording="pixel_size_um")
def plot_unexplained_correlation(
    corrected_summary_images: SummaryImages,
    components: Components,
    component_table: pd.DataFrame,
    motion: MotionCorrection,
    recording: Recording,
) -> Figure:
    """Draws the pixels of high local correlation that no accepted component covers.

    Args:
        corrected_summary_images: of the corrected movie.
        components: of the refit.
        component_table: one row per component, in any order.
        motion: gives the pixels visible in every frame.
        recording: gives title and pixel size.

    Returns:
        The figure.
    """
    footprints = components.footprints[:, np.flatnonzero(_accepted(component_table, components))]
    missed = find_unexplained(corrected_summary_images.correlation, footprints, motion.valid_mask)
    return coverage_plots.unexplained_correlation(
        corrected_summary_images.correlation,
        footprints,
        missed.high,
        missed.unexplained,
        title=recording.name,
        pixel_size_um=recording.pixel_size_um,
    )


@uses(recording="")
def plot_footprints(components: Components, component_table: pd.DataFrame, recording: Recording) -> Figure:
    """Draws the spatial footprints, in order of decreasing SNR.

    Args:
        components: of the refit.
        component_table: one row per component, in any order.
        recording: gives the title.

    Returns:
        The figure.
    """
    table = _rows_of(component_table, components)
    return component_plots.footprint_montage(
        components.footprints,
        components.shape,
        ids=components.ids,
        snr=table["snr"].to_numpy(),
        accepted=table["accepted"].to_numpy(dtype=bool),
        title=recording.name,
    )


@uses(recording="", evaluation="min_snr min_r_value lowest_snr lowest_r_value")
def plot_quality(
    component_table: pd.DataFrame,
    recording: Recording,
    evaluation: EvaluationParameters,
) -> Figure:
    """Draws SNR against spatial correlation, with the thresholds.

    Args:
        component_table: one row per component.
        recording: gives the title.
        evaluation: gives the thresholds.

    Returns:
        The figure.
    """
    parameters = recording.override(evaluation)
    return component_plots.snr_against_r_value(
        component_table["snr"].to_numpy(),
        component_table["r_value"].to_numpy(),
        component_table["accepted"].to_numpy(dtype=bool),
        title=recording.name,
        **parameters.model_dump(include={"min_snr", "min_r_value", "lowest_snr", "lowest_r_value"}),
    )


@uses(recording="frame_rate_hz", evaluation="min_snr")
def plot_traces(
    dff: DeltaFOverF,
    components: Components,
    spike_inference: SpikeInference,
    component_table: pd.DataFrame,
    excluded_frames: pd.DataFrame,
    recording: Recording,
    evaluation: EvaluationParameters,
) -> Figure:
    """Draws dF/F and spikes of the components of highest SNR and of those closest to the threshold.

    Args:
        dff: of the components.
        components: of the refit, with deconvolved spikes.
        spike_inference: inferred spikes.
        component_table: one row per component, in any order.
        excluded_frames: frames that were left out.
        recording: gives title and frame rate.
        evaluation: gives the thresholds.

    Returns:
        The figure.
    """
    table = _rows_of(component_table, components)
    return trace_plots.traces_with_spikes(
        dff.dff,
        components.spikes,
        spike_inference.rates,
        frame_rate_hz=recording.frame_rate_hz,
        ids=components.ids,
        snr=table["snr"].to_numpy(),
        accepted=table["accepted"].to_numpy(dtype=bool),
        min_snr=recording.override(evaluation).min_snr,
        excluded=excluded_frames["excluded"].to_numpy(dtype=bool),
        title=recording.name,
    )


@uses(recording="pixel_size_um")
def plot_thumbnail(
    corrected_summary_images: SummaryImages, components: Components, component_table: pd.DataFrame, recording: Recording
) -> Figure:
    """Draws a small image of the recording for the page over all recordings.

    Args:
        corrected_summary_images: of the corrected movie.
        components: of the refit, of which the accepted ones are outlined.
        component_table: one row per component, in any order.
        recording: gives the pixel size.

    Returns:
        The figure.
    """
    return thumbnail(
        corrected_summary_images.maximum,
        corrected_summary_images.correlation,
        components.footprints[:, _accepted(component_table, components)],
        pixel_size_um=recording.pixel_size_um,
    )


def score_against_truth(
    truth: SimulatedTruth,
    motion: MotionCorrection,
    components: Components,
    component_table: pd.DataFrame,
    red_labels: RedLabels | None = None,
) -> pd.DataFrame:
    """Scores a simulated recording against its ground truth.

    Args:
        truth: of the simulation.
        motion: as it was estimated.
        components: of the refit.
        component_table: one row per component, in any order.
        red_labels: signals of the components in the structural channel, if there is one.

    Returns:
        One row per measure (:class:`rsc2p_kedro.core.schemas.TruthScoreTable`).
    """
    rows = score_results(truth, components, _accepted(component_table, components), motion, red_labels)
    return pd.DataFrame(rows, columns=["measure", "value", "unit", "description"])


def tabulate_component_measures(
    components: Components,
    component_table: pd.DataFrame,
    corrected_summary_images: SummaryImages,
    motion: MotionCorrection,
    detector_saturation: DetectorSaturation,
) -> pd.DataFrame:
    """Tabulates shapes, duplicates and coverage of the accepted components.

    Args:
        components: of the refit.
        component_table: one row per component, in any order.
        corrected_summary_images: of the corrected movie.
        motion: gives the pixels visible in every frame.
        detector_saturation: gives the level from which the detector saturates.

    Returns:
        One row per measure (:class:`rsc2p_kedro.core.schemas.ComponentMeasureTable`).
    """
    rows = measure_components(
        components,
        _accepted(component_table, components),
        corrected_summary_images,
        motion.valid_mask,
        detector_saturation,
    )
    return pd.DataFrame(rows)


def explain_missing_nwb(recording: Recording, nwb: NwbParameters) -> pd.DataFrame:
    """Explains why a recording has no NWB file: its metadata are incomplete.

    Args:
        recording: with its own metadata.
        nwb: metadata that all recordings share.

    Returns:
        One row (:class:`rsc2p_kedro.core.schemas.InspectionTable`), in the place of the messages about a file.
    """
    row = {
        "check": assessment.NOT_EXPORTED,
        "importance": "CRITICAL",
        "object_type": "",
        "object_name": recording.name,
        "location": "/",
        "message": f"No NWB file was written, as metadata are missing: {', '.join(missing_metadata(nwb, recording))}.",
    }
    return pd.DataFrame([row])


@uses(recording="", motion_correction="max_shift_px", evaluation="min_snr dff_within_files")
def assess_recording(
    recording: Recording,
    motion_correction: MotionCorrectionParameters,
    evaluation: EvaluationParameters,
    frame_table: pd.DataFrame,
    motion_table: pd.DataFrame,
    motion_quality: pd.DataFrame,
    component_table: pd.DataFrame,
    dff: DeltaFOverF,
    inspection_table: pd.DataFrame,
    component_measures: pd.DataFrame,
    detector_saturation: DetectorSaturation,
    line_offset: LineOffset,
    excluded_frames: pd.DataFrame,
    movie: da.Array,
) -> pd.DataFrame:
    """Assesses the quality of a recording from its tables, and whether the frames of its movie alternate.

    Args:
        recording: gives the parameters that differ for this recording.
        motion_correction: gives the largest shift allowed.
        evaluation: gives the thresholds.
        frame_table: one row per frame of the raw recording.
        motion_table: one row per frame.
        motion_quality: one row per measure, before and after.
        component_table: one row per component.
        dff: gives the components whose F0 was raised, and the dark level.
        inspection_table: one row per message of the NWB validators.
        component_measures: shapes, duplicates and coverage of the accepted components, one row per measure.
        detector_saturation: gives the level from which the detector saturates.
        line_offset: of the odd rows.
        excluded_frames: frames that were left out, and why.
        movie: raw movie (T, H, W).

    Returns:
        One row per check (:class:`rsc2p_kedro.core.schemas.AssessmentTable`).
    """
    kept = ~excluded_frames["excluded"].to_numpy(dtype=bool)
    n_lost = int((excluded_frames["reason"] == NOT_REGISTERED).sum())
    used = recording.override(evaluation)
    n_saturated = int(component_measures.set_index("measure")["count"].to_dict()["saturated"])
    assessments = [
        assessment.assess_motion(motion_table, motion_quality),
        *assessment.assess_components(component_table, used.min_snr),
        assessment.assess_component_shapes(component_measures),
        assessment.assess_coverage(component_measures),
        assessment.assess_inspection(inspection_table, tolerated=TOLERATED_CHECKS),
        assessment.assess_registration(n_lost, len(kept)),
        assessment.assess_excluded_frames(excluded_frames),
        assessment.assess_shift_limit(motion_table, recording.override(motion_correction).max_shift_px),
        assessment.assess_illumination(frame_table[kept], dark_level=dff.dark_level, error=dff.dark_level_error),
        assessment.assess_files(frame_table[kept], dff.dark_level, corrected=used.dff_within_files),
        assessment.assess_alternation(alternating_frames(movie)),
        assessment.assess_line_offset(line_offset),
        assessment.assess_saturation(detector_saturation, n_saturated),
        assessment.assess_dff(dff, float(frame_table["mean"][kept].mean())),
    ]
    return assessment.to_table(assessments)


def write_report(
    recording: Recording,
    motion_correction: MotionCorrectionParameters,
    source_extraction: ExtractionParameters,
    evaluation: EvaluationParameters,
    assessment_table: pd.DataFrame,
    motion: MotionCorrection,
    motion_quality: pd.DataFrame,
    components: Components,
    component_table: pd.DataFrame,
    component_quality: ComponentQuality,
    dff: DeltaFOverF,
    lineage_table: pd.DataFrame,
    component_measure_table: pd.DataFrame,
    inspection_table: pd.DataFrame,
    truth_scores: pd.DataFrame | None = None,
    red_labels: RedLabels | None = None,
    **figures: Any,
) -> str:
    """Writes the report of one recording.

    Args:
        recording: gives metadata, and the parameters that differ for this recording.
        motion_correction: parameters of the stage.
        source_extraction: parameters of the stage.
        evaluation: parameters of the stage.
        assessment_table: one row per check.
        motion: gives size and provenance.
        motion_quality: one row per measure, before and after.
        components: of the refit.
        component_table: one row per component.
        component_quality: gives provenance.
        dff: gives the components whose F0 was raised, and the dark level.
        lineage_table: one row per component of the first fit or the refit.
        component_measure_table: shapes, duplicates and coverage of the accepted components.
        inspection_table: one row per message of the NWB validators.
        truth_scores: scores of a simulated recording.
        red_labels: gives the crosstalk, of a recording with a structural channel.
        **figures: figures, or the bytes of image files, by the names in `report.FIGURES`.

    Returns:
        A page of HTML.
    """
    assessments = assessment.from_table(assessment_table)
    if truth_scores is not None:
        assessments.append(assessment.assess_ground_truth(truth_scores))
    used = recording.override(evaluation)
    stages = {
        "Motion correction": recording.override(motion_correction),
        "Source extraction": recording.override(source_extraction),
        "Evaluation": used,
    }
    provenance = collect_provenance(
        motion_correction=motion.provenance,
        source_extraction=components.provenance,
        evaluation=component_quality.provenance,
    )
    return report.render_report(
        recording.name,
        summary=report.size_of(recording, motion),
        facts=report.metadata_of(recording),
        assessments=assessments,
        figures=figures,
        tables=report.tables_of(
            motion_quality,
            component_table,
            lineage_table,
            component_measure_table,
            inspection_table,
            dff,
            used,
            truth_scores,
            red_labels,
        ),
        parameters=[html.parameter_table(name, model) for name, model in stages.items()],
        provenance=html.pairs_of(provenance),
        simulated=recording.simulation is not None,
    )


@uses(recording="frame_rate_hz pixel_size_um")
def write_curation_page(
    recording: Recording,
    evaluation: EvaluationParameters,
    corrected_summary_images: SummaryImages,
    components: Components,
    component_table: pd.DataFrame,
    dff: DeltaFOverF,
    spike_inference: SpikeInference,
    excluded_frames: pd.DataFrame,
    curation: pd.DataFrame | None = None,
    structural_summary_images: SummaryImages | None = None,
) -> str:
    """Writes the page on which the components of one recording are inspected, accepted and rejected.

    Args:
        recording: gives name, frame rate, pixel size, and the parameters that differ for this recording.
        evaluation: gives the thresholds.
        corrected_summary_images: of the corrected movie.
        components: of the refit.
        component_table: one row per component, in any order.
        dff: of the components.
        spike_inference: inferred spikes.
        excluded_frames: frames that were left out.
        curation: earlier decisions, which follow their neurons. None if there are none.
        structural_summary_images: of the structural channel, if there is one.

    Returns:
        A page of HTML.
    """
    return render_curation_page(
        recording.name,
        summary=f"{components.n_frames} frames at {recording.frame_rate_hz:g} Hz",
        images=corrected_summary_images,
        structural=None if structural_summary_images is None else structural_summary_images.mean,
        components=components,
        table=_rows_of(component_table, components),
        dff=dff,
        inferred=spike_inference,
        excluded=excluded_frames["excluded"].to_numpy(dtype=bool),
        parameters=recording.override(evaluation),
        curation=None if curation is None else match_decisions(component_table, curation),
        frame_rate_hz=recording.frame_rate_hz,
        pixel_size_um=recording.pixel_size_um,
    )


@uses(recording="frame_rate_hz pixel_size_um")
def summarize_recording(
    recording: Recording,
    motion: MotionCorrection,
    motion_quality: pd.DataFrame,
    fit_components: Components,
    components: Components,
    component_table: pd.DataFrame,
    inspection_table: pd.DataFrame,
) -> pd.DataFrame:
    """Summarizes one recording.

    Args:
        recording: gives name, frame rate and pixel size.
        motion: gives the number of frames, the shape, and the frames that were not registered.
        motion_quality: one row per measure, before and after.
        fit_components: of the first fit.
        components: of the refit.
        component_table: one row per component.
        inspection_table: one row per message of the NWB validators.

    Returns:
        One row (:class:`rsc2p_kedro.core.schemas.RecordingsTable`).
    """
    correlation = motion_quality.set_index("measure").loc["template_correlation"].to_dict()
    accepted = component_table[component_table["accepted"].astype(bool)]
    size = recording.pixel_size_um or (np.nan, np.nan)
    row = {
        "recording": recording.name,
        **({} if recording.plane is None else {"plane": recording.plane}),
        "n_frames": motion.n_frames,
        "height_px": motion.template.shape[0],
        "width_px": motion.template.shape[1],
        "pixel_height_um": size[0],
        "pixel_width_um": size[1],
        "frame_rate_hz": recording.frame_rate_hz,
        "template_correlation_before": float(correlation["before"]),
        "template_correlation_after": float(correlation["after"]),
        "unregistered_frames": int((~motion.registered).sum()),
        "components_fit": fit_components.n_components,
        "components_refit": components.n_components,
        "components_accepted": len(accepted),
        "median_snr_accepted": float(accepted["snr"].median()) if len(accepted) else np.nan,
        "inspection_messages": len(inspection_table),
    }
    return pd.DataFrame([row])


def add_tracked_ids(component_table: pd.DataFrame, tracked_ids: pd.DataFrame) -> pd.DataFrame:
    """Adds the ids of neurons over sessions to the component table.

    Args:
        component_table: a :class:`~rsc2p_kedro.core.schemas.ComponentTable`.
        tracked_ids: a :class:`~rsc2p_kedro.core.schemas.TrackedIdTable`.

    Returns:
        The component table with `tracked_id`, `tracking_probability` and `tracking_reason`.
    """
    return with_tracked_ids(component_table, tracked_ids)


def collect_index_entry(
    summary_table: pd.DataFrame,
    assessment_table: pd.DataFrame,
    component_table: pd.DataFrame,
    thumbnail: bytes,
    report: str,
    curation_page: str,
) -> IndexEntry:
    """Collects the data of one recording for the pages and tables over all recordings.

    Args:
        summary_table: the recording in one row.
        assessment_table: its assessment.
        component_table: its components.
        thumbnail: bytes of an image file.
        report: its report, which must be written before the page over all recordings, which links to it.
        curation_page: its curation page, likewise.

    Returns:
        The entry.
    """
    return IndexEntry(
        summary={name: values[0] for name, values in _columns(summary_table).items()},
        assessments=_columns(assessment_table),
        components=_columns(component_table),
        thumbnail=base64.b64encode(thumbnail).decode("ascii"),
    )


def _columns(table: pd.DataFrame) -> dict[str, list[Any]]:
    """Columns of a table as plain values."""
    return {str(name): table[name].tolist() for name in table.columns}


def tabulate_recordings(*entries: IndexEntry) -> pd.DataFrame:
    """Joins the summaries of all recordings.

    Args:
        *entries: of all recordings.

    Returns:
        A :class:`~rsc2p_kedro.core.schemas.RecordingsTable`, one row per recording, in the order given.
    """
    return pd.DataFrame([entry.summary for entry in entries])


def tabulate_all_components(*entries: IndexEntry) -> pd.DataFrame:
    """Joins the components of all recordings.

    Args:
        *entries: of all recordings.

    Returns:
        An :class:`~rsc2p_kedro.core.schemas.AllComponentsTable`, one row per component, with the name of its recording.
    """
    names = [entry.summary["recording"] for entry in entries for _ in entry.components["component_id"]]
    components = pd.concat([pd.DataFrame(entry.components) for entry in entries], ignore_index=True)
    components.insert(0, "recording", names)
    return components


def write_index(recordings_table: pd.DataFrame, *entries: IndexEntry | TrackingSummary) -> str:
    """Writes the page over all recordings.

    Args:
        recordings_table: one row per recording.
        *entries: of all recordings, in the order of the table; and the tracking of animals with several sessions.

    Returns:
        A page of HTML, which links to `<animal>/<session>/report.html` and `curation.html`, or those in `plane_<k>`.
    """
    names = recordings_table["recording"].tolist()
    known = dict(zip(names, [one for one in entries if isinstance(one, IndexEntry)], strict=True))
    tracked = [one for one in entries if isinstance(one, TrackingSummary)]
    assessments = {name: assessment.from_table(pd.DataFrame(entry.assessments)) for name, entry in known.items()}
    thumbnails = {name: base64.b64decode(entry.thumbnail) for name, entry in known.items()}
    folders = {name: quote(name.replace(".", "/")) for name in names}
    links = {
        name: {page: f"{folder}/{page}.html" for page in ("report", "curation")} for name, folder in folders.items()
    }
    return render_index(recordings_table, assessments, links, thumbnails, tracked)
