import os
import re
import shutil
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import tifffile
import yaml
from click.testing import CliRunner
from kedro.framework.cli.cli import KedroCLI
from kedro.framework.startup import ProjectMetadata, bootstrap_project

from rsc2p_kedro import cli
from rsc2p_kedro.cli import results

ROOT = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path) -> ProjectMetadata:
    """An empty project with the settings of this one."""
    metadata = bootstrap_project(ROOT)._replace(project_path=tmp_path / "project")
    for name, text in {
        "base/parameters_recordings.yml": "recordings: {}\n",
        "base/catalog.yml": "{}\n",
        "local/parameters_nwb.yml": "nwb: {on_issue: warn, device: {name: A}, session: {session_description: A}}\n",
    }.items():
        path = metadata.project_path / "conf" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return metadata


@pytest.fixture
def raw(tmp_path) -> Path:
    (tmp_path / "raw" / "Animal_1").mkdir(parents=True)
    for number in range(1, 21):
        tifffile.imwrite(tmp_path / "raw" / "Animal_1" / f"frame_{number}.tif", np.zeros((32, 32), np.uint16))
    return aged(tmp_path / "raw")


def aged(folder: Path) -> Path:
    """The folder, in which nothing has changed for an hour: what just has may still be being copied."""
    an_hour_ago = time.time() - 3600
    for path in [*folder.rglob("*"), folder]:
        os.utime(path, (an_hour_ago, an_hour_ago))
    return folder


def run(project: ProjectMetadata, *arguments: str, code: int = 0) -> str:
    outcome = CliRunner().invoke(cli.cli, ["recordings", *arguments], obj=project)
    assert outcome.exit_code == code, outcome.output
    return re.sub(r"\s+", " ", outcome.output)


def manifest(project: ProjectMetadata) -> Path:
    return project.project_path / "conf" / "local" / "parameters_recordings.yml"


def write_recording(project: ProjectMetadata, path: Path, **facts) -> None:
    entry = {
        "path": str(path),
        "frame_rate_hz": 10,
        "pixel_size_um": [1.0, 1.0],
        "subject": {"species": "Mus musculus", "sex": "U", "age": "P90D"},
        "session": {"session_start_time": "2019-05-06T10:30:00+02:00"},
        "imaging_plane": {
            "description": "One plane.",
            "indicator": "GCaMP6f",
            "location": "RSPagl",
            "excitation_wavelength_nm": 920,
            "emission_wavelength_nm": 510,
        },
    }
    manifest(project).write_text(yaml.safe_dump({"recordings": {"animal_1": {"day_7": {**entry, **facts}}}}))


def test_commands_of_kedro_are_still_there():
    commands = KedroCLI(ROOT).list_commands(None)
    assert {"recordings", "run", "catalog", "registry"} <= set(commands)


def test_scan_then_check_asks_for_what_is_missing(project, raw):
    assert "1 recording would be added" in run(project, "scan", str(raw), "--dry-run")
    assert not manifest(project).exists()
    output = run(project, "scan", str(raw))
    assert "animal_1.session_1 20 frames of 32 x 32 px, uint16, in 20 files" in output
    assert "1 recording added to conf/local/parameters_recordings.yml" in output
    output = run(project, "check", code=1)
    assert "frame_rate_hz: <frames per second>" in output


def test_scan_of_known_recordings_adds_nothing(project, raw):
    write_recording(project, raw / "Animal_1")
    before = manifest(project).read_bytes()
    output = run(project, "scan", str(raw))
    assert "known 20 frames" in output
    assert "added" not in output
    assert manifest(project).read_bytes() == before


def test_scan_says_what_is_wrong(project, raw):
    (raw / "Animal_1" / "frame_7.tif").unlink()
    assert "gaps, 7 missing" in run(project, "scan", str(raw), "--dry-run")
    assert "No recording" in run(project, "scan", str(project.project_path))
    assert "There is no file or folder" in run(project, "scan", str(raw / "nowhere"), code=1)


def test_check_passes_a_sound_recording(project, raw):
    write_recording(project, raw / "Animal_1")
    assert run(project, "check") == "ok animal_1.day_7 "
    assert run(project, "check", "--verbose") == "animal_1.day_7 ok "


