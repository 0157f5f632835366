"""Speed, accuracy and memory of motion correction.

    python -m benchmarks.registration [--movie MOVIE.tif] [--truth TRUTH.npz] [--threads 2] [--suite2p-python PATH]
                                      [--frames 1500] [--height 256] [--width 256] [--photons 12]
                                      [--repeat-time 10] [--repeat-space 2]

A movie is read from zarr, registered, and the corrected movie written to zarr. Without `--movie` it is simulated, with
known motion: a random walk and a slow warp of a random texture. With `--movie`, `--truth` names a file with its motion:
`shifts_rig` (T, 2) and `warp` (T, n, n, 2) on the rows and columns `warp_grid`, displacements of the content in px.
`--suite2p-python` is the interpreter of an environment with Suite2p, which registers the same movie right after, on the
same number of threads, for ratios. `--repeat-time` and `--repeat-space` register an enlarged movie as well, and report
how time and memory grow: with this many times the frames, or with frames this many times as high and wide.

Errors are root mean squares in px per axis, at the centres of each program's own patches, after the mean over frames
and patches is subtracted. Memory is the peak of the process less the peak before.
"""

import argparse
import json
import subprocess
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import tifffile
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from rsc2p_kedro.algorithms.registration import apply_motion, estimate_motion
from rsc2p_kedro.algorithms.registration.field import FieldGrid
from rsc2p_kedro.algorithms.registration.warp import warp_frames
from rsc2p_kedro.core.parameters import Compute, MotionCorrectionParameters
from rsc2p_kedro.datasets import ZarrMovieDataset

Truth = dict[str, NDArray]


def simulate_movie(n_frames: int, shape: tuple[int, int], photons: float, seed: int = 0) -> tuple[NDArray, Truth]:
    """A movie of a random texture and its motion: a random walk of up to 4 px and a warp of about 0.4 px."""
    rng, grid = np.random.default_rng(seed), np.linspace(0, max(shape) - 1, 5)
    texture = sum(
        gaussian_filter(rng.normal(size=shape), s, mode="wrap") * s * w for s, w in ((1.2, 1), (3, 1), (15, 2))
    )
    scene = np.clip(1 + 0.25 * texture / texture.std(), 0.1, None).astype(np.float32)
    walk = np.cumsum(rng.normal(0, 0.2, (n_frames, 2)), 0)
    walk = np.clip(walk - gaussian_filter1d(walk, 100, axis=0), -4, 4)
    warp = gaussian_filter1d(rng.normal(size=(n_frames, 5, 5, 2)), 10, axis=0)
    nodes = FieldGrid.from_nodes(shape, *(np.linspace(0, size - 1, 5) for size in shape))
    warp -= np.einsum("tpc,p->tc", warp.reshape(n_frames, -1, 2), nodes.mean_weights)[:, None, None]
    warp *= 0.4 / warp.std()
    fields = -(walk[:, None, None] + warp).transpose(0, 3, 1, 2).astype(np.float32)
    movie = np.empty((n_frames, *shape), np.uint16)
    for t in range(n_frames):
        rate = photons * np.clip(warp_frames(scene[None], fields[t : t + 1], nodes)[0], 0, None)
        movie[t] = np.clip(20 * rng.poisson(rate) + 100 + rng.normal(0, 12, shape), 0, 65535)
    return movie, {"shifts_rig": walk, "warp": warp, "warp_grid": grid, "shape": np.array(shape)}


def true_motion(truth: Truth, centres: NDArray) -> NDArray:
    """True displacement (T, P, 2) of the content in px at patch centres (P, 2)."""
    knots, shape = truth["warp_grid"].astype(float), truth.get("shape", np.full(2, truth["warp_grid"][-1] + 1))
    scaled = centres / (np.asarray(shape) - 1) * knots[-1]
    bases = [CubicSpline(knots, np.eye(len(knots)), bc_type="natural")(scaled[:, axis]) for axis in (0, 1)]
    local = np.einsum("pi,tijc,pj->tpc", bases[0], truth["warp"], bases[1], optimize=True)
    return truth["shifts_rig"][:, None] + local


def errors(truth: Truth, shifts: NDArray, patch_shifts: NDArray, centres: NDArray) -> dict[str, float]:
    """Errors of shifts in px, for either convention of their sign."""

    def rms(difference: NDArray) -> float:
        return float(np.sqrt(np.square(difference - difference.mean(tuple(range(difference.ndim - 1)))).mean()))

    local = true_motion(truth, centres)
    sign = -1 if rms(-shifts - truth["shifts_rig"]) < rms(shifts - truth["shifts_rig"]) else 1
    return {
        "rigid_px": rms(sign * shifts - truth["shifts_rig"]),
        "local_px": rms(sign * patch_shifts - local),
        "local_px_rigid_only": rms(sign * shifts[:, None] - local),
        "local_px_uncorrected": rms(local),
    }


