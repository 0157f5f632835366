"""What a recording says of itself reaches parameters and catalog."""

from pathlib import Path

import pytest
import yaml

from rsc2p_kedro.manifest.config_loader import ManifestConfigLoader, expanded_catalog, named_recordings

MANIFEST = {"animal_1": {"day_7": {"path": "raw/Animal_1", "frames": [0, 1500], "frame_rate_hz": 14.7}}}
CATALOG = {
    "{animal}.{session}.raw_frames": {
        "type": "T",
        "filepath": "{recording.path}",
        "frames": "{recording.frames}",
        "note": ["of {animal}"],
    },
    "{animal}.{session}.nwb": {"type": "N", "filepath": "out/{recording.dandi_path}"},
    "{animal}.{session}.movie": {"type": "M", "filepath": "data/{animal}/{session}/movie.zarr"},
}


def test_entries_that_ask_for_facts_become_one_entry_a_recording():
    catalog = expanded_catalog(CATALOG, {"recordings": MANIFEST})
    assert catalog["animal_1.day_7.raw_frames"] == {
        "type": "T",
        "filepath": "raw/Animal_1",
        "frames": [0, 1500],
        "note": ["of animal_1"],
    }
    assert catalog["animal_1.day_7.nwb"]["filepath"] == "out/sub-animal-1/sub-animal-1_ses-day-7_ophys.nwb"


def test_what_to_do_with_an_issue_reaches_the_dataset_that_saves():
    catalog = {"{animal}.{session}.nwb": {"type": "N", "on_issue": "{recording.on_issue}"}}
    for parameters, expected in (({}, "error"), ({"nwb": {"on_issue": "warn"}}, "warn")):
        filled = expanded_catalog(catalog, {"recordings": MANIFEST, **parameters})
        assert filled["animal_1.day_7.nwb"]["on_issue"] == expected


def test_other_patterns_stay_patterns():
    catalog = expanded_catalog(CATALOG, {"recordings": MANIFEST})
    assert catalog["{animal}.{session}.movie"] == CATALOG["{animal}.{session}.movie"]
    assert "{animal}.{session}.nwb" not in catalog


def test_explicit_ids_name_the_file():
    recording = {
        **MANIFEST["animal_1"]["day_7"],
        "subject": {"subject_id": "Animal-1"},
        "session": {"session_id": "20190506"},
    }
    catalog = expanded_catalog(CATALOG, {"recordings": {"animal_1": {"day_7": recording}}})
    assert catalog["animal_1.day_7.nwb"]["filepath"] == "out/sub-Animal-1/sub-Animal-1_ses-20190506_ophys.nwb"


@pytest.mark.parametrize("manifest", [None, {}, {"animal_1": None}, {"animal_1": {"day_7": 3}}])
def test_a_manifest_without_recordings_leaves_only_patterns(manifest):
    assert list(expanded_catalog(CATALOG, {"recordings": manifest})) == ["{animal}.{session}.movie"]


def test_recordings_learn_their_names_and_the_source_stays_as_it_was():
    named = named_recordings(MANIFEST, Path("/project"))
    assert named["animal_1"]["day_7"]["animal"] == "animal_1"
    assert named["animal_1"]["day_7"]["session_key"] == "day_7"
    assert "animal" not in MANIFEST["animal_1"]["day_7"]


def test_paths_of_a_recording_are_those_of_the_project_wherever_it_runs_from():
    recording = {"path": "raw/Animal_1", "seeds": "seeds.csv", "curation": None}
    named = named_recordings({"a": {"1": recording}}, Path("/project"))["a"]["1"]
    assert (named["path"], named["seeds"], named["curation"]) == ("/project/raw/Animal_1", "/project/seeds.csv", None)


@pytest.mark.parametrize(
    ("wanted", "entered", "table"),
    [("auto", "auto", None), ([[1, 2]], [[1, 2]], None), ("bad.csv", "/project/bad.csv", "/project/bad.csv")],
)
def test_only_a_table_of_frames_to_exclude_is_a_path(wanted, entered, table):
    manifest = named_recordings({"a": {"1": {"path": "raw", "exclude_frames": wanted}}}, Path("/project"))
    assert manifest["a"]["1"]["exclude_frames"] == entered
    catalog = {"{animal}.{session}.exclusion_table": {"type": "x", "filepath": "{recording.exclusion_table}"}}
    expanded = expanded_catalog(catalog, {"recordings": manifest})
    assert expanded == ({"a.1.exclusion_table": {"type": "x", "filepath": table}} if table else {})


