"""Only what is stale is made again, through real sessions of Kedro; results of killed runs are those of others."""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from click.testing import CliRunner
from kedro.framework.project import pipelines
from kedro.framework.startup import bootstrap_project
from tests.integration.conftest import Project, simulated

from rsc2p_kedro.cli import cli
from rsc2p_kedro.core.provenance import content_identity
from rsc2p_kedro.runners import RecordingRunner
from rsc2p_kedro.runners.freshness import Freshness, make_plan
from rsc2p_kedro.runners.recording import Run, RunFailedError

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:(hdmf|pynwb|nwbinspector|kedro).*"),
    pytest.mark.filterwarnings("ignore::UserWarning:(hdmf|pynwb).*"),
]
RECORDS = ["motion", "fit_components", "components", "component_quality", "dff", "spike_inference", "summary_images"]
STAGES = ["ingestion", "motion_correction", "source_extraction", "evaluation", "export", "reporting"]
TABLES = ["file_table", "frame_table", "motion_table", "motion_quality", "component_table", "assessment_table"]


def small(path: str, **facts: Any) -> dict[str, Any]:
    return {**simulated(path, n_frames=100, height_px=64, width_px=80, n_neurons=4), **facts}


def write_manifest(project: Project, recordings: dict[str, Any], env: str = "local", **parameters: Any) -> None:
    folder = project.path / "conf" / env
    folder.mkdir(exist_ok=True)
    values = {"recordings": recordings, "compute": {"threads": 2, "show_progress": False}, **parameters}
    (folder / "parameters_test.yml").write_text(yaml.safe_dump(values), encoding="utf-8")


@pytest.fixture(scope="module")
def done(make_project) -> Project:
    """One recording that has run; tests only ask what would be made."""
    project = make_project({"a": {"1": small("f/1")}})
    project.run()
    return project


def stale(project: Project, env: str | None = None, **params: Any) -> set[str]:
    """Short names of the nodes that a run would run."""
    return {name.rpartition(".")[2] for name in stale_nodes(project, env, **params)}


def stale_nodes(project: Project, env: str | None = None, **params: Any) -> set[str]:
    """Names of the nodes that a run would run."""
    with project.session(env=env, runtime_params=params) as session:
        catalog = session.load_context().catalog
        freshness = Freshness(pipelines["__default__"].nodes, catalog)
        plan = make_plan(freshness, pipelines["__default__"].nodes, force=False, complete=True)
        return {node.name for node in plan.nodes}


FITTED = {"fit_components", "refit_components", "tabulate_lineage", "evaluate_components", "infer_component_spikes"}
DFF = {"compute_dff", "build_nwb", "plot_traces", "assess_recording", "write_report", "write_curation_page"}


@pytest.mark.parametrize(
    ("params", "some", "none"),
    [
        ({}, set(), {"ingest_frames", "write_report", "write_index"}),
        ({"compute": {"threads": 1, "block_frames": 16}}, set(), {"ingest_frames", "write_report"}),
        ({"caiman": {"python": "/elsewhere"}}, set(), {"estimate_motion", "compute_dff"}),
        ({"evaluation": {"dff_percentile": 20}}, DFF, FITTED | {"apply_motion", "plot_contours"}),
        ({"evaluation": {"spike_supralinearity": 2}}, {"infer_component_spikes", "build_nwb"}, {"compute_dff"}),
        ({"evaluation": {"min_snr": 3}}, {"evaluate_components", "plot_quality"}, {"compute_dff", "fit_components"}),
        ({"source_extraction": {"ar_order": 2}}, FITTED | DFF, {"estimate_motion", "apply_motion"}),
        ({"source_extraction": {"find_silent": False}}, {"refit_components"} | DFF, {"fit_components"}),
        ({"motion_correction": {"corrected_dtype": "float32"}}, {"apply_motion"} | FITTED, {"estimate_motion"}),
        ({"motion_correction": {"max_shift_px": 5}}, {"estimate_motion", "apply_motion"} | FITTED, {"ingest_frames"}),
        ({"ingestion": {"chunk_frames": 32}}, {"ingest_frames", "estimate_motion"}, {"simulate_recording"}),
        ({"nwb": {"lab": "Another"}}, {"build_nwb", "tabulate_inspection"}, FITTED | {"compute_dff"}),
    ],
)
def test_a_changed_parameter_makes_stale_what_uses_it_and_what_comes_after(done, params, some, none):
    found = stale(done, **params)
    assert some <= found
    assert not none & found
    assert some or not found


def test_facts_of_the_recording_count_only_where_they_are_used(done, request):
    request.addfinalizer(lambda: write_manifest(done, {"a": {"1": small("f/1")}}))
    for facts, some, none in (
        ({"decay_time_s": 0.8}, FITTED, {"compute_dff_of_nothing"}),
        ({"pixel_size_um": [2.0, 2.0]}, {"plot_template", "build_nwb"}, FITTED | {"estimate_motion", "compute_dff"}),
        ({"subject": {"species": "Mus musculus", "sex": "F", "age": "P90D"}}, {"build_nwb"}, FITTED | {"plot_shifts"}),
        ({"parameters": {"evaluation": {"min_snr": 3}}}, {"evaluate_components"}, {"fit_components"}),
        ({"parameters": {"evaluation": {"min_snr": 2}}}, set(), {"evaluate_components"}),
    ):
        write_manifest(done, {"a": {"1": small("f/1", **facts)}})
        found = stale(done)
        assert some <= found, facts
        assert not none & found, facts


