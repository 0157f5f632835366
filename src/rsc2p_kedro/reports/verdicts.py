"""Verdicts: what the numbers of a recording mean, in words, before anybody looks at a figure.

Each function reads one table (see :mod:`rsc2p_kedro.core.schemas`) and answers one question. The limits stand here in
one place and are rules of thumb: a verdict says what to look at, it does not decide.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import pandas as pd

from rsc2p_kedro.plots.style import count, digits

SMALL_MOTION_PX = 0.5
"""Motion is small where 95 % of the frames lie within this of the median shift."""
RESIDUAL_MOTION_PX = 0.5
"""More motion than this after correction is worth a look."""
TOLERANCES = {"template_correlation": 0.005, "crispness": 0.01, "residual_motion_px": 0.05}
"""Changes up to this size are no change: absolute, but relative for crispness."""
HIGHER_IS_BETTER = {"template_correlation": True, "crispness": True, "residual_motion_px": False}
MEASURE_NAMES = {
    "template_correlation": "correlation with the template",
    "crispness": "crispness",
    "residual_motion_px": "motion that remains in px",
}
SPELLED = {"template_correlation": "{:.3f}".format, "residual_motion_px": "{:.2f}".format}
FEW_UNREGISTERED, MANY_UNREGISTERED = 0.01, 0.05
"""Shares of the frames."""
SATURATED_LOOK, SATURATED_BAD = 1e-4, 0.01
"""Shares of the pixels of all frames at the highest value of the recording. Where nothing is cut off, a handful of
pixels are there, of a hundred million; one bright cell cut off in some of its transients makes 1e-4."""
FADED = 0.3
"""Loss of mean brightness from the first to the last tenth of the frames that is worth a look."""
FEW_CELLS = 5
FEW_ACCEPTED_SHARE = 0.2
GOOD_F1, POOR_F1 = 0.85, 0.6
SERIOUS = frozenset({"ERROR", "PYNWB_VALIDATION", "CRITICAL"})


class Level(IntEnum):
    """How much a verdict asks of the reader; the larger, the worse."""

    GOOD = 0
    LOOK = 1
    BAD = 2

    @property
    def word(self) -> str:
        return ("in order", "needs a look", "not in order")[self]


@dataclass(frozen=True)
class Verdict:
    """The answer to one question.

    Attributes:
        question: what was asked.
        level: how good the answer is.
        answer: in one sentence, with numbers.
        advice: what to do, empty where there is nothing to do.
    """

    question: str
    level: Level
    answer: str
    advice: str = ""


def worst(verdicts: Iterable[Verdict]) -> Level:
    """The worst level of all verdicts, good where there are none."""
    return max((verdict.level for verdict in verdicts), default=Level.GOOD)


def _change(measure: str, before: float, after: float) -> int:
    """1 where a measure got better, -1 where it got worse, 0 where it stayed or is unknown."""
    if not np.isfinite([before, after]).all():
        return 0
    scale = abs(before) if measure == "crispness" else 1.0
    gain = (after - before) * (1 if HIGHER_IS_BETTER[measure] else -1)
    return 0 if abs(gain) <= TOLERANCES[measure] * scale else int(np.sign(gain))


def _spell(measure: str, before: float, after: float) -> str:
    spell = SPELLED.get(measure, digits)
    return f"{MEASURE_NAMES[measure]} {spell(before)} → {spell(after)}"


def motion_sizes(motion_table: pd.DataFrame) -> np.ndarray:
    """Distance in px of each frame's rigid shift from the median shift: where the template lies is no motion."""
    shifts = motion_table[["shift_y_px", "shift_x_px"]].to_numpy(dtype=np.float64)
    return np.hypot(*(shifts - np.median(shifts, axis=0)).T) if len(shifts) else np.zeros(0)


def judge_motion(motion_table: pd.DataFrame, motion_quality: pd.DataFrame) -> Verdict:
    """Whether the motion was small, was corrected, or got worse by correcting it."""
    question = "Is the motion corrected?"
    columns = (motion_quality[name] for name in ("measure", "before", "after"))
    rows = {str(m): (float(before), float(after)) for m, before, after in zip(*columns, strict=True)}
    changes = {measure: _change(measure, *values) for measure, values in rows.items()}
    sizes = motion_sizes(motion_table)
    typical, largest = (float(np.percentile(sizes, 95)), float(sizes.max())) if len(sizes) else (0.0, 0.0)
    facts = "; ".join(_spell(m, *v) for m, v in rows.items() if np.isfinite(v).all())
    moved = f"95 % of the frames moved by less than {typical:.1f} px, none by more than {largest:.1f} px"
    worse = [MEASURE_NAMES[m] for m, change in changes.items() if change < 0]
    if worse:
        level = Level.LOOK if typical < SMALL_MOTION_PX else Level.BAD
        advice = "Compare the images before and after; try `piecewise: false`, or a larger patch_stride_px."
        return Verdict(question, level, f"It got worse in {', '.join(worse)}: {facts}. {moved}.", advice)
    if typical < SMALL_MOTION_PX:
        return Verdict(question, Level.GOOD, f"There was little to correct: {moved}. {facts}.")
    if not any(change > 0 for change in changes.values()):
        advice = "Look at the shifts: with motion of this size, something should have got better."
        return Verdict(question, Level.LOOK, f"It made no difference: {facts}. {moved}.", advice)
    remaining = rows.get("residual_motion_px", (np.nan, np.nan))[1]
    if remaining > RESIDUAL_MOTION_PX:
        advice = "Look at what moves still: the shifts over time and the field of patches."
        return Verdict(question, Level.LOOK, f"In part: {facts}. {moved}.", advice)
    return Verdict(question, Level.GOOD, f"Yes: {facts}. {moved}.")


