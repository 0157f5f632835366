"""Accuracy of the embedded engine, from the raw movie to the accepted components, on movies with known truth.

    python -m benchmarks.accuracy [--movies NAME ...] [--seed 101] [--suite2p-python PATH]
                                  [--annotated FOLDER] [--output FILE]

Prints the Markdown table of the README. The movies are made by the project's own simulator
(:mod:`rsc2p_kedro.simulation`); each differs in one respect from the first, `default`, and `--list` shows how. All
parameters of the engine are their defaults, except for what a user knows about a recording: frame rate, decay time of
the indicator and, for `larger neurons, size given`, the half-width of a neuron. `--suite2p-python` names the
interpreter of an environment with Suite2p (the extra `peers`), which then processes the same movies with its defaults
and the same facts.

Both results are scored by :mod:`rsc2p_kedro.simulation.truth`. F1, precision and recall are those of the accepted
components against *all* simulated somata, including those that are faint or never spike: a component matches a soma if
the IoU of their masks (pixels above a fifth of the footprint's maximum) is at least 0.5; pairs are chosen by the
Hungarian method. The other columns are medians over the matched somata: `traces`, the correlation of the traces before
denoising (for Suite2p, fluorescence - 0.7 neuropil) with the true fluorescence; `denoised`, that of the denoised ones;
`spikes`, that of the deconvolved traces with the true spike counts, both blurred by a Gaussian of 2 frames. Motion
errors are root mean squares in px per axis, with the mean over the recording taken out: of the rigid shifts, and of the
patch shifts at the centres of each program's own patches.

`--annotated` names the folder of a real recording: `movie.tif`, and `regions.json` with a list of
`{"coordinates": [[row, column], ...]}`, one for each annotated cell, as neurofinder has them. A component matches an
annotated cell if their centres lie within 5 px. An annotated cell counts as active if the peak of its mean trace
exceeds 10 standard deviations of the noise.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import dask.array as da
import numpy as np
import scipy.sparse as sp
import tifffile
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from rsc2p_kedro.algorithms.evaluation.description import centres
from rsc2p_kedro.core.parameters import (
    Acquisition,
    Compute,
    EvaluationParameters,
    ExtractionParameters,
    MotionCorrectionParameters,
)
from rsc2p_kedro.core.results import Components, MotionCorrection
from rsc2p_kedro.datasets import ZarrMovieDataset
from rsc2p_kedro.engines.embedded import EmbeddedEngine
from rsc2p_kedro.simulation.movie import simulate
from rsc2p_kedro.simulation.settings import SimulationSettings
from rsc2p_kedro.simulation.truth import score_results

SIZE = {"n_frames": 1500, "height_px": 256, "width_px": 256, "n_neurons": 120}
"""Of the first movie: four of the simulator's default frames, with as many neurons per area."""
LARGER = {"neuron_radius_px": 6.9, "n_neurons": 55}
"""Somata of 1.5 times the default radius, as densely packed."""
COLUMNS = {
    "f1": "F1",
    "precision": "precision",
    "recall": "recall",
    "noisy_trace_correlation": "traces",
    "trace_correlation": "denoised",
    "spike_correlation": "spikes",
    "rigid_motion_error": "rigid motion error, px",
    "local_motion_error": "local, px",
}
CENTRE_DISTANCE_PX, ACTIVE_PEAK_TO_NOISE = 5.0, 10.0


@dataclass(frozen=True)
class Scenario:
    """One simulated movie, and the facts about it that both programs are given.

    Attributes:
        settings: settings of the simulation that differ from those of `default`.
        frame_rate_hz: frames per second.
        decay_time_s: decay time constant of the indicator in s.
        half_width_px: half-width of a neuron for the embedded engine; None: its default, 4.
        tau_s: decay time for Suite2p, as its documentation advises for the indicator (0.7 GCaMP6f, 1.25 GCaMP6s).
        diameter_px: diameter of a neuron for Suite2p; None: its default, 12.
    """

    settings: dict[str, Any] = field(default_factory=dict)
    frame_rate_hz: float = 14.7
    decay_time_s: float = 0.4
    half_width_px: int | None = None
    tau_s: float = 0.7
    diameter_px: float | None = None


