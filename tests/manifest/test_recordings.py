"""The manifest is read whole, and everything wrong with it is said at once."""

import pytest

from rsc2p_kedro.core.parameters import EvaluationParameters, MotionCorrectionParameters
from rsc2p_kedro.manifest.checks import ManifestError, parse_manifest, stage_problems
from rsc2p_kedro.manifest.recordings import Recording

GOOD = {"path": "raw/Animal_1", "frame_rate_hz": 14.7}


def test_recordings_come_in_the_order_of_the_manifest_and_know_their_names():
    manifest = {"b": {"2": GOOD, "1": GOOD}, "a": {"1": GOOD}}
    assert [recording.name for recording in parse_manifest(manifest)] == ["b.2", "b.1", "a.1"]


def test_all_problems_stand_in_one_message():
    manifest = {
        "animal 1": {"day_7": GOOD},
        "animal_2": {"day_7": {"path": "x", "frame_rate": 3}},
        "animal_3": {"day_7": {**GOOD, "frames": [5, 5]}},
        "animal_4": [GOOD],
        "animal_5": {"day_7": {**GOOD, "parameters": {"motion_correction": {"max_shift": 3}}}},
    }
    with pytest.raises(ManifestError) as caught:
        parse_manifest(manifest)
    text = str(caught.value)
    for part in (
        "'animal 1' should have letters",
        "frame_rate_hz: is missing (frames per second). [animal_2.day_7]",
        "frame_rate: ",
        "given 3",
        "Allowed are",
        "[animal_3.day_7]",
        "recordings.animal_4 should map each session",
        "[animal_5.day_7]",
        "max_shift",
    ):
        assert part in text, part


def test_two_recordings_that_would_share_a_file_are_refused():
    manifest = {"animal_1": {"day_7": GOOD}, "animal-1": {"day-7": GOOD}}
    with pytest.raises(ManifestError, match=r"more than one recording: animal_1\.day_7, animal-1\.day-7"):
        parse_manifest(manifest)


def test_a_recording_overrides_the_parameters_of_a_stage_and_no_other():
    recording = Recording.model_validate({**GOOD, "parameters": {"motion_correction": {"max_shift_px": 9}}})
    changed = recording.override(MotionCorrectionParameters(patch_stride_px=32))
    assert (changed.max_shift_px, changed.patch_stride_px) == (9, 32)
    assert recording.override(EvaluationParameters()) == EvaluationParameters()


def test_overrides_are_judged_by_what_they_are_laid_over(tmp_path):
    def problems(shared, **override):
        recording = Recording.model_validate({**GOOD, "animal": "a", "session_key": "1", **override})
        return stage_problems(recording, shared)

    lower = {"parameters": {"evaluation": {"min_snr": 0.4}}}
    assert problems({"evaluation": {"lowest_snr": 0.1}}, **lower) == []
    assert "should not exceed" in problems({}, **lower)[0]
    seeded = {"source_extraction": {"initialization": "seeded"}}
    assert "seeds: are missing" in problems(seeded)[0]
    assert "would not be used" in problems({}, seeds="seeds.csv")[0]
    assert "does not exist" in problems(seeded, seeds=tmp_path / "none.csv")[0]
    (tmp_path / "seeds.csv").write_text("y_px,x_px\n1,2\n")
    assert problems(seeded, seeds=tmp_path / "seeds.csv") == []


def test_an_empty_manifest_is_no_error():
    assert parse_manifest(None) == parse_manifest({}) == []


def test_frames_to_exclude_are_checked_before_the_run(tmp_path):
    table = tmp_path / "bad.csv"
    table.write_text("start,stop\n10,20\n", encoding="utf-8")
    facts = {**GOOD, "animal": "a", "session_key": "s", "frames": (5, 25)}
    for wanted, problem in (
        ("auto", None),
        ([[0, 20], "auto"], None),
        ([[0, 21]], "frame 20 is named, but the movie has 20 frames"),
        (table, None),
        (tmp_path / "none.csv", "does not exist"),
    ):
        problems = stage_problems(Recording(**facts, exclude_frames=wanted), {})
        assert (len(problems) == 1 and problem in problems[0]) if problem else not problems