def judge_unregistered(n_unregistered: int, n_frames: int) -> Verdict:
    """Whether frames are left that could not be registered."""
    question = "Could all frames be registered?"
    share = n_unregistered / max(n_frames, 1)
    if n_unregistered == 0:
        return Verdict(question, Level.GOOD, f"Yes, all {n_frames}.")
    answer = f"{n_unregistered} of {n_frames} frames ({share:.1%}) could not be."
    if share <= FEW_UNREGISTERED:
        return Verdict(
            question, Level.GOOD, answer, "Their shifts are interpolated; leave them out of what you average."
        )
    level = Level.LOOK if share <= MANY_UNREGISTERED else Level.BAD
    return Verdict(question, level, answer, "Look at these frames: lost focus, light, or motion beyond max_shift_px.")


def judge_shift_limit(motion_table: pd.DataFrame, max_shift_px: float) -> Verdict:
    """Whether shifts ran into the largest one that was allowed."""
    question = "Was the largest shift allowed enough?"
    shifts = motion_table.loc[motion_table["registered"], ["shift_y_px", "shift_x_px"]].to_numpy(dtype=np.float64)
    at_limit = int((np.abs(shifts) >= max_shift_px - 0.05).any(axis=1).sum())
    if at_limit == 0:
        largest = float(np.abs(shifts).max()) if shifts.size else 0.0
        return Verdict(question, Level.GOOD, f"Yes: {largest:.1f} of {max_shift_px:g} px along one axis were used.")
    answer = f"{count(at_limit, 'frame')} at the limit of {max_shift_px:g} px."
    return Verdict(question, Level.LOOK, answer, "Raise max_shift_px and run motion correction again.")


