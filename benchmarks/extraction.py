"""Speed, memory and accuracy of source extraction on a movie with known truth.

    python benchmarks/extraction.py --movie corrected.tif --truth truth.npz

`--movie` is a motion-corrected TIFF (T, H, W). `--truth` may be missing: an npz with `A` (H, W, N), `C` and `S` (T, N).
Prints a table: seconds and CPU seconds of fit, refit and evaluation, peak memory, and, for the components accepted by
default, how well they match the truth (footprints with IoU >= 0.5; traces; spikes smoothed by a Gaussian of 2 frames).
"""

import argparse
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.optimize import linear_sum_assignment

from rsc2p_kedro.algorithms import extraction
from rsc2p_kedro.algorithms.evaluation import evaluate_components
from rsc2p_kedro.engines.results import Components
from rsc2p_kedro.parameters import Acquisition, Compute, EvaluationParameters, ExtractionParameters


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


def main() -> None:
    """Reads the command line and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--movie", type=Path, required=True)
    parser.add_argument("--truth", type=Path)
    parser.add_argument("--frame-rate", type=float, default=14.7, help="frames per second")
    parser.add_argument("--decay-time", type=float, default=0.4, help="s")
    parser.add_argument("--half-width", type=int, default=4, help="of a neuron, px")
    parser.add_argument(
        "--margin", type=int, default=6, help="px at each edge that are not used: not seen by all frames"
    )
    options = parser.parse_args()
    movie = tifffile.imread(options.movie)
    valid = np.zeros(movie.shape[1:], bool)
    valid[tuple(slice(options.margin, n - options.margin) for n in valid.shape)] = True
    acquisition = Acquisition(frame_rate_hz=options.frame_rate, decay_time_s=options.decay_time)
    parameters = ExtractionParameters(neuron_half_width_px=options.half_width)
    rest: dict[str, Any] = {"compute": Compute(show_progress=False), "valid_mask": valid}
    few = movie[:200, :64, :64]
    extraction.fit(few, acquisition, parameters, compute=rest["compute"])  # compiles the kernels
    rows = [("movie", " x ".join(map(str, movie.shape)))]
    fitted = timed(rows, "fit", lambda: extraction.fit(movie, acquisition, parameters, **rest))
    refitted = timed(rows, "refit", lambda: extraction.refit(movie, fitted, acquisition, parameters, **rest))
    judge = lambda: evaluate_components(movie, refitted, acquisition, EvaluationParameters(), compute=rest["compute"])  # noqa: E731
    accepted = timed(rows, "evaluation", judge).accepted
    rows.append(("peak memory", f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GB"))
    rows.append(("components", f"fit {fitted.n_components}, refit {refitted.n_components}, accepted {accepted.sum()}"))
    if options.truth:
        with np.load(options.truth) as truth:
            rows += score({name: truth[name] for name in ("A", "C", "S")}, refitted.select(accepted))
    for name, value in rows:
        print(f"{name:26s} {value}")


if __name__ == "__main__":
    main()
