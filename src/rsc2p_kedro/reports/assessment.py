"""Automatic assessment of a recording: each check reads one table and reports a level, a finding and a recommendation.

Each check is a function of one table (see :mod:`rsc2p_kedro.core.schemas`). The limits below are rules of thumb chosen
by the authors; unless the docstring of a limit states evidence, they are not tuned on data. An assessment directs the
reader's attention; nothing in the pipeline depends on it.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import pandas as pd

from rsc2p_kedro.core.commands import command
from rsc2p_kedro.core.results import GIVEN, SILENT, UNKNOWN, DeltaFOverF, DetectorSaturation, LineOffset
from rsc2p_kedro.plots.style import count, digits

SMALL_MOTION_PX = 0.5
"""px. Motion is small where the rigid shifts of 95 % of the frames lie within this distance of the median shift."""
RESIDUAL_MOTION_PX = 0.5
"""px. Residual motion above this calls for review."""
TOLERANCES = {"template_correlation": 0.005, "crispness": 0.01, "residual_motion_px": 0.05}
"""Changes up to this size count as none: a correlation, a fraction of the value before, and px."""
STANDARD_ERRORS = 3.0
"""Changes up to this many standard errors count as none."""
HIGHER_IS_BETTER = {"template_correlation": True, "crispness": True, "residual_motion_px": False}
MEASURE_NAMES = {
    "template_correlation": "correlation with the template",
    "crispness": "crispness",
    "residual_motion_px": "residual motion (px)",
}
MEASURE_FORMATS = {"template_correlation": "{:.3f}".format, "residual_motion_px": "{:.2f}".format}
UNREGISTERED_REVIEW, UNREGISTERED_PROBLEM = 0.01, 0.05
"""Fractions of unregistered frames above which the level is review (first) or problem (second)."""
EXCLUDED_REVIEW, EXCLUDED_PROBLEM = 0.01, 0.1
"""Fractions of excluded frames above which the level is review (first) or problem (second)."""
BRIGHTNESS_STEP, BORDER_FRAMES = 0.2, 20
"""Change of the light of the mean frame at the border of two files that calls for review, and the frames on either side
that it is measured from."""
SATURATED_REVIEW, SATURATED_PROBLEM = 1e-4, 0.01
"""Fractions of the pixels of all frames at the highest value of the recording. Where nothing is clipped, a handful of
pixels out of a hundred million have that value; one bright cell clipped in some of its transients makes 1e-4."""
DARK_FRAME_FRACTION = 0.5
"""Fraction of the median frame's mean; a frame darker than this is reported."""
SCALE_REVIEW, SCALE_PROBLEM = 0.1, 0.5
"""Part of F0 that the dark level may be off by (two standard errors, median over the components) above which the level
is review (first) or problem (second)."""
FADING_REVIEW = 0.3
"""Fraction of the mean fluorescence lost between the first and the last tenth of the frames."""
FEW_ACCEPTED = 5
"""Accepted components; fewer call for review."""
FEW_ACCEPTED_FRACTION = 0.2
"""Fraction of the components that are accepted; a smaller one calls for review."""
MANY_WRONG_SHAPES = {"ragged": 0.05, "thin": 0.05, "nested": 0.02, "duplicate": 0.02}
"""Fractions of the accepted components above which a measure of their shape calls for review, if it applies to more
than one. Of 5900 neurons that people marked 0.4 % are ragged, 1 % thin and 0.1 % nested."""
UNEXPLAINED_REVIEW = 0.5
"""Fraction of the pixels of high local correlation in no accepted component above which the level is review: neuropil
and rejected components have such pixels, too."""
GOOD_F1, POOR_F1 = 0.85, 0.6
"""F1 scores against the ground truth from which the level is OK (first), and below which it is problem (second)."""
NOT_EXPORTED = "not_exported"
"""Name of the check in the inspection table of a recording without NWB file, whose message lists what is missing."""

