"""A full, closed or blocked disk is one clear error, and leaves what was there and nothing half-written."""

import os
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from kedro.io import AbstractVersionedDataset, DatasetError, Version

from rsc2p_kedro.core.results import LineageEntry
from rsc2p_kedro.datasets import AtomicCSVDataset, AtomicTextDataset, RecordDataset, ZarrMovieDataset

OLD, NEW = "2026-01-01T00.00.00.000Z", "2026-01-02T00.00.00.000Z"
ENTRY = "rsc2p_kedro.core.results.LineageEntry"
MOVIE = np.random.default_rng(0).integers(0, 4096, (150, 70, 90), dtype=np.uint16)

KINDS: dict[str, tuple[Callable[..., AbstractVersionedDataset], object]] = {
    "movie.zarr": (lambda **options: ZarrMovieDataset(show_progress=False, **options), MOVIE),
    "record.npz": (
        lambda **options: RecordDataset(record=ENTRY, **options),
        LineageEntry(component_id=9, event="removed", reason="because " * 5000),
    ),
    "table.csv": (AtomicCSVDataset, pd.DataFrame({"frame": np.arange(5000)})),
    "text.txt": (AtomicTextDataset, "text " * 5000),
}


def _dataset(folder: Path, name: str, version: str | None) -> AbstractVersionedDataset:
    return KINDS[name][0](filepath=str(folder / name), version=Version(None, version) if version else None)


def _files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.skipif(sys.platform != "linux", reason="limits on the size of files are set as Linux does")
def test_full_disk_is_one_clear_error_and_leaves_what_was_there(tmp_path: Path):
    for name, (_, data) in KINDS.items():
        _dataset(tmp_path / "plain", name, None).save(data)
        _dataset(tmp_path / "versioned", name, OLD).save(data)
    before = _files(tmp_path)
    script = f"""
        import resource, signal, sys
        sys.path.insert(0, {str(Path(__file__).parents[2])!r})
        from pathlib import Path
        from tests.datasets.test_disk_faults import KINDS, NEW, DatasetError, _dataset
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        folder = Path({str(tmp_path)!r})
        for limit in (10_000, 0):
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
            for name in KINDS:
                for dataset in (_dataset(folder / "plain", name, None), _dataset(folder / "versioned", name, NEW)):
                    try:
                        dataset.save(KINDS[name][1])
                    except DatasetError as error:
                        assert name in str(error) and "Make room on the disk" in str(error), error
                    else:
                        raise AssertionError((limit, name))
        print("all reported")
    """
    code = textwrap.dedent(script)
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (process.returncode, process.stdout) == (0, "all reported\n"), process.stderr
    assert _files(tmp_path) == before
    assert list(tmp_path.rglob(NEW)) == []
    for name in KINDS:
        _dataset(tmp_path / "versioned", name, NEW).load()


@pytest.fixture
def closed() -> Iterator[Path]:
    """A folder that is read-only for the user who runs the test; the superuser becomes another user meanwhile."""
    with tempfile.TemporaryDirectory() as folder:  # pytest's own folders cannot be entered by other users
        Path(folder).chmod(0o555)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)
        yield Path(folder)
        os.seteuid(user)
        Path(folder).chmod(0o755)


@pytest.mark.parametrize("version", [None, NEW], ids=["without versions", "versioned"])
@pytest.mark.parametrize("name", KINDS)
@pytest.mark.skipif(os.name != "posix", reason="folders that are closed to users are POSIX's")
def test_folder_without_permission_is_named_with_what_to_do(closed: Path, name: str, version: str | None):
    with pytest.raises(DatasetError, match=rf"{name}.*Permission denied.*\n?.*Make the folder writable"):
        _dataset(closed, name, version).save(KINDS[name][1])
    assert _files(closed) == {}


@pytest.mark.parametrize("name", KINDS)
def test_file_where_a_folder_should_be_is_named(tmp_path: Path, name: str):
    (tmp_path / "results").write_text("in the way")
    with pytest.raises(DatasetError, match=r"(?s)results.*A file is where a folder should be"):
        _dataset(tmp_path / "results", name, NEW).save(KINDS[name][1])


def test_raw_file_that_is_gone_while_a_movie_is_made_is_named(tmp_path: Path):
    import dask.array as da

    def read(block: np.ndarray) -> np.ndarray:
        raise FileNotFoundError(2, "No such file or directory", "frame_7.tif")

    movie = da.from_array(MOVIE, chunks=(64, -1, -1)).map_blocks(read, dtype=MOVIE.dtype)
    with pytest.raises(DatasetError, match=r"movie\.zarr was not saved .*frame_7\.tif"):
        _dataset(tmp_path, "movie.zarr", NEW).save(movie)
    assert _files(tmp_path) == {}
