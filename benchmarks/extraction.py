"""Speed, memory and accuracy of source extraction on a movie with known truth.

    python benchmarks/extraction.py --movie raw.tif [--truth truth.npz] [--suite2p-python PATH] [--repeat 4] [--tile 2]

`--movie` is a raw TIFF (T, H, W), which is motion-corrected first and read from zarr as in the pipelines. `--truth` may
be missing: an npz with `A` (H, W, N), `C` and `S` (T, N). Prints a table: seconds and CPU seconds of each stage, peak
memory, and, for the components accepted by default, how well they match the truth (footprints with IoU >= 0.5; traces;
spikes smoothed by a Gaussian of 2 frames). `--suite2p-python` names the interpreter of an environment with Suite2p,
whose whole pipeline then runs on the same movie, for a ratio. `--repeat` and `--tile` tell by how much the time of fit
and refit grows with so many times the frames, or frames so many times as high and wide.
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
import tifffile
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.optimize import linear_sum_assignment

from rsc2p_kedro.algorithms import extraction, registration
from rsc2p_kedro.algorithms.dff import component_dff
from rsc2p_kedro.algorithms.evaluation import evaluate_components
from rsc2p_kedro.core.parameters import (
    Acquisition,
    Compute,
    EvaluationParameters,
    ExtractionParameters,
    MotionCorrectionParameters,
)
from rsc2p_kedro.core.results import Components
from rsc2p_kedro.datasets import ZarrMovieDataset


def timed(rows: list[tuple[str, str]], name: str, work: Callable[[], Any]) -> Any:
    """Result of some work; its seconds and CPU seconds are added to the table."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    seconds, used = time.perf_counter() - wall, time.process_time() - cpu
    rows.append((name, f"{seconds:.1f} s ({used:.1f} s CPU)"))
    return result


def intersection_over_union(truth: NDArray, found: NDArray) -> NDArray:
    """IoU (N, M) of footprints (pixels, N) and (pixels, M), each cut at a fifth of its maximum."""
    a, b = (np.asarray(x > 0.2 * x.max(axis=0), np.float32) for x in (truth, found))
    common = a.T @ b
    return common / np.maximum(a.sum(axis=0)[:, None] + b.sum(axis=0) - common, 1)


def correlations(x: NDArray, y: NDArray) -> NDArray:
    """Correlation of each row of x with the same row of y."""
    x, y = (z - z.mean(axis=1, keepdims=True) for z in (x, y))
    return (x * y).sum(axis=1) / np.maximum(np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1)), 1e-12)


def score(truth: dict[str, NDArray], components: Components) -> list[tuple[str, str]]:
    """Rows of the table: how well components match the truth."""
    A = truth["A"].reshape(-1, truth["A"].shape[-1])
    iou = intersection_over_union(A, components.footprints.toarray())
    rows, columns = linear_sum_assignment(-np.where(iou >= 0.5, iou, 0))
    hit = iou[rows, columns] >= 0.5
    rows, columns = rows[hit], columns[hit]
    precision, recall = hit.sum() / max(components.n_components, 1), hit.sum() / A.shape[1]
    traces = correlations(truth["C"].T[rows], components.traces[columns])
    smooth = [gaussian_filter1d(x.astype(float), 2, axis=1) for x in (truth["S"].T[rows], components.spikes[columns])]
    return [
        ("precision", f"{precision:.3f}"),
        ("recall", f"{recall:.3f}"),
        ("F1", f"{2 * precision * recall / max(precision + recall, 1e-9):.3f}"),
        ("median trace correlation", f"{np.median(traces) if len(traces) else 0:.3f}"),
        ("median spike correlation", f"{np.median(correlations(*smooth)) if len(traces) else 0:.3f}"),
    ]


def corrected(raw: NDArray, folder: Path, compute: Compute) -> tuple[da.Array, NDArray[np.bool_]]:
    """The motion-corrected movie, stored, and the pixels that every frame has seen."""
    parameters, movie = MotionCorrectionParameters(), da.from_array(raw, chunks=(64, -1, -1))
    motion = registration.estimate_motion(movie, parameters, compute=compute)
    target = ZarrMovieDataset(filepath=folder / "corrected.zarr", show_progress=False, threads=compute.threads)
    target.save(registration.apply_motion(movie, motion, parameters))
    return target.load(), motion.valid_mask


