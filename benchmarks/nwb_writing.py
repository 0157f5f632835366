"""Speed, file size and memory of writing a raw movie to an NWB file.

    python benchmarks/nwb_writing.py [--frames 1500] [--height 512] [--width 512] [--threads 1 2] [--only NAME ...]

Prints one line for each method: plain h5py with the same filter and chunks, pynwb alone, and this project with several
numbers of threads; if hdf5plugin is installed, plain h5py and this project with blosc as well. The methods run one
after the other on the same movie, each in a process of its own. Memory is the peak during writing, above what the
process held before (Linux only). Each file is read back and compared with the movie.

The movie is simulated: photon noise on a smooth image, which is similar to two-photon recordings and as hard to
compress. It is stored in zarr chunks, as the movies of this project are.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import dask.array as da
import h5py
import numpy as np
import zarr
from pynwb import NWBHDF5IO, NWBFile

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.nwb.example import recording, shared

from rsc2p_kedro.nwb.acquisition import add_raw_movie
from rsc2p_kedro.nwb.iterators import chunk_frames, compressed
from rsc2p_kedro.nwb.metadata import merge_metadata
from rsc2p_kedro.nwb.session import add_imaging_plane, make_nwb_file
from rsc2p_kedro.nwb.timing import Timing
from rsc2p_kedro.nwb.writing import write_nwb

MOVIE = "acquisition/TwoPhotonSeries/data"
STATUS = Path("/proc/self/status")


def make_movie(path: Path, shape: tuple[int, int, int]) -> None:
    """Photon noise on a smooth image, uint16, stored in chunks of 64 x 128 x 128."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[: shape[1], : shape[2]]
    image = 30 + 20 * np.sin(y / 9) * np.cos(x / 13)
    store = zarr.create_array(store=path, shape=shape, chunks=(64, 128, 128), dtype=np.uint16)
    for start in range(0, shape[0], 64):
        stop = min(start + 64, shape[0])
        store[start:stop] = (rng.poisson(image, (stop - start, *shape[1:])) * 20).astype(np.uint16)


def file_with(movie: da.Array, compression: str) -> NWBFile:
    """Builds a file that holds only a raw movie."""
    parameters = shared(compression=compression)
    metadata = merge_metadata(parameters, recording())
    nwb = make_nwb_file(metadata, {})
    add_raw_movie(
        nwb,
        movie,
        plane=add_imaging_plane(nwb, metadata),
        metadata=metadata,
        parameters=parameters,
        timing=Timing(metadata.frame_rate_hz),
    )
    return nwb


def write_h5py(stored: Path, path: Path, compression: str, threads: int) -> None:
    """Writes with h5py alone: read, transpose, and let HDF5 apply the filter."""
    movie = zarr.open_array(stored, mode="r")
    n, (T, H, W) = chunk_frames(da.from_zarr(stored)), movie.shape
    filters = {**compressed(np.empty(0), compression).get_io_params()}
    filters.pop("link_data")  # an option of pynwb, unknown to h5py
    with h5py.File(path, "w") as file:
        data = file.create_dataset(MOVIE, (T, W, H), movie.dtype, chunks=(n, W, H), **filters)
        for start in range(0, T, n):
            data[start : start + n] = movie[start : start + n].swapaxes(1, 2)


def write_pynwb(stored: Path, path: Path, compression: str, threads: int) -> None:
    """Writes with pynwb alone, which compresses on one thread."""
    with NWBHDF5IO(path, "w") as io:
        io.write(file_with(da.from_zarr(stored), compression))


def write_with_project(stored: Path, path: Path, compression: str, threads: int) -> None:
    """Writes with this project, which compresses on several threads."""
    write_nwb(file_with(da.from_zarr(stored), compression), path, threads=threads, show_progress=False)


def memory_mb(what: str) -> float:
    """Memory of this process in MB: `VmRSS`, the current one, or `VmHWM`, its peak; NaN where Linux does not tell."""
    lines = STATUS.read_text().splitlines() if STATUS.exists() else []
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(what)), float("nan"))


def measure(write: Callable[..., None], stored: Path, path: Path, compression: str, threads: int) -> dict[str, Any]:
    """Writes one file, measures it and compares it with the movie."""
    write_with_project(make_small(path), path, compression, 1)  # excludes imports and caches of pynwb
    if STATUS.exists():
        Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before, start = memory_mb("VmRSS"), time.perf_counter()
    write(stored, path, compression, threads)
    seconds, peak = time.perf_counter() - start, memory_mb("VmHWM") - before
    movie = zarr.open_array(stored, mode="r")
    with h5py.File(path) as file:
        frames = np.linspace(0, movie.shape[0] - 1, 5).astype(int)
        same = all(np.array_equal(file[MOVIE][t].T, movie[t]) for t in frames)
    size = np.prod(movie.shape) * movie.dtype.itemsize / 1e6
    return {"seconds": seconds, "mb_per_s": size / seconds, "peak": peak, "same": same}


def make_small(path: Path) -> Path:
    stored = path.with_name("small.zarr")
    zarr.create_array(store=stored, shape=(8, 16, 16), chunks=(4, 16, 16), dtype=np.uint16, overwrite=True)
    return stored


def _in_own_process(*arguments: Any) -> dict[str, Any]:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(measure, *arguments).result()


def methods(threads: list[int]) -> Iterator[tuple[str, Callable[..., None], str, int]]:
    """Name, function, compression and number of threads of each method."""
    for compression in ("gzip", "blosc") if find_spec("hdf5plugin") else ("gzip",):
        yield f"h5py {compression}", write_h5py, compression, 1
        if compression == "gzip":
            yield "pynwb gzip", write_pynwb, compression, 1
        for number in threads:
            yield f"project {compression} {number}", write_with_project, compression, number


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=1500)
    parser.add_argument("--height", type=int, default=512)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--only", nargs="*", help="parts of the names of methods, such as `project` or `h5py`")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        stored, shape = Path(folder) / "movie.zarr", (options.frames, options.height, options.width)
        make_movie(stored, shape)
        print(f"{shape} uint16, {np.prod(shape) * 2 / 1e6:.0f} MB")
        print(f"{'method':<16}{'MB/s':>8}{'s':>8}{'file MB':>10}{'peak MB':>10}  same")
        for name, write, compression, threads in methods(options.threads):
            if options.only and not any(part in name for part in options.only):
                continue
            path = Path(folder) / "sub-animal-1_ses-day-7_ophys.nwb"
            m = _in_own_process(write, stored, path, compression, threads)
            size = path.stat().st_size / 1e6
            row = f"{m['mb_per_s']:>8.1f}{m['seconds']:>8.1f}{size:>10.1f}{m['peak']:>10.0f}"
            print(f"{name:<16}{row}  {m['same']}", flush=True)


if __name__ == "__main__":
    main()