def judge_light(frame_table: pd.DataFrame) -> Verdict:
    """Whether frames are saturated, blank, dark or faded."""
    question = "Is the light right?"
    mean = frame_table["mean"].to_numpy(dtype=np.float64)
    saturated = float(frame_table["saturated_share"].mean())
    blank = int((frame_table["minimum"] == frame_table["maximum"]).sum())
    dark = int((mean < 0.5 * np.median(mean)).sum()) - blank if (mean > 0).any() else 0
    tenth = max(len(mean) // 10, 1)
    faded = 1 - mean[-tenth:].mean() / mean[:tenth].mean() if mean[:tenth].mean() > 0 else 0.0
    found = [
        (
            saturated > SATURATED_LOOK,
            f"{saturated:.2%} of the pixels are at {frame_table['maximum'].max():g}, where the values are cut off",
        ),
        (blank > 0, f"{count(blank, 'blank frame')}"),
        (dark > 0, f"{count(dark, 'frame')} less than half as bright as the median frame"),
        (faded > FADED, f"the mean brightness fell by {faded:.0%}"),
    ]
    problems = [text for is_found, text in found if is_found]
    if not problems:
        answer = f"Yes: no ceiling was reached, mean brightness changed by {-faded:+.0%}, no blank frame."
        return Verdict(question, Level.GOOD, answer)
    level = Level.BAD if saturated > SATURATED_BAD else Level.LOOK
    answer = "; ".join(problems) + "."
    return Verdict(question, level, answer[0].upper() + answer[1:], "Look at these frames before trusting the traces.")


def judge_cells(n_accepted: int, n_components: int, median_snr: float, *, n_curated: int = 0) -> Verdict:
    """Whether there are cells, and how clear they are."""
    question = "Are there cells?"
    if n_components == 0:
        advice = "Look at the correlation image: is there structure? Then check neuron_half_width_px."
        return Verdict(question, Level.BAD, "No components were found.", advice)
    by_hand = f", {n_curated} of them decided by hand" if n_curated else ""
    if n_accepted == 0:
        advice = "Look at SNR against r_value: are the thresholds right for this recording?"
        return Verdict(
            question, Level.BAD, f"None of {count(n_components, 'component')} was accepted{by_hand}.", advice
        )
    found = f"{n_accepted} of {count(n_components, 'component')} {'is' if n_accepted == 1 else 'are'} accepted"
    answer = f"{found}{by_hand}, with a median SNR of {median_snr:.1f}."
    if n_accepted < FEW_CELLS:
        return Verdict(question, Level.LOOK, answer, "That is few: look at the contours and at the rejected traces.")
    if n_accepted < FEW_ACCEPTED_SHARE * n_components:
        return Verdict(question, Level.LOOK, answer, "Most were rejected: look at the contours of the rejected ones.")
    return Verdict(question, Level.GOOD, "Yes: " + answer)


def judge_components(component_table: pd.DataFrame, min_snr: float) -> tuple[Verdict, ...]:
    """Whether there are cells, and whether most pass by their activity."""
    accepted = component_table[component_table["accepted"].astype(bool)]
    median = float(accepted["snr"].median()) if len(accepted) else np.nan
    n_curated = int(component_table["curated"].astype(bool).sum())
    verdict = judge_cells(len(accepted), len(component_table), median, n_curated=n_curated)
    if not len(accepted) or median >= min_snr:
        return (verdict,)
    answer = (
        f"Half of the accepted components or more are below min_snr ({min_snr:g}): they passed by shape or by hand."
    )
    return verdict, Verdict("Are the cells active?", Level.LOOK, answer, "Look at the traces nearest to the threshold.")


def judge_dff(guarded: np.ndarray, dark_level: float, brightness: float) -> Verdict:
    """Whether F0 was high enough to divide by, and what was taken for darkness.

    Args:
        guarded: (N,), components whose F0 was raised.
        dark_level: counts of a pixel in the dark, left out of F0.
        brightness: mean counts of a pixel of the raw frames.
    """
    question = "Can dF/F be trusted?"
    n, n_guarded = len(guarded), int(np.sum(guarded))
    if n == 0:
        return Verdict(question, Level.GOOD, "There are no components, so there is no dF/F.")
    dark = f"Of a mean brightness of {digits(brightness)} counts, {digits(dark_level)} were taken for darkness"
    if dark_level >= brightness:
        advice = "That leaves no light: give dff_dark_level, the counts of a frame without light."
        return Verdict(question, Level.BAD, f"{dark}.", advice)
    if n_guarded == 0:
        return Verdict(
            question,
            Level.GOOD,
            f"Yes: F0 is well above 0 in {'all ' if n > 1 else ''}{count(n, 'component')}. {dark}.",
        )
    answer = f"F0 was too low to divide by, and was raised, in {n_guarded} of {count(n, 'component')}. {dark}."
    return Verdict(
        question, Level.LOOK, answer, "Compare sizes of transients with care: their dF/F is too small there."
    )


def judge_inspection(inspection_table: pd.DataFrame, *, explained: Collection[str] = ()) -> Verdict:
    """Whether the NWB file passed its checks.

    Args:
        inspection_table: one row a message.
        explained: names of checks that are known to be no reason for doubt.
    """
    question = "Is the NWB file in order?"
    if inspection_table.empty:
        return Verdict(question, Level.GOOD, "Yes: the validators have nothing to say.")
    open_ones = inspection_table[~inspection_table["check"].isin(list(explained))]
    n, n_open = len(inspection_table), len(open_ones)
    if n_open == 0:
        return Verdict(question, Level.GOOD, f"Yes: {count(n, 'message')}, explained and harmless.")
    serious = int(open_ones["importance"].isin(list(SERIOUS)).sum())
    answer = f"{count(n_open, 'message')}, {serious} serious."
    return Verdict(question, Level.BAD if serious else Level.LOOK, answer, "Read them below and fix the metadata.")


def judge_truth(scores: pd.DataFrame) -> Verdict:
    """How near a simulated recording's result is to the truth."""
    question = "How near is it to the truth?"
    values = dict(zip(scores["measure"], scores["value"].astype(float), strict=True))
    named = {
        "f1": "F1 of the accepted cells",
        "trace_correlation": "correlation of traces",
        "spike_correlation": "correlation of spikes",
        "local_motion_error": "error of local motion in px",
    }
    facts = ", ".join(f"{text} {values[m]:.2f}" for m, text in named.items() if np.isfinite(values.get(m, np.nan)))
    f1 = values.get("f1", np.nan)
    level = Level.GOOD if f1 >= GOOD_F1 else Level.BAD if f1 < POOR_F1 else Level.LOOK
    answer = f"This recording is simulated: {facts}." if facts else "This recording is simulated; nothing was scored."
    return Verdict(question, level, answer)


def to_table(verdicts: Iterable[Verdict]) -> pd.DataFrame:
    """Verdicts as :class:`rsc2p_kedro.core.schemas.VerdictTable`, one row each."""
    rows = [(v.question, v.level.name.lower(), v.answer, v.advice) for v in verdicts]
    return pd.DataFrame(rows, columns=["question", "level", "answer", "advice"])


def from_table(table: pd.DataFrame) -> list[Verdict]:
    """The verdicts that :func:`to_table` wrote; empty cells of a CSV are empty texts."""
    columns = (table[name].fillna("").astype(str) for name in ("question", "level", "answer", "advice"))
    return [Verdict(q, Level[level.upper()], answer, advice) for q, level, answer, advice in zip(*columns, strict=True)]