def test_check_refuses_links_to_raw_data_that_are_no_tiffs(project, raw):
    shared = project.project_path / "conf" / "local" / "parameters_nwb.yml"
    shared.write_text(shared.read_text().replace("{on_issue", "{raw: external, on_issue"))
    write_recording(project, raw / "Animal_1")
    assert "ok animal_1.day_7" in run(project, "check")
    with h5py.File(raw / "movie.h5", "w") as file:
        file["movie"] = np.zeros((20, 32, 32), np.uint16)
    write_recording(project, raw / "movie.h5")
    output = run(project, "check", code=1)
    assert (
        "nwb.raw: `raw: external` links to TIFFs, and these raw data are HDF5: use `raw: embed` or `raw: none`"
        in output
    )


def test_check_refuses_frames_that_are_too_small_to_register(project, tmp_path):
    tifffile.imwrite(tmp_path / "small.tif", np.zeros((30, 24, 40), np.uint16))
    write_recording(project, tmp_path / "small.tif")
    assert "raw data: frames are 24 x 40 px, but motion correction needs at least 32 x 32 px" in run(
        project, "check", code=1
    )


def test_check_passes_short_movies_and_finds_frames_to_exclude_that_do_not_exist(project, tmp_path):
    tifffile.imwrite(tmp_path / "short.tif", np.zeros((30, 32, 40), np.uint16))
    write_recording(project, tmp_path / "short.tif", exclude_frames=[[2, 4]])
    assert "ok" in run(project, "check")
    write_recording(project, tmp_path / "short.tif", exclude_frames=[[2, 31]])
    assert "exclude_frames: frame 30 is named, but the movie has 30 frames" in run(project, "check", code=1)


def test_check_tells_what_is_unusual_and_passes_it(project, raw):
    write_recording(project, raw / "Animal_1", frame_rate_hz=0.067, decay_time_s=40)
    (raw / "Animal_1" / "frame_20.tif").touch()
    output = run(project, "check")
    assert "Valid, but please look again:" in output
    assert "if it is the time between frames in s, write 14.93" in output
    assert "if it is in ms, write 0.04" in output
    assert "If it is still being recorded or copied" in output


def test_check_refuses_the_data_of_another_animal_and_values_of_another_kind(project, raw):
    write_recording(project, raw / "Animal_1", curation=str(raw / "curation.csv"))
    (raw / "curation.csv").write_text("component_id,decision\n1.7,accept\n")
    written = yaml.safe_load(manifest(project).read_text())
    written["recordings"]["animal_2"] = {"day_7": {"path": str(raw / "Animal_1"), "frame_rate_hz": 10}}
    written["recordings"]["animal_3"] = {"day_7": {"path": str(raw), "frame_rate_hz": True}}
    manifest(project).write_text(yaml.safe_dump(written))
    output = run(project, "check", code=1)
    assert "is the data of animal_1.day_7 too" in output
    assert "frame_rate_hz: should be a number, is true" in output
    assert "line 2: component_id '1.7' should be a whole number" in output


def test_a_file_that_cannot_be_read_is_one_message(project, raw):
    write_recording(project, raw / "Animal_1")
    manifest(project).write_text("recordings:\n\tanimal_1: {}\n")
    for words in (["check"], ["list"], ["results"], ["scan", str(raw)]):
        output = run(project, *words, code=1)
        assert output.startswith("Error: ")
        assert "parameters_recordings.yml" in output
        assert "line 2" in output


def test_check_reads_the_curation_table_of_each_plane(project, tmp_path):
    images = np.random.default_rng(0).integers(0, 4096, (40, 32, 32), dtype=np.uint16)
    tifffile.imwrite(tmp_path / "volumes.tif", images, photometric="minisblack")
    for plane, decision in ((1, "accept"), (2, "maybe")):
        (tmp_path / f"curation_{plane}.csv").write_text(f"component_id,decision\n3,{decision}\n")
    write_recording(project, tmp_path / "volumes.tif", planes=2, curation=str(tmp_path / "curation_{plane}.csv"))
    output = run(project, "check", code=1)
    assert f"curation: {tmp_path / 'curation_2.csv'}" in output
    assert "should be accept or reject" in output
    assert "curation_1.csv" not in output
    assert "does not exist" not in output


