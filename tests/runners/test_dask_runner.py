"""Recordings on a real cluster of Dask whose workers are processes; what they compute is a stand-in.

The whole way of real recordings, with workers killed in each stage, is in tests/integration/test_cluster.py.
"""

import logging
import os
import queue
import time
from pathlib import Path

import dask
import pytest
from distributed import Client, LocalCluster
from tests.integration.conftest import Project, simulated
from tests.runners import stand_in

from rsc2p_kedro.runners import DaskRunner, cluster, dask_runner, worker
from rsc2p_kedro.runners.cluster import RESOURCE, ClusterError
from rsc2p_kedro.runners.recording import RunFailedError

pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="workers are killed by SIGKILL"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture(scope="module")
def scheduler() -> str:
    """Address of the scheduler of two workers, each of two cores and 4 GB."""
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        LocalCluster(
            n_workers=2,
            threads_per_worker=2,
            resources={RESOURCE: 4.0},
            dashboard_address=":0",
            silence_logs=logging.CRITICAL,
        ) as started,
    ):
        yield started.scheduler_address


@pytest.fixture
def run_on(scheduler, tmp_path, monkeypatch):
    """Runs recordings by their names, and returns the project."""
    monkeypatch.setattr(worker, "run_recording", stand_in.work)
    monkeypatch.setattr(dask_runner, "_TELL_EVERY_S", 0.1)

    def run(*animals: str, runner: DaskRunner | None = None, **cluster) -> Path:
        compute = {"show_progress": False, "cluster": {"scheduler": scheduler, **cluster}}
        project = Project(tmp_path, {name: {"1": simulated(f"f/{name}")} for name in animals}, compute=compute)
        project.run(runner=runner or DaskRunner())
        return project.path

    return run


def test_each_recording_is_processed_once_and_the_progress_is_told(run_on, caplog):
    caplog.set_level(logging.INFO)
    project = run_on("a", "b", "c", "d", "e")
    assert [stand_in.n_begun(project, f"{name}.1") for name in "abcde"] == [1] * 5
    assert "Recordings: 5 of 5 done, 0 running, 0 waiting, 0 failed" in caplog.text
    assert caplog.text.count("simulation, ingestion, motion_correction") == 5, "what is made of each, and why"


def test_a_recording_that_fails_is_tried_so_often_and_others_go_on(run_on, tmp_path):
    with pytest.raises(RunFailedError) as failed:
        run_on("a", "fails", "flaky", "error", "b", retries=2)
    begun = {name: stand_in.n_begun(tmp_path, f"{name}.1") for name in ("a", "fails", "flaky", "error", "b")}
    assert begun == {"a": 1, "fails": 3, "flaky": 2, "error": 3, "b": 1}
    text = str(failed.value)
    assert text.startswith("2 recording(s) failed")
    assert "fails.1: FailedOnWorkerError: ValueError: no frames" in text
    assert "fails.1.log" in text
    assert "LookupError: the code of the worker is broken" in text
    assert "tried 3 times" in text


@pytest.mark.parametrize("memory_gb", [3.0, 1.5])
def test_a_recording_that_ends_its_worker_is_tried_alone_and_takes_no_others_along(run_on, tmp_path, memory_gb):
    (tmp_path / "seconds").write_text("0.3")
    with pytest.raises(RunFailedError) as failed:
        run_on("killer", "a", "b", "c", retries=1, recording_memory_gb=memory_gb)
    shares = (tmp_path / "notes" / "killer.1").read_text().split()
    assert shares == ["1" if memory_gb == 3.0 else "2", "1"], "the second time it has the worker for itself"
    assert str(failed.value).startswith("1 recording(s) failed")
    assert "ended during simulation" in str(failed.value)
    assert "lack of memory" in str(failed.value)
    failure = tmp_path / "data" / "08_reporting" / "logs" / "killer.1.failed.json"
    assert '"stage": "simulation"' in failure.read_text(), "`kedro recordings status` shows it"


def test_recordings_of_which_two_fit_into_a_worker_share_its_cores(run_on):
    project = run_on("a", "b", recording_memory_gb=1.5)
    assert {(project / "notes" / name).read_text() for name in ("a.1", "b.1")} == {"2\n"}


def test_workers_that_do_not_see_the_results_stop_the_run_before_it_computes(run_on, tmp_path, monkeypatch):
    monkeypatch.setattr(worker, "_ATTEMPTS", 1)
    monkeypatch.setattr(worker, "Fitness", elsewhere)
    with pytest.raises(ClusterError, match=r"does not see .*same path"):
        run_on("a")
    assert not (tmp_path / "notes").exists()


def elsewhere(token: Path, *arguments, **options):
    """The check of workers that see another file system."""
    return worker_fitness(token.parents[6] / "elsewhere" / token.name, *arguments, **options)


worker_fitness = worker.Fitness


def test_a_scheduler_that_is_not_there_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "_CONNECT_S", 0.5)
    compute = {"cluster": {"scheduler": "tcp://127.0.0.1:9"}}
    project = Project(tmp_path, {"a": {"1": simulated("f/a")}}, compute=compute)
    with pytest.raises(ClusterError, match=r"no Dask scheduler at tcp://127\.0\.0\.1:9"):
        project.run(runner=DaskRunner())


def test_a_worker_that_comes_later_and_does_not_see_the_results_tells_the_run_and_ends(tmp_path):
    token = tmp_path / "token"
    token.write_text("content")
    told: queue.SimpleQueue[str] = queue.SimpleQueue()
    with (
        LocalCluster(n_workers=1, dashboard_address=":0", silence_logs=logging.CRITICAL) as started,
        Client(started, set_as_default=False) as client,
    ):
        client.subscribe_topic(worker.TOPIC, lambda event: told.put(event[1]))
        client.register_plugin(worker_fitness(token, "content", worker.code_versions()))
        token.write_text("of another file system")
        started.scale(2)
        assert "sees another file" in told.get(timeout=120)
        deadline = time.monotonic() + 120
        while len(client.scheduler_info(n_workers=-1)["workers"]) > 1:
            assert time.monotonic() < deadline
            time.sleep(0.1)
