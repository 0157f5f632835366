"""Requests to CaImAn: files in its format, error messages with a solution, and removal of all files."""

import errno
import json
import os
import subprocess
import sys
import tempfile
import textwrap
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import SimpleNamespace

import dask.array as da
import numpy as np
import pytest

from rsc2p_kedro.core.parameters import CaimanSettings, Compute
from rsc2p_kedro.engines.caiman import CaimanError, caiman_problem, exchange, worker

COMPUTE = Compute(block_frames=3, memory_gb=1e-9, threads=1, show_progress=False)


@pytest.fixture
def movie() -> da.Array:
    return da.from_array(np.random.default_rng(0).integers(5, 99, (10, 4, 6)).astype(np.int16), chunks=(4, 2, 6))


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Installs a package named `caiman` during a test, from files by their paths."""

    def install(files: dict[str, str], *, version: str = "1.12.1", summary: str = "Calcium imaging") -> None:
        site = tmp_path / "site"
        for name, text in {"caiman/__init__.py": "", **files}.items():
            (site / name).parent.mkdir(parents=True, exist_ok=True)
            (site / name).write_text(text)
        about = site / f"caiman-{version}.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: caiman\nVersion: {version}\nSummary: {summary}\n"
        )
        monkeypatch.syspath_prepend(str(site))

    yield install
    for name in [name for name in sys.modules if name.split(".")[0] == "caiman"]:
        del sys.modules[name]


@pytest.fixture
def scratch(tmp_path) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


def caiman_files(version: str = "1.12.1", body: str = "") -> dict[str, str]:
    return {"caiman/__init__.py": f"__version__ = {version!r}\n{body}", "caiman/source_extraction/__init__.py": ""}


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_movie_is_written_in_caimans_format(tmp_path, movie, order):
    path = exchange.write_memory_map(tmp_path, movie, COMPUTE, order=order)
    assert Path(path).name == f"movie_d1_4_d2_6_d3_1_order_{order}_frames_10.mmap"
    pixels = np.memmap(path, mode="r", dtype=np.float32, shape=(24, 10), order=order)
    read_back = np.reshape(pixels.T, [10, 4, 6], order="F")  # as in CaImAn's load_images
    np.testing.assert_array_equal(read_back, movie.compute())


def test_offset_and_mask_of_a_written_movie(tmp_path, movie):
    mask = np.ones((4, 6), bool)
    mask[0] = False
    path = exchange.write_memory_map(tmp_path, movie, COMPUTE, order="C", offset=5, valid_mask=mask)
    pixels = np.memmap(path, mode="r", dtype=np.float32, shape=(24, 10), order="C")
    written = np.reshape(pixels.T, [10, 4, 6], order="F")
    np.testing.assert_array_equal(written[:, 1:], movie.compute()[:, 1:] - 5)
    assert not written[:, 0].any()
    assert exchange.movie_minimum(movie, COMPUTE) == movie.compute().min()


def test_a_movie_with_nan_is_an_error(tmp_path):
    movie = np.ones((5, 3, 3), np.float32)
    movie[4, 1, 1] = np.nan
    with pytest.raises(CaimanError, match=r"Frames 3 to 4 .* NaN"):
        exchange.write_memory_map(tmp_path, movie, COMPUTE, order="C")


def test_too_little_disk_space_is_an_error_before_anything_is_written(tmp_path, movie, monkeypatch):
    monkeypatch.setattr(exchange.shutil, "disk_usage", lambda _: SimpleNamespace(free=100))
    with pytest.raises(CaimanError, match=r"No space left.*scratch_folder"):
        exchange.write_memory_map(tmp_path, movie, COMPUTE, order="C")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="this system cannot allocate disk space")
def test_a_disk_that_fills_up_is_an_error_and_does_not_kill_the_process(tmp_path, movie, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(exchange.os, "posix_fallocate", full)
    with pytest.raises(CaimanError, match=r"No space left.*scratch_folder"):
        exchange.write_memory_map(tmp_path, movie, COMPUTE, order="C")


def test_a_full_disk_is_reported_after_partial_outputs_are_removed(installed, scratch, monkeypatch):
    def full(path, **_):
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    installed(caiman_files())
    (scratch / "request.json").write_text('{"task": "check", "processes": 1, "params": {}}')
    np.savez(scratch / "inputs.npz")
    monkeypatch.setattr(worker.np, "savez", full)
    worker.process_request(scratch, "spawn")
    assert not (scratch / "outputs.npz").exists()
    assert "No space left" in (scratch / "response.json").read_text()


def test_without_caiman_the_error_says_how_to_install_it():
    with pytest.raises(CaimanError) as raised:
        exchange.run_task(worker.check, CaimanSettings(python=sys.executable))
    message = str(raised.value)
    for word in (sys.executable, "conda-forge", "environment-caiman.yml", "pixi", "PyPI", "MicroPython", "embedded"):
        assert word in message


def test_the_unrelated_package_of_that_name_is_reported(installed):
    installed({"caiman/tool.py": ""}, version="0.6.0", summary="Tools for MicroPython")
    message = caiman_problem(CaimanSettings())
    assert message is not None
    assert "another package of that name: caiman 0.6.0 (Tools for MicroPython)" in message
    assert "pip uninstall caiman" in message


def test_an_outdated_caiman_is_reported(installed):
    installed(caiman_files("1.9.12"))
    assert "1.9.12" in (caiman_problem(CaimanSettings()) or "")


def test_an_import_error_of_caiman_is_reported(installed):
    installed(caiman_files(body="import missing_tensorflow"))
    assert "No module named 'missing_tensorflow'" in (caiman_problem(CaimanSettings()) or "")


def test_missing_weights_of_caimans_classifier_are_reported_if_it_is_used(installed, tmp_path):
    paths = {"caiman/paths.py": f"def caiman_datadir():\n    return {str(tmp_path)!r}\n"}
    installed(caiman_files() | paths)
    model = tmp_path / "model"
    model.mkdir()
    (model / "cnn_model.json").write_text("{}")
    message = caiman_problem(CaimanSettings(), use_cnn=True) or ""
    for word in ("use_classifier", str(model), "caimanmanager install", "CAIMAN_DATA"):
        assert word in message
    assert caiman_problem(CaimanSettings()) is None
    (model / "cnn_model.h5").write_bytes(b"weights")
    assert caiman_problem(CaimanSettings(), use_cnn=True) is None


def test_caiman_in_this_environment_runs_in_this_process(installed, scratch):
    installed(caiman_files())
    assert exchange.run_task(worker.check, CaimanSettings(scratch_folder=str(scratch))).version == "1.12.1"


def test_a_failure_leaves_no_files_and_no_changed_state(installed, scratch, movie):
    installed(caiman_files(body="import numpy; numpy.random.seed(1); numpy.random.rand()"))
    state, environment, temporary = np.random.get_state(), dict(os.environ), tempfile.gettempdir()  # noqa: NPY002
    with pytest.raises(CaimanError, match=r"CaImAn failed[\s\S]*caiman.motion_correction"):
        exchange.run_task(
            worker.estimate_motion,
            CaimanSettings(scratch_folder=str(scratch)),
            write_movie=lambda folder: exchange.write_memory_map(folder, movie, COMPUTE, order="F"),
            compute=COMPUTE,
        )
    assert list(scratch.iterdir()) == []
    for before, after in zip(state, np.random.get_state(), strict=True):  # noqa: NPY002
        np.testing.assert_array_equal(before, after)
    assert (dict(os.environ), tempfile.gettempdir()) == (environment, temporary)


@pytest.mark.parametrize("python", ["/nowhere/bin/python", str(Path(__file__).parent)])
def test_a_path_that_is_no_interpreter_is_reported(python):
    with pytest.raises(CaimanError, match=r"caiman.python should be the interpreter"):
        exchange.run_task(worker.check, CaimanSettings(python=python))


def test_a_missing_scratch_folder_is_reported(installed):
    installed(caiman_files())
    with pytest.raises(CaimanError, match=r"scratch_folder .* /nowhere"):
        exchange.run_task(worker.check, CaimanSettings(scratch_folder="/nowhere"))


@pytest.mark.skipif(os.name != "posix", reason="the interpreter of this test is a shell script")
def test_the_end_of_the_log_of_a_worker_that_dies_is_reported(tmp_path, scratch):
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\nif [ "$2" = --locate ]; then echo null; else echo last line; exit 3; fi\n')
    python.chmod(0o755)
    with pytest.raises(CaimanError, match=r"code 3[\s\S]*last line"):
        exchange.run_task(worker.check, CaimanSettings(python=str(python), scratch_folder=str(scratch)))
    assert list(scratch.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="a current folder cannot be removed on Windows")
def test_a_worker_that_fails_as_its_parent_ends_removes_its_folder_nevertheless(installed, tmp_path, scratch):
    until_removal_starts = """
        import os, time
        n = len(os.listdir())
        print("ready", flush=True)
        while os.path.isdir(os.getcwd()) and len(os.listdir()) >= n:
            time.sleep(1e-4)
        raise RuntimeError("a file is missing")
    """
    installed(caiman_files(body=textwrap.dedent(until_removal_starts)))
    (scratch / "request.json").write_text(json.dumps({"task": "check", "processes": 1}))
    np.savez(scratch / "inputs.npz")
    for k in range(3000):  # enough for the removal to be under way when CaImAn fails
        (scratch / f"{k}.mmap").touch()
    process = subprocess.Popen(
        [sys.executable, worker.__file__, str(scratch)], cwd=scratch, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": str(tmp_path / "site")}, start_new_session=True,
    )  # fmt: skip
    assert process.stdout.readline() == b"ready\n"
    process.communicate(timeout=60)
    assert not scratch.exists()


def test_a_process_of_caiman_that_dies_is_an_error():
    pool = worker.ProcessPool(1, "spawn")
    try:
        assert "multiprocessing" in str(type(pool))  # how CaImAn recognises a pool
        assert pool.map_async(abs, [-1, 2]).get(4294967) == [1, 2]
        with pytest.raises(BrokenProcessPool):
            pool.map(os._exit, [1])
    finally:
        pool.terminate()


def test_one_process_needs_no_pool():
    with worker.process_pool(1, "spawn") as pool:
        assert pool is None
