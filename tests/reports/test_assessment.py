"""Assessments follow from the numbers."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from rsc2p_kedro.core.results import DeltaFOverF, DetectorResponse, DetectorSaturation, LineOffset
from rsc2p_kedro.core.schemas import AssessmentTable
from rsc2p_kedro.reports import assessment
from rsc2p_kedro.reports.assessment import Level

Pair = tuple[float, float]


def _motion_table(size_px: float, n: int = 100) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    shifts = 5.0 + size_px * rng.standard_normal((n, 2))  # 5: the position of the template is no motion
    return pd.DataFrame({"shift_y_px": shifts[:, 0], "shift_x_px": shifts[:, 1], "registered": True})


def _quality(correlation: Pair, crispness: Pair, residual: Pair, error: float = 0.001) -> pd.DataFrame:
    rows = zip(
        ("template_correlation", "crispness", "residual_motion_px"), (correlation, crispness, residual), strict=True
    )
    return pd.DataFrame(
        [(name, before, after, error, True) for name, (before, after) in rows],
        columns=["measure", "before", "after", "standard_error", "improved"],
    )


NAN = float("nan")


@pytest.mark.parametrize(
    ("size_px", "quality", "level", "words"),
    [
        (
            2.0,
            _quality((0.6, 0.8), (10, 12), (1.0, 0.2)),
            Level.OK,
            "Improved: correlation with the template 0.600 → 0.800",
        ),
        (2.0, _quality((0.6, 0.8), (10, 12), (1.5, 0.9)), Level.REVIEW, "Improved, with residual motion"),
        (2.0, _quality((0.6, 0.601), (10, 10), (0.4, 0.4)), Level.REVIEW, "No measure improved"),
        (2.0, _quality((0.6, 0.5), (10, 12), (1.0, 0.2)), Level.PROBLEM, "worsened correlation with the template:"),
        (
            0.1,
            _quality((0.6, 0.5), (10, 9), (0.1, 0.1)),
            Level.REVIEW,
            "worsened correlation with the template, crispness",
        ),
        (0.1, _quality((0.6, 0.601), (10, 10.05), (0.1, 0.1)), Level.OK, "Little motion to correct"),
        (2.0, _quality((0.6, 0.8), (NAN, NAN), (NAN, NAN)), Level.OK, "Improved"),
    ],
)
def test_motion(size_px: float, quality: pd.DataFrame, level: Level, words: str) -> None:
    result = assessment.assess_motion(_motion_table(size_px), quality)
    assert result.level is level
    assert words in result.finding
    assert "nan" not in result.finding


def test_a_change_within_its_uncertainty_is_none() -> None:
    worse, table = ((0.6, 0.7), (10, 9.0), (0.9, 0.2)), _motion_table(2.0)
    assert assessment.assess_motion(table, _quality(*worse, error=0.02)).level is Level.REVIEW
    uncertain = _quality(*worse, error=0.02)
    uncertain.loc[1, "standard_error"] = 0.5
    assert assessment.assess_motion(table, uncertain).level is Level.OK


def test_the_position_of_the_template_is_no_motion() -> None:
    assert assessment.motion_sizes(_motion_table(0.0)).max() == 0


@pytest.mark.parametrize(("lost", "level"), [(0, Level.OK), (10, Level.OK), (30, Level.REVIEW), (60, Level.PROBLEM)])
def test_unregistered_frames(lost: int, level: Level) -> None:
    result = assessment.assess_registration(lost, 1000)
    assert result.level is level
    assert bool(result.recommendation) is (lost > 0)


def test_shifts_at_the_limit() -> None:
    table = _motion_table(0.0, n=4)
    table["shift_x_px"] = [0.0, -6.0, 2.0, 6.0]
    table["registered"] = [True, True, True, False]
    result = assessment.assess_shift_limit(table, 6.0)
    assert result.level is Level.REVIEW
    assert result.finding.startswith("1 frame reached max_shift_px (6 px)")
    assert assessment.assess_shift_limit(table, 8.0).level is Level.OK


def _frames(**columns: object) -> pd.DataFrame:
    values = {"minimum": 1.0, "mean": 100.0, "maximum": 900.0, "saturated_share": 0.0}
    return pd.DataFrame({"frame": range(50), **values, **columns})


@pytest.mark.parametrize(
    ("frames", "level", "words"),
    [
        (_frames(), Level.OK, "changed by"),
        (_frames(saturated_share=0.005), Level.REVIEW, "0.50% of the pixels are saturated at 900 counts"),
        (_frames(saturated_share=5e-5), Level.OK, "No clipped pixels"),
        (_frames(saturated_share=0.05), Level.PROBLEM, "saturated"),
        (_frames(minimum=[0.0] * 2 + [1.0] * 48, maximum=[0.0] * 2 + [9.0] * 48), Level.REVIEW, "2 blank frames"),
        (_frames(mean=[100.0] * 49 + [10.0]), Level.REVIEW, "1 frame less than half as bright"),
        (_frames(mean=np.linspace(100.0, 60.0, 50)), Level.REVIEW, "decreased by 37%"),
    ],
)
def test_illumination(frames: pd.DataFrame, level: Level, words: str) -> None:
    result = assessment.assess_illumination(frames)
    assert result.level is level
    assert words in result.finding


def test_blank_frames_are_not_counted_as_dark_ones_too() -> None:
    mean = [0.0] * 2 + [100.0] * 48
    result = assessment.assess_illumination(_frames(mean=mean, minimum=mean, maximum=[0.0] * 2 + [9.0] * 48))
    assert "2 blank frames" in result.finding
    assert "half as bright" not in result.finding


@pytest.mark.parametrize(
    ("accepted", "n", "level"),
    [(0, 0, Level.PROBLEM), (0, 9, Level.PROBLEM), (2, 3, Level.REVIEW), (6, 60, Level.REVIEW), (50, 60, Level.OK)],
)
def test_component_count(accepted: int, n: int, level: Level) -> None:
    result = assessment.assess_component_count(accepted, n, 3.3 if accepted else NAN)
    assert result.level is level
    assert "nan" not in result.finding


def test_components_accepted_below_the_snr_threshold_call_for_review() -> None:
    columns = {"accepted": [True] * 8, "snr": [1.0] * 8, "curated": [True] + [False] * 7, "component_class": "soma"}
    table = pd.DataFrame(columns)
    cells, active = assessment.assess_components(table, min_snr=2.0)
    assert "8 of 8 components were accepted (1 curated manually)" in cells.finding
    assert active.level is Level.REVIEW
    assert len(assessment.assess_components(table, min_snr=0.5)) == 1
    assert len(assessment.assess_components(table.assign(component_class="silent"), min_snr=2.0)) == 1


def _messages(*importances: str) -> pd.DataFrame:
    columns = ["check", "importance", "object_type", "object_name", "location", "message"]
    return pd.DataFrame([("check_x", importance, "", "", "/", "") for importance in importances], columns=columns)


def test_inspection() -> None:
    assert assessment.assess_inspection(_messages()).level is Level.OK
    assert assessment.assess_inspection(_messages("BEST_PRACTICE_SUGGESTION")).level is Level.REVIEW
    assert assessment.assess_inspection(_messages("BEST_PRACTICE_SUGGESTION", "CRITICAL")).level is Level.PROBLEM
    assert assessment.assess_inspection(_messages("CRITICAL"), tolerated={"check_x"}).level is Level.OK


def test_a_recording_without_nwb_file_is_to_be_reviewed_and_says_what_is_missing() -> None:
    row = {"check": assessment.NOT_EXPORTED, "importance": "CRITICAL", "message": "No NWB file: subject.sex."}
    found = assessment.assess_inspection(pd.DataFrame([row]))
    assert (found.level, found.finding) == (Level.REVIEW, "No NWB file: subject.sex.")
    assert "kedro recordings check" in found.recommendation


def _dff(n: int = 3, **fields: Any) -> DeltaFOverF:
    """dF/F of n components, with an exact dark level of 101.26 counts unless told otherwise."""
    ones = np.ones((n, 4), np.float32)
    known = {"dark_level": 101.26, "dark_level_error": 0.0, "dark_level_source": "given"}
    return DeltaFOverF(ones, ones, **{"guarded": np.zeros(n, bool), **known, **fields})


def test_raised_f0() -> None:
    fine = assessment.assess_dff(_dff(), 240.0)
    assert fine.level is Level.OK
    assert "Dark level 101 counts (given), mean of the raw frames 240 counts" in fine.finding
    raised = assessment.assess_dff(_dff(guarded=np.array([True, False, False])), 240.0)
    assert raised.level is Level.REVIEW
    assert "1 of 3" in raised.finding
    assert assessment.assess_dff(_dff(0), 0.0).level is Level.OK


def test_a_dark_level_above_the_mean_is_a_problem() -> None:
    result = assessment.assess_dff(_dff(dark_level=240.0), 240.0)
    assert result.level is Level.PROBLEM
    assert "dff_dark_level" in result.recommendation


@pytest.mark.parametrize(
    ("error", "level", "words"),
    [
        (0.01, Level.OK, "dF/F may be 2% too large or 2% too small (95 %)"),
        (0.1, Level.REVIEW, "The scale of dF/F is uncertain: dF/F may be 17% too large or 25% too small"),
        (0.6, Level.PROBLEM, "The scale of dF/F is unknown: dF/F may be 55% too large, and too small by any factor"),
    ],
)
def test_the_scale_of_dff_is_as_certain_as_the_dark_level(error: float, level: Level, words: str) -> None:
    errors = np.full(3, error, np.float32)
    dff = _dff(scale_error=errors, dark_level_error=4.04, dark_level_source="noise of the pixels")
    result = assessment.assess_dff(dff, 240.0)
    assert result.level is level
    assert words in result.finding
    assert "Dark level 101 ± 4.04 counts (noise of the pixels)" in result.finding


def test_an_unknown_dark_level_is_a_problem_with_its_limits() -> None:
    """Taken as 0, with a mean of 240 and the darkest pixels at 160: dF/F is up to 240 / 80 times too small."""
    nothing = np.zeros(0)
    detector = DetectorResponse(
        None, 0.0, "unknown", None, 0.0, 0.0, 220.0, 160.0, (0.0, 0.0), 0.0, nothing, nothing, nothing
    )
    dff = _dff(dark_level=0.0, dark_level_error=None, dark_level_source="unknown", detector=detector)
    result = assessment.assess_dff(dff, 240.0)
    assert result.level is Level.PROBLEM
    assert "unknown" in result.finding
    assert "up to 3.0 times too small" in result.finding


def test_light_is_what_exceeds_the_dark_level() -> None:
    """Dark level 1000: half of the light is 5 % of the counts, and shuttered frames have nearly all counts."""
    fading = _frames(mean=np.linspace(1100.0, 1045.0, 50))
    assert assessment.assess_illumination(fading).level is Level.OK
    result = assessment.assess_illumination(fading, dark_level=1000.0, error=5.0)
    assert result.level is Level.REVIEW
    assert "decreased by 52% (47% to 58% lost, 95 %)" in result.finding
    shuttered = _frames(mean=[1100.0] * 40 + [1001.0] * 10)
    assert "10 frames less than half" in assessment.assess_illumination(shuttered, dark_level=1000.0).finding
    unknown = assessment.assess_illumination(_frames(), dark_level=0.0, error=None)
    assert (unknown.level, "dark level is unknown" in unknown.finding) == (Level.REVIEW, True)


@pytest.mark.parametrize(
    ("f1", "level"), [(0.9, Level.OK), (0.7, Level.REVIEW), (0.2, Level.PROBLEM), (NAN, Level.REVIEW)]
)
def test_ground_truth(f1: float, level: Level) -> None:
    result = assessment.assess_ground_truth(pd.DataFrame({"measure": ["f1", "iou"], "value": [f1, 0.7]}))
    assert result.level is level
    assert "nan" not in result.finding


def test_the_worst_level_is_that_of_the_recording() -> None:
    result = [assessment.assess_registration(0, 10), assessment.assess_registration(9, 10)]
    assert assessment.worst_level(result) is Level.PROBLEM
    assert assessment.worst_level([]) is Level.OK


def test_assessments_survive_their_table_even_through_a_csv() -> None:
    result = [assessment.assess_registration(0, 10), assessment.assess_component_count(0, 0, NAN)]
    table = AssessmentTable.validate(assessment.to_table(result))
    assert assessment.from_table(table) == result
    assert assessment.from_table(table.replace("", np.nan)) == result


def test_saturation_names_the_level_and_the_cells() -> None:
    nothing = np.zeros(0)
    linear = DetectorSaturation(None, 0.0, nothing, nothing, nothing)
    assert assessment.assess_saturation(linear, 0).level is Level.OK
    found = assessment.assess_saturation(DetectorSaturation(54000.0, 2e-3, nothing, nothing, nothing), 1)
    assert found.level is Level.REVIEW
    assert "From 54000 counts on (0.20% of the pixel values)" in found.finding
    assert "1 accepted component reaches this level" in found.finding
    assert "laser power" in found.recommendation


def _measures(total: int = 50, unexplained: int = 10, **counts: int) -> pd.DataFrame:
    names = ("ragged", "thin", "nested", "duplicate")
    rows = [(name, counts.get(name, 0), total, counts.get(name, 0) / total if total else NAN) for name in names]
    rows.append(("unexplained", unexplained, 100, unexplained / 100))
    return pd.DataFrame(rows, columns=["measure", "count", "total", "share"])


@pytest.mark.parametrize(
    ("measures", "level", "words"),
    [
        (_measures(), Level.OK, "Of 50 accepted components: 0 ragged, 0 thin"),
        (_measures(nested=2), Level.REVIEW, "nested"),
        (_measures(nested=1, total=10), Level.OK, "1 nested"),
        (_measures(ragged=2), Level.OK, "2 ragged"),
        (_measures(ragged=20, thin=9), Level.REVIEW, "ragged, thin"),
        (_measures(total=0), Level.OK, "Of 0 accepted components"),
    ],
)
def test_shapes_call_for_review_beyond_those_of_marked_neurons(
    measures: pd.DataFrame, level: Level, words: str
) -> None:
    result = assessment.assess_component_shapes(measures)
    assert result.level is level
    assert words in result.finding + result.recommendation


def test_coverage() -> None:
    assert assessment.assess_coverage(_measures(unexplained=10)).level is Level.OK
    result = assessment.assess_coverage(_measures(unexplained=80))
    assert result.level is Level.REVIEW
    assert result.finding.startswith("80% of the 100 pixels")
    none = _measures().assign(total=0, share=NAN)
    assert "nan" not in assessment.assess_coverage(none).finding


def test_line_offset_is_told_and_its_largest_value_questioned() -> None:
    offsets = np.arange(-2, 3)
    mismatch = np.array([3.0, 2.0, 1.0, 0.3, 0.6])
    assert "in line" in assessment.assess_line_offset(LineOffset(0, offsets, mismatch)).finding
    found = assessment.assess_line_offset(LineOffset(1, offsets, mismatch))
    assert (found.level, "moved by -1 px" in found.finding, "30%" in found.finding) == (Level.OK, True, True)
    assert assessment.assess_line_offset(LineOffset(2, offsets, mismatch)).level is Level.REVIEW
    assert "as `line_offset` says" in assessment.assess_line_offset(LineOffset.not_estimated(3)).finding
    assert "as in the files" in assessment.assess_line_offset(LineOffset.not_estimated()).finding


def test_an_interleaved_channel_is_a_problem_of_the_recording() -> None:
    assert assessment.assess_alternation(1).level is Level.OK
    found = assessment.assess_alternation(2)
    assert (found.level, "2 images that alternate" in found.finding) == (Level.PROBLEM, True)
    assert "`channels`" in found.recommendation


def _excluded(n: int, *bad: str, used: bool = False) -> pd.DataFrame:
    reasons = [*bad, *[""] * (n - len(bad))]
    return pd.DataFrame({"frame": range(n), "excluded": [r != "" and not used for r in reasons], "reason": reasons})


@pytest.mark.parametrize(("n_bad", "level"), [(0, Level.OK), (5, Level.OK), (20, Level.REVIEW), (60, Level.PROBLEM)])
def test_excluded_frames_are_told(n_bad: int, level: Level) -> None:
    found = assessment.assess_excluded_frames(_excluded(500, *["blank"] * n_bad))
    assert found.level is level
    assert f"{n_bad} of 500 frames" in found.finding


def test_bad_frames_that_were_used_call_for_review() -> None:
    found = assessment.assess_excluded_frames(_excluded(500, "flash", "blank", "blank", used=True))
    assert (found.level, "3 bad frames were used: 2 blank, 1 flash" in found.finding) == (Level.REVIEW, True)


def _files(*means: float, n: int = 50) -> pd.DataFrame:
    names = [f"{i}.tif" for i in range(len(means)) for _ in range(n)]
    return pd.DataFrame({"trial": names, "mean": np.repeat(means, n)})


def test_change_of_brightness_between_files_calls_for_review() -> None:
    found = assessment.assess_files(_files(150, 150, 220), 100.0)
    assert (found.level, "at 1 of 2 borders of trials, by +140% at 2.tif" in found.finding) == (Level.REVIEW, True)
    assert assessment.assess_files(_files(150, 150, 220), 100.0, corrected=True).level is Level.OK
    assert assessment.assess_files(_files(150, 155, 150), 100.0).level is Level.OK
    assert "not made of several trials" in assessment.assess_files(_files(150), 0.0).finding


def test_slow_bleaching_over_files_is_no_change_between_them() -> None:
    frames = _files(1, 1, 1, 1).assign(mean=np.linspace(300, 100, 200))
    assert assessment.assess_files(frames, 0.0).level is Level.OK
