"""Accuracy of spike inference: correlation with true spikes, from cell-attached recordings beside two-photon traces.

    python benchmarks/spike_inference.py [--data FOLDER] [--suite2p-python PATH] [--cells cells.csv]

FOLDER holds one `.npz` a data set: for each recording NNN its dF/F `NNN_f`, the times of its samples in s (`NNN_t`, or
start and step `NNN_t0dt`) and the times of its spikes `NNN_spk`. By default it is `../shared/data/spike_ground_truth`
beside the project; without data sets the program prints a message and measures nothing.

Every trace is averaged into frames of 7.5, 15 and 30 Hz; spikes are counted in the same frames. Each method gives a
rate for every frame; the score is its correlation with the true counts, both smoothed by a Gaussian of 25, 50, 100 or
200 ms. The table shows the median over the recordings of a data set, and over all of them. Methods:

- `ours`: :func:`rsc2p_kedro.algorithms.deconvolution.infer_spikes`, as the pipeline calls it: defaults, and the
  indicator's decay time as a user would write it into the manifest (taken from the file's name);
- `ours, CNMF`: the most probable spikes, as in source extraction (:func:`~...deconvolution.deconvolve`);
- `oasis-deconv`: its `deconvolve` with defaults, where it is installed;
- `suite2p`: preprocessing (maximin, 60 s, 10 frames) and OASIS with the time constant that its documentation advises
  for the indicator, and with its default of 1 s; where Suite2p is installed, or run by another interpreter.

`--advance` applies our correction of the delay between spike and fluorescence to the others as well.
"""

import argparse
import csv
import importlib.util
import re
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from rsc2p_kedro.algorithms.deconvolution import deconvolve, infer_spikes
from rsc2p_kedro.algorithms.deconvolution.indicators import GCAMP_DELAY, usual_delay
from rsc2p_kedro.algorithms.deconvolution.posterior import advance
from rsc2p_kedro.core.parameters import Acquisition, EvaluationParameters

RATES_HZ = (7.5, 15.0, 30.0)
SMOOTHINGS_S = (0.025, 0.05, 0.1, 0.2)
DATA = Path(__file__).parents[1] / ".." / "shared" / "data" / "spike_ground_truth"
DECAY_S = {"GCaMP6f": 0.4, "GCaMP6s": 1.0, "GCaMP6m": 0.7, "GCaMP7f": 0.4, "GCaMP8f": 0.2, "GCaMP8m": 0.2}
"""Decay times for the manifest by indicator; for any other the project's default."""
SUITE2P_TAU_S = {"GCaMP6f": 0.7, "GCaMP6m": 1.0, "GCaMP6s": 1.25}
"""Suite2p's advice by indicator; 1 s, its default, for any other."""
SUITE2P_PROGRAM = """
import inspect, sys
import numpy as np
from suite2p.extraction import dcnv
data, result = np.load(sys.argv[1]), {}
extra = {}
if "device" in inspect.signature(dcnv.preprocess).parameters:
    import torch
    extra["device"] = torch.device("cpu")
for key in data.files:
    if key.endswith(":trace"):
        trace, (rate, tau) = data[key].astype(np.float32)[None], data[key[:-5] + "rate_tau"]
        flat = dcnv.preprocess(trace, "maximin", 60.0, 10.0, float(rate), 8.0, **extra)
        result[key[:-6]] = dcnv.oasis(np.ascontiguousarray(flat), 1, float(tau), float(rate))[0]
np.savez(sys.argv[2], **result)
"""


@dataclass(frozen=True)
class Trace:
    """One recording at one frame rate: trace (T,) and number of spikes (T,) of each frame."""

    dataset: str
    cell: str
    rate_hz: float
    values: NDArray[np.float64]
    spikes: NDArray[np.float64]

    @property
    def key(self) -> str:
        return f"{self.dataset}:{self.cell}:{self.rate_hz:g}"

    @property
    def indicator(self) -> str:
        """Indicator in the name of the data set, such as GCaMP6f; empty if there is none."""
        name = re.search(r"j?(GCaMP\d\w)", self.dataset)
        return name.group(1) if name else ""


