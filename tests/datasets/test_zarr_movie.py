import base64
import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import pytest
import zarr
from kedro.io import DatasetError, Version
from kedro_datasets._typing import ImagePreview

from rsc2p_kedro.datasets import ZarrMovieDataset
from rsc2p_kedro.datasets.zarr_movie import _run_length


@pytest.fixture
def movie() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 4096, (150, 70, 90), dtype=np.uint16)


def _dataset(folder: Path, **options) -> ZarrMovieDataset:
    return ZarrMovieDataset(filepath=folder / "movie.zarr", show_progress=False, **options)


@pytest.mark.parametrize("cut", [(64, -1, -1), (33, 40, 50), (150, 10, 90)])
@pytest.mark.parametrize("threads", [1, 4])
def test_movie_comes_back_however_it_was_cut(tmp_path, movie, cut, threads):
    dataset = _dataset(tmp_path, chunks=[32, 64, 64], threads=threads)
    dataset.save(da.from_array(movie, chunks=cut))
    loaded = dataset.load()
    assert loaded.dtype == movie.dtype
    assert zarr.open_array(tmp_path / "movie.zarr").chunks == (32, 64, 64)
    assert loaded.chunksize == (32, 70, 90)
    np.testing.assert_array_equal(loaded.compute(), movie)


def test_array_in_memory_is_saved_too(tmp_path, movie):
    dataset = _dataset(tmp_path)
    dataset.save(movie)
    assert dataset.exists()
    np.testing.assert_array_equal(dataset.load().compute(), movie)


def test_chunks_follow_the_movie_when_none_are_given(tmp_path, movie):
    dataset = _dataset(tmp_path, chunks=None)
    dataset.save(da.from_array(movie, chunks=(50, 35, 45)))
    assert zarr.open_array(tmp_path / "movie.zarr").chunks == (50, 35, 45)


def test_each_block_is_computed_once_and_few_are_in_memory_at_a_time(tmp_path):
    calls, alive, most, lock = [], 0, 0, threading.Lock()

    class Block(np.ndarray):
        def __del__(self):
            nonlocal alive
            if self.base is None:
                with lock:
                    alive -= 1

    def make(block_info=None):
        nonlocal alive, most
        location = block_info[None]
        with lock:
            calls.append(location["chunk-location"])
            alive += 1
            most = max(most, alive)
        return np.ndarray.__new__(Block, location["chunk-shape"], np.uint16)

    movie = da.map_blocks(make, chunks=((16,) * 40, (64,), (64,)), dtype=np.uint16, meta=np.empty((0, 0, 0), np.uint16))
    _dataset(tmp_path, chunks=[16, 32, 32], threads=2).save(movie)
    assert sorted(calls) == [(i, 0, 0) for i in range(40)]
    assert most <= 8


@pytest.mark.parametrize(("source", "target", "run"), [(64, 64, 64), (32, 64, 64), (128, 64, 128), (100, 64, 256)])
def test_runs_are_whole_chunks_of_the_target_and_few_where_they_cannot_be_of_both(source, target, run):
    assert _run_length(source, target) == run


def test_reading_a_patch_touches_only_its_chunks(tmp_path, movie):
    dataset = _dataset(tmp_path, chunks=[50, 35, 45])
    dataset.save(movie)
    spoiled = [
        path for path in (tmp_path / "movie.zarr" / "c").rglob("*") if path.is_file() and path.parent.name == "1"
    ]
    assert spoiled
    for path in spoiled:
        path.write_bytes(b"spoiled")
    np.testing.assert_array_equal(dataset.load()[:, 5:20, 3:9].compute(), movie[:, 5:20, 3:9])


def test_failed_save_leaves_the_old_movie_and_nothing_else(tmp_path, movie):
    dataset = _dataset(tmp_path)
    dataset.save(movie)

    def fail(block, block_info=None):
        if block_info[0]["chunk-location"][0] == 1:
            raise RuntimeError("no light")
        return block

    with pytest.raises(DatasetError, match="no light"):
        dataset.save(da.from_array(movie + 1, chunks=(64, -1, -1)).map_blocks(fail, dtype=movie.dtype))
    np.testing.assert_array_equal(dataset.load().compute(), movie)
    assert [path.name for path in tmp_path.iterdir()] == ["movie.zarr"]


OLD, NEW = "2026-01-01T00.00.00.000Z", "2026-01-02T00.00.00.000Z"


