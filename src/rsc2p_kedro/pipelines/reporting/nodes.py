"""Adapters of reporting: results and tables on one side, figures and pages on the other."""

from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from rsc2p_kedro.core.parameters import EvaluationParameters, ExtractionParameters, MotionCorrectionParameters
from rsc2p_kedro.core.provenance import collect_provenance, parameters_of
from rsc2p_kedro.core.results import (
    ComponentQuality,
    Components,
    DeltaFOverF,
    MotionCorrection,
    SpikeInference,
    SummaryImages,
)
from rsc2p_kedro.manifest.recordings import Recording
from rsc2p_kedro.nwb.inspection import TOLERATED_CHECKS
from rsc2p_kedro.plots import components as component_plots
from rsc2p_kedro.plots import images as image_plots
from rsc2p_kedro.plots import motion as motion_plots
from rsc2p_kedro.plots import style
from rsc2p_kedro.plots import traces as trace_plots
from rsc2p_kedro.reports import pages, verdicts
from rsc2p_kedro.reports.view import render_view
from rsc2p_kedro.simulation.truth import SimulatedTruth, score_results

PAGES = ("report", "view")
"""The pages of a recording."""


def _in_order(component_table: pd.DataFrame, components: Components) -> pd.DataFrame:
    """The rows of the table in the order of the components, whatever order it was saved in."""
    missing = sorted(set(components.ids.tolist()) - set(component_table["component_id"]))
    if missing:
        raise ValueError(
            f"The component table lacks the components {missing}: it is older than they are. Run the stage "
            "`evaluation` again."
        )
    return component_table.set_index("component_id").loc[components.ids].reset_index()


def _thresholds(
    quality: ComponentQuality, recording: Recording, evaluation: EvaluationParameters
) -> EvaluationParameters:
    """The parameters that components were judged by, which need not be those of the present run."""
    return parameters_of(quality.provenance, recording.override(evaluation))


def plot_summary_images(corrected_summary_images: SummaryImages, recording: Recording) -> Figure:
    """The corrected recording in four images."""
    images = corrected_summary_images
    return image_plots.summary_images(
        images.maximum,
        images.correlation,
        images.mean,
        images.standard_deviation,
        title=recording.name,
        pixel_size_um=recording.pixel_size_um,
    )


def plot_correction(
    summary_images: SummaryImages, corrected_summary_images: SummaryImages, recording: Recording
) -> Figure:
    """Maximum and correlation before and after motion correction."""
    return image_plots.original_and_corrected(
        summary_images.maximum,
        corrected_summary_images.maximum,
        summary_images.correlation,
        corrected_summary_images.correlation,
        title=recording.name,
        pixel_size_um=recording.pixel_size_um,
    )


def plot_template(motion: MotionCorrection, recording: Recording) -> Figure:
    """The image that frames were registered to, and what every frame saw of it."""
    return image_plots.template(
        motion.template, motion.valid_mask, title=recording.name, pixel_size_um=recording.pixel_size_um
    )


def plot_shifts(motion_table: pd.DataFrame, recording: Recording) -> Figure:
    """Shifts over time."""
    return motion_plots.shifts_over_time(
        motion_table[["shift_y_px", "shift_x_px"]].to_numpy(),
        motion_table["largest_deviation_px"].to_numpy(),
        motion_table["registered"].to_numpy(dtype=bool),
        frame_rate_hz=recording.frame_rate_hz,
        title=recording.name,
        pixel_size_um=recording.pixel_size_um,
    )


def plot_patch_shifts(motion: MotionCorrection, recording: Recording) -> Figure:
    """How the frame bends: the most deformed frame, and the rms of each patch."""
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


def plot_motion_quality(motion_table: pd.DataFrame, motion_quality: pd.DataFrame, recording: Recording) -> Figure:
    """Whether motion correction helped."""
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