SCENARIOS = {
    "default": Scenario(),
    "4 photons instead of 12": Scenario({"photons": 4.0}),
    "60 neurons": Scenario({"n_neurons": 60}),
    "250 neurons": Scenario({"n_neurons": 250}),
    "larger neurons": Scenario(LARGER),
    "larger neurons, size given": Scenario(LARGER, half_width_px=6, diameter_px=18.0),
    "slow indicator at 7 Hz": Scenario({"rise_time_s": 0.15}, frame_rate_hz=7.0, decay_time_s=1.0, tau_s=1.25),
    "neuropil 3 times as strong": Scenario({"neuropil_strength": 3.0}),
    "no motion": Scenario({"motion": "none", "warp_amplitude_px": 0.0}),
    "800 x 140 x 216": Scenario({"n_frames": 800, "height_px": 140, "width_px": 216, "n_neurons": 55}),
}


class Result(NamedTuple):
    """Motion, components and decisions of one program for one movie."""

    motion: MotionCorrection
    components: Components
    accepted: NDArray[np.bool_]


def run_embedded(raw: da.Array, scenario: Scenario, folder: Path, compute: Compute) -> Result:
    """The embedded engine at its defaults, as the pipelines run it: motion correction, fit, refit, evaluation."""
    engine, acquisition = EmbeddedEngine(), _acquisition(scenario)
    registration, size = MotionCorrectionParameters(), scenario.half_width_px
    extraction = ExtractionParameters.model_validate({} if size is None else {"neuron_half_width_px": size})
    motion = engine.correct_motion(raw, registration, compute=compute)
    stored = ZarrMovieDataset(filepath=folder / "corrected.zarr", threads=compute.threads, show_progress=False)
    stored.save(engine.apply_motion(raw, motion, registration))
    movie, options = stored.load(), {"compute": compute, "valid_mask": motion.valid_mask}
    fit = engine.extract_sources(movie, acquisition, extraction, **options)
    components = engine.extract_sources(movie, acquisition, extraction, **options, earlier=fit)
    quality = engine.evaluate(movie, components, acquisition, EvaluationParameters(), compute=compute)
    return Result(motion, components, quality.accepted)


def run_suite2p(raw: da.Array, scenario: Scenario, folder: Path, python: str, threads: int) -> Result:
    """Suite2p's pipeline in its own environment, its results in our records.

    Raises:
        RuntimeError: Suite2p fails; the end of what it wrote is the message.
    """
    movie, output = folder / "movie.tif", folder / "suite2p.npz"
    tifffile.imwrite(movie, raw.compute(), photometric="minisblack")
    command = [python, Path(__file__).with_name("suite2p_pipeline.py"), movie, threads, scenario.frame_rate_hz]
    command += ["--tau", scenario.tau_s, "--result", output]
    command += [] if scenario.diameter_px is None else ["--diameter", scenario.diameter_px]
    process = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    if process.returncode:
        raise RuntimeError(process.stderr.strip().splitlines()[-1])
    with np.load(output) as arrays:
        return _as_result(dict(arrays), raw.shape)