def growth(movie: da.Array, mask: NDArray, repeat: int, tile: int, folder: Path, run: Callable[..., Any]) -> float:
    """By how much fit and refit take longer on a movie end to end with itself, and beside itself, so many times."""
    larger = da.concatenate([da.concatenate([movie] * tile, axis=2)] * tile, axis=1)
    target = ZarrMovieDataset(filepath=folder / f"larger_{repeat}_{tile}.zarr", show_progress=False)
    target.save(da.concatenate([larger] * repeat, axis=0))
    seconds = []
    for one, own in ((movie, mask), (target.load(), np.tile(mask, (tile, tile)))):
        start = time.perf_counter()
        run(one, own)
        seconds.append(time.perf_counter() - start)
    return seconds[1] / seconds[0]


def main() -> None:
    """Reads the command line and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--movie", type=Path, required=True)
    parser.add_argument("--truth", type=Path)
    parser.add_argument("--frame-rate", type=float, default=14.7, help="frames per second")
    parser.add_argument("--decay-time", type=float, default=0.4, help="s")
    parser.add_argument("--half-width", type=int, default=4, help="of a neuron, px")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--tile", type=int, default=1)
    parser.add_argument("--suite2p-python", metavar="PATH")
    options = parser.parse_args()
    acquisition = Acquisition(frame_rate_hz=options.frame_rate, decay_time_s=options.decay_time)
    parameters = ExtractionParameters(neuron_half_width_px=options.half_width)
    compute = Compute(threads=options.threads, show_progress=False)

    def fit(movie: da.Array, mask: NDArray) -> Components:
        return extraction.fit(movie, acquisition, parameters, compute=compute, valid_mask=mask)

    def refit(movie: da.Array, mask: NDArray, first: Components) -> Components:
        return extraction.refit(movie, first, acquisition, parameters, compute=compute, valid_mask=mask)

    raw = tifffile.imread(options.movie)
    rows = [("movie", " x ".join(map(str, raw.shape)))]
    with tempfile.TemporaryDirectory() as folder:
        small, small_mask = corrected(raw[:200, :96, :96], Path(folder), compute)
        refit(small, small_mask, fit(small, small_mask))  # compiles the kernels
        movie, mask = timed(rows, "motion correction", lambda: corrected(raw, Path(folder), compute))
        start = time.perf_counter()
        fitted = timed(rows, "fit", lambda: fit(movie, mask))
        refitted = timed(rows, "refit", lambda: refit(movie, mask, fitted))
        timed(rows, "dF/F", lambda: component_dff(refitted, acquisition, EvaluationParameters()))
        extraction_seconds = time.perf_counter() - start
        judge = lambda: evaluate_components(movie, refitted, acquisition, EvaluationParameters(), compute=compute)  # noqa: E731
        accepted = timed(rows, "evaluation", judge).accepted
        rows.append(("peak memory", f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GB"))
        counts = f"fit {fitted.n_components}, refit {refitted.n_components}, accepted {accepted.sum()}"
        rows.append(("components", counts))
        for repeat, tile in ((options.repeat, 1), (1, options.tile)):
            if (repeat, tile) != (1, 1):
                whole = lambda one, own: refit(one, own, fit(one, own))  # noqa: E731
                times = growth(movie, mask, repeat, tile, Path(folder), whole)
                rows.append((f"{repeat * tile**2} x the pixels", f"{times:.1f} x as long"))
    if options.truth:
        with np.load(options.truth) as truth:
            rows += score({name: truth[name] for name in ("A", "C", "S")}, refitted.select(accepted))
    if options.suite2p_python:
        script = Path(__file__).with_name("suite2p_pipeline.py")
        command = [options.suite2p_python, script, options.movie, options.threads, options.frame_rate]
        output = subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True).stdout
        found = json.loads(output.splitlines()[-1])
        rows.append(("Suite2p, whole pipeline", f"{found['seconds']:.1f} s, {found['peak_gb']:.2f} GB"))
        rows.append(("fit + refit + dF/F of it", f"1 / {found['seconds'] / extraction_seconds:.1f}"))
    for name, value in rows:
        print(f"{name:26s} {value}")


if __name__ == "__main__":
    main()
