"""Only what is stale is made again, through real sessions of Kedro; results of killed runs are those of others."""

import builtins
import contextlib
import errno
import io
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import yaml
from click.testing import CliRunner
from kedro.framework.project import pipelines
from kedro.framework.startup import bootstrap_project
from kedro.io import DatasetError
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


@pytest.fixture(scope="module", autouse=True)
def one_commit():
    """The state of the repository, which results tell, may change while tests run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rsc2p_kedro.core.provenance.git_state", lambda: {"git_commit": "of tests", "git_dirty": False})
        yield


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


def copy_of(project: Project, folder: Path, copy: Any = shutil.copy2) -> Project:
    """A project with its results copied to another place."""
    shutil.copytree(project.path, folder, copy_function=copy)
    other = Project.__new__(Project)
    other.path = folder
    return other


def test_a_project_that_is_copied_elsewhere_is_as_fresh_as_its_raw_data(done, tmp_path):
    assert stale(copy_of(done, tmp_path / "with its times")) == set()
    without = copy_of(done, tmp_path / "without", shutil.copyfile)
    assert stale(without) == {"simulate_recording"}, "what follows is stale unless it makes the same frames"
    only_results = copy_of(done, tmp_path / "results without times")
    for path in (only_results.path / "data").rglob("*"):
        os.utime(path)
    assert stale(only_results) == set()


def test_a_file_of_a_result_that_was_deleted_is_made_again(done, tmp_path):
    project = copy_of(done, tmp_path / "copy")
    next(project.path.glob("data/**/component_quality.npz/*/component_quality.npz")).unlink()
    movie = next(project.path.glob("data/**/corrected_movie.zarr/*/corrected_movie.zarr"))
    (movie / "zarr.json").unlink()
    with pytest.raises(RunFailedError, match=r"corrected_movie.zarr/zarr.json is missing.*delete the folder"):
        project.run()
    shutil.rmtree(movie)
    assert stale(project) == {"evaluate_components", "apply_motion"}, "they will be the same as before"
    project.run()
    same_results(project, done)


def test_two_environments_have_tables_and_pages_of_their_own(done, tmp_path):
    project = copy_of(done, tmp_path / "copy")
    write_manifest(project, {"b": {"1": small("f/2")}}, env="other")
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
    accepted = table["accepted"] & ~table["component_id"].isin(rejected)
    assert shown.loc["a.1", "components_accepted"] == accepted.sum(), "the index shows the curation"
    with pytest.raises(RunFailedError, match=r"a\.2\.components is missing"):
        project.run(pipeline_names=["evaluation"])


def contents_of_nwb(project: Project) -> dict[str, Any]:
    """Everything in the NWB file, without what differs between any two files: ids of objects, and times of writing."""
    contents: dict[str, Any] = {}

    def add(name: str, item: Any) -> None:
        attributes = {key: repr(value) for key, value in item.attrs.items() if key not in NWB_NOT_COMPARED}
        value = item[()] if isinstance(item, h5py.Dataset) else None
        if item.name.rpartition("/")[2] in NWB_NOT_COMPARED or isinstance(value, h5py.Reference):
            value = None
        elif isinstance(value, np.ndarray):
            value = (
                value.dtype.str,
                value.shape,
                value.tobytes() if value.dtype.kind not in "OV" else repr(value.tolist()),
            )
        contents[name] = (attributes, value)

    with h5py.File(next(project.path.glob("data/**/sub-a_ses-1_ophys.nwb"))) as file:
        file.visititems(add)
    return contents


NWB_NOT_COMPARED = {"object_id", "file_create_date", ".specloc", "namespace"}


def pages_of(project: Project) -> dict[str, bytes]:
    """Figures and pages, the latest version of each."""
    folder = project.path / "data" / "08_reporting"
    found = sorted(path for path in folder.rglob("*") if path.suffix in {".png", ".html"} and path.is_file())
    names = [path.parent.parent if path.parent.parent.name == path.name else path for path in found]
    return {name.relative_to(folder).as_posix(): path.read_bytes() for name, path in zip(names, found, strict=True)}


def same_results(project: Project, other: Project) -> None:
    """Demands that all results of recording a.1 are the same in two projects, bit for bit."""
    assert stale(project) == set()
    for name in (*RECORDS, *TABLES):
        assert content_identity(project.load(f"a.1.{name}")) == content_identity(other.load(f"a.1.{name}")), name
    for name in ("movie", "corrected_movie"):
        assert (project.load(f"a.1.{name}").compute() == other.load(f"a.1.{name}").compute()).all()
    found, expected = contents_of_nwb(project), contents_of_nwb(other)
    assert found.keys() == expected.keys()
    assert [name for name in found if found[name] != expected[name]] == []
    assert found["acquisition/TwoPhotonSeries"][0], "there are objects in the file"
    pages, others = pages_of(project), pages_of(other)
    assert pages.keys() == others.keys()
    assert [name for name in pages if pages[name] != others[name]] == []
    assert not [path for path in Path(project.path).rglob("*.tmp") if "data" in path.parts]


def seconds_of_stages(project: Project) -> dict[str, float]:
    """How long each stage of a run took, from its log."""
    log = min((project.path / "data/08_reporting/logs").glob("*.log")).read_text()
    seconds = dict.fromkeys(STAGES, 0.0)
    for stage, took in re.findall(r"a\.1\.(\w+)\.\w+ took ([\d.]+) s", log):
        seconds[stage] = seconds.get(stage, 0.0) + float(took)
    return seconds


INTERRUPTED = 130


def run_and_signal(project: Project, stage: str, after_s: float, number: int) -> int:
    """Runs in a process of its own, which gets a signal some time after a stage has begun; returns how it ended.

    The process is a fork of this one, because the start of a new one takes longer than such a run.
    """
    process = os.fork()
    if process:
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    try:
        run_nodes, begun = Run._run_node, []

        def with_signal(self: Run, node: Any) -> None:
            if f".{stage}." in node.name and not begun:
                begun.append(threading.Timer(after_s, os.kill, (os.getpid(), number)))
                begun[0].start()
            run_nodes(self, node)

        Run._run_node = with_signal  # type: ignore[method-assign]
        signal.signal(signal.SIGINT, signal.default_int_handler)
        project.run()
        os._exit(0)
    except KeyboardInterrupt:
        os._exit(INTERRUPTED)
    except BaseException:
        os._exit(1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_run_that_is_ended_at_a_random_moment_of_each_stage_gives_the_same_results(make_project, done):
    project, moments = make_project({"a": {"1": small("f/1")}}), random.Random(17)
    ends = [
        run_and_signal(project, stage, moments.uniform(0, min(seconds, 5) / 3), number)
        for stage, seconds in seconds_of_stages(done).items()
        for number in (signal.SIGINT, signal.SIGKILL)
    ]
    assert ends.count(-signal.SIGKILL) >= 4, ends
    assert ends.count(INTERRUPTED) >= 4, ends
    assert set(ends) <= {-signal.SIGKILL, INTERRUPTED, 0}, ends
    project.run()
    same_results(project, done)


class FullDisk:
    """A disk that takes k writes to files and HDF5 datasets below a folder, and is full then."""

    def __init__(self, folder: Path, k: int) -> None:
        self.folder, self.left = str(folder), k

    def write(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def install(self, patch: pytest.MonkeyPatch) -> None:
        disk, opened, put = self, io.open, h5py.Dataset.__setitem__

        class OnDisk(io.FileIO):
            def write(self, data: Any) -> int:
                disk.write()
                return super().write(data)

        def open_(file: Any, mode: str = "r", buffering: int = -1, *text: Any, **options: Any) -> Any:
            if mode not in {"w", "wb", "x", "xb"} or not str(file).startswith(disk.folder):
                return opened(file, mode, buffering, *text, **options)
            stream = io.BufferedWriter(OnDisk(file, mode[0]))
            return stream if "b" in mode else io.TextIOWrapper(stream, *text, **options)

        def put_(dataset: h5py.Dataset, *args: Any, **options: Any) -> None:
            disk.write()
            put(dataset, *args, **options)

        patch.setattr(io, "open", open_)
        patch.setattr(builtins, "open", open_)
        patch.setattr(h5py.Dataset, "__setitem__", put_)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_disk_that_is_full_at_the_kth_write_is_told_and_more_room_gives_the_same_results(make_project, done):
    project, n_stale = make_project({"a": {"1": small("f/1")}}), []
    for k in (0, 1, 4, *range(120, 200, 10)):  # each run begins where the one before has ended
        with pytest.MonkeyPatch.context() as patch:
            disk = FullDisk(project.path / "data", k)
            disk.install(patch)
            with contextlib.suppress(RunFailedError, DatasetError):
                project.run()
                break
        log = max((project.path / "data/08_reporting/logs").glob("*.log"))
        assert disk.left < 0, log.read_text()
        n_stale.append(len(stale(project)))
    assert len(n_stale) >= 6
    assert n_stale == sorted(n_stale, reverse=True), "what was saved is used by the next run"
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
        with pytest.raises(RunFailedError, match=r"No space left on device.*Make room on the disk"):
            project.run()
        subprocess.run(["mount", "-o", "remount,size=200m", str(data)], check=True)
        project.run()
        same_results(project, done)
    finally:
        subprocess.run(["umount", str(data)], check=True)


def start(project: Project, log: str, *options: str) -> subprocess.Popen:
    """Starts `kedro run` in a process of its own, with the console in a file."""
    command = [sys.executable, "-m", "kedro", "run", *options]
    environment = {**os.environ, "KEDRO_DISABLE_TELEMETRY": "1", "COLUMNS": "400"}
    with (project.path / log).open("w") as file:
        return subprocess.Popen(command, cwd=project.path, env=environment, stdout=file, stderr=file)


def test_of_two_runs_at_once_with_other_parameters_one_waits(done, tmp_path):
    project = copy_of(done, tmp_path / "copy")
    values = {"first.log": 0.9, "second.log": 0.7}
    runs = [start(project, log, f"--params=evaluation.min_snr={value}") for log, value in values.items()]
    assert [run.wait() for run in runs] == [0, 0]
    logs = {log: (project.path / log).read_text() for log in values}
    waited = [log for log, text in logs.items() if "a.1 is being processed by another run" in text]
    assert len(waited) == 1, logs
    assert stale(project, evaluation={"min_snr": values[waited[0]]}) == set(), "all results are of the last run"
    assert "evaluate_components" in stale(project)
    project.run()
    same_results(project, done)


def as_files(done: Project, folder: Path, **facts: Any) -> dict[str, Any]:
    """The raw data of a recording as files of the user."""
    if not folder.exists():
        shutil.copytree(done.path / "f" / "1", folder, ignore=shutil.ignore_patterns("*.json"))
    recording = small(str(folder), **facts)
    del recording["simulation"]
    return {"a": {"1": recording}}


STEPS: list[dict[str, tuple[dict[str, Any], set[str]]]] = [
    {
        "nwb": ({"nwb": {"lab": "Another"}}, {"export", "reporting"}),
        "evaluation": ({"evaluation": {"min_snr": 3}}, {"evaluation", "export", "reporting"}),
    },
    {
        "source_extraction": (
            {"source_extraction": {"merge_threshold": 0.8}},
            {"source_extraction", "evaluation", "export", "reporting"},
        )
    },
    {
        "motion_correction": ({"motion_correction": {"max_shift_px": 5}}, set(STAGES[1:])),
        "ingestion": ({"ingestion": {"chunk_frames": 32}}, set(STAGES)),
    },
]
"""Parameters that are changed before each of several runs, and the stages that each makes stale."""


def test_results_that_are_changed_step_by_step_are_those_that_are_made_at_once(
    make_project, done, tmp_path, monkeypatch
):
    folder, curation, parameters, facts = tmp_path / "raw", tmp_path / "curation.csv", {}, {}
    project, without_pages = make_project(as_files(done, folder)), STAGES[:-1]
    project.run()
    for step in STEPS:
        for changed, stages in step.values():
            fresh_before = {stage for name in stale_nodes(project) for stage in STAGES if f".{stage}." in name}
            parameters |= changed
            write_manifest(project, as_files(done, folder, **facts), **parameters)
            found = {stage for name in stale_nodes(project) for stage in STAGES if f".{stage}." in name}
            assert found == stages | fresh_before
        if "ingestion" not in step:
            project.run(pipeline_names=without_pages)
    project.run(pipeline_names=without_pages)

    for decision in ("reject", "accept"):
        table = project.load("a.1.component_table")
        pd.DataFrame({"component_id": table["component_id"][:1], "decision": decision}).to_csv(curation, index=False)
        facts = {"curation": str(curation)}
        write_manifest(project, as_files(done, folder, **facts), **parameters)
        assert "fit_components" not in stale(project)
        assert "build_nwb" in stale(project)
        project.run(pipeline_names=without_pages)

    first, second, third = sorted(folder.glob("*.tif"))[10:13]
    first.write_bytes(third.read_bytes())  # as large as before
    assert "ingest_frames" in stale(project)
    run_node = Run._run_node

    def and_replace(self: Run, node: Any) -> None:
        run_node(self, node)
        if node.short_name == "ingest_frames":
            second.write_bytes(third.read_bytes())

    with monkeypatch.context() as patch:
        patch.setattr(Run, "_run_node", and_replace)
        project.run(pipeline_names=["ingestion"])
    assert {"ingest_frames", "tabulate_frames", "build_nwb"} <= stale(project), "replaced during the run"
    project.run()
    at_once = make_project(as_files(done, folder, **facts), **parameters)
    at_once.run()
    same_results(project, at_once)