def resample(values: NDArray, times: NDArray, spike_times: NDArray, rate_hz: float) -> tuple[NDArray, NDArray]:
    """Mean of a trace over frames of another rate, and number of spikes in each; a sample lasts until the next one."""
    step = float(np.median(np.diff(times)))
    edges = np.append(times, times[-1] + step) - step / 2
    frames = edges[0] + np.arange(int((edges[-1] - edges[0]) * rate_hz) + 1) / rate_hz
    total = np.concatenate([[0.0], np.cumsum(values * np.diff(edges))])
    return np.diff(np.interp(frames, edges, total)) * rate_hz, np.histogram(spike_times, frames)[0].astype(float)


def load(path: Path, rates_hz: tuple[float, ...] = RATES_HZ) -> list[Trace]:
    """All recordings of a data set at all rates below their own."""
    traces = []
    with np.load(path) as data:
        for cell in sorted(name.removesuffix("_f") for name in data.files if name.endswith("_f")):
            values = data[f"{cell}_f"].astype(np.float64)
            regular = f"{cell}_t0dt" in data.files
            start, step = data[f"{cell}_t0dt"] if regular else (0.0, 0.0)
            times = start + step * np.arange(len(values)) if regular else data[f"{cell}_t"]
            valid = np.isfinite(values)
            for rate in rates_hz:
                if rate <= 1.05 / np.median(np.diff(times)):
                    frames = resample(values[valid], times[valid], data[f"{cell}_spk"], rate)
                    traces.append(Trace(path.stem, cell, rate, *frames))
    return traces


def correlation(rates: NDArray, trace: Trace, smoothing_s: float) -> float:
    """Correlation of rates (T,) with the true spikes, both smoothed; 0 where one of them is constant."""
    sigma = smoothing_s * trace.rate_hz
    a, b = (gaussian_filter1d(np.asarray(x, float), sigma, mode="constant") for x in (rates, trace.spikes))
    return float(np.corrcoef(a, b)[0, 1]) if np.ptp(a) > 0 and np.ptp(b) > 0 else 0.0


def _acquisition(trace: Trace) -> Acquisition:
    known = {"decay_time_s": DECAY_S[trace.indicator]} if trace.indicator in DECAY_S else {}
    return Acquisition(frame_rate_hz=trace.rate_hz, **known)


def _properties(trace: Trace) -> dict[str, float]:
    """Properties of the indicator: the defaults for GCaMP, otherwise as the parameters' descriptions advise."""
    p, is_gcamp = EvaluationParameters(), "GCaMP" in trace.dataset
    indicator = trace.dataset.split("-")[1] if "-" in trace.dataset else None
    return {
        "delay": usual_delay(indicator),
        "supralinearity": p.spike_supralinearity if is_gcamp else 1,
    }


def _ours(trace: Trace) -> NDArray:
    return infer_spikes(trace.values[None], _acquisition(trace), **_properties(trace)).rates[0]


def _ours_in_cnmf(trace: Trace) -> NDArray:
    return deconvolve(trace.values, decay_frames=_acquisition(trace).decay_time_frames).spikes


def _oasis(trace: Trace) -> NDArray:
    from oasis.functions import deconvolve as oasis_deconvolve

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return oasis_deconvolve(trace.values)[1]


def methods() -> dict[str, Callable[[Trace], NDArray]]:
    """Methods that are installed in this environment, by name."""
    available: dict[str, Callable[[Trace], NDArray]] = {"ours": _ours, "ours, CNMF": _ours_in_cnmf}
    return available | ({"oasis-deconv": _oasis} if importlib.util.find_spec("oasis") else {})


def run_suite2p(traces: list[Trace], python: str, *, advised: bool) -> list[NDArray]:
    """Suite2p's rates of all traces, from the interpreter of an environment that has it."""
    with tempfile.TemporaryDirectory() as folder:
        source, result = Path(folder) / "traces.npz", Path(folder) / "rates.npz"
        arrays = {}
        for trace in traces:
            tau = SUITE2P_TAU_S.get(trace.indicator, 1.0) if advised else 1.0
            arrays |= {f"{trace.key}:trace": trace.values, f"{trace.key}:rate_tau": np.array([trace.rate_hz, tau])}
        np.savez(source, **arrays)
        program = [python, "-c", SUITE2P_PROGRAM, str(source), str(result)]
        process = subprocess.run(program, capture_output=True, text=True, check=False)
        if process.returncode:
            raise SystemExit(f"Suite2p failed in {python}:\n{process.stderr[-2000:]}")
        with np.load(result) as rates:
            return [rates[trace.key] for trace in traces]


