"""Verdicts follow the numbers."""

import numpy as np
import pandas as pd
import pytest

from rsc2p_kedro.core.schemas import VerdictTable
from rsc2p_kedro.reports import verdicts
from rsc2p_kedro.reports.verdicts import Level

Pair = tuple[float, float]


def _motion_table(size_px: float, n: int = 100) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    shifts = 5.0 + size_px * rng.standard_normal((n, 2))  # 5: where the template lies is no motion
    return pd.DataFrame({"shift_y_px": shifts[:, 0], "shift_x_px": shifts[:, 1], "registered": True})


def _quality(correlation: Pair, crispness: Pair, residual: Pair) -> pd.DataFrame:
    rows = zip(
        ("template_correlation", "crispness", "residual_motion_px"), (correlation, crispness, residual), strict=True
    )
    return pd.DataFrame(
        [(name, before, after, True) for name, (before, after) in rows],
        columns=["measure", "before", "after", "improved"],
    )


NAN = float("nan")


@pytest.mark.parametrize(
    ("size_px", "quality", "level", "words"),
    [
        (
            2.0,
            _quality((0.6, 0.8), (10, 12), (1.0, 0.2)),
            Level.GOOD,
            "Yes: correlation with the template 0.600 → 0.800",
        ),
        (2.0, _quality((0.6, 0.8), (10, 12), (1.5, 0.9)), Level.LOOK, "In part"),
        (2.0, _quality((0.6, 0.601), (10, 10), (0.4, 0.4)), Level.LOOK, "no difference"),
        (2.0, _quality((0.6, 0.5), (10, 12), (1.0, 0.2)), Level.BAD, "worse in correlation with the template:"),
        (
            0.1,
            _quality((0.6, 0.5), (10, 9), (0.1, 0.1)),
            Level.LOOK,
            "worse in correlation with the template, crispness",
        ),
        (0.1, _quality((0.6, 0.601), (10, 10.05), (0.1, 0.1)), Level.GOOD, "little to correct"),
        (2.0, _quality((0.6, 0.8), (NAN, NAN), (NAN, NAN)), Level.GOOD, "Yes"),
    ],
)
def test_motion(size_px: float, quality: pd.DataFrame, level: Level, words: str) -> None:
    verdict = verdicts.judge_motion(_motion_table(size_px), quality)
    assert verdict.level is level
    assert words in verdict.answer
    assert "nan" not in verdict.answer


def test_where_the_template_lies_is_no_motion() -> None:
    assert verdicts.motion_sizes(_motion_table(0.0)).max() == 0


@pytest.mark.parametrize(("lost", "level"), [(0, Level.GOOD), (10, Level.GOOD), (30, Level.LOOK), (60, Level.BAD)])
def test_unregistered_frames(lost: int, level: Level) -> None:
    verdict = verdicts.judge_unregistered(lost, 1000)
    assert verdict.level is level
    assert bool(verdict.advice) is (lost > 0)


def test_shifts_at_the_limit() -> None:
    table = _motion_table(0.0, n=4)
    table["shift_x_px"] = [0.0, -6.0, 2.0, 6.0]
    table["registered"] = [True, True, True, False]
    verdict = verdicts.judge_shift_limit(table, 6.0)
    assert verdict.level is Level.LOOK
    assert verdict.answer.startswith("1 frame at the limit of 6 px")
    assert verdicts.judge_shift_limit(table, 8.0).level is Level.GOOD


def _frames(**columns: object) -> pd.DataFrame:
    values = {"minimum": 1.0, "mean": 100.0, "maximum": 900.0, "saturated_share": 0.0}
    return pd.DataFrame({"frame": range(50), **values, **columns})


@pytest.mark.parametrize(
    ("frames", "level", "words"),
    [
        (_frames(), Level.GOOD, "Yes"),
        (_frames(saturated_share=0.005), Level.LOOK, "0.50% of the pixels are at 900, where"),
        (_frames(saturated_share=5e-5), Level.GOOD, "no ceiling"),
        (_frames(saturated_share=0.05), Level.BAD, "cut off"),
        (_frames(minimum=[0.0] * 2 + [1.0] * 48, maximum=[0.0] * 2 + [9.0] * 48), Level.LOOK, "2 blank frames"),
        (_frames(mean=[100.0] * 49 + [10.0]), Level.LOOK, "1 frame less than half as bright"),
        (_frames(mean=np.linspace(100.0, 60.0, 50)), Level.LOOK, "fell by 37%"),
    ],
)
def test_light(frames: pd.DataFrame, level: Level, words: str) -> None:
    verdict = verdicts.judge_light(frames)
    assert verdict.level is level
    assert words in verdict.answer


