"""How much the constants of source extraction matter: results with other values of each, one at a time.

    python -m benchmarks.extraction_sensitivity [--only NAME ...] [--threads 2] [--annotated FOLDER]

Fits, refits and evaluates three simulated tissues (600 x 144 x 144, without motion; size, density, indicator and noise
are drawn, :mod:`rsc2p_kedro.simulation.varied`) and prints means over the movies as a Markdown table, for the values in
use and for other ones: recall of findable somata among all components (IoU >= 0.5), and F1 and precision of the
accepted ones (`benchmarks.tissue` defines the measures). Constants that compiled kernels contain are measured in
processes of their own.

`--annotated` names the folder of a real recording instead: `movie.tif`, and `regions.json` with a list of
`{"coordinates": [[row, column], ...]}`, one for each annotated cell. An accepted component matches an annotated cell if
their centres are within 5 px.
"""

import argparse
import importlib
import json
import os
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from rsc2p_kedro.algorithms import extraction
from rsc2p_kedro.algorithms.evaluation import evaluate_components
from rsc2p_kedro.core.parameters import Acquisition, Compute, EvaluationParameters, ExtractionParameters
from rsc2p_kedro.core.results import Components
from rsc2p_kedro.simulation.movie import SimulatedRecording, simulate
from rsc2p_kedro.simulation.object_scores import score_objects
from rsc2p_kedro.simulation.varied import draw_tissue_settings

SEEDS = (31, 32, 33)
SIZE = {"n_frames": 600, "side_px": 144}
NO_MOTION = {"motion": "none", "warp_amplitude_px": 0.0}
SIMULATED_MEASURES = ("recall_of_all", "f1_findable", "precision")
CENTRE_DISTANCE_PX = 5.0
OTHER_VALUES: dict[str, tuple[float, ...]] = {
    "background._INTERPOLATION_SD": (1.0, 2.5),
    "candidates.DETECTION_BLOCK_PX": (32, 128),
    "cnmf.MAX_DETECTION_ROUNDS": (1, 2, 4),
    "detection.ACTIVE_SD": (2.5, 3.5),
    "detection._MIN_ENERGY_SD": (4.0, 9.0),
    "matched_filter._SD_OF_HALF_WIDTH": (0.45, 0.8),
    "merging.SAME_PLACE": (0.7, 0.9),
    "selection.MIN_MINOR_AXIS": (0.25, 0.5),
    "selection.MAX_MAJOR_AXIS": (1.6, 2.5),
    "selection.MAX_MEAN_AXIS": (1.3, 1.8),
    "selection.STRONG_SIGNAL": (2.0, 10.0),
    "selection.REFIT_FACTOR": (0.25, 1.0),
    "spatial.ENOUGH_SNR": (6.0, 20.0),
    "spatial.GAIN_PRIOR_SD": (0.1, 0.4),
    "spatial.MAX_RADIUS": (1.6, 2.5),
    "spatial.MIN_OF_PEAK": (0.2, 0.35),
    "spatial.MIN_OF_PEAK_IN_RESULT": (0.28, 0.42),
    "spatial.MIN_SIGNIFICANCE_SD": (1.0, 3.0),
    "spatial.OPENING": (0.2, 0.4),
    "temporal.NEUROPIL_PRIOR_SD": (0.1, 1.0),
    "temporal.MIN_OVERLAP": (0.0, 0.1),
    "updates.CLIPPED_SD": (1.0, 4.0),
}
OTHER_VALUES_IN_KERNELS: dict[str, tuple[float, ...]] = {
    "detection._RANK1_UPDATES": (2, 8),
    "detection._PROMISING": (0.5, 0.9),
    "detection._MIN_OF_PEAK": (0.1, 0.3),
    "spatial.INERTIA": (0.3, 3.0),
}