def plot_contours(
    corrected_summary_images: SummaryImages,
    fit_components: Components,
    components: Components,
    component_table: pd.DataFrame,
    recording: Recording,
) -> Figure:
    """Outlines of the first fit, the refit, and what was accepted of it."""
    return component_plots.fit_and_refit(
        corrected_summary_images.correlation,
        fit_components.footprints,
        components.footprints,
        _in_order(component_table, components)["accepted"].to_numpy(dtype=bool),
        title=recording.name,
        pixel_size_um=recording.pixel_size_um,
    )


def plot_component_map(
    corrected_summary_images: SummaryImages, components: Components, component_table: pd.DataFrame, recording: Recording
) -> Figure:
    """Outlines of the components, with the ids of the accepted ones."""
    accepted = _in_order(component_table, components)["accepted"].to_numpy(dtype=bool)
    return component_plots.contours(
        corrected_summary_images.correlation,
        components.footprints,
        accepted=accepted,
        ids=components.ids,
        title=f"{recording.name}: {style.count(int(accepted.sum()), 'accepted component')} with ids (orange), "
        f"{(~accepted).sum()} rejected (dashed)",
        pixel_size_um=recording.pixel_size_um,
    )


def plot_footprints(components: Components, component_table: pd.DataFrame, recording: Recording) -> Figure:
    """Footprints one by one, the clearest first."""
    table = _in_order(component_table, components)
    return component_plots.footprint_montage(
        components.footprints,
        components.shape,
        ids=components.ids,
        snr=table["snr"].to_numpy(),
        accepted=table["accepted"].to_numpy(dtype=bool),
        title=recording.name,
    )


def plot_quality(
    component_table: pd.DataFrame,
    component_quality: ComponentQuality,
    recording: Recording,
    evaluation: EvaluationParameters,
) -> Figure:
    """SNR against r_value, with the thresholds."""
    parameters = _thresholds(component_quality, recording, evaluation)
    return component_plots.snr_against_r_value(
        component_table["snr"].to_numpy(),
        component_table["r_value"].to_numpy(),
        component_table["accepted"].to_numpy(dtype=bool),
        title=recording.name,
        **parameters.model_dump(include={"min_snr", "min_r_value", "lowest_snr", "lowest_r_value"}),
    )


def plot_traces(
    dff: DeltaFOverF,
    components: Components,
    spike_inference: SpikeInference,
    component_table: pd.DataFrame,
    component_quality: ComponentQuality,
    recording: Recording,
    evaluation: EvaluationParameters,
) -> Figure:
    """dF/F, deconvolved and inferred spikes of the best components and of those nearest to the threshold."""
    table = _in_order(component_table, components)
    return trace_plots.traces_with_spikes(
        dff.dff,
        components.spikes,
        spike_inference.rates,
        frame_rate_hz=recording.frame_rate_hz,
        ids=components.ids,
        snr=table["snr"].to_numpy(),
        accepted=table["accepted"].to_numpy(dtype=bool),
        min_snr=_thresholds(component_quality, recording, evaluation).min_snr,
        title=recording.name,
    )


def score_against_truth(
    truth: SimulatedTruth, motion: MotionCorrection, components: Components, component_table: pd.DataFrame
) -> pd.DataFrame:
    """Scores of a simulated recording against what is true of it."""
    accepted = _in_order(component_table, components)["accepted"].to_numpy(dtype=bool)
    rows = score_results(truth, components, accepted, motion)
    return pd.DataFrame(rows, columns=["measure", "value", "unit", "description"])


def judge_recording(
    recording: Recording,
    motion_correction: MotionCorrectionParameters,
    evaluation: EvaluationParameters,
    frame_table: pd.DataFrame,
    motion_table: pd.DataFrame,
    motion_quality: pd.DataFrame,
    component_table: pd.DataFrame,
    component_quality: ComponentQuality,
    dff: DeltaFOverF,
    inspection_table: pd.DataFrame,
) -> pd.DataFrame:
    """What the numbers of a recording mean, in words: is the motion corrected, are there cells, what needs a look."""
    registered = motion_table["registered"].to_numpy(dtype=bool)
    found = [
        verdicts.judge_motion(motion_table, motion_quality),
        *verdicts.judge_components(component_table, _thresholds(component_quality, recording, evaluation).min_snr),
        verdicts.judge_inspection(inspection_table, explained=TOLERATED_CHECKS),
        verdicts.judge_unregistered(int((~registered).sum()), len(registered)),
        verdicts.judge_shift_limit(motion_table, recording.override(motion_correction).max_shift_px),
        verdicts.judge_light(frame_table),
        verdicts.judge_dff(dff.guarded, dff.dark_level, float(frame_table["mean"].mean())),
    ]
    return verdicts.to_table(found)


