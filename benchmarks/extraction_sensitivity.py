"""How much the constants of source extraction matter: F1 and correlations with other values of each, one at a time.

    python -m benchmarks.extraction_sensitivity [--only NAME ...] [--threads 2]

Fits and refits three simulated movies (600 x 128 x 128, without motion: 30 neurons at 12 and at 4 photons a pixel, and
55 neurons at 12), scores all components before any evaluation, and prints the means over the movies as a Markdown
table, for the values in use and for other ones. A component matches a neuron if the IoU of their masks is at least 0.5
(`rsc2p_kedro.simulation.truth`). Constants that compiled kernels contain are measured in processes of their own.
"""

import argparse
import importlib
import os
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np

from rsc2p_kedro.algorithms import extraction
from rsc2p_kedro.core.parameters import Acquisition, Compute, ExtractionParameters
from rsc2p_kedro.simulation.movie import simulate
from rsc2p_kedro.simulation.settings import SimulationSettings
from rsc2p_kedro.simulation.truth import score_components

SCENES = ({"photons": 12.0, "n_neurons": 30}, {"photons": 4.0, "n_neurons": 30}, {"photons": 12.0, "n_neurons": 55})
SETTINGS = {"seed": 21, "n_frames": 600, "motion": "none", "warp_amplitude_px": 0.0}
MEASURES = ("f1", "precision", "recall", "trace_correlation", "spike_correlation")
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
    "detection._REST_QUANTILE": (0.1, 0.3),
}


def measure(threads: int, name: str = "", value: float = 0) -> list[float]:
    """Means over the movies of all measures, with one constant changed, or none if the name is empty."""
    acquisition, compute = Acquisition(frame_rate_hz=14.7), Compute(threads=threads, show_progress=False)
    module, constant = _find(name) if name else (None, "")
    before = getattr(module, constant) if module else None
    scores = []
    try:
        if module:
            setattr(module, constant, value)
        for scene in SCENES:
            recording = simulate(SimulationSettings.model_validate(SETTINGS | scene), acquisition)
            movie = recording.movie.compute(scheduler="threads")
            fitted = extraction.fit(movie, acquisition, ExtractionParameters(), compute=compute)
            refitted = extraction.refit(movie, fitted, acquisition, ExtractionParameters(), compute=compute)
            score = {row.measure: row.value for row in score_components(recording.truth, refitted)}
            scores.append([score[name] for name in MEASURES])
    finally:
        if module:
            setattr(module, constant, before)
    return np.mean(scores, axis=0).tolist()


def measure_compiled_anew(threads: int, name: str, value: float) -> list[float]:
    """:func:`measure` in a process whose kernels are compiled with the changed constant."""
    with tempfile.TemporaryDirectory() as folder:
        earlier = os.environ.get("NUMBA_CACHE_DIR")
        os.environ["NUMBA_CACHE_DIR"] = folder
        try:
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                return pool.submit(measure, threads, name, value).result()
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
    options = parser.parse_args()
    print(f"| constant | value | {' | '.join(MEASURES)} |\n|---|---|{'---|' * len(MEASURES)}")

    def show(name: str, value: object, scores: list[float]) -> None:
        print(f"| {name} | {value} | {' | '.join(f'{score:.3f}' for score in scores)} |", flush=True)

    show("all in use", "", measure(options.threads))
    for values, run in ((OTHER_VALUES, measure), (OTHER_VALUES_IN_KERNELS, measure_compiled_anew)):
        for name in values:
            if options.only is None or name in options.only:
                module, constant = _find(name)
                for value in values[name]:
                    shown = f"{value:g} ({getattr(module, constant):g} in use)"
                    show(name, shown, run(options.threads, name, value))


if __name__ == "__main__":
    main()