def test_check_lists_all_problems_of_data_metadata_and_parameters(project, raw):
    (raw / "Animal_1" / "frame_7.tif").unlink()
    (raw / "Animal_1" / "frame_9.tif").write_bytes(b"II*\0")
    write_recording(project, raw / "Animal_1", frames=[0, 50], seeds="no.csv", subject={"sex": "U", "age": "P90D"})
    (project.project_path / "conf" / "local" / "parameters_evaluation.yml").write_text("evaluation: {min_snr: -1}\n")
    output = run(project, "check", code=1)
    for expected in (
        "7 missing",
        "frame_9.tif cannot be read",
        "frames 0 to 50 are requested",
        "seeds: are given, but would not be used",
        'species: "<Latin name, such as Mus musculus>"',
        "evaluation.min_snr",
    ):
        assert expected in output


def test_a_broken_entry_does_not_hide_what_is_wrong_with_the_others(project, raw):
    (raw / "Animal_1" / "frame_7.tif").unlink()
    write_recording(project, raw / "Animal_1")
    written = yaml.safe_load(manifest(project).read_text())
    written["recordings"]["animal_2"] = {"day_7": {"path": "raw"}}
    manifest(project).write_text(yaml.safe_dump(written))
    output = run(project, "check", code=1)
    assert "frame_rate_hz: <frames per second>" in output
    assert "not ok animal_1.day_7, animal_2.day_7" in output
    assert "7 missing" in output


def scanned_and_unfilled(project: ProjectMetadata, raw: Path) -> None:
    """The manifest of 35 recordings of five animals as a scan leaves it."""
    for animal in range(1, 6):
        for day in range(1, 8):
            folder = raw / f"mouse_{animal}" / f"day_{day}"
            folder.mkdir(parents=True)
            tifffile.imwrite(folder / "movie.tif", np.zeros((20, 32, 32), np.uint16), photometric="minisblack")
    run(project, "scan", str(aged(raw)))


def test_all_that_is_missing_in_35_recordings_fits_on_one_screen_and_cannot_be_pasted_as_an_answer(project, tmp_path):
    (project.project_path / "conf" / "local" / "parameters_nwb.yml").unlink()
    scanned_and_unfilled(project, tmp_path / "raw")
    outcome = CliRunner().invoke(cli.cli, ["recordings", "check"], obj=project)
    lines = outcome.output.splitlines()
    assert outcome.exit_code == 1
    assert lines[0] == "not ok  mouse_1.day_1 ... mouse_5.day_7 (35 recordings)"
    assert len(lines) <= 25
    verbose = CliRunner().invoke(cli.cli, ["recordings", "check", "--verbose"], obj=project).output
    shown = yaml.safe_load(verbose[verbose.index("recordings:\n") :])["recordings"]
    written = yaml.safe_load(manifest(project).read_text())["recordings"]
    written["defaults"] = shown["defaults"]
    for animal in (name for name in written if name != "defaults"):
        written[animal]["defaults"] = shown["mouse_1"]["defaults"]
        for session in (name for name in written[animal] if name != "defaults"):
            written[animal][session] |= shown["mouse_1"]["day_1"]
    manifest(project).write_text(yaml.safe_dump({"recordings": written}))
    refused = run(project, "check", code=1)
    assert refused.count("[mouse_1.day_1 ... mouse_5.day_7 (35 recordings)]") >= 3
    assert "is a placeholder: write your own value" in refused


def answer(text: str, given: dict[str, str]) -> tuple[str, int]:
    """The text of a manifest with its empty fields filled in, and how many values were typed."""
    lines, n_typed = [], 0
    for line in text.splitlines():
        field = re.match(r" +(\w+): *(#.*)?$", line)
        typed = given.get(field[1], "") if field else ""
        n_typed += bool(typed)
        lines.append(line.replace(f"{field[1]}:", f"{field[1]}: {typed}", 1) if field and typed else line)
    return "\n".join(lines) + "\n", n_typed


