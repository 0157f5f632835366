"""Writing of NWB files: compressed chunks, memory and errors."""

import zlib
from pathlib import Path

import dask.array as da
import h5py
import numpy as np
import pytest
from tests.nwb.example import example

from rsc2p_kedro.nwb import iterators
from rsc2p_kedro.nwb.iterators import MovieIterator, compressed
from rsc2p_kedro.nwb.writing import blosc_chunk, gzip_chunk, write_nwb

MOVIE = "acquisition/TwoPhotonSeries/data"


def test_compressed_chunk_is_what_the_filters_of_hdf5_undo() -> None:
    data = np.random.default_rng(0).integers(0, 9, (3, 4, 5)).astype(np.uint16)
    whole = np.concatenate([data, np.zeros((2, 4, 5), np.uint16)])
    planes = np.frombuffer(zlib.decompress(gzip_chunk(data, 5)), np.uint8).reshape(2, -1)
    stored = planes.T.copy().view(np.uint16).reshape(5, 5, 4)
    np.testing.assert_array_equal(stored, whole.swapaxes(1, 2))


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_stored_movie_is_the_same_for_any_number_of_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str
) -> None:
    monkeypatch.setattr(iterators, "CHUNK_BYTES", 200_000)
    stored = []
    for threads in (1, 3):
        sample = example(n=0, n_background=0)
        movie = sample.results.movie.astype(dtype)
        object.__setattr__(sample.results, "movie", movie)
        path = tmp_path / f"{threads}.nwb"
        write_nwb(sample.build(), path, threads=threads, show_progress=False)
        with h5py.File(path) as file:
            data = file[MOVIE]
            assert (data.compression, data.shuffle, data.dtype) == ("gzip", True, np.dtype(dtype))
            np.testing.assert_array_equal(data[:].swapaxes(1, 2), movie.compute())
            stored.append([data.id.read_direct_chunk(data.id.get_chunk_info(i).chunk_offset)[1] for i in range(2)])
    assert stored[0] == stored[1]


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks of memory are measured as Linux does")
def test_memory_does_not_grow_with_the_movie(tmp_path: Path) -> None:
    nwb = example(n=0, n_background=0).build()
    movie = da.full((700, 512, 512), 7, dtype=np.uint16, chunks=(64, 128, 128))  # 367 MB
    nwb.acquisition["TwoPhotonSeries"].fields["data"] = compressed(MovieIterator(movie))

    def memory_mb(what: str) -> float:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(what)) / 1024

    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
    before = memory_mb("VmRSS")
    write_nwb(nwb, tmp_path / "file.nwb", threads=4, show_progress=False)
    assert memory_mb("VmHWM") - before < 300
    with h5py.File(tmp_path / "file.nwb") as file:
        assert file[MOVIE].shape == (700, 512, 512)
        assert file[MOVIE][699, 5, 5] == 7


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_blosc_chunk_is_the_one_that_hdf5_makes(tmp_path: Path, dtype: str) -> None:
    plugin = pytest.importorskip("hdf5plugin", reason="hdf5plugin is an optional dependency")
    frames = np.random.default_rng(0).poisson(30, (3, 40, 50)).astype(dtype)
    whole = np.concatenate([frames, np.zeros((2, 40, 50), dtype)]).swapaxes(1, 2)
    filters = plugin.Blosc(cname="lz4", clevel=5, shuffle=plugin.Blosc.BITSHUFFLE)
    with h5py.File(tmp_path / "file.h5", "w") as file:
        data = file.create_dataset("data", data=whole, chunks=whole.shape, **filters)
        file.flush()
        assert data.id.read_direct_chunk((0, 0, 0))[1] == blosc_chunk(frames, 5)


def test_error_while_a_movie_is_read_is_raised(tmp_path: Path) -> None:
    def broken(block: np.ndarray) -> np.ndarray:
        raise OSError("the disk is gone")

    sample = example(n=0, n_background=0)
    object.__setattr__(sample.results, "movie", sample.results.movie.map_blocks(broken, dtype=np.uint16))
    with pytest.raises(OSError, match="the disk is gone"):
        write_nwb(sample.build(), tmp_path / "file.nwb", show_progress=False)


def test_blosc_is_read_back_or_names_the_missing_package(tmp_path: Path) -> None:
    sample = example(n=0, n_background=0, parameters={"compression": "blosc"})
    try:
        import hdf5plugin  # noqa: F401
    except ImportError:
        with pytest.raises(ModuleNotFoundError, match="pip install hdf5plugin"):
            sample.build()
        return
    path = tmp_path / "file.nwb"
    write_nwb(sample.build(), path, show_progress=False)
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file[MOVIE][:].swapaxes(1, 2), sample.results.movie.compute())