def write_report(
    recording: Recording,
    motion_correction: MotionCorrectionParameters,
    source_extraction: ExtractionParameters,
    evaluation: EvaluationParameters,
    verdict_table: pd.DataFrame,
    motion: MotionCorrection,
    motion_quality: pd.DataFrame,
    components: Components,
    component_table: pd.DataFrame,
    component_quality: ComponentQuality,
    dff: DeltaFOverF,
    lineage_table: pd.DataFrame,
    inspection_table: pd.DataFrame,
    truth_scores: pd.DataFrame | None = None,
    **figures: Any,
) -> str:
    """The report of one recording as a page of HTML: verdicts first, then figures, tables, parameters and provenance.

    `figures` are matplotlib figures or the bytes of PNGs, by the names in `pages.FIGURES`.
    """
    found, thresholds = verdicts.from_table(verdict_table), _thresholds(component_quality, recording, evaluation)
    stages = {
        "Motion correction": parameters_of(motion.provenance, recording.override(motion_correction)),
        "Source extraction": parameters_of(components.provenance, recording.override(source_extraction)),
        "Evaluation": thresholds,
    }
    provenance = collect_provenance(
        motion_correction=motion.provenance,
        source_extraction=components.provenance,
        evaluation=component_quality.provenance,
    )
    tables = _tables(motion_quality, component_table, lineage_table, inspection_table, truth_scores)
    tables["cells"].insert(1, pages.table_of(_dff_facts(dff, thresholds), "dF/F"))
    return pages.render_report(
        recording.name,
        summary=_summary(recording, motion),
        facts=_facts(recording),
        verdicts=found if truth_scores is None else [*found, verdicts.judge_truth(truth_scores)],
        figures=figures,
        tables=tables,
        parameters=[pages.parameter_table(name, model) for name, model in stages.items()],
        provenance=pages.pairs_of(provenance),
        simulated=recording.simulation is not None,
    )


def write_view(
    recording: Recording,
    evaluation: EvaluationParameters,
    corrected_summary_images: SummaryImages,
    components: Components,
    component_table: pd.DataFrame,
    component_quality: ComponentQuality,
    dff: DeltaFOverF,
    spike_inference: SpikeInference,
    curation: pd.DataFrame | None = None,
) -> str:
    """The interactive view of one recording as a page of HTML: cells to click through, thresholds, decisions."""
    return render_view(
        recording.name,
        summary=f"{components.n_frames} frames at {recording.frame_rate_hz:g} Hz",
        images=corrected_summary_images,
        components=components,
        table=_in_order(component_table, components),
        dff=dff,
        inferred=spike_inference,
        parameters=_thresholds(component_quality, recording, evaluation),
        decisions=curation,
        frame_rate_hz=recording.frame_rate_hz,
        pixel_size_um=recording.pixel_size_um,
    )


def _dff_facts(dff: DeltaFOverF, parameters: EvaluationParameters) -> pd.DataFrame:
    """What dF/F was measured from."""
    source = "estimated from how the noise of pixels grows with their light"
    if parameters.dff_dark_level is not None:
        source = "given as dff_dark_level"
    rows = [
        ("dark level", dff.dark_level, "counts", f"What a pixel holds without light, left out of F0; {source}."),
        ("percentile", parameters.dff_percentile, "%", "Of the running window, taken as rest."),
        ("window", parameters.dff_window_s, "s", "Of that percentile."),
        ("guarded", float(dff.guarded.sum()), "components", "Whose F0 was too low to divide by, and was raised."),
    ]
    return pd.DataFrame(rows, columns=["measure", "value", "unit", "description"])