def test_for_35_recordings_of_five_animals_what_is_true_once_is_typed_once(project, tmp_path):
    (project.project_path / "conf" / "local" / "parameters_nwb.yml").unlink()
    shutil.copy(ROOT / "conf" / "base" / "parameters_nwb.yml", project.project_path / "conf" / "base")
    scanned_and_unfilled(project, tmp_path / "raw")
    of_all = {
        "frame_rate_hz": "14.7",
        "pixel_size_um": "[1.17, 1.17]",
        "species": "Mus musculus",
        "experimenter": "Sun, Weilun",
        "institution": "UC Davis",
        "experiment_description": "Coding of space in retrosplenial cortex.",
        "indicator": "GCaMP6f",
        "location": "RSPagl",
        "excitation_wavelength_nm": "920",
        "emission_wavelength_nm": "510",
    }
    of_animals = {"sex": "F", "date_of_birth": "2019-02-01"}
    text, n_typed = answer(manifest(project).read_text(), of_all | of_animals)
    assert n_typed == len(of_all) + 5 * len(of_animals) == 20
    manifest(project).write_text(text)
    output = run(project, "check", code=1)
    assert "session_start_time" in output
    assert "species" not in output
    rows = [f"mouse_{m},day_{d},2019-05-{d:02d}T{8 + m:02d}:30:00+02:00" for m in range(1, 6) for d in range(1, 8)]
    (tmp_path / "sessions.csv").write_text("\n".join(["animal,session,session.session_start_time", *rows]))
    table = str(tmp_path / "sessions.csv")
    assert "35 values would be written to conf/local/" in run(project, "import", table, "--dry-run")
    assert manifest(project).read_text() == text
    output = run(project, "import", table)
    assert "session.session_start_time: mouse_1.day_1 ... mouse_5.day_7 (35 recordings)" in output
    assert run(project, "check") == "ok mouse_1.day_1 ... mouse_5.day_7 (35 recordings) "
    assert "0 values written to conf/local/parameters_recordings.yml, 35 there already" in run(project, "import", table)


def test_import_lists_its_columns_and_refuses_what_it_does_not_know(project, tmp_path):
    assert "imaging_plane.indicator" in run(project, "import", "--columns")
    (tmp_path / "sessions.csv").write_text("animal,session,subject.gender\n")
    assert "there is no field subject.gender" in run(project, "import", str(tmp_path / "sessions.csv"), code=1)
    assert "Give the table" in run(project, "import", code=2)


def test_check_and_list_without_recordings_say_how_to_start(project):
    assert "kedro recordings scan" in run(project, "check", code=1)
    assert "kedro recordings scan" in run(project, "list")
    assert "kedro recordings scan" in run(project, "results")


def test_list(project, raw):
    write_recording(project, raw / "Animal_1", frames=[2, 20])
    assert f"animal_1.day_7 10 Hz {raw / 'Animal_1'}, frames 2 to 20" in run(project, "list")


def test_results_show_files_and_the_comparison_with_the_truth(project, monkeypatch):
    write_recording(project, Path("raw"), simulation={"n_frames": 20})
    table = {"type": "rsc2p_kedro.datasets.AtomicCSVDataset", "versioned": True}
    catalog = {
        "{animal}.{session}.truth_score_table": {**table, "filepath": "data/08_reporting/{animal}/{session}/score.csv"},
        "recordings_table": {**table, "filepath": "data/08_reporting/recordings.csv", "versioned": False},
    }
    (project.project_path / "conf" / "base" / "catalog.yml").write_text(yaml.safe_dump(catalog))
    names = {"animal_1.day_7.truth_score_table", "recordings_table"}
    monkeypatch.setattr(results, "_datasets", lambda: names)
    assert "no results yet" in run(project, "results")
    folder = project.project_path / "data" / "08_reporting"
    for path, row in {
        "animal_1/day_7/score.csv/2026-01-01T00.00.00.000Z/score.csv": {"measure": "recall", "value": 0.93},
        "recordings.csv": {"recording": "animal_1.day_7", "components_accepted": 12},
    }.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        pd.DataFrame([row]).to_csv(folder / path, index=False)
    output = run(project, "results")
    assert "truth_score_table data/08_reporting/animal_1/day_7/score.csv/2026-01-01T00.00.00.000Z/score.csv" in output
    assert "recall 0.93" in output
    assert "animal_1.day_7 12" in output


def test_check_looks_for_caiman_where_a_stage_asks_for_it(project, raw):
    caiman = {"evaluation": {"engine": "caiman"}}
    write_recording(project, raw / "Animal_1", parameters=caiman)
    (project.project_path / "conf" / "local" / "parameters_caiman.yml").write_text(
        yaml.safe_dump({"caiman": {"python": sys.executable}})
    )
    output = run(project, "check", code=1)
    assert "- `engine: caiman` needs CaImAn" in output