def test_a_replaced_raw_file_makes_all_stale(done):
    frame = next((done.path / "f" / "1").glob("*.tif"))
    before, times = frame.read_bytes(), frame.stat()
    try:
        frame.write_bytes(before)
        assert {"simulate_recording"} <= stale(done)
    finally:
        os.utime(frame, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert stale(done) == set()


def test_the_state_is_shown_without_a_run(done, monkeypatch):
    monkeypatch.chdir(done.path)
    metadata = bootstrap_project(done.path)
    shown = CliRunner().invoke(cli, ["recordings", "status"], obj=metadata).output
    assert "STALE" not in shown
    assert "index fresh" in shown
    write_manifest(done, {"a": {"1": small("f/1", parameters={"evaluation": {"dff_window_s": 20.0}})}})
    try:
        shown = CliRunner().invoke(cli, ["recordings", "status"], obj=metadata).output
    finally:
        write_manifest(done, {"a": {"1": small("f/1")}})
    assert "evaluation: dff_window_s 34.0 -> 20.0" in shown
    assert "kedro run" in shown


def test_two_environments_have_tables_and_pages_of_their_own(make_project):
    project = make_project({"a": {"1": small("f/1")}})
    write_manifest(project, {"b": {"1": small("f/2"), "2": small("f/3", frame_rate_hz=10.0)}}, env="other")
    project.run()
    with project.session(env="other") as session:
        session.run(runner=RecordingRunner())
    assert stale(project) == set()
    assert stale(project, env="other") == set()
    assert project.load("recordings_table")["recording"].tolist() == ["a.1"]
    assert (project.path / "data/08_reporting/index_other.html").is_file()

    curation = project.path / "curation.csv"
    table = project.load("a.1.component_table")
    rejected = table.loc[table["accepted"], "component_id"].tolist()[:1] or table["component_id"].tolist()[:1]
    pd.DataFrame({"component_id": rejected, "decision": "reject"}).to_csv(curation, index=False)
    write_manifest(project, {"a": {"1": small("f/1", curation="curation.csv"), "2": small("f/4")}})
    with project.session(runtime_params={"only_recordings": ["a.1"]}) as session:
        session.run(namespaces=["a.1"], runner=RecordingRunner(complete=True))
    shown = project.load("recordings_table").set_index("recording")
    assert shown.index.tolist() == ["a.1"], "a.2 has no results yet"
    assert shown.loc["a.1", "components_accepted"] == table["accepted"].sum() - 1, "the index shows the curation"
    with pytest.raises(RunFailedError, match=r"a\.2\.components is missing"):
        project.run(pipeline_names=["evaluation"])


def same_results(project: Project, other: Project) -> None:
    """Demands that all results of recording a.1 are the same in two projects, bit for bit."""
    assert stale(project) == set()
    for name in (*RECORDS, *TABLES):
        assert content_identity(project.load(f"a.1.{name}")) == content_identity(other.load(f"a.1.{name}")), name
    for name in ("movie", "corrected_movie"):
        assert (project.load(f"a.1.{name}").compute() == other.load(f"a.1.{name}").compute()).all()
    assert not [path for path in Path(project.path).rglob("*.tmp") if "data" in path.parts]


def start(project: Project, *options: str, before: Any = None) -> subprocess.Popen:
    """Starts `kedro run` in a process of its own, with the console in `run.log`."""
    command = [sys.executable, "-m", "kedro", "run", *options]
    environment = {**os.environ, "KEDRO_DISABLE_TELEMETRY": "1", "COLUMNS": "400"}
    with (project.path / "run.log").open("w") as log:
        return subprocess.Popen(command, cwd=project.path, env=environment, stdout=log, stderr=log, preexec_fn=before)


def wait_for(process: subprocess.Popen, log: Path, text: str) -> None:
    """Waits until a run has said something after it told its plan, or has ended."""
    deadline = time.monotonic() + 600
    while text not in log.read_text().split("missing\n")[-1] and process.poll() is None:
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.01)


def seconds_of_stages(project: Project) -> dict[str, float]:
    """How long each stage of a run took, from its log."""
    log = max((project.path / "data/08_reporting/logs").glob("*.log")).read_text()
    seconds = dict.fromkeys(STAGES, 0.0)
    for stage, took in re.findall(r"a\.1\.(\w+)\.\w+ took ([\d.]+) s", log):
        seconds[stage] = seconds.get(stage, 0.0) + float(took)
    return seconds


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_run_that_is_killed_at_a_random_moment_of_each_stage_gives_the_same_results(make_project, done):
    project, moments, killed = make_project({"a": {"1": small("f/1")}}), random.Random(17), 0
    for stage, seconds in seconds_of_stages(done).items():
        process = start(project)
        wait_for(process, project.path / "run.log", f"a.1: {stage}")
        time.sleep(moments.uniform(0, min(seconds, 5)))
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
    assert killed >= 4
    project.run()
    same_results(project, done)


