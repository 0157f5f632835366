"""The report of one recording: its assessment, figures, tables, parameters and provenance on one HTML page."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from rsc2p_kedro.core.parameters import EvaluationParameters
from rsc2p_kedro.core.results import (
    BLANK_FRAMES,
    COMPONENT_CLASSES,
    GIVEN,
    NOISE,
    SILENT,
    UNKNOWN,
    DeltaFOverF,
    DetectorResponse,
    MotionCorrection,
    RedLabels,
)
from rsc2p_kedro.manifest.recordings import Recording
from rsc2p_kedro.reports import html
from rsc2p_kedro.reports.assessment import Assessment, worst_level
from rsc2p_kedro.reports.html import Picture, Table

FIGURES: dict[str, tuple[str, str]] = {
    "photon_transfer_figure": (
        "raw",
        "Photon transfer curve of the raw movie: variance of the noise of the pixels over their level. Photon noise is "
        "proportional to the level; where the variance falls below the line, the detector saturates.",
    ),
    "correction_figure": (
        "motion",
        "Maximum projection and local correlation image before and after motion correction. Motion blurs the maximum "
        "projection and makes edges correlate; after correction, cells are round and vessel edges no longer stand out "
        "in the correlation image. The dark rim was not visible in every frame.",
    ),
    "shifts_figure": (
        "motion",
        "Rigid shifts applied to the frames, and the largest deviation of any patch from the rigid shift.",
    ),
    "motion_quality_figure": (
        "motion",
        "Quality of the correction: correlation of the frames with the template, crispness of the mean image, and "
        "residual motion, before and after.",
    ),
    "patch_shifts_figure": (
        "motion",
        "Non-rigid shifts of the patches in the most deformed frame, and their RMS over the whole recording.",
    ),
    "template_figure": ("motion", "Template to which the frames were registered."),
    "summary_figure": ("motion", "Summary images of the corrected movie."),
    "contours_figure": (
        "components",
        "Contours enclosing 90 % of the energy of each footprint, over the local correlation image. Fragments smaller "
        "than a tenth of the component's largest part are omitted.",
    ),
    "component_map_figure": (
        "components",
        "Accepted components with their ids, as in the component table below.",
    ),
    "structural_figure": (
        "components",
        "Mean image of the structural channel with the components, and their contrast in both channels: the mean "
        "inside a component minus that around it. Crosstalk, the part of the functional fluorescence that the "
        "structural channel detects, is estimated from the activity of the components and subtracted before the "
        "probability of the label is computed.",
    ),
    "unexplained_figure": (
        "components",
        "Pixels of high local correlation (more than 4 standard deviations of the image's noise above its running "
        "median) that no accepted component covers: neurons that were missed or rejected, and neuropil.",
    ),
    "traces_figure": (
        "components",
        "Components of highest SNR, and components closest to the acceptance threshold: dF/F, deconvolved spikes, and "
        "inferred spikes (the expected number of spikes in each frame, up to a constant factor). Each row has its own "
        "scale; the bar on the right shows that of dF/F. Where the inferred spikes never reach the component's typical "
        "transient amplitude, they are not scaled up.",
    ),
    "quality_figure": (
        "components",
        "Transient SNR against spatial correlation (r value). A component is accepted above either solid line, "
        "provided that it is above both dotted lines; the shaded region is accepted.",
    ),
    "footprints_figure": ("components", "Spatial footprints, each scaled to its own maximum."),
}
"""Section and caption of each figure of a report, in the order in which they appear; other figures come last."""

SECTIONS = {"raw": "Raw recording", "motion": "Motion correction", "components": "Components", "other": "Other figures"}
"""Key of a section -> its heading."""


def render_report(
    name: str,
    *,
    summary: str,
    facts: Sequence[tuple[str, str]],
    assessments: Sequence[Assessment],
    figures: Mapping[str, Picture],
    tables: Mapping[str, Sequence[Table]],
    parameters: Iterable[Table],
    provenance: Sequence[tuple[str, str]],
    simulated: bool = False,
) -> str:
    """The report of one recording as an HTML page.

    Args:
        name: of the recording.
        summary: number of frames, duration, frame rate and size of the field of view, in one line.
        facts: its metadata, as (name, text).
        assessments: in the order in which they are shown.
        figures: by the names in :data:`FIGURES`; figures of other names are shown last.
        tables: by section: `raw`, `motion`, `components`, `truth`, `inspection`.
        parameters: one table per stage.
        provenance: versions, engines and inputs of the results, as (name, text).
        simulated: whether the recording is simulated, which the page then states at its top.

    Returns:
        The page.
    """
    return html.render(
        "report.html",
        title=name,
        summary=summary,
        facts=facts,
        assessments=assessments,
        overall=worst_level(assessments),
        sections=_sections(figures),
        tables=tables,
        parameters=list(parameters),
        provenance=provenance,
        simulated=simulated,
    )


def _sections(figures: Mapping[str, Picture]) -> list[dict[str, Any]]:
    """Sections with their figures, in the order of :data:`FIGURES`."""
    known = [name for name in FIGURES if name in figures]
    names = known + [name for name in figures if name not in FIGURES]
    placed = [(name, *FIGURES.get(name, ("other", name.replace("_", " ")))) for name in names]
    return [
        {
            "key": key,
            "title": title,
            "figures": [
                {"name": name, "uri": html.data_uri(figures[name]), "caption": caption}
                for name, section, caption in placed
                if section == key
            ],
        }
        for key, title in SECTIONS.items()
    ]


def size_of(recording: Recording, motion: MotionCorrection) -> str:
    """The size of a recording in one line.

    Args:
        recording: gives frame rate and pixel size.
        motion: gives the number of frames and the shape of the field of view.

    Returns:
        Number of frames, duration, frame rate, and height and width of the field of view in px and, where known, µm.
    """
    (H, W), T, rate, size = motion.template.shape, motion.n_frames, recording.frame_rate_hz, recording.pixel_size_um
    field = "" if size is None else f", {H * size[0]:.0f} × {W * size[1]:.0f} µm"
    return f"{T} frames ({T / rate:.1f} s at {rate:g} Hz), {H} × {W} px{field} (height × width)"


def metadata_of(recording: Recording) -> list[tuple[str, str]]:
    """The metadata of a recording as entered in the manifest.

    Args:
        recording: an entry of the manifest.

    Returns:
        (name, text) of each value that was given.
    """
    numbers = recording.model_dump(include={"frame_rate_hz", "pixel_size_um", "decay_time_s", "frames"})
    parts = {name: getattr(recording, name).model_dump() for name in ("subject", "session", "device", "imaging_plane")}
    return html.pairs_of({**numbers, **{name.replace("_", " "): fields for name, fields in parts.items()}})


def tables_of(
    motion_quality: pd.DataFrame,
    component_table: pd.DataFrame,
    lineage_table: pd.DataFrame,
    component_measures: pd.DataFrame,
    inspection_table: pd.DataFrame,
    dff: DeltaFOverF,
    evaluation: EvaluationParameters,
    truth_scores: pd.DataFrame | None = None,
    red_labels: RedLabels | None = None,
) -> dict[str, list[Table]]:
    """The tables of a report.

    Args:
        motion_quality: measures of the recording before and after motion correction.
        component_table: one row per component.
        lineage_table: one row per component of the first fit or the refit.
        component_measures: shapes, duplicates and coverage of the accepted components.
        inspection_table: one row per message of the NWB validators.
        dff: dF/F of the components, of which dark level and corrected baselines are shown.
        evaluation: the parameters with which dF/F was computed.
        truth_scores: scores against the ground truth; None for a recording that is not simulated.
        red_labels: signals in the structural channel; None where there is none.

    Returns:
        Tables by section; the components are sorted by acceptance, then by decreasing SNR.
    """
    first = ["component_id", "accepted", "reason", "component_class", "soma_probability", "snr", "r_value"]
    ranked = _with_dff(component_table, dff).sort_values(["accepted", "snr"], ascending=False, kind="stable")
    ranked = ranked[first + [name for name in ranked.columns if name not in first]]
    events = lineage_table["event"].value_counts().rename_axis("event").reset_index(name="components")
    tables = {
        "raw": [] if dff.detector is None else [html.table_of(_detector_facts(dff.detector), "Detector")],
        "motion": [html.table_of(motion_quality, "Before and after motion correction")],
        "components": [
            html.table_of(events, "Lineage of components between first fit and refit"),
            *_classes(component_table),
            *_structural_facts(component_table, red_labels),
            html.table_of(component_measures, "Shapes, duplicates and coverage of the accepted components"),
            html.table_of(_dff_facts(dff, evaluation), "dF/F"),
            html.table_of(ranked.dropna(axis="columns", how="all"), "Component table", folded=len(ranked) > 0),
        ],
        "inspection": [html.table_of(inspection_table, "Messages of the validators")],
    }
    return tables if truth_scores is None else {**tables, "truth": [html.table_of(truth_scores, "Scores")]}


def _with_dff(component_table: pd.DataFrame, dff: DeltaFOverF) -> pd.DataFrame:
    """The component table with what is known of the dF/F of each component."""
    columns = {
        "dff_noise_percent": dff.noise_level,
        "photons_per_frame": dff.photons,
        "d_prime": dff.d_prime,
        "neuropil_fraction": dff.neuropil_fraction,
    }
    return component_table.assign(**{name: values for name, values in columns.items() if values is not None})


def _classes(component_table: pd.DataFrame) -> list[Table]:
    """The table of classes with their numbers, where components have one."""
    classified = component_table.dropna(subset="component_class")
    if not len(classified):
        return []
    groups = classified.groupby("component_class")
    counts = pd.DataFrame({"components": groups.size(), "accepted": groups["accepted"].sum().astype(int)})
    counts["median_probability"] = [
        float(rows[f"{name}_probability"].median()) if name != SILENT else np.nan for name, rows in groups
    ]
    order = [name for name in (*COMPONENT_CLASSES, SILENT) if name in counts.index]
    return [html.table_of(counts.loc[order].reset_index(names="class"), "Classes of components")]


def _structural_facts(component_table: pd.DataFrame, red_labels: RedLabels | None) -> list[Table]:
    """Crosstalk and number of labelled components, where there is a structural channel."""
    if red_labels is None:
        return []
    labelled, accepted = component_table["red_probability"] >= 0.5, component_table["accepted"].astype(bool)
    rows = [
        ("crosstalk", red_labels.crosstalk, "", "Part of the functional fluorescence that the channel detects."),
        ("standard error", red_labels.crosstalk_error, "", "Of the crosstalk."),
        ("labelled", float(labelled.sum()), "components", "Probability of the label at least 0.5."),
        ("labelled and accepted", float((labelled & accepted).sum()), "components", "Both."),
        ("spread", red_labels.null_scale, "counts", "Spread of the red signal at places without components."),
    ]
    facts = pd.DataFrame(rows, columns=["measure", "value", "unit", "description"])
    return [html.table_of(facts, "Structural channel")]


def _dff_facts(dff: DeltaFOverF, parameters: EvaluationParameters) -> pd.DataFrame:
    """What dF/F was computed with: dark level and neuropil, and the number of components whose F0 was raised."""
    taken = "light under the footprint, neuropil included"
    if dff.neuropil_fraction is not None:
        how = "estimated for each component" if parameters.dff_neuropil == "estimate" else "given by dff_neuropil"
        taken = f"light under the footprint less a part of the neuropil around it, {how}"
    rows = [
        ("dark level", dff.dark_level, "counts", f"Level without light, subtracted from F0; {_source(dff)}."),
        ("error of the dark level", dff.dark_level_error, "counts", "Standard error."),
        ("error of the scale", _median(dff.scale_error, 100), "% of F0", "That of the dark level; median, 1 sd."),
        ("percentile", parameters.dff_percentile, "%", f"Percentile of the running window taken as F0: {taken}."),
        ("window", parameters.dff_window_s, "s", "Length of the running window."),
        *_neuropil_facts(dff),
        ("raised F0", float(dff.guarded.sum()), "components", "Components whose F0 was too low to divide by."),
        ("noise of dF/F", _median(dff.noise_level), "%/√Hz", "Median over the components (Rupprecht et al. 2021)."),
        ("photons", _median(dff.photons), "per frame", "Of a component at rest; median over the components."),
        ("d'", _median(dff.d_prime), "", "Detectability of a transient of 10 % dF/F with shot noise only; median."),
    ]
    known = [row for row in rows if row[1] is not None]
    return pd.DataFrame(known, columns=["measure", "value", "unit", "description"])


def _source(dff: DeltaFOverF) -> str:
    """Where the dark level comes from, in words."""
    return {
        GIVEN: "given by dff_dark_level",
        BLANK_FRAMES: "the mean of frames without light",
        NOISE: "from the noise of the pixels over their level",
        UNKNOWN: "unknown, this value was taken for it",
    }[dff.dark_level_source]


def _median(values: np.ndarray | None, factor: float = 1.0) -> float | None:
    """Median of what each component has; None where it is unknown."""
    return None if values is None or not len(values) else factor * float(np.median(values))


def _neuropil_facts(dff: DeltaFOverF) -> list[tuple[str, float | None, str, str]]:
    """Neuropil fraction, and amplitudes with and without it, where F0 is corrected."""
    if dff.neuropil_fraction is None or dff.neuropil_f0 is None:
        return []
    ratio = np.median((dff.f0 + dff.neuropil_f0) / dff.f0, axis=1)
    about = "dF/F over that with the neuropil in F0; median over the components."
    return [
        ("neuropil fraction", _median(dff.neuropil_fraction), "", "Part of the light around; median."),
        ("effect of the neuropil", _median(ratio), "times", about),
    ]


def _detector_facts(response: DetectorResponse) -> pd.DataFrame:
    """Dark level, gain, read noise and photons of a detector, with their errors."""
    known, gain = response.dark_level is not None, response.gain
    light = response.typical_level - response.dark_level if response.dark_level is not None else None
    rows: list[tuple[str, float | None, float | None, str, str]] = [
        ("dark level", response.dark_level, response.dark_level_error, "counts", f"From {response.source}."),
        ("gain", gain, response.gain_error, "counts per photon", "As the noise of the pixels implies."),
        (
            "photons per pixel",
            None if light is None or gain is None else light / gain,
            None
            if light is None or gain is None
            else float(np.hypot(response.dark_level_error / gain, light * response.gain_error / gain**2)),
            "per frame",
            "Of the pixel of median brightness. Noise of the amplification counts as fewer photons.",
        ),
        ("read noise", response.read_noise if known else None, None, "counts", "Standard deviation without light."),
        ("noise correlation y", response.noise_correlation[0], None, "", "Of neighbours; above 0 if interpolated."),
        ("noise correlation x", response.noise_correlation[1], None, "", "Likewise."),
        ("clipped", 100 * response.clipped_share, None, "%", "Pixels near the lowest or highest value, not used."),
    ]
    columns = ["measure", "value", "standard_error", "unit", "description"]
    return pd.DataFrame([row for row in rows if row[1] is not None], columns=columns)