def test_blank_frames_are_not_counted_as_dark_ones_too() -> None:
    mean = [0.0] * 2 + [100.0] * 48
    verdict = verdicts.judge_light(_frames(mean=mean, minimum=mean, maximum=[0.0] * 2 + [9.0] * 48))
    assert "2 blank frames" in verdict.answer
    assert "half as bright" not in verdict.answer


@pytest.mark.parametrize(
    ("accepted", "n", "level"),
    [(0, 0, Level.BAD), (0, 9, Level.BAD), (2, 3, Level.LOOK), (6, 60, Level.LOOK), (50, 60, Level.GOOD)],
)
def test_cells(accepted: int, n: int, level: Level) -> None:
    verdict = verdicts.judge_cells(accepted, n, 3.3 if accepted else NAN)
    assert verdict.level is level
    assert "nan" not in verdict.answer


def test_cells_that_pass_by_shape_alone_are_pointed_out() -> None:
    table = pd.DataFrame({"accepted": [True] * 8, "snr": [1.0] * 8, "curated": [True] + [False] * 7})
    cells, active = verdicts.judge_components(table, min_snr=2.0)
    assert "8 of 8 components are accepted, 1 of them decided by hand" in cells.answer
    assert active.level is Level.LOOK
    assert len(verdicts.judge_components(table, min_snr=0.5)) == 1


def _messages(*importances: str) -> pd.DataFrame:
    columns = ["check", "importance", "object_type", "object_name", "location", "message"]
    return pd.DataFrame([("check_x", importance, "", "", "/", "") for importance in importances], columns=columns)


def test_inspection() -> None:
    assert verdicts.judge_inspection(_messages()).level is Level.GOOD
    assert verdicts.judge_inspection(_messages("BEST_PRACTICE_SUGGESTION")).level is Level.LOOK
    assert verdicts.judge_inspection(_messages("BEST_PRACTICE_SUGGESTION", "CRITICAL")).level is Level.BAD
    assert verdicts.judge_inspection(_messages("CRITICAL"), explained={"check_x"}).level is Level.GOOD


def test_guarded_f0() -> None:
    fine = verdicts.judge_dff(np.zeros(3, dtype=bool), 101.26, 240.0)
    assert fine.level is Level.GOOD
    assert "mean brightness of 240 counts, 101 were taken for darkness" in fine.answer
    raised = verdicts.judge_dff(np.array([True, False, False]), 0.0, 240.0)
    assert raised.level is Level.LOOK
    assert "1 of 3" in raised.answer
    assert verdicts.judge_dff(np.zeros(0, dtype=bool), 0.0, 0.0).level is Level.GOOD


def test_darkness_brighter_than_the_movie_is_not_believed() -> None:
    found = verdicts.judge_dff(np.zeros(3, dtype=bool), 240.0, 240.0)
    assert found.level is Level.BAD
    assert "dff_dark_level" in found.advice


@pytest.mark.parametrize(("f1", "level"), [(0.9, Level.GOOD), (0.7, Level.LOOK), (0.2, Level.BAD), (NAN, Level.LOOK)])
def test_truth(f1: float, level: Level) -> None:
    verdict = verdicts.judge_truth(pd.DataFrame({"measure": ["f1", "iou"], "value": [f1, 0.7]}))
    assert verdict.level is level
    assert "nan" not in verdict.answer


def test_the_worst_verdict_counts() -> None:
    found = [verdicts.judge_unregistered(0, 10), verdicts.judge_unregistered(9, 10)]
    assert verdicts.worst(found) is Level.BAD
    assert verdicts.worst([]) is Level.GOOD


def test_verdicts_survive_their_table_even_through_a_csv() -> None:
    found = [verdicts.judge_unregistered(0, 10), verdicts.judge_cells(0, 0, NAN)]
    table = VerdictTable.validate(verdicts.to_table(found))
    assert verdicts.from_table(table) == found
    assert verdicts.from_table(table.replace("", np.nan)) == found