@pytest.mark.skipif(sys.platform != "linux", reason="limits on the size of files are set as Linux does")
def test_a_run_on_a_full_disk_says_so_and_its_repetition_gives_the_same_results(make_project, done):
    import resource

    project = make_project({"a": {"1": small("f/1")}})
    for limit in (20_000, 300_000):  # stops at a movie, and at the NWB file or a page
        process = start(project, before=lambda limit=limit: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
        assert process.wait() == 1
        said = (project.path / "run.log").read_text()
        assert "was not saved" in said
        assert "Make room on the disk" in said
    project.run()
    same_results(project, done)


@pytest.mark.skipif(os.name != "posix", reason="mounts a small disk")
def test_a_small_disk_that_is_full_says_so_and_more_room_gives_the_same_results(make_project, done):
    project = make_project({"a": {"1": small("f/1")}})
    data = project.path / "data"
    data.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(data)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small disk can be mounted by root only")
    try:
        assert start(project).wait() == 1
        assert "No space left on device" in (project.path / "run.log").read_text()
        subprocess.run(["mount", "-o", "remount,size=200m", str(data)], check=True)
        project.run()
        same_results(project, done)
    finally:
        subprocess.run(["umount", str(data)], check=True)


def test_of_two_runs_at_once_with_other_parameters_one_waits(make_project, done):
    project = make_project({"a": {"1": small("f/1")}})
    first = start(project, "--params=source_extraction.merge_threshold=0.9")
    wait_for(first, project.path / "run.log", "a.1: motion_correction")
    project.run()
    assert first.wait() == 0
    logs = sorted((project.path / "data/08_reporting/logs").glob("*.log"))
    assert "a.1 is being processed by another run" in logs[-1].read_text()
    assert "motion_correction reused" in logs[-1].read_text()
    same_results(project, done)


def as_files(done: Project, folder: Path, **facts: Any) -> dict[str, Any]:
    """The raw data of a recording as files of the user."""
    if not folder.exists():
        shutil.copytree(done.path / "f" / "1", folder, ignore=shutil.ignore_patterns("*.json"))
    recording = small(str(folder), **facts)
    del recording["simulation"]
    return {"a": {"1": recording}}


STEPS: dict[str, tuple[dict[str, Any], set[str]]] = {
    "nwb": ({"nwb": {"lab": "Another"}}, {"export", "reporting"}),
    "evaluation": ({"evaluation": {"min_snr": 3}}, {"evaluation", "export", "reporting"}),
    "source_extraction": (
        {"source_extraction": {"merge_threshold": 0.8}},
        {"source_extraction", "evaluation", "export", "reporting"},
    ),
    "motion_correction": ({"motion_correction": {"max_shift_px": 5}}, set(STAGES[1:])),
    "ingestion": ({"ingestion": {"chunk_frames": 32}}, set(STAGES)),
}


def test_results_that_are_changed_step_by_step_are_those_that_are_made_at_once(make_project, done, tmp_path):
    folder, parameters = tmp_path / "raw", {}
    project = make_project(as_files(done, folder))
    project.run()
    for changed, stages in STEPS.values():
        parameters |= changed
        write_manifest(project, as_files(done, folder), **parameters)
        assert {stage for name in stale_nodes(project) for stage in STAGES if f".{stage}." in name} == stages
        project.run()

    curation = tmp_path / "curation.csv"
    for decisions in ("reject", "accept"):
        table = project.load("a.1.component_table")
        pd.DataFrame({"component_id": table["component_id"][:1], "decision": decisions}).to_csv(curation, index=False)
        write_manifest(project, as_files(done, folder, curation=str(curation)), **parameters)
        assert "fit_components" not in stale(project)
        assert "build_nwb" in stale(project)
        project.run()

    first, second = sorted(folder.glob("*.tif"))[10:12]
    first.write_bytes(second.read_bytes())  # as large as before
    assert "ingest_frames" in stale(project)
    project.run()
    at_once = make_project(as_files(done, folder, curation=str(curation)), **parameters)
    at_once.run()
    same_results(project, at_once)


def test_a_raw_file_that_is_replaced_during_a_run_is_seen_by_the_next(make_project, done, tmp_path, monkeypatch):
    folder = tmp_path / "raw"
    project = make_project(as_files(done, folder))
    run_node = Run._run_node

    def and_replace(self: Run, node: Any) -> None:
        run_node(self, node)
        if node.short_name == "ingest_frames":
            first, second = sorted(folder.glob("*.tif"))[:2]
            first.write_bytes(second.read_bytes())

    with monkeypatch.context() as patch:
        patch.setattr(Run, "_run_node", and_replace)
        project.run()
    assert {"ingest_frames", "tabulate_frames", "build_nwb"} <= stale(project)
    project.run()
    at_once = make_project(as_files(done, folder))
    at_once.run()
    same_results(project, at_once)
