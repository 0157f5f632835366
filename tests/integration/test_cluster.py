"""Recordings on workers of Dask, whole, with workers killed in each stage: every result is that of a sequential run."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from kedro.framework.project import pipelines
from tests.integration.conftest import Project, simulated

from rsc2p_kedro.core.provenance import content_identity
from rsc2p_kedro.runners import DaskRunner
from rsc2p_kedro.runners.freshness import Freshness, make_plan

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning:(hdmf|pynwb).*"),
]
RECORDS = ["motion", "fit_components", "components", "component_quality", "dff", "spike_inference", "summary_images"]
TABLES = ["file_table", "frame_table", "motion_table", "motion_quality", "component_table", "assessment_table"]
STAGES = ["ingestion", "motion_correction", "source_extraction", "evaluation", "export", "reporting"]
NAMES = ["a.1", "b.1"]


def manifest() -> dict:
    size = {"n_frames": 100, "height_px": 64, "width_px": 80, "n_neurons": 4}
    return {"a": {"1": simulated("f/a", **size)}, "b": {"1": simulated("f/b", **size, seed=5)}}


@pytest.fixture(scope="module")
def sequential(make_project) -> Project:
    project = make_project(manifest())
    project.run()
    return project


def not_fresh(project: Project) -> set[str]:
    """Names of nodes of which a run would make the results."""
    with project.session() as session:
        catalog = session.load_context().catalog
        nodes = pipelines["__default__"].nodes
        return {node.name for node in make_plan(Freshness(nodes, catalog), nodes, force=False, complete=True).nodes}


def assert_same(project: Project, other: Project) -> None:
    for recording in NAMES:
        for name in (*RECORDS, *TABLES):
            full = f"{recording}.{name}"
            assert content_identity(project.load(full)) == content_identity(other.load(full)), full
        for name in ("movie", "corrected_movie"):
            full = f"{recording}.{name}"
            assert (project.load(full).compute() == other.load(full).compute()).all(), full
    table = project.load("recordings_table")
    assert table["recording"].tolist() == NAMES
    assert table["components_accepted"].tolist() == other.load("recordings_table")["components_accepted"].tolist()


def leftovers(project: Project) -> list[Path]:
    """What killed workers may have left: temporary files, and owners of locks."""
    data = project.path / "data"
    return [*data.rglob("*.tmp"), *data.rglob("*.owner.json")]


class Killer(threading.Thread):
    """Kills the worker that processes a recording, once in each stage."""

    def __init__(self, project: Project, recording: str) -> None:
        super().__init__(daemon=True)
        self.killed: list[str] = []
        self.ended = threading.Event()
        self._logs, self._recording = project.path / "data" / "08_reporting" / "logs", recording
        self.start()

    def run(self) -> None:
        while not self.ended.wait(0.01):
            for log in self._logs.glob(f"*/{self._recording}.log"):
                text = log.read_text()
                process = re.findall(r"process (\d+)", text)
                stages = re.findall(rf"\] {re.escape(self._recording)}: (\w+)", text)
                if stages and process and stages[-1] in STAGES and stages[-1] not in self.killed:
                    time.sleep(0.1)
                    os.kill(int(process[-1]), signal.SIGKILL)
                    self.killed.append(stages[-1])


def test_workers_killed_in_each_stage_leave_the_results_of_a_sequential_run(make_project, sequential):
    cluster = {"type": "local", "n_workers": 2, "threads_per_worker": 1, "retries": len(STAGES)}
    project = make_project(manifest(), compute={"cluster": cluster})
    killer = Killer(project, "a.1")
    project.run(runner=DaskRunner())
    killer.ended.set()
    killer.join()
    assert killer.killed == STAGES
    assert not_fresh(project) == set()
    assert leftovers(project) == []
    assert_same(project, sequential)


def test_a_scheduler_that_is_restarted_gets_the_recordings_again(make_project, sequential, tmp_path):
    port = 43961
    project = make_project(manifest(), compute={"cluster": {"scheduler": f"tcp://127.0.0.1:{port}"}})
    started = start_scheduler(port, tmp_path)
    run = threading.Thread(target=project.run, kwargs={"runner": DaskRunner()})
    run.start()
    logs = project.path / "data" / "08_reporting" / "logs"
    try:
        deadline = time.monotonic() + 600
        while not any("estimate_motion took" in log.read_text() for log in logs.glob("*/*.log")):
            assert time.monotonic() < deadline
            assert run.is_alive()
            time.sleep(0.05)
        stop(started)
        started = start_scheduler(port, tmp_path)
        run.join(timeout=600)
        assert not run.is_alive()
    finally:
        stop(started)
    assert not_fresh(project) == set()
    assert_same(project, sequential)


def start_scheduler(port: int, folder: Path) -> list[subprocess.Popen]:
    """A scheduler and a worker of two processes, as a lab would start them by hand."""
    address = ["--host", "127.0.0.1", "--port", str(port), "--no-dashboard"]
    worker = [f"tcp://127.0.0.1:{port}", "--nworkers", "2", "--nthreads", "1", "--resources", "memory_gb=4"]
    scripts = {
        "scheduler": ["-c", "from distributed.cli.dask_scheduler import main; main()", *address],
        "worker": ["-c", "from distributed.cli.dask_worker import main; main()", *worker, "--no-dashboard"],
    }
    log = (folder / "dask.log").open("a")
    return [
        subprocess.Popen([sys.executable, *script], stdout=log, stderr=log, cwd=folder) for script in scripts.values()
    ]


def stop(processes: list[subprocess.Popen]) -> None:
    for process in processes:
        process.kill()
        process.wait()
