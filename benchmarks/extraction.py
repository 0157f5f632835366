"""Speed and memory of source extraction: how long each stage takes, and how time grows with frames and area.

    python -m benchmarks.extraction [--movie RAW.tif] [--frames 1500] [--side 256] [--threads 2]
                                    [--repeat-time 4] [--repeat-space 2] [--suite2p-python PATH] [--filter]

`--movie` is a raw TIFF (T, H, W); without it a movie is simulated. It is motion-corrected first and read from zarr, as
in the pipelines. Prints a table: seconds and CPU seconds of each stage, peak memory of the process, and numbers of
components. `--repeat-time` and `--repeat-space` repeat the movie in time and along both axes of the frame, and print
by what factor fit and refit take longer. `--suite2p-python` names the interpreter of an environment with Suite2p, whose
whole pipeline then runs on the same movie. `--filter` compares the matched filter of detection with SciPy's
`correlate1d`. Accuracy is measured by `benchmarks.accuracy`.
"""

import argparse
import json
import resource
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import scipy.ndimage as ndi
import tifffile
from numpy.typing import NDArray

from rsc2p_kedro.algorithms import extraction, registration
from rsc2p_kedro.algorithms.dff import component_dff
from rsc2p_kedro.algorithms.evaluation import evaluate_components
from rsc2p_kedro.algorithms.extraction.matched_filter import gaussian_kernel, matched_filter
from rsc2p_kedro.core.parameters import (
    Acquisition,
    Compute,
    EvaluationParameters,
    ExtractionParameters,
    MotionCorrectionParameters,
)
from rsc2p_kedro.core.results import Components
from rsc2p_kedro.datasets import ZarrMovieDataset
from rsc2p_kedro.simulation.movie import simulate
from rsc2p_kedro.simulation.settings import SimulationSettings

Rows = list[tuple[str, str]]
NEURONS_PER_PX = 120 / 256**2
"""Density of the simulated movie: that of `benchmarks.accuracy`."""


def timed(rows: Rows, name: str, work: Callable[[], Any]) -> Any:
    """Result of some work; adds its seconds and CPU seconds to the table."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    seconds, used = time.perf_counter() - wall, time.process_time() - cpu
    rows.append((name, f"{seconds:.1f} s ({used:.1f} s CPU)"))
    return result


def simulated(n_frames: int, side: int, acquisition: Acquisition) -> NDArray[np.uint16]:
    """A raw movie (T, side, side) by the project's simulator."""
    size = {"n_frames": n_frames, "height_px": side, "width_px": side, "n_neurons": round(NEURONS_PER_PX * side**2)}
    return simulate(SimulationSettings.model_validate(size), acquisition).movie.compute()


def corrected(raw: NDArray, folder: Path, compute: Compute) -> tuple[da.Array, NDArray[np.bool_]]:
    """The motion-corrected movie, stored in zarr, and its valid mask."""
    parameters, movie = MotionCorrectionParameters(), da.from_array(raw, chunks=(64, -1, -1))
    motion = registration.estimate_motion(movie, parameters, compute=compute)
    target = ZarrMovieDataset(filepath=folder / "corrected.zarr", show_progress=False, threads=compute.threads)
    target.save(registration.apply_motion(movie, motion, parameters))
    return target.load(), motion.valid_mask


def repeated(movie: da.Array, mask: NDArray, longer: int, larger: int, folder: Path) -> tuple[da.Array, NDArray]:
    """A movie and its mask, repeated in time and along both axes of the frame, stored in zarr."""
    wide = da.concatenate([da.concatenate([movie] * larger, axis=2)] * larger, axis=1)
    target = ZarrMovieDataset(filepath=folder / f"repeated_{longer}_{larger}.zarr", show_progress=False)
    target.save(da.concatenate([wide] * longer, axis=0))
    return target.load(), np.tile(mask, (larger, larger))


def seconds_of(work: Callable[[], Any]) -> float:
    """Wall time of some work in s."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def cpu_seconds_of(work: Callable[[], Any]) -> float:
    """CPU time of some work in s."""
    start = time.process_time()
    work()
    return time.process_time() - start


def filter_rows() -> Rows:
    """CPU time of the matched filter and of SciPy's on a block of detection, the best of five runs each."""
    residual = np.random.default_rng(0).normal(size=(76, 76, 500)).astype(np.float32)
    kernel, mask = gaussian_kernel(4), np.ones((76, 76), bool)

    def by_scipy() -> NDArray:
        return ndi.correlate1d(ndi.correlate1d(residual, kernel, 0, mode="constant"), kernel, 1, mode="constant")

    own = min(cpu_seconds_of(lambda: matched_filter(residual, mask, kernel)) for _ in range(6))
    scipys = min(cpu_seconds_of(by_scipy) for _ in range(5))
    times = f"{own * 1e3:.0f} ms, SciPy {scipys * 1e3:.0f} ms, ratio {scipys / own:.1f}"
    return [(f"matched filter, kernel of {kernel.size} px", times)]