def _as_result(arrays: dict[str, NDArray], shape: tuple[int, int, int]) -> Result:
    """Suite2p's arrays as records; fields that no score reads are empty."""
    (T, H, W), N = shape, len(arrays["accepted"])
    traces, none = arrays["traces"].astype(np.float32), np.zeros(N, np.float32)
    components = Components(
        shape=(H, W),
        ids=np.arange(N),
        footprints=sp.csc_array((arrays["data"].clip(0), arrays["indices"], arrays["indptr"]), shape=(H * W, N)),
        traces=traces - traces.min(axis=1, keepdims=True),  # records hold no negative traces; correlations stay
        spikes=arrays["spikes"].astype(np.float32),
        residual_traces=np.zeros_like(traces),
        background_footprints=sp.csc_array((H * W, 0), dtype=np.float32),
        background_traces=np.zeros((0, T), np.float32),
        baseline=none,
        noise=none,
        ar_coefficients=np.zeros((N, 1), np.float32),
        lam=none,
        pixel_noise=np.zeros((H, W), np.float32),
    )
    motion = MotionCorrection(
        template=np.zeros((H, W), np.float32),
        shifts=arrays["shifts"].astype(np.float32),
        patch_shifts=arrays["patch_shifts"].astype(np.float32),
        patch_centres=arrays["patch_centres"].astype(np.float32),
        valid_mask=np.ones((H, W), bool),
        peak_quality=np.zeros(T, np.float32),
        registered=np.ones(T, bool),
    )
    return Result(motion, components, arrays["accepted"])


def _acquisition(scenario: Scenario) -> Acquisition:
    return Acquisition(frame_rate_hz=scenario.frame_rate_hz, decay_time_s=scenario.decay_time_s)


def run_programs(
    movie: da.Array, scenario: Scenario, python: str | None, compute: Compute
) -> Iterator[tuple[str, Result]]:
    """Name and result of each program; the failure of Suite2p is reported on stderr and leaves its result out."""
    with tempfile.TemporaryDirectory() as folder:
        stored = ZarrMovieDataset(filepath=Path(folder) / "raw.zarr", threads=compute.threads, show_progress=False)
        stored.save(movie)
        raw = stored.load()
        yield "rsc2p-kedro", run_embedded(raw, scenario, Path(folder), compute)
        try:
            if python is not None:
                yield "Suite2p", run_suite2p(raw, scenario, Path(folder), python, compute.threads or 2)
        except RuntimeError as error:
            print(f"Suite2p failed: {error}", file=sys.stderr)


def simulated_rows(name: str, seed: int, python: str | None, compute: Compute) -> Iterator[str]:
    """Rows of the table for one simulated movie, one for each program."""
    scenario = SCENARIOS[name]
    settings = SimulationSettings.model_validate({"seed": seed} | SIZE | scenario.settings)
    recording = simulate(settings, _acquisition(scenario))
    for program, result in run_programs(recording.movie, scenario, python, compute):
        scores = score_results(recording.truth, result.components, result.accepted, result.motion)
        values = {row.measure: f"{row.value:.3f}" for row in scores}
        if program == "Suite2p":
            values["trace_correlation"] = "-"  # its traces are not denoised
        yield f"| {name} | {program} | " + " | ".join(values[measure] for measure in COLUMNS) + " |"
        name = ""


def _activity(movie: NDArray, masks: NDArray) -> NDArray[np.float64]:
    """Peak over noise (N,) of the mean trace of each mask (H * W, N) in a movie (T, H, W)."""
    traces = movie.reshape(len(movie), -1).astype(np.float32) @ (masks / masks.sum(axis=0))
    noise = np.median(np.abs(np.diff(traces, axis=0)), axis=0) / (0.6745 * np.sqrt(2))
    return (traces.max(axis=0) - np.median(traces, axis=0)) / noise


class Annotated(NamedTuple):
    """Agreement of accepted components with the annotated cells of a real recording.

    Attributes:
        n_cells: number of annotated cells.
        n_active: number of those that are active.
        n_matched: annotated cells whose centre lies within 5 px of that of an accepted component, one to one.
        n_matched_active: active cells among them.
        f1: by centre.
    """

    n_cells: int
    n_active: int
    n_matched: int
    n_matched_active: int
    f1: float