def peak_mb() -> float:
    """Peak memory of this process in MB (`ru_maxrss` includes that of the parent)."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def run_embedded(folder: str, threads: int) -> dict[str, Any]:
    """Registers `raw.zarr` of a folder into `corrected.zarr`."""
    compute = Compute(threads=threads, show_progress=False)
    parameters = MotionCorrectionParameters()
    raw = ZarrMovieDataset(filepath=Path(folder) / "raw.zarr")
    target = ZarrMovieDataset(filepath=Path(folder) / "corrected.zarr", threads=threads, show_progress=False)
    small = raw.load()[:80]
    apply_motion(small, estimate_motion(small, parameters, compute=compute), parameters).compute()  # compile first
    before = peak_mb()
    start = time.perf_counter()
    motion = estimate_motion(raw.load(), parameters, compute=compute)
    estimated = time.perf_counter()
    target.save(apply_motion(raw.load(), motion, parameters))
    end = time.perf_counter()
    return {
        "estimate_s": estimated - start,
        "apply_and_write_s": end - estimated,
        "total_s": end - start,
        "memory_mb": peak_mb() - before,
        "motion": (motion.shifts, motion.patch_shifts, motion.patch_centres),
        "registered": float(motion.registered.mean()),
    }


def enlarge(movie: NDArray, repeat_time: int, repeat_space: int) -> da.Array:
    """A movie repeated over time, and over both axes of space."""
    part = da.from_array(movie, chunks=(64, -1, -1))
    rows = da.concatenate([da.concatenate([part] * repeat_space, axis=2)] * repeat_space, axis=1)
    return da.concatenate([rows] * repeat_time, axis=0)


def run_suite2p(folder: str, python: str, movie: NDArray, threads: int) -> dict[str, Any]:
    """Registers a movie non-rigidly by Suite2p in its own environment."""
    np.save(Path(folder) / "movie.npy", movie)
    script, result = Path(__file__).with_name("suite2p_registration.py"), Path(folder) / "suite2p.npz"
    command = [python, str(script), str(Path(folder) / "movie.npy"), str(result), str(threads)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with np.load(result) as arrays:
        motion = tuple(arrays[name] for name in ("shifts", "patch_shifts", "patch_centres"))
        return {"total_s": float(arrays["seconds"]), "peak_mb": float(arrays["peak_mb"]), "motion": motion}


def measure_scaling(
    movie: NDArray, base: dict[str, Any], repeat_time: int, repeat_space: int, threads: int
) -> dict[str, float]:
    """Time and memory of an enlarged movie over those of the movie itself."""
    with tempfile.TemporaryDirectory() as folder, get_context("spawn").Pool(1) as pool:
        enlarged = enlarge(movie, repeat_time, repeat_space)
        ZarrMovieDataset(filepath=Path(folder) / "raw.zarr", show_progress=False).save(enlarged)
        result = pool.apply(run_embedded, (folder, threads))
    return {
        "times_the_pixels": repeat_time * repeat_space**2,
        "times_as_long": result["total_s"] / base["total_s"],
        "memory_mb": result["memory_mb"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--movie", type=Path)
    parser.add_argument("--truth", type=Path)
    parser.add_argument("--frames", type=int, default=1500)
    parser.add_argument("--height", type=int, default=256)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--photons", type=float, default=12.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat-time", type=int, default=1)
    parser.add_argument("--repeat-space", type=int, default=1)
    parser.add_argument("--suite2p-python", metavar="PATH")
    arguments = parser.parse_args()
    truth: Truth | None = None
    if arguments.movie:
        movie = tifffile.imread(arguments.movie)
        truth = dict(np.load(arguments.truth)) if arguments.truth else None
    else:
        movie, truth = simulate_movie(arguments.frames, (arguments.height, arguments.width), arguments.photons)
    with tempfile.TemporaryDirectory() as folder:
        ZarrMovieDataset(filepath=Path(folder) / "raw.zarr", show_progress=False).save(movie)
        with get_context("spawn").Pool(1) as pool:
            results = {"rsc2p-kedro": pool.apply(run_embedded, (folder, arguments.threads))}
        if arguments.suite2p_python:
            results["suite2p"] = run_suite2p(folder, arguments.suite2p_python, movie, arguments.threads)
    sizes = [size for size in ((arguments.repeat_time, 1), (1, arguments.repeat_space)) if size != (1, 1)]
    scaling = [measure_scaling(movie, results["rsc2p-kedro"], *size, arguments.threads) for size in sizes]
    for name, result in results.items():
        motion = result.pop("motion")
        result |= errors(truth, *motion) if truth else {}
        print(name, json.dumps({key: round(value, 4) for key, value in result.items()}))
    for figures in scaling:
        print("enlarged:", {key: round(value, 2) for key, value in figures.items()})
    if "suite2p" in results:
        a, b = results["rsc2p-kedro"], results["suite2p"]
        shared = [key for key in ("total_s", "rigid_px", "local_px") if key in a and key in b]
        print("suite2p / rsc2p-kedro:", {key: round(b[key] / a[key], 2) for key in shared})


if __name__ == "__main__":
    main()