def _summary(recording: Recording, motion: MotionCorrection) -> str:
    """The size of a recording in a line."""
    (H, W), T, rate, size = motion.template.shape, motion.n_frames, recording.frame_rate_hz, recording.pixel_size_um
    field = "" if size is None else f", {H * size[0]:.0f} × {W * size[1]:.0f} µm"
    return f"{T} frames, {T / rate:.1f} s at {rate:g} Hz, of {H} × {W} px{field} (height × width)"


def _facts(recording: Recording) -> list[tuple[str, str]]:
    """What the user said of a recording."""
    said = {name: getattr(recording, name).model_dump() for name in ("subject", "session", "device", "imaging_plane")}
    numbers = recording.model_dump(include={"frame_rate_hz", "pixel_size_um", "decay_time_s", "frames"})
    return pages.pairs_of({**numbers, **{name.replace("_", " "): fields for name, fields in said.items()}})


def _tables(
    motion_quality: pd.DataFrame,
    component_table: pd.DataFrame,
    lineage_table: pd.DataFrame,
    inspection_table: pd.DataFrame,
    truth_scores: pd.DataFrame | None,
) -> dict[str, list[pages.Table]]:
    """The tables of a report by section, the components sorted: accepted first, then by falling SNR."""
    first = ["component_id", "accepted", "reason", "snr", "r_value"]
    ranked = component_table.sort_values(["accepted", "snr"], ascending=False, kind="stable")
    ranked = ranked[first + [name for name in ranked.columns if name not in first]]
    events = lineage_table["event"].value_counts().rename_axis("event").reset_index(name="components")
    tables = {
        "motion": [pages.table_of(motion_quality, "Before and after")],
        "cells": [
            pages.table_of(events, "From the first fit to the refit"),
            pages.table_of(ranked.dropna(axis="columns", how="all"), "All components", folded=len(ranked) > 0),
        ],
        "inspection": [pages.table_of(inspection_table, "Messages of the validators")],
    }
    return tables if truth_scores is None else {**tables, "truth": [pages.table_of(truth_scores, "Scores")]}


def summarize_recording(
    recording: Recording,
    motion: MotionCorrection,
    motion_quality: pd.DataFrame,
    fit_components: Components,
    components: Components,
    component_table: pd.DataFrame,
    inspection_table: pd.DataFrame,
) -> pd.DataFrame:
    """The run of one recording at a glance: one row."""
    similarity = motion_quality.set_index("measure").loc["template_correlation"].to_dict()
    accepted = component_table[component_table["accepted"].astype(bool)]
    size = recording.pixel_size_um or (np.nan, np.nan)
    row = {
        "recording": recording.name,
        "n_frames": motion.n_frames,
        "height_px": motion.template.shape[0],
        "width_px": motion.template.shape[1],
        "pixel_height_um": size[0],
        "pixel_width_um": size[1],
        "frame_rate_hz": recording.frame_rate_hz,
        "template_correlation_before": float(similarity["before"]),
        "template_correlation_after": float(similarity["after"]),
        "unregistered_frames": int((~motion.registered).sum()),
        "components_fit": fit_components.n_components,
        "components_refit": components.n_components,
        "components_accepted": len(accepted),
        "median_snr_accepted": float(accepted["snr"].median()) if len(accepted) else np.nan,
        "inspection_messages": len(inspection_table),
    }
    return pd.DataFrame([row])


def tabulate_recordings(*summaries: pd.DataFrame) -> pd.DataFrame:
    """One row a recording, in the order given."""
    return pd.concat(summaries, ignore_index=True)


def _pixel_sizes(recordings_table: pd.DataFrame) -> list[tuple[float, float] | None]:
    """(y, x) of each recording, none where it is unknown."""
    measured = recordings_table[["pixel_height_um", "pixel_width_um"]].to_numpy(dtype=float)
    return [(float(y), float(x)) if np.isfinite([y, x]).all() else None for y, x in measured]