def test_each_run_makes_a_version_and_any_can_be_loaded(tmp_path, movie):
    for version, frames in ((OLD, movie), (NEW, movie + 1)):
        _dataset(tmp_path, version=Version(None, version)).save(frames)
    assert _dataset(tmp_path, version=Version(None, None)).list_versions(full_path=False) == [NEW, OLD]
    np.testing.assert_array_equal(_dataset(tmp_path, version=Version(None, None)).load().compute(), movie + 1)
    np.testing.assert_array_equal(_dataset(tmp_path, version=Version(OLD, None)).load().compute(), movie)
    assert base64.b64decode(_dataset(tmp_path, version=Version(OLD, None)).preview()).startswith(b"\x89PNG")
    absent = _dataset(tmp_path, version=Version("2025-01-01T00.00.00.000Z", None))
    assert not absent.exists()
    with pytest.raises(DatasetError, match=r"no movie of version 2025-01-01T00\.00\.00\.000Z at .*movie\.zarr"):
        absent.load()


def test_no_earlier_version_is_loaded_instead_of_a_damaged_one(tmp_path, movie):
    for version, frames in ((OLD, movie), (NEW, movie + 1)):
        _dataset(tmp_path, version=Version(None, version)).save(frames)
    (tmp_path / "movie.zarr" / NEW / "movie.zarr" / "zarr.json").unlink()
    with pytest.raises(DatasetError, match=rf"{NEW}.*zarr\.json is missing.*delete the folder"):
        _dataset(tmp_path, version=Version(None, None)).load()


def test_movie_of_a_project_without_versions_is_named_and_not_taken_for_one(tmp_path, movie, caplog):
    _dataset(tmp_path).save(movie)
    dataset = _dataset(tmp_path, version=Version(None, NEW))
    assert not dataset.exists()
    with pytest.raises(DatasetError, match="has no versions: an earlier version of this project wrote it"):
        dataset.load()
    dataset.save(movie + 1)
    assert "`kedro recordings prune` removes it" in caplog.text
    np.testing.assert_array_equal(_dataset(tmp_path, version=Version(None, None)).load().compute(), movie + 1)


@pytest.mark.parametrize("version", [None, OLD], ids=["without versions", "versioned"])
@pytest.mark.skipif(os.name != "posix", reason="needs a signal that cannot be caught")
def test_killed_save_leaves_the_old_movie_and_the_next_save_clears_up(tmp_path, movie, version):
    def dataset(save: str) -> ZarrMovieDataset:
        return _dataset(tmp_path, version=Version(None, save) if version else None)

    dataset(OLD).save(movie)
    killed = "2026-01-01T12.00.00.000Z"
    script = f"""
        import os, signal
        import dask.array as da, numpy as np
        from kedro.io import Version
        from rsc2p_kedro.datasets import ZarrMovieDataset
        def die(block, block_info=None):
            if block_info[0]["chunk-location"][0] == 3:
                os.kill(os.getpid(), signal.SIGKILL)
            return block
        movie = da.zeros((256, 64, 64), chunks=(64, -1, -1), dtype=np.uint16).map_blocks(die, dtype=np.uint16)
        version = Version(None, {killed!r}) if {version is not None} else None
        path = {str(tmp_path / "movie.zarr")!r}
        ZarrMovieDataset(filepath=path, threads=1, show_progress=False, version=version).save(movie)
    """
    assert subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=False).returncode == -9
    assert len(list(tmp_path.rglob("*.new.tmp"))) == 1
    np.testing.assert_array_equal(dataset(NEW).load().compute(), movie)
    dataset(NEW).save(movie[:100])
    np.testing.assert_array_equal(dataset(NEW).load().compute(), movie[:100])
    assert list(tmp_path.rglob("*.new.tmp")) == []
    assert [path.name for path in tmp_path.iterdir()] == ["movie.zarr"]
    assert not (tmp_path / "movie.zarr" / killed).exists()


def test_preview_is_a_png_that_kedro_viz_knows(tmp_path, movie):
    dataset = _dataset(tmp_path)
    dataset.save(movie)
    assert base64.b64decode(dataset.preview()).startswith(b"\x89PNG")
    assert ZarrMovieDataset.preview.__annotations__["return"] is ImagePreview


def test_missing_movie_and_wrong_shapes_are_named(tmp_path):
    dataset = _dataset(tmp_path)
    assert not dataset.exists()
    with pytest.raises(DatasetError, match="run the stage that writes it"):
        dataset.load()
    with pytest.raises(DatasetError, match=r"\(T, H, W\)"):
        dataset.save(np.zeros((4, 4), np.uint16))


def test_result_is_the_same_under_another_scheduler(tmp_path, movie):
    dataset = _dataset(tmp_path)
    with dask.config.set(scheduler="synchronous"):
        dataset.save(da.from_array(movie, chunks=(40, -1, -1)) * 2)
    np.testing.assert_array_equal(dataset.load().compute(), movie * 2)