SERIOUS = frozenset({"ERROR", "PYNWB_VALIDATION", "CRITICAL"})
"""Importance of validator messages (nwbinspector's names) that make the file a problem."""


class Level(IntEnum):
    """Result of a check; a larger value is worse."""

    OK = 0
    REVIEW = 1
    PROBLEM = 2

    @property
    def word(self) -> str:
        """The level as it is printed."""
        return ("OK", "review", "problem")[self]


@dataclass(frozen=True)
class Assessment:
    """Result of one check of a recording.

    Attributes:
        check: what was checked.
        level: the result.
        finding: the numbers behind the level, in a sentence.
        recommendation: recommended action; empty if none is needed.
    """

    check: str
    level: Level
    finding: str
    recommendation: str = ""


def worst_level(assessments: Iterable[Assessment]) -> Level:
    """The overall level of a recording.

    Args:
        assessments: of its checks.

    Returns:
        The worst level among them; OK where there are none.
    """
    return max((assessment.level for assessment in assessments), default=Level.OK)


def motion_sizes(motion_table: pd.DataFrame) -> np.ndarray:
    """Distance of each frame's rigid shift from the median shift, which is independent of the template's position.

    Args:
        motion_table: one row per frame.

    Returns:
        (T,) distances in px.
    """
    shifts = motion_table[["shift_y_px", "shift_x_px"]].to_numpy(dtype=np.float64)
    return np.hypot(*(shifts - np.median(shifts, axis=0)).T) if len(shifts) else np.zeros(0)


def assess_motion(motion_table: pd.DataFrame, motion_quality: pd.DataFrame) -> Assessment:
    """Checks that motion correction improved the recording, or that there was little motion to correct.

    Args:
        motion_table: one row per frame.
        motion_quality: one row per measure, before and after correction; NaN where it is unknown.

    Returns:
        The assessment `Motion correction`.
    """
    check = "Motion correction"
    columns = (motion_quality[name] for name in ("measure", "before", "after", "standard_error"))
    measures = [
        (str(name), float(before), float(after), float(error))
        for name, before, after, error in zip(*columns, strict=True)
    ]
    rows = {name: (before, after) for name, before, after, _ in measures}
    changes = {name: _change(name, before, after, error) for name, before, after, error in measures}
    sizes = motion_sizes(motion_table)
    typical, largest = (float(np.percentile(sizes, 95)), float(sizes.max())) if len(sizes) else (0.0, 0.0)
    facts = "; ".join(_describe_change(m, *v) for m, v in rows.items() if np.isfinite(v).all())
    moved = f"95 % of the frames moved by less than {typical:.1f} px, the largest motion was {largest:.1f} px"
    worse = [MEASURE_NAMES[m] for m, change in changes.items() if change < 0]
    if worse:
        mixed = changes.get("template_correlation", 0) > 0
        level = Level.REVIEW if mixed or typical < SMALL_MOTION_PX else Level.PROBLEM
        recommendation = (
            "Compare the images before and after correction; try `piecewise: false` or a larger patch_stride_px."
        )
        return Assessment(check, level, f"Correction worsened {', '.join(worse)}: {facts}. {moved}.", recommendation)
    if typical < SMALL_MOTION_PX:
        return Assessment(check, Level.OK, f"Little motion to correct: {moved}. {facts}.")
    if not any(change > 0 for change in changes.values()):
        recommendation = "Check the shifts: correcting motion of this size should improve at least one measure."
        return Assessment(check, Level.REVIEW, f"No measure improved: {facts}. {moved}.", recommendation)
    remaining = rows.get("residual_motion_px", (np.nan, np.nan))[1]
    if remaining > RESIDUAL_MOTION_PX:
        recommendation = "Check the shifts over time and the shifts of the patches for motion that was not corrected."
        return Assessment(check, Level.REVIEW, f"Improved, with residual motion: {facts}. {moved}.", recommendation)
    return Assessment(check, Level.OK, f"Improved: {facts}. {moved}.")