def plot_recordings(recordings_table: pd.DataFrame, *summary_images: SummaryImages) -> Figure:
    """All recordings side by side.

    Args:
        recordings_table: one row a recording.
        summary_images: the original and the corrected images of the first recording, then of the second, and so
            on, in the order of the table.
    """
    pairs = zip(summary_images[::2], summary_images[1::2], strict=True)
    rows = [(a.maximum, b.maximum, a.correlation, b.correlation) for a, b in pairs]
    names = recordings_table["recording"].tolist()
    return image_plots.recordings_grid(names, rows, pixel_sizes_um=_pixel_sizes(recordings_table))


def plot_recordings_contours(recordings_table: pd.DataFrame, *found: Any) -> Figure:
    """What was found in all recordings, side by side.

    Args:
        recordings_table: one row a recording.
        found: corrected summary images, components of the first fit, components of the refit and their table, of the
            first recording, then of the second, and so on, in the order of the table.
    """
    rows = []
    for images, fit, refit, table in zip(found[::4], found[1::4], found[2::4], found[3::4], strict=True):
        accepted = _in_order(table, refit)["accepted"].to_numpy(dtype=bool)
        rows.append(component_plots.Found(images.correlation, fit.footprints, refit.footprints, accepted))
    names = recordings_table["recording"].tolist()
    return component_plots.recordings_contours(names, rows, pixel_sizes_um=_pixel_sizes(recordings_table))


def plot_recordings_traces(recordings_table: pd.DataFrame, *found: Any) -> Figure:
    """Traces and spikes of the clearest cells of all recordings.

    Args:
        recordings_table: one row a recording.
        found: dF/F, components, their inferred spikes and their table, of the first recording, then of the second, and
            so on, in the order of the table.
    """
    rates = recordings_table["frame_rate_hz"].tolist()
    parts = zip(found[::4], found[1::4], found[2::4], found[3::4], rates, strict=True)
    return trace_plots.recordings_traces(recordings_table["recording"].tolist(), [_clearest(*part) for part in parts])


def _clearest(
    dff: DeltaFOverF, components: Components, inferred: SpikeInference, table: pd.DataFrame, rate: float
) -> trace_plots.Clearest:
    """The five accepted components of highest SNR."""
    table = _in_order(table, components)
    snr, accepted = table["snr"].to_numpy(), table["accepted"].to_numpy(dtype=bool)
    best, _ = trace_plots.choose_components(snr, accepted, min_snr=1.0, n_best=5, n_borderline=0)
    names = [f"{components.ids[i]}\nSNR {snr[i]:.1f}" for i in best]
    return trace_plots.Clearest(dff.dff[best], components.spikes[best], inferred.rates[best], names, rate)


def write_index(
    recordings_table: pd.DataFrame,
    recordings_figure: Any,
    recordings_contours_figure: Any,
    recordings_traces_figure: Any,
    *verdict_tables: pd.DataFrame,
    link_pattern: str = "{animal}/{session}/{page}.html",
) -> str:
    """A page over all recordings that links to the report of each.

    Args:
        recordings_table: one row a recording.
        recordings_figure: all recordings side by side, a figure or the bytes of a PNG; none: leave it out.
        recordings_contours_figure: what was found in them, likewise.
        recordings_traces_figure: traces of their clearest cells, likewise.
        verdict_tables: one a recording, in the order of the table.
        link_pattern: address of a page as seen from this one, with `{animal}`, `{session}` and `{page}`, which is
            `report` or `view`.
    """
    names = recordings_table["recording"].tolist()
    found = {name: verdicts.from_table(table) for name, table in zip(names, verdict_tables, strict=True)}
    keys = {name: name.partition(".") for name in names}
    links = {
        name: {page: link_pattern.format(animal=quote(animal), session=quote(session), page=page) for page in PAGES}
        for name, (animal, _, session) in keys.items()
    }
    figures = {
        "correction": recordings_figure,
        "contours": recordings_contours_figure,
        "traces": recordings_traces_figure,
    }
    return pages.render_index(
        recordings_table, found, links, {name: figure for name, figure in figures.items() if figure is not None}
    )
