"""What is true of several recordings is written once, and the deeper value wins."""

from pathlib import Path

import pytest
import yaml

from rsc2p_kedro.manifest.checks import ManifestError, parse_manifest
from rsc2p_kedro.manifest.config_loader import ManifestConfigLoader
from rsc2p_kedro.manifest.defaults import defaults_problems, merge, with_defaults

MANIFEST = yaml.safe_load("""
defaults:
  frame_rate_hz: 14.7
  session: {institution: Institute, lab: Lab}
  parameters: {evaluation: {min_snr: 2.0}}
a:
  defaults: {frame_rate_hz: 30, subject: {sex: F, strain: C57BL/6J}}
  "1": {path: one}
  "2":
    path: two
    frame_rate_hz: 7
    subject: {sex:, strain: other}
    session: {lab: Another}
    parameters: {evaluation: {min_r_value: 0.7}}
b:
  "1": {path: three}
""")


def test_the_deepest_value_wins_and_mappings_are_merged_key_by_key():
    completed = with_defaults(MANIFEST)
    assert list(completed) == ["a", "b"]
    assert completed["a"]["1"] == {
        "path": "one",
        "frame_rate_hz": 30,
        "session": {"institution": "Institute", "lab": "Lab"},
        "subject": {"sex": "F", "strain": "C57BL/6J"},
        "parameters": {"evaluation": {"min_snr": 2.0}},
    }
    own = completed["a"]["2"]
    assert (own["frame_rate_hz"], own["session"]) == (7, {"institution": "Institute", "lab": "Another"})
    assert own["subject"] == {"sex": "F", "strain": "other"}, "an empty value says nothing"
    assert own["parameters"] == {"evaluation": {"min_snr": 2.0, "min_r_value": 0.7}}
    assert completed["b"]["1"]["frame_rate_hz"] == 14.7
    assert [recording.name for recording in parse_manifest(completed)] == ["a.1", "a.2", "b.1"]


def test_merging_changes_neither_mapping():
    lower, upper = {"a": {"b": 1}}, {"a": {"c": 2}}
    assert merge(lower, upper) == {"a": {"b": 1, "c": 2}}
    assert (lower, upper) == ({"a": {"b": 1}}, {"a": {"c": 2}})


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        ({"defaults": {"day_1": {"path": "x"}}}, "recordings.defaults: `defaults` is a reserved key, not an animal"),
        ({"a": {"defaults": {"path": "x"}}}, "recordings.a.defaults.path belongs to a single recording"),
        ({"defaults": {"session": {"session_start_time": "2020-01-01"}}}, "session_start_time belongs to a single rec"),
        ({"defaults": {"subject": {"subject_id": "M1"}}}, "subject.subject_id belongs to a single animal"),
        ({"defaults": ["frame_rate_hz"]}, "recordings.defaults should map"),
        ({"a": {"defaults": 3}}, "recordings.a.defaults should map"),
    ],
)
def test_defaults_that_cannot_be_meant_so_are_refused(manifest, message):
    (problem,) = defaults_problems(manifest)
    assert message in problem


def test_an_animal_may_have_its_id_in_its_defaults():
    assert defaults_problems({"defaults": None, "a": {"defaults": {"subject": {"subject_id": "M1"}}}}) == []


@pytest.mark.parametrize("manifest", [None, [], {"a": None}, {"a": 3}, {"a": {"1": [2]}}])
def test_what_is_no_mapping_is_left_to_the_check_of_the_manifest(manifest):
    assert defaults_problems(manifest) == []
    assert with_defaults(manifest) == manifest


def loader(folder: Path, **environments: str) -> ManifestConfigLoader:
    for name, text in environments.items():
        (folder / name).mkdir()
        (folder / name / "parameters_recordings.yml").write_text(text)
    options = {"base_env": "base", "default_run_env": "local", "merge_strategy": {"parameters": "soft"}}
    return ManifestConfigLoader(str(folder), **options)


def test_parameters_of_a_session_hold_its_defaults(tmp_path):
    local = yaml.safe_dump({"recordings": MANIFEST})
    recordings = loader(tmp_path, base="recordings: {}\n", local=local)["parameters"]["recordings"]
    assert set(recordings) == {"a", "b"}
    assert recordings["a"]["1"]["frame_rate_hz"] == 30
    assert recordings["a"]["1"]["animal"] == "a"


def test_the_loader_refuses_defaults_that_cannot_be_meant_so(tmp_path):
    local = "recordings: {defaults: {day_1: {path: x}}}\n"
    with pytest.raises(ManifestError, match="reserved key"):
        loader(tmp_path, base="recordings: {}\n", local=local)["parameters"]


def test_a_wrong_default_is_told_once_for_all_its_recordings():
    manifest = {"defaults": {"frame_rate_hz": 5, "subject": {"sex": "male"}, "frame_rate": 3}}
    manifest |= {"a": {f"day_{n}": {"path": f"{n}"} for n in range(7)}}
    with pytest.raises(ManifestError) as caught:
        parse_manifest(with_defaults(manifest))
    lines = [line for line in str(caught.value).splitlines() if line.startswith("  - ")]
    assert len(lines) == 2
    assert all("[a.day_0 ... day_6 (7 recordings)]" in line for line in lines)
