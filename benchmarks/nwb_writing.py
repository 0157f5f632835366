"""How fast, how small and with how much memory a raw movie goes into an NWB file.

    python benchmarks/nwb_writing.py [--frames 1500] [--height 512] [--width 512] [--threads N] [--plain]
                                     [--compression gzip]

The movie is made up: photon noise on a smooth image, near what a two-photon microscope gives and as hard to compress.
It lies in zarr chunks, as the project's movies do. Memory is what the process took at most, over what it had before
writing. `--plain` lets pynwb and HDF5 write alone, to compare with.
"""

import argparse
import json
import resource
import sys
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace

import dask.array as da
import numpy as np
import zarr
from pynwb import NWBHDF5IO, NWBFile

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.nwb.made_up import recording, shared

from rsc2p_kedro.nwb.build import add_imaging_plane, add_raw_movie, make_nwb_file
from rsc2p_kedro.nwb.inspection import inspect_file
from rsc2p_kedro.nwb.metadata import merge_metadata
from rsc2p_kedro.nwb.streaming import write_nwb


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
    """A file that holds a raw movie and nothing else."""
    parameters = shared(compression=compression)
    metadata = merge_metadata(parameters, recording())
    nwb = make_nwb_file(metadata, {})
    plane, found = add_imaging_plane(nwb, metadata), SimpleNamespace(movie=movie, files={})
    add_raw_movie(nwb, found, plane, metadata, parameters, {"rate": 14.7, "starting_time": 0.0})
    return nwb


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def write_plainly(nwb: NWBFile, path: Path) -> None:
    with NWBHDF5IO(path, "w") as io:
        io.write(nwb)


def measure(
    movie: da.Array, path: Path, compression: str, threads: int | None, plain: bool
) -> dict[str, float | str | int | None]:
    """One file written, checked and read back."""
    nwb = file_with(movie, compression)
    size, before, start = movie.nbytes / 1e6, peak_mb(), time.perf_counter()
    write_plainly(nwb, path) if plain else write_nwb(nwb, path, threads=threads, show_progress=False)
    written = time.perf_counter()
    peak = peak_mb() - before
    messages = len(inspect_file(path))
    checked = time.perf_counter()
    with NWBHDF5IO(path, "r") as io:
        data = io.read().acquisition["TwoPhotonSeries"].data
        same = all(np.array_equal(data[t].T, movie[t].compute()) for t in np.linspace(0, len(movie) - 1, 5).astype(int))
    return {
        "compression": compression,
        "plain": plain,
        "threads": threads,
        "movie_mb": round(size),
        "file_mb": round(path.stat().st_size / 1e6),
        "write_s": round(written - start, 2),
        "mb_per_s": round(size / (written - start), 1),
        "check_s": round(checked - written, 2),
        "peak_over_baseline_mb": round(peak),
        "messages": messages,
        "same": same,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=1500)
    parser.add_argument("--height", type=int, default=512)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--compression", default="gzip", choices=["gzip", "blosc"])
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--plain", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        stored, shape = Path(folder) / "movie.zarr", (options.frames, options.height, options.width)
        maker = get_context("spawn").Process(target=make_movie, args=(stored, shape))  # its memory is not ours
        maker.start()
        maker.join()
        movie = da.from_zarr(stored)
        path = Path(folder) / "sub-animal-1_ses-day-7_ophys.nwb"
        print(json.dumps(measure(movie, path, options.compression, options.threads, options.plain)))


if __name__ == "__main__":
    main()
