import re
import sys
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
        tifffile.imwrite(tmp_path / "raw" / "Animal_1" / f"frame_{number}.tif", np.zeros((16, 16), np.uint16))
    return tmp_path / "raw"


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
    assert "animal_1.session_1 20 frames of 16 x 16 px, uint16, in 20 files" in output
    assert "1 recording added to conf/local/parameters_recordings.yml" in output
    output = run(project, "check", code=1)
    assert "recordings.animal_1.session_1.frame_rate_hz" in output


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
    assert "No TIFF" in run(project, "scan", str(project.project_path))
    assert "There is no file or folder" in run(project, "scan", str(raw / "nowhere"), code=1)


def test_check_passes_a_sound_recording(project, raw):
    write_recording(project, raw / "Animal_1")
    assert "animal_1.day_7 ok" in run(project, "check")


def test_check_refuses_links_to_raw_data_that_are_no_tiffs(project, raw):
    shared = project.project_path / "conf" / "local" / "parameters_nwb.yml"
    shared.write_text(shared.read_text().replace("{on_issue", "{raw: external, on_issue"))
    write_recording(project, raw / "Animal_1")
    assert "animal_1.day_7 ok" in run(project, "check")
    with h5py.File(raw / "movie.h5", "w") as file:
        file["movie"] = np.zeros((20, 16, 16), np.uint16)
    write_recording(project, raw / "movie.h5")
    output = run(project, "check", code=1)
    assert (
        "nwb.raw: `raw: external` links to TIFFs, and these raw data are HDF5: use `raw: embed` or `raw: none`"
        in output
    )


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
        "seeds: there is no file",
        "subject.species",
    ):
        assert expected in output
    assert "evaluation.min_snr" in output


def test_a_broken_entry_does_not_hide_what_is_wrong_with_the_others(project, raw):
    (raw / "Animal_1" / "frame_7.tif").unlink()
    write_recording(project, raw / "Animal_1")
    written = yaml.safe_load(manifest(project).read_text())
    written["recordings"]["animal_2"] = {"day_7": {"path": "raw"}}
    manifest(project).write_text(yaml.safe_dump(written))
    output = run(project, "check", code=1)
    assert "recordings.animal_2.day_7.frame_rate_hz" in output
    assert "7 missing" in output


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
    assert "caiman engine: - `engine: caiman` needs CaImAn" in output