def test_the_loader_merges_environments_and_fills_the_catalog_in(tmp_path):
    (tmp_path / "base").mkdir()
    (tmp_path / "local").mkdir()
    (tmp_path / "base" / "parameters.yml").write_text(
        "recordings: {}\nmotion_correction: {max_shift_px: 6, piecewise: true}\n"
    )
    (tmp_path / "base" / "catalog.yml").write_text(
        '"{animal}.{session}.raw_frames": {type: T, filepath: "{recording.path}"}\n'
    )
    (tmp_path / "local" / "parameters.yml").write_text(
        "recordings: {a: {b: {path: x, frame_rate_hz: 5}}}\nmotion_correction: {max_shift_px: 10}\n"
    )
    loader = ManifestConfigLoader(
        str(tmp_path), base_env="base", default_run_env="local", merge_strategy={"parameters": "soft"}
    )
    assert loader["catalog"] == {"a.b.raw_frames": {"type": "T", "filepath": (tmp_path.parent / "x").as_posix()}}
    assert loader["parameters"]["motion_correction"] == {"max_shift_px": 10, "piecewise": True}
    assert loader["parameters"]["recordings"]["a"]["b"]["session_key"] == "b"


def test_a_key_that_is_there_twice_is_named_with_its_file(tmp_path):
    for environment in ("base", "local"):
        (tmp_path / environment).mkdir()
    (tmp_path / "base" / "parameters_recordings.yml").write_text("recordings:\n  a: {}\nrecordings:\n  b: {}\n")
    loader = ManifestConfigLoader(str(tmp_path), base_env="base", default_run_env="local")
    with pytest.raises(ValueError, match=r"parameters_recordings.yml, line 3: found duplicate key recordings\."):
        loader["parameters"]


def write_environments(folder: Path, **environments: dict) -> None:
    for environment, parameters in environments.items():
        (folder / environment).mkdir()
        (folder / environment / "parameters.yml").write_text(yaml.safe_dump(parameters))


def test_what_belongs_to_the_machine_holds_under_every_environment(tmp_path):
    write_environments(
        tmp_path,
        base={"recordings": {}, "caiman": {"python": None}, "compute": {"threads": None, "memory_gb": 1.0}},
        local={
            "recordings": {"mine": {"1": {"path": "x"}}},
            "caiman": {"python": "/opt/caiman/bin/python"},
            "compute": {"threads": 3, "memory_gb": 2.0},
            "evaluation": {"min_snr": 9},
        },
        demo={"recordings": {"demo": {"1": {"path": "y"}}}, "compute": {"memory_gb": 4.0}},
    )
    loader = ManifestConfigLoader(
        str(tmp_path), env="demo", base_env="base", default_run_env="local", merge_strategy={"parameters": "soft"},
        runtime_params={"compute": {"show_progress": False}},
    )  # fmt: skip
    parameters = loader["parameters"]
    assert parameters["caiman"] == {"python": "/opt/caiman/bin/python"}
    assert parameters["compute"] == {"threads": 3, "memory_gb": 4.0, "show_progress": False}
    assert list(parameters["recordings"]) == ["demo"]
    assert "evaluation" not in parameters


def test_entries_for_files_that_a_recording_does_not_name_are_left_out():
    catalog = {"{animal}.{session}.seeds": {"type": "S", "filepath": "{recording.seeds}"}}
    manifest = {"a": {"1": {"path": "x"}, "2": {"path": "y", "seeds": "seeds.csv"}}}
    assert expanded_catalog(catalog, {"recordings": manifest}) == {"a.2.seeds": {"type": "S", "filepath": "seeds.csv"}}


def test_two_loaders_do_not_know_of_each_other(tmp_path):
    write_environments(tmp_path, base={"recordings": {}}, one={"recordings": {"a": {"1": {"path": "x"}}}}, two={})
    options = {"base_env": "base", "default_run_env": "local"}
    first, second = (ManifestConfigLoader(str(tmp_path), env=env, **options) for env in ("one", "two"))
    assert list(second["parameters"]["recordings"]) == []
    assert list(first["parameters"]["recordings"]) == ["a"]