def compare_with_annotation(movie: NDArray, regions_file: Path, accepted: Components) -> Annotated:
    """Compares the accepted components of a movie (T, H, W) with annotated cells."""
    regions = json.loads(regions_file.read_text(encoding="utf-8"))
    masks = np.zeros((len(regions), *movie.shape[1:]), np.float32)
    for mask, region in zip(masks, regions, strict=True):
        mask[tuple(np.transpose(region["coordinates"]))] = 1
    places = np.array([np.mean(region["coordinates"], axis=0) for region in regions])
    active = _activity(movie, masks.reshape(len(masks), -1).T) > ACTIVE_PEAK_TO_NOISE
    distance = np.linalg.norm(places[:, None] - centres(accepted.footprints, accepted.shape)[None], axis=2)
    near = distance < CENTRE_DISTANCE_PX
    rows, columns = linear_sum_assignment(np.where(near, 1 + CENTRE_DISTANCE_PX - distance, 0), maximize=True)
    matched = rows[near[rows, columns]]
    f1 = 2 * len(matched) / max(len(regions) + accepted.n_components, 1)
    return Annotated(len(regions), int(active.sum()), len(matched), int(active[matched].sum()), f1)


def annotated_rows(folder: Path, scenario: Scenario, python: str | None, compute: Compute) -> Iterator[str]:
    """Lines on a real recording with annotated cells, one for each program."""
    movie = tifffile.imread(folder / "movie.tif")
    for program, result in run_programs(da.from_array(movie, chunks=(64, -1, -1)), scenario, python, compute):
        accepted = result.components.select(result.accepted)
        found = compare_with_annotation(movie, folder / "regions.json", accepted)
        yield (
            f"{program} on {folder.name}: {accepted.n_components} components accepted; {found.n_matched} of "
            f"{found.n_cells} annotated cells matched, {found.n_matched_active} of the {found.n_active} active ones; "
            f"F1 {found.f1:.2f} by centre"
        )


def write(lines: Iterator[str], target: TextIO) -> None:
    """Writes each line as soon as it is measured, so that a run that is stopped keeps what it has."""
    for line in lines:
        print(line, file=target, flush=True)


def main() -> None:
    """Reads the command line and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--movies", nargs="*", choices=SCENARIOS, metavar="NAME", help="names as in --list; default: all"
    )
    parser.add_argument("--list", action="store_true", help="name the movies and stop")
    parser.add_argument("--seed", type=int, default=101, help="of the simulation")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--suite2p-python", metavar="PATH", help="interpreter of an environment with Suite2p")
    parser.add_argument("--annotated", type=Path, metavar="FOLDER", help="a real recording with annotated cells")
    parser.add_argument("--frame-rate", type=float, default=7.0, help="of the annotated recording, Hz")
    parser.add_argument("--decay-time", type=float, default=1.0, help="of its indicator, s")
    parser.add_argument("--half-width", type=int, default=5, help="of its neurons, px")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write there and not to the screen")
    options = parser.parse_args()
    if options.list:
        print("\n".join(f"{name}: {scenario}" for name, scenario in SCENARIOS.items()))
        return
    compute = Compute(threads=options.threads, show_progress=False)
    target = options.output.open("w", encoding="utf-8") if options.output else sys.stdout
    movies = list(SCENARIOS) if options.movies is None else options.movies
    if movies:
        print("| movie | program | " + " | ".join(COLUMNS.values()) + " |", file=target)
        print("|---" * (len(COLUMNS) + 2) + "|", file=target, flush=True)
    for name in movies:
        write(simulated_rows(name, options.seed, options.suite2p_python, compute), target)
    if options.annotated:
        facts = {"half_width_px": options.half_width, "diameter_px": 3.0 * options.half_width, "tau_s": 1.25}
        scenario = Scenario(frame_rate_hz=options.frame_rate, decay_time_s=options.decay_time, **facts)
        write(annotated_rows(options.annotated, scenario, options.suite2p_python, compute), target)
    target.flush()


if __name__ == "__main__":
    main()