def _change(measure: str, before: float, after: float, error: float) -> int:
    """1 where a measure improved, -1 where it worsened, 0 where it stayed within tolerance and error or is unknown."""
    if not np.isfinite([before, after]).all():
        return 0
    scale = abs(before) if measure == "crispness" else 1.0
    gain = (after - before) * (1 if HIGHER_IS_BETTER[measure] else -1)
    limit = max(TOLERANCES[measure] * scale, STANDARD_ERRORS * error if np.isfinite(error) else 0.0)
    return 0 if abs(gain) <= limit else int(np.sign(gain))


def _describe_change(measure: str, before: float, after: float) -> str:
    """Name of a measure with its values before and after."""
    written = MEASURE_FORMATS.get(measure, digits)
    return f"{MEASURE_NAMES[measure]} {written(before)} → {written(after)}"


def assess_registration(n_unregistered: int, n_frames: int) -> Assessment:
    """Checks how many frames could not be registered.

    Args:
        n_unregistered: frames without a clear correlation peak.
        n_frames: all frames.

    Returns:
        The assessment `Registered frames`.
    """
    check, fraction = "Registered frames", n_unregistered / max(n_frames, 1)
    if n_unregistered == 0:
        return Assessment(check, Level.OK, f"All {n_frames} frames were registered.")
    finding = f"{n_unregistered} of {n_frames} frames ({fraction:.1%}) could not be registered."
    if fraction <= UNREGISTERED_REVIEW:
        recommendation = "Their shifts are interpolated; exclude them from averages."
        return Assessment(check, Level.OK, finding, recommendation)
    level = Level.REVIEW if fraction <= UNREGISTERED_PROBLEM else Level.PROBLEM
    recommendation = "Check these frames for loss of focus, loss of signal, or motion beyond max_shift_px."
    return Assessment(check, level, finding, recommendation)


def assess_excluded_frames(excluded_frames: pd.DataFrame) -> Assessment:
    """Tells the frames that were left out, and those that are bad but were used.

    Args:
        excluded_frames: one row per frame.

    Returns:
        The assessment `Bad frames`.
    """
    check, n_frames = "Bad frames", len(excluded_frames)
    excluded = excluded_frames["excluded"].to_numpy(dtype=bool)
    used = excluded_frames[~excluded & (excluded_frames["reason"] != "")]
    left_out = excluded_frames[excluded]
    finding = f"{len(left_out)} of {n_frames} frames ({len(left_out) / max(n_frames, 1):.1%}) were left out"
    finding += f": {_kinds(left_out)}." if len(left_out) else "."
    if len(used):
        finding += f" {count(len(used), 'bad frame')} {'was' if len(used) == 1 else 'were'} used: {_kinds(used)}."
        return Assessment(check, Level.REVIEW, finding, "Set `exclude_frames: auto` to leave them out.")
    if len(left_out) <= EXCLUDED_REVIEW * n_frames:
        return Assessment(check, Level.OK, finding)
    level = Level.PROBLEM if len(left_out) > EXCLUDED_PROBLEM * n_frames else Level.REVIEW
    return Assessment(check, level, finding, "Check these frames: the NWB file has no fluorescence there.")


def _kinds(frames: pd.DataFrame) -> str:
    """Reasons of bad frames with their numbers, the most frequent first."""
    return ", ".join(f"{number} {reason}" for reason, number in frames["reason"].value_counts().items())