def suite2p_rows(python: str, movie: Path, threads: int, frame_rate_hz: float, own_seconds: float) -> Rows:
    """Time and memory of Suite2p's whole pipeline, in its own environment."""
    command = [python, Path(__file__).with_name("suite2p_pipeline.py"), movie, threads, frame_rate_hz]
    output = subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True).stdout
    found = json.loads(output.splitlines()[-1])
    return [
        ("Suite2p, whole pipeline", f"{found['seconds']:.1f} s, {found['peak_gb']:.2f} GB"),
        ("fit + refit + dF/F of it", f"1 / {found['seconds'] / own_seconds:.1f}"),
    ]


def read_options() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--movie", type=Path)
    parser.add_argument("--frames", type=int, default=1500, help="of the simulated movie")
    parser.add_argument("--side", type=int, default=256, help="height and width of the simulated movie in px")
    parser.add_argument("--frame-rate", type=float, default=14.7, help="frames per second")
    parser.add_argument("--decay-time", type=float, default=0.4, help="of the indicator, s")
    parser.add_argument("--half-width", type=int, default=4, help="of a neuron, px")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat-time", type=int, default=1, help="factor on the number of frames")
    parser.add_argument("--repeat-space", type=int, default=1, help="factor on height and width")
    parser.add_argument("--filter", action="store_true", help="compare the matched filter with SciPy's")
    parser.add_argument("--suite2p-python", metavar="PATH")
    return parser.parse_args()


def main() -> None:
    """Measures and prints the table."""
    options = read_options()
    acquisition = Acquisition(frame_rate_hz=options.frame_rate, decay_time_s=options.decay_time)
    parameters = ExtractionParameters(neuron_half_width_px=options.half_width)
    compute = Compute(threads=options.threads, show_progress=False)

    def fit(movie: da.Array, mask: NDArray) -> Components:
        return extraction.fit(movie, acquisition, parameters, compute=compute, valid_mask=mask)

    def refit(movie: da.Array, mask: NDArray, first: Components) -> Components:
        return extraction.refit(movie, first, acquisition, parameters, compute=compute, valid_mask=mask)

    rows: Rows = filter_rows() if options.filter else []
    with tempfile.TemporaryDirectory() as name:
        folder, path = Path(name), options.movie
        raw = tifffile.imread(path) if path else simulated(options.frames, options.side, acquisition)
        rows.append(("movie", " x ".join(map(str, raw.shape))))
        small, small_mask = corrected(raw[:200, :96, :96], folder, compute)
        refit(small, small_mask, fit(small, small_mask))  # compiles the kernels
        movie, mask = timed(rows, "motion correction", lambda: corrected(raw, folder, compute))
        start = time.perf_counter()
        fitted = timed(rows, "fit", lambda: fit(movie, mask))
        refitted = timed(rows, "refit", lambda: refit(movie, mask, fitted))
        timed(rows, "dF/F", lambda: component_dff(refitted, acquisition, EvaluationParameters()))
        own_seconds = time.perf_counter() - start

        def evaluate() -> Any:
            return evaluate_components(movie, refitted, acquisition, EvaluationParameters(), compute=compute)

        accepted = timed(rows, "evaluation", evaluate).accepted
        rows.append(("peak memory", f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GB"))
        counts = f"fit {fitted.n_components}, refit {refitted.n_components}, accepted {accepted.sum()}"
        rows.append(("components", counts))
        base = seconds_of(lambda: refit(movie, mask, fit(movie, mask)))
        for longer, larger in ((options.repeat_time, 1), (1, options.repeat_space)):
            if (longer, larger) != (1, 1):
                other, own = repeated(movie, mask, longer, larger, folder)
                factor = seconds_of(lambda other=other, own=own: refit(other, own, fit(other, own))) / base
                rows.append((f"{longer * larger**2} x the pixels", f"{factor:.1f} x the time of fit and refit"))
        if options.suite2p_python:
            if not path:
                path = folder / "raw.tif"
                tifffile.imwrite(path, raw, photometric="minisblack")
            rows += suite2p_rows(options.suite2p_python, path, options.threads, options.frame_rate, own_seconds)
    for name, value in rows:
        print(f"{name:28s} {value}")


if __name__ == "__main__":
    main()