def _advanced(rates: NDArray, frames: float) -> NDArray:
    return advance(rates[None].astype(float), np.array([frames]))[0]


def score_all(traces: list[Trace], suite2p_python: str | None, *, advanced: bool = False) -> dict[str, NDArray]:
    """Correlations (traces, smoothings) of each method; `advanced` applies our delay to the other methods."""
    rates = {name: [method(trace) for trace in traces] for name, method in methods().items()}
    if suite2p_python is not None:
        rates["suite2p"] = run_suite2p(traces, suite2p_python, advised=True)
        rates["suite2p, 1 s"] = run_suite2p(traces, suite2p_python, advised=False)
    delay = GCAMP_DELAY
    for name in rates if advanced else ():
        if name != "ours":
            pairs = zip(rates[name], traces, strict=True)
            rates[name] = [_advanced(r, 0.5 + delay * _acquisition(t).decay_time_frames) for r, t in pairs]
    scored = {name: list(zip(inferred, traces, strict=True)) for name, inferred in rates.items()}
    return {n: np.array([[correlation(r, t, s) for s in SMOOTHINGS_S] for r, t in rows]) for n, rows in scored.items()}


def table(traces: list[Trace], scores: dict[str, NDArray]) -> tuple[list[str], float]:
    """Lines of the table of medians, and the smallest lead of `ours` over the best other program in any cell of it."""
    lines = ["| data set | Hz | method | " + " | ".join(f"{1000 * s:g} ms" for s in SMOOTHINGS_S) + " |"]
    lines.append("|---|---|---|" + "---|" * len(SMOOTHINGS_S))
    smallest = np.inf
    sets = sorted({t.dataset for t in traces})
    for dataset in [*sets, "all"] if len(sets) > 1 else sets:
        for rate in sorted({t.rate_hz for t in traces}):
            rows = [i for i, t in enumerate(traces) if t.rate_hz == rate and dataset in (t.dataset, "all")]
            medians = {name: np.median(values[rows], axis=0) for name, values in scores.items() if rows}
            lines += [
                f"| {dataset} | {rate:g} | {n} | " + " | ".join(f"{x:.3f}" for x in m) + " |"
                for n, m in medians.items()
            ]
            others = [m for name, m in medians.items() if not name.startswith("ours")]
            if others:
                smallest = min(smallest, float((medians["ours"] - np.max(others, axis=0)).min()))
    return lines, smallest


def write_cells(path: Path, traces: list[Trace], scores: dict[str, NDArray]) -> None:
    """One row a recording, rate, method and smoothing."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["data_set", "cell", "frame_rate_hz", "method", "smoothing_s", "correlation"])
        for name, values in scores.items():
            for trace, row in zip(traces, values, strict=True):
                for smoothing, value in zip(SMOOTHINGS_S, row, strict=True):
                    writer.writerow([trace.dataset, trace.cell, trace.rate_hz, name, smoothing, f"{value:.4f}"])


def main() -> None:
    """Reads the command line and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of .npz data sets")
    parser.add_argument("--suite2p-python", help="interpreter of an environment that has Suite2p")
    parser.add_argument("--cells", type=Path, help="CSV file for the score of every recording")
    parser.add_argument("--advance", action="store_true", help="correct the others' delay as well")
    options = parser.parse_args()
    files = sorted(options.data.glob("*.npz"))
    if not files:
        print(f"Skipped: there are no .npz data sets in {options.data}. Name their folder by --data.")
        return
    traces = [trace for path in files for trace in load(path)]
    here = sys.executable if importlib.util.find_spec("suite2p") else None
    scores = score_all(traces, options.suite2p_python or here, advanced=options.advance)
    lines, lead = table(traces, scores)
    print("\n".join(lines))
    if np.isfinite(lead):
        print(f"\nSmallest lead of `ours` over the best other program at any rate and smoothing: {lead:+.3f}")
    if options.cells:
        write_cells(options.cells, traces, scores)


if __name__ == "__main__":
    main()