def assess_files(frame_table: pd.DataFrame, dark_level: float, *, corrected: bool = False) -> Assessment:
    """Checks that the brightness does not change from one trial (file) of the recording to the next.

    Args:
        frame_table: one row per frame that is used.
        dark_level: counts of a pixel of an unilluminated detector.
        corrected: whether F0 was computed within each file.

    Returns:
        The assessment `Brightness of files`.
    """
    check = "Brightness of files"
    run_of = (frame_table["trial"] != frame_table["trial"].shift()).cumsum()
    sizes = run_of.value_counts(sort=False).sort_index().to_numpy()
    if len(sizes) < 2:
        return Assessment(check, Level.OK, "The recording is not made of several trials or files.")
    light = frame_table["mean"].to_numpy(dtype=np.float64) - dark_level
    ends = np.cumsum(sizes)[:-1]
    # Medians of a few frames on both sides of each border, so that slow changes within files do not count.
    sides = [(np.median(light[max(e - BORDER_FRAMES, 0) : e]), np.median(light[e : e + BORDER_FRAMES])) for e in ends]
    steps = np.array([after / before - 1 if before > 0 else np.nan for before, after in sides])
    if not np.isfinite(steps).all() or np.abs(steps).max() <= BRIGHTNESS_STEP:
        return Assessment(check, Level.OK, f"{len(sizes)} trials; the brightness does not change from one to the next.")
    largest = int(np.abs(steps).argmax())
    name = str(frame_table["trial"].iloc[ends[largest]])
    n_steps = int((np.abs(steps) > BRIGHTNESS_STEP).sum())
    finding = f"Brightness changes at {n_steps} of {len(steps)} borders of trials, by {steps[largest]:+.0%} at {name}."
    if corrected:
        return Assessment(check, Level.OK, f"{finding} F0 was computed within each trial.")
    recommendation = "Laser power or gain changed. Set `dff_within_files: true` to compute F0 within each trial."
    return Assessment(check, Level.REVIEW, finding, recommendation)


def assess_shift_limit(motion_table: pd.DataFrame, max_shift_px: float) -> Assessment:
    """Checks whether rigid shifts reached the largest shift allowed.

    Args:
        motion_table: one row per frame.
        max_shift_px: largest shift allowed along each axis.

    Returns:
        The assessment `Maximum shift`.
    """
    check = "Maximum shift"
    shifts = motion_table.loc[motion_table["registered"], ["shift_y_px", "shift_x_px"]].to_numpy(dtype=np.float64)
    at_limit = int((np.abs(shifts) >= max_shift_px - 0.05).any(axis=1).sum())
    if at_limit == 0:
        largest = float(np.abs(shifts).max()) if shifts.size else 0.0
        finding = f"The largest shift along an axis is {largest:.1f} px, below max_shift_px ({max_shift_px:g} px)."
        return Assessment(check, Level.OK, finding)
    finding = f"{count(at_limit, 'frame')} reached max_shift_px ({max_shift_px:g} px)."
    return Assessment(check, Level.REVIEW, finding, "Increase max_shift_px and run motion correction again.")


