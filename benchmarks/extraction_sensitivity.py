"""How much the constants of source extraction matter: F1 and correlations with other values of each, one at a time.

    python -m benchmarks.extraction_sensitivity [--only NAME ...] [--threads 2] [--annotated FOLDER]

Fits and refits three simulated movies (600 x 128 x 128, without motion: 30 neurons at 12 and at 4 photons a pixel, and
55 neurons at 12), scores all components before any evaluation, and prints the means over the movies as a Markdown
table, for the values in use and for other ones. A component matches a neuron if the IoU of their masks is at least 0.5
(`rsc2p_kedro.simulation.truth`). Constants that compiled kernels contain are measured in processes of their own.

Simulated movies have no dendrites or boutons, which the constants of `selection` are for. `--annotated` names the
folder of a real recording instead: `movie.tif`, and `regions.json` with a list of
`{"coordinates": [[row, column], ...]}`, one for each annotated cell. A component matches an annotated cell if their
centres are within 5 px.
"""

import argparse
import importlib
import json
import os
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from rsc2p_kedro.algorithms import extraction
from rsc2p_kedro.core.parameters import Acquisition, Compute, ExtractionParameters
from rsc2p_kedro.core.results import Components
from rsc2p_kedro.simulation.movie import simulate
from rsc2p_kedro.simulation.settings import SimulationSettings
from rsc2p_kedro.simulation.truth import score_components

SCENES = ({"photons": 12.0, "n_neurons": 30}, {"photons": 4.0, "n_neurons": 30}, {"photons": 12.0, "n_neurons": 55})
SETTINGS = {"seed": 21, "n_frames": 600, "motion": "none", "warp_amplitude_px": 0.0}
SIMULATED_MEASURES = ("f1", "precision", "recall", "trace_correlation", "spike_correlation")
CENTRE_DISTANCE_PX = 5.0
OTHER_VALUES: dict[str, tuple[float, ...]] = {
    "background._INTERPOLATION_SD": (1.0, 2.5),
    "candidates.DETECTION_BLOCK_PX": (32, 128),
    "cnmf.MAX_DETECTION_ROUNDS": (1, 2, 4),
    "detection.ACTIVE_SD": (2.5, 3.5),
    "detection._MIN_ENERGY_SD": (4.0, 9.0),
    "matched_filter._SD_OF_HALF_WIDTH": (0.45, 0.8),
    "merging.SAME_PLACE": (0.7, 0.9),
    "selection.MIN_MINOR_AXIS": (0.45, 0.7),
    "selection.MAX_MAJOR_AXIS": (1.6, 2.5),
    "selection.STRONG_PEAK": (4.0, 12.0),
    "selection.MIN_AXIS_RATIO": (0.3, 0.55),
    "spatial.GAIN_PRIOR_SD": (0.1, 0.4),
    "spatial.ENERGY_KEPT": (0.99, 0.9999),
    "spatial.MIN_OF_PEAK": (0.05, 0.2),
    "spatial.MIN_SIGNIFICANCE_SD": (1.0, 3.0),
    "temporal.NEUROPIL_PRIOR_SD": (0.1, 1.0),
    "temporal.MIN_OVERLAP": (0.0, 0.1),
}
OTHER_VALUES_IN_KERNELS: dict[str, tuple[float, ...]] = {
    "detection._RANK1_UPDATES": (2, 8),
    "detection._PROMISING": (0.5, 0.9),
    "detection._MIN_OF_PEAK": (0.1, 0.3),
}


@dataclass(frozen=True)
class Task:
    """What is measured, and how.

    Attributes:
        threads: threads to use.
        annotated: folder of an annotated recording; None: simulated movies.
        frame_rate_hz: frames per second.
        decay_time_s: decay time of the indicator in s.
        half_width_px: half-width of a neuron in px.
    """

    threads: int
    annotated: Path | None
    frame_rate_hz: float
    decay_time_s: float
    half_width_px: int

    @property
    def measures(self) -> tuple[str, ...]:
        """Names of the scores."""
        return SIMULATED_MEASURES if self.annotated is None else ("components", "matched", "f1")

    def run(self) -> list[float]:
        """Scores with the constants as they are now, means over the movies."""
        if self.annotated is not None:
            regions = json.loads((self.annotated / "regions.json").read_text())
            cells = np.array([np.mean(region["coordinates"], axis=0) for region in regions])
            return annotated_scores(self.extract(tifffile.imread(self.annotated / "movie.tif")), cells)
        acquisition, scores = Acquisition(frame_rate_hz=self.frame_rate_hz, decay_time_s=self.decay_time_s), []
        for scene in SCENES:
            recording = simulate(SimulationSettings.model_validate(SETTINGS | scene), acquisition)
            components = self.extract(recording.movie.compute(scheduler="threads"))
            score = {row.measure: row.value for row in score_components(recording.truth, components)}
            scores.append([score[name] for name in self.measures])
        return np.mean(scores, axis=0).tolist()

    def extract(self, movie: NDArray) -> Components:
        """Components of a movie (T, H, W) after fit and refit."""
        acquisition = Acquisition(frame_rate_hz=self.frame_rate_hz, decay_time_s=self.decay_time_s)
        parameters = ExtractionParameters(neuron_half_width_px=self.half_width_px)
        compute = Compute(threads=self.threads, show_progress=False)
        fitted = extraction.fit(movie, acquisition, parameters, compute=compute)
        return extraction.refit(movie, fitted, acquisition, parameters, compute=compute)


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
    parser.add_argument("--only", nargs="+", metavar="NAME", help="constants, such as selection.STRONG_PEAK")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--annotated", type=Path, metavar="FOLDER")
    parser.add_argument("--frame-rate", type=float, default=14.7, help="frames per second")
    parser.add_argument("--decay-time", type=float, default=0.4, help="of the indicator, s")
    parser.add_argument("--half-width", type=int, default=4, help="of a neuron, px")
    options = parser.parse_args()
    task = Task(options.threads, options.annotated, options.frame_rate, options.decay_time, options.half_width)
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
