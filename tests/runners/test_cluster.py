"""How many recordings a worker takes at once, with how many threads, and what is refused before anything starts."""

import builtins
import socket

import pytest
from pydantic import ValidationError

from rsc2p_kedro.core.parameters import Cluster
from rsc2p_kedro.runners import cluster
from rsc2p_kedro.runners.cluster import Capacity, ClusterError, estimated_memory_gb, import_extra, local_defaults
from rsc2p_kedro.runners.worker import UnfitWorkerError, check_worker, code_versions

SLURM = {"type": "dask_jobqueue.SLURMCluster", "cores": 4, "memory": "8GB"}


def settings(**values) -> Cluster:
    return Cluster.model_validate(values)


@pytest.mark.parametrize(
    ("memory_gb", "cores", "needed_gb", "expected"),
    [(32, 8, 3, 8), (32, 8, 6, 4), (32, 8, 20, 1), (4, 8, 20, 1), (100, 2, 1, 2), (6.1, 8, 2, 2)],
)
def test_a_worker_takes_as_many_recordings_as_memory_and_cores_allow(memory_gb, cores, needed_gb, expected):
    assert Capacity(memory_gb, cores).at_once(needed_gb) == expected


@pytest.mark.parametrize("cores", [1, 2, 7, 64])
def test_recordings_at_once_share_cores_and_memory_without_taking_more_than_there_is(cores):
    for memory_gb in (0.3, 4.0, 31.7, 512.0):
        at_once = Capacity(memory_gb, cores).at_once(1.3)
        threads = max(1, cores // at_once)
        assert at_once * threads <= cores
        assert sum([memory_gb / at_once * (1 - 1e-9)] * at_once) <= memory_gb


def test_this_machine_is_divided_between_workers(monkeypatch):
    monkeypatch.setattr(cluster, "_usable_cores", lambda: 16)
    monkeypatch.setattr(cluster.psutil, "virtual_memory", lambda: type("M", (), {"total": 100e9})())
    four = local_defaults(settings(), needed_gb=20, n_recordings=100)
    assert (four["n_workers"], four["threads_per_worker"]) == (4, 4), "as many as 90 GB hold"
    assert four["n_workers"] * four["memory_limit"] <= 90e9
    assert local_defaults(settings(), needed_gb=2, n_recordings=3)["threads_per_worker"] == 5, (
        "one each of 3 recordings"
    )
    assert local_defaults(settings(threads_per_worker=8), needed_gb=2, n_recordings=9)["n_workers"] == 2
    given = settings(n_workers=3, threads_per_worker=2, memory_limit="4GB")
    assert local_defaults(given, needed_gb=50, n_recordings=1) == {
        "n_workers": 3,
        "threads_per_worker": 2,
        "memory_limit": 4_000_000_000,
    }


def test_more_pixels_in_memory_need_a_larger_part_of_a_worker():
    assert estimated_memory_gb(4.0) - estimated_memory_gb(1.0) >= 3.0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"type": "local", "walltime": "1:00:00"}, "walltime: has no effect with `type: local`"),
        (
            {"type": "dask_jobqueue.SLURMCluster", "cores": 4, "memory": "8GB", "n_workers": 2},
            "n_workers: has no effect",
        ),
        ({**SLURM, "memory": None}, "needs `cores` and `memory`"),
        ({"scheduler": "tcp://a:1", "n_workers": 2}, "n_workers: has no effect with `scheduler`"),
        ({"scheduler": "a:1"}, "pattern"),
        ({"type": "slurm"}, "pattern"),
        ({"workers": 3}, "Extra inputs"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(values, message):
    with pytest.raises(ValidationError, match=message):
        settings(**values)


def test_a_missing_library_is_named_with_what_to_install(monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name == "distributed":
            raise ModuleNotFoundError("No module named 'distributed'", name="distributed")
        return real(name, *rest)

    monkeypatch.setattr(cluster, "import_module", without)
    with pytest.raises(ClusterError, match=r"pip install 'rsc2p-kedro\[cluster\]'"):
        import_extra("distributed")


def test_a_worker_without_the_folder_of_the_results_says_so(tmp_path):
    token = tmp_path / "logs" / "run" / "token"
    with pytest.raises(UnfitWorkerError, match=f"{socket.gethostname()} does not see .*same path"):
        check_worker(token, "content", code_versions())
    token.parent.mkdir(parents=True)
    token.write_text("content")
    check_worker(token, "content", code_versions())
    assert sorted(path.name for path in token.parent.iterdir()) == ["token"], "its probe is gone"
    with pytest.raises(UnfitWorkerError, match="sees another file"):
        check_worker(token, "of another run", code_versions())


def test_a_worker_with_other_code_says_so(tmp_path):
    (tmp_path / "token").write_text("content")
    with pytest.raises(UnfitWorkerError, match=r"another version .*\(export 1 instead of 99\)"):
        check_worker(tmp_path / "token", "content", {**code_versions(), "export": 99})