def assess_illumination(frame_table: pd.DataFrame, *, dark_level: float = 0.0, error: float | None = 0.0) -> Assessment:
    """Checks for saturated pixels, blank and dark frames, and a loss of fluorescence over the recording.

    Args:
        frame_table: one row per frame of the raw recording.
        dark_level: counts of a pixel without light.
        error: its standard error; None where it is unknown.

    Returns:
        The assessment `Illumination`.
    """
    check = "Illumination"
    light = frame_table["mean"].to_numpy(dtype=np.float64) - dark_level
    saturated = float(frame_table["saturated_share"].mean())
    blank = int((frame_table["minimum"] == frame_table["maximum"]).sum())
    dark = int((light < DARK_FRAME_FRACTION * np.median(light)).sum()) - blank if (light > 0).any() else 0
    tenth = max(len(light) // 10, 1)
    first, last = float(light[:tenth].mean()), float(light[-tenth:].mean())
    faded = 1 - last / first if first > 0 else 0.0
    ceiling = frame_table["maximum"].max()
    possible = [
        (saturated > SATURATED_REVIEW, f"{saturated:.2%} of the pixels are saturated at {ceiling:g} counts"),
        (blank > 0, f"{count(blank, 'blank frame')}"),
        (dark > 0, f"{count(dark, 'frame')} less than half as bright as the median frame"),
        (faded > FADING_REVIEW, f"mean fluorescence decreased by {faded:.0%}{_fading_range(first, last, error)}"),
        (error is None, f"the dark level is unknown, so that changes of the light ({-faded:+.0%}) are not certain"),
    ]
    problems = [text for applies, text in possible if applies]
    if not problems:
        change = f"{-faded:+.0%}{_fading_range(first, last, error)}"
        finding = f"No clipped pixels and no blank frames; mean fluorescence changed by {change}."
        return Assessment(check, Level.OK, finding)
    level = Level.PROBLEM if saturated > SATURATED_PROBLEM else Level.REVIEW
    finding = "; ".join(problems) + "."
    recommendation = "Inspect the affected frames before interpreting the traces."
    return Assessment(check, level, finding[0].upper() + finding[1:], recommendation)


def _fading_range(first: float, last: float, error: float | None) -> str:
    """The range of the loss of light within two errors of the dark level, where it is wider than 2 %."""
    if not error or first <= 2 * error:
        return ""
    low, high = sorted(1 - (last - shift) / (first - shift) for shift in (-2 * error, 2 * error))
    return f" ({low:.0%} to {high:.0%} lost, 95 %)" if high - low > 0.02 else ""


def assess_alternation(period: int) -> Assessment:
    """Checks that the frames are of one channel and plane.

    Args:
        period: number of frames after which they resemble each other again; 1 where none alternate.

    Returns:
        The assessment `Alternating frames`.
    """
    check = "Alternating frames"
    if period == 1:
        return Assessment(check, Level.OK, "Successive frames resemble each other: they are of one channel and plane.")
    finding = f"The movie looks like {period} images that alternate, as of several channels or planes saved in turn."
    recommendation = f"Add `channels` or `planes`, whose product is {period}, to the recording, and run it again."
    return Assessment(check, Level.PROBLEM, finding, recommendation)


def assess_line_offset(found: LineOffset) -> Assessment:
    """Tells the offset of odd rows of bidirectional scanning and whether it was corrected.

    Args:
        found: the offset that the movie was corrected for.

    Returns:
        The assessment `Line-scan offset`.
    """
    check, n, offset = "Line-scan offset", len(found.offsets), found.offset_px
    moved = f"Odd rows were moved by {-offset:+d} px along x"
    if not n:
        given = f"{moved}, as `line_offset` says." if offset else "Rows are as in the files; no offset was looked for."
        return Assessment(check, Level.OK, given)
    if not offset:
        return Assessment(check, Level.OK, "Odd and even rows are in line: no offset was found, nothing was changed.")
    left = float(found.mismatch[found.offsets == offset][0])
    finding = f"{moved}: their mean squared difference from their neighbours fell to {left:.0%}."
    if abs(offset) < found.offsets.max():
        return Assessment(check, Level.OK, finding, "Adjust the bidirectional phase of the microscope.")
    recommendation = "This is the largest offset that is looked for: check the images, and set `line_offset` in px."
    return Assessment(check, Level.REVIEW, finding, recommendation)


def assess_component_count(n_accepted: int, n_components: int, median_snr: float, *, n_curated: int = 0) -> Assessment:
    """Checks that components were detected and that enough of them were accepted.

    Args:
        n_accepted: components that were accepted.
        n_components: all components.
        median_snr: of the accepted components; NaN where there are none.
        n_curated: components accepted or rejected manually.

    Returns:
        The assessment `Components`.
    """
    check = "Components"
    if n_components == 0:
        recommendation = "Check the correlation image for structure, then neuron_half_width_px."
        return Assessment(check, Level.PROBLEM, "No components were detected.", recommendation)
    manual = f" ({n_curated} curated manually)" if n_curated else ""
    if n_accepted == 0:
        finding = f"None of {count(n_components, 'component')} was accepted{manual}."
        recommendation = "Check the distribution of SNR and r value against the acceptance thresholds."
        return Assessment(check, Level.PROBLEM, finding, recommendation)
    verb = "was" if n_accepted == 1 else "were"
    finding = (
        f"{n_accepted} of {count(n_components, 'component')} {verb} accepted{manual}; median SNR {median_snr:.1f}."
    )
    if n_accepted < FEW_ACCEPTED:
        recommendation = "Few components were accepted: check the contours and the rejected traces."
        return Assessment(check, Level.REVIEW, finding, recommendation)
    if n_accepted < FEW_ACCEPTED_FRACTION * n_components:
        recommendation = "Most components were rejected: check their contours."
        return Assessment(check, Level.REVIEW, finding, recommendation)
    return Assessment(check, Level.OK, finding)


def assess_components(component_table: pd.DataFrame, min_snr: float) -> tuple[Assessment, ...]:
    """Checks the number of accepted components and whether most of them pass by their SNR.

    Args:
        component_table: one row per component.
        min_snr: SNR above which a component is accepted.

    Returns:
        The assessment `Components`, and `Component activity` where the median SNR is below the threshold.
    """
    accepted = component_table[component_table["accepted"].astype(bool)]
    active = accepted[accepted["component_class"] != SILENT]  # silent components have no SNR to speak of
    median = float(active["snr"].median()) if len(active) else np.nan
    n_curated = int(component_table["curated"].astype(bool).sum())
    assessment = assess_component_count(len(accepted), len(component_table), median, n_curated=n_curated)
    if not len(active) or median >= min_snr:
        return (assessment,)
    finding = (
        f"The median SNR of the accepted components is below min_snr ({min_snr:g}): at least half were accepted by "
        "their spatial footprint or manually."
    )
    recommendation = "Check the traces closest to the acceptance threshold."
    return assessment, Assessment("Component activity", Level.REVIEW, finding, recommendation)


def assess_saturation(saturation: DetectorSaturation, n_saturated: int) -> Assessment:
    """Checks that the noise of the pixels grows with their level, as that of photons does.

    Args:
        saturation: of the detector.
        n_saturated: accepted components that reach the level of saturation.

    Returns:
        The assessment `Detector saturation`.
    """
    check = "Detector saturation"
    if saturation.level is None:
        return Assessment(check, Level.OK, "The noise of the pixels grows with their level up to the brightest ones.")
    finding = (
        f"From {digits(saturation.level)} counts on ({saturation.share:.2%} of the pixel values) the noise of the "
        f"pixels falls with their level: the detector saturates. {count(n_saturated, 'accepted component')} "
        f"{'reaches' if n_saturated == 1 else 'reach'} this level."
    )
    recommendation = (
        "Record with lower laser power or detector gain. In this recording, transients of bright cells are flattened. "
        "The embedded engine gives such values no weight; still, one cell may have become two components, its middle "
        "and its rim: check the brightest ones."
    )
    return Assessment(check, Level.REVIEW, finding, recommendation)


def assess_component_shapes(measures: pd.DataFrame) -> Assessment:
    """Checks that few accepted components are ragged, thin, nested or duplicates.

    Args:
        measures: one row per measure.

    Returns:
        The assessment `Component shapes`.
    """
    rows = measures.set_index("measure").loc[list(MANY_WRONG_SHAPES)]
    counts, shares = rows["count"].astype(int).to_dict(), rows["share"].to_dict()
    many = [name for name, limit in MANY_WRONG_SHAPES.items() if counts[name] > 1 and shares[name] > limit]
    facts = ", ".join(f"{counts[name]} {name}" for name in MANY_WRONG_SHAPES)
    finding = f"Of {count(int(rows['total'].iloc[0]), 'accepted component')}: {facts}."
    if not many:
        return Assessment("Component shapes", Level.OK, finding)
    recommendation = f"More than among neurons marked by hand: {', '.join(many)}. Check their contours."
    return Assessment("Component shapes", Level.REVIEW, finding, recommendation)


def assess_coverage(measures: pd.DataFrame) -> Assessment:
    """Checks that the accepted components cover most pixels of high local correlation.

    Args:
        measures: one row per measure.

    Returns:
        The assessment `Unexplained correlation`.
    """
    check, row = "Unexplained correlation", measures.set_index("measure").loc["unexplained"].to_dict()
    if not row["total"]:
        return Assessment(check, Level.OK, "No pixel correlates with its neighbours more than the image's noise.")
    finding = (
        f"{row['share']:.0%} of the {int(row['total'])} pixels of high local correlation lie in no accepted component."
    )
    if row["share"] <= UNEXPLAINED_REVIEW:
        return Assessment(check, Level.OK, finding)
    recommendation = "Check the figure of unexplained correlation for neurons that were missed or rejected."
    return Assessment(check, Level.REVIEW, finding, recommendation)


def assess_dff(dff: DeltaFOverF, brightness: float) -> Assessment:
    """Checks that the scale of dF/F is known, and that F0 is large enough to divide by.

    Args:
        dff: of the components, with their dark level.
        brightness: mean counts of a pixel of the raw frames.

    Returns:
        The assessment `dF/F`.
    """
    check, n, n_guarded = "dF/F", len(dff.guarded), int(np.sum(dff.guarded))
    if n == 0:
        return Assessment(check, Level.OK, "There are no components.")
    dark = f"{_dark_words(dff)}, mean of the raw frames {digits(brightness)} counts"
    recommendation = "Set dff_dark_level to the counts of a frame recorded without light."
    if dff.dark_level >= brightness:
        return Assessment(check, Level.PROBLEM, f"The dark level is not below the mean: {dark}.", recommendation)
    if dff.dark_level_source == UNKNOWN:
        unknown = f"The scale of dF/F is unknown: the movie does not tell the dark level. {dark}."
        return Assessment(check, Level.PROBLEM, f"{unknown} {_limits(dff, brightness)}", recommendation)
    off = 2 * float(np.median(dff.scale_error)) if dff.scale_error is not None else 0.0
    scale = f"dF/F may be {_off_by(off)} (95 %), as the dark level is not exact"
    if off > SCALE_REVIEW:
        level = Level.PROBLEM if off > SCALE_PROBLEM else Level.REVIEW
        known = "unknown" if off > SCALE_PROBLEM else "uncertain"
        return Assessment(check, level, f"The scale of dF/F is {known}: {scale}. {dark}.", recommendation)
    scale = f" {scale}." if off > 0 else ""
    if n_guarded == 0:
        components = "all components" if n > 1 else "the only component"
        return Assessment(check, Level.OK, f"F0 is well above 0 in {components}. {dark}.{scale}")
    finding = f"F0 was too low to divide by, and was raised, in {n_guarded} of {count(n, 'component')}. {dark}.{scale}"
    recommendation = "dF/F is underestimated in these components: do not compare their transient amplitudes."
    return Assessment(check, Level.REVIEW, finding, recommendation)


def _dark_words(dff: DeltaFOverF) -> str:
    """The dark level with its error and source."""
    if dff.dark_level_source == UNKNOWN:
        return f"{digits(dff.dark_level)} counts were taken for it"
    error = "" if dff.dark_level_source == GIVEN else f" ± {digits(dff.dark_level_error or 0.0)}"
    return f"Dark level {digits(dff.dark_level)}{error} counts ({dff.dark_level_source})"


def _off_by(off: float) -> str:
    """How much too small or too large a quotient is, whose denominator is off by this part of it."""
    small = f"{off / (1 + off):.0%} too large"
    return f"{small} or {off / (1 - off):.0%} too small" if off < 0.9 else f"{small}, and too small by any factor"


def _limits(dff: DeltaFOverF, brightness: float) -> str:
    """By how much dF/F may be off where only the darkest pixels limit the dark level."""
    if dff.detector is None or brightness <= dff.detector.lowest_level:
        return "dF/F may be off by any factor."
    factor = (brightness - dff.dark_level) / (brightness - dff.detector.lowest_level)
    clipped = " Most values are cut off at the lowest one." if dff.detector.clipped_share > 0.5 else ""
    return (
        f"dF/F is up to {factor:.1f} times too small if the darkest pixels have no light, and too large by any factor "
        f"if the dark level is lower.{clipped}"
    )


def assess_inspection(inspection_table: pd.DataFrame, *, tolerated: Collection[str] = ()) -> Assessment:
    """Checks the messages of the NWB validators.

    Args:
        inspection_table: one row per message; one row named `NOT_EXPORTED` where there is no file.
        tolerated: names of validator checks whose messages are known to be harmless.

    Returns:
        The assessment `NWB file`.
    """
    check = "NWB file"
    reasons = inspection_table.loc[inspection_table["check"] == NOT_EXPORTED, "message"].tolist()
    if reasons:
        recommendation = (
            f"Add these metadata (`{command('recordings check')}` prints the lines), then `{command('run')}`."
        )
        return Assessment(check, Level.REVIEW, reasons[0], recommendation)
    if inspection_table.empty:
        return Assessment(check, Level.OK, "The validators reported nothing.")
    remaining = inspection_table[~inspection_table["check"].isin(list(tolerated))]
    n, n_open = len(inspection_table), len(remaining)
    if n_open == 0:
        verb = "is" if n == 1 else "are"
        return Assessment(check, Level.OK, f"{count(n, 'message')} that {verb} known to be harmless.")
    serious = int(remaining["importance"].isin(list(SERIOUS)).sum())
    level = Level.PROBLEM if serious else Level.REVIEW
    finding = f"{count(n_open, 'message')} of the validators, {serious} of them serious."
    return Assessment(check, level, finding, "Read the messages below and correct the metadata.")


def assess_ground_truth(scores: pd.DataFrame) -> Assessment:
    """Compares the result of a simulated recording with its ground truth.

    Args:
        scores: one row per measure, with the columns `measure` and `value`.

    Returns:
        The assessment `Ground truth`.
    """
    values = dict(zip(scores["measure"], scores["value"].astype(float), strict=True))
    named = {
        "f1": "F1 score of the accepted components",
        "trace_correlation": "correlation of traces",
        "spike_correlation": "correlation of spikes",
        "local_motion_error": "local motion error (px)",
    }
    facts = ", ".join(f"{text} {values[m]:.2f}" for m, text in named.items() if np.isfinite(values.get(m, np.nan)))
    f1 = values.get("f1", np.nan)
    level = Level.OK if f1 >= GOOD_F1 else Level.PROBLEM if f1 < POOR_F1 else Level.REVIEW
    return Assessment("Ground truth", level, f"Simulated recording: {facts or 'nothing was scored'}.")


COLUMNS = ["check", "level", "finding", "recommendation"]
"""Columns of an assessment table."""


def to_table(assessments: Iterable[Assessment]) -> pd.DataFrame:
    """Assessments as a table.

    Args:
        assessments: of one recording.

    Returns:
        One row each (:class:`rsc2p_kedro.core.schemas.AssessmentTable`).
    """
    rows = [(one.check, one.level.name.lower(), one.finding, one.recommendation) for one in assessments]
    return pd.DataFrame(rows, columns=COLUMNS)


def from_table(table: pd.DataFrame) -> list[Assessment]:
    """The assessments in a table that :func:`to_table` made.

    Args:
        table: one row per assessment, possibly read from a CSV file, where empty texts are missing values.

    Returns:
        One assessment a row.
    """
    columns = (table[name].fillna("").astype(str) for name in COLUMNS)
    return [
        Assessment(check, Level[level.upper()], finding, recommendation)
        for check, level, finding, recommendation in zip(*columns, strict=True)
    ]