@dataclass(frozen=True)
class Task:
    """What is measured, and how.

    Attributes:
        threads: threads to use.
        annotated: folder of an annotated recording; None: simulated movies.
        frame_rate_hz: frames per second.
        decay_time_s: decay time of the indicator in s.
    """

    threads: int
    annotated: Path | None
    frame_rate_hz: float
    decay_time_s: float

    @property
    def measures(self) -> tuple[str, ...]:
        """Names of the scores."""
        return SIMULATED_MEASURES if self.annotated is None else ("components", "matched", "f1")

    def run(self) -> list[float]:
        """Scores with the constants as they are now, means over the movies."""
        if self.annotated is not None:
            regions = json.loads((self.annotated / "regions.json").read_text())
            cells = np.array([np.mean(region["coordinates"], axis=0) for region in regions])
            acquisition = Acquisition(frame_rate_hz=self.frame_rate_hz, decay_time_s=self.decay_time_s)
            components, accepted = self.extract(tifffile.imread(self.annotated / "movie.tif"), acquisition)
            return annotated_scores(components.select(accepted), cells)
        scores = []
        for recording, movie, acquisition in tissues():
            components, accepted = self.extract(movie, acquisition)
            every, chosen = (
                {row.measure: row.value for row in score_objects(recording.truth, recording.objects, footprints)}
                for footprints in (components.footprints, components.select(accepted).footprints)
            )
            scores.append([every["recall_findable"], chosen["f1_findable"], chosen["precision"]])
        return np.mean(scores, axis=0).tolist()

    def extract(self, movie: NDArray, acquisition: Acquisition) -> tuple[Components, NDArray[np.bool_]]:
        """Components of a movie (T, H, W) after fit and refit, and which of them are accepted."""
        parameters, compute = ExtractionParameters(), Compute(threads=self.threads, show_progress=False)
        fitted = extraction.fit(movie, acquisition, parameters, compute=compute)
        refitted = extraction.refit(movie, fitted, acquisition, parameters, compute=compute)
        evaluated = evaluate_components(movie, refitted, acquisition, EvaluationParameters(), compute=compute)
        return refitted, evaluated.accepted


@cache
def tissues() -> list[tuple[SimulatedRecording, NDArray, Acquisition]]:
    """The simulated recordings, with their movies (T, H, W) in memory and the facts about them."""
    found = []
    for seed in SEEDS:
        settings, acquisition = draw_tissue_settings(seed, **SIZE)
        recording = simulate(settings.model_copy(update=NO_MOTION), acquisition)
        found.append((recording, recording.movie.compute(scheduler="threads"), acquisition))
    return found


def annotated_scores(components: Components, cells: NDArray) -> list[float]:
    """Numbers of components and of matched annotated cells (centres (n, 2) in px), and F1."""
    A = components.footprints
    position = np.stack(np.divmod(np.arange(A.shape[0]), components.shape[1]))
    centres = (position @ A / A.sum(axis=0)).T
    near = np.linalg.norm(cells[:, None] - centres[None], axis=2) < CENTRE_DISTANCE_PX
    matched = near[linear_sum_assignment(~near)].sum()
    return [len(centres), matched, 2 * matched / (len(cells) + len(centres))]


def measure(task: Task, name: str = "", value: float = 0) -> list[float]:
    """Scores with one constant changed, or none if the name is empty."""
    if not name:
        return task.run()
    module, constant = _find(name)
    before = getattr(module, constant)
    try:
        setattr(module, constant, value)
        return task.run()
    finally:
        setattr(module, constant, before)


def measure_compiled_anew(task: Task, name: str, value: float) -> list[float]:
    """:func:`measure` in a process whose kernels are compiled with the changed constant."""
    with tempfile.TemporaryDirectory() as folder:
        earlier = os.environ.get("NUMBA_CACHE_DIR")
        os.environ["NUMBA_CACHE_DIR"] = folder
        try:
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                return pool.submit(measure, task, name, value).result()
        finally:
            os.environ.pop("NUMBA_CACHE_DIR")
            if earlier is not None:
                os.environ["NUMBA_CACHE_DIR"] = earlier


def _find(name: str) -> tuple[object, str]:
    module, constant = name.split(".")
    return importlib.import_module(f"rsc2p_kedro.algorithms.extraction.{module}"), constant


def main() -> None:
    """Reads the command line and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="constants, such as selection.STRONG_SIGNAL")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--annotated", type=Path, metavar="FOLDER")
    parser.add_argument("--frame-rate", type=float, default=14.7, help="frames per second")
    parser.add_argument("--decay-time", type=float, default=0.4, help="of the indicator, s")
    options = parser.parse_args()
    task = Task(options.threads, options.annotated, options.frame_rate, options.decay_time)
    print(f"| constant | value | {' | '.join(task.measures)} |\n|---|---|{'---|' * len(task.measures)}")

    def show(name: str, value: str, scores: list[float]) -> None:
        print(f"| `{name}` | {value} | {' | '.join(f'{score:.3g}' for score in scores)} |", flush=True)

    show("all", "in use", measure(task))
    for values, run in ((OTHER_VALUES, measure), (OTHER_VALUES_IN_KERNELS, measure_compiled_anew)):
        for name in values:
            if options.only is None or name in options.only:
                module, constant = _find(name)
                for value in values[name]:
                    show(name, f"{value:g} ({getattr(module, constant):g} in use)", run(task, name, value))


if __name__ == "__main__":
    main()
