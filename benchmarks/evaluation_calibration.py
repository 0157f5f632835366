"""Accuracy of acceptance on simulated movies, and acceptance on a real recording.

    python benchmarks/evaluation_calibration.py thresholds [--figure calibration.png] [--seeds 11 12]
    python benchmarks/evaluation_calibration.py movie --data FOLDER
    python benchmarks/evaluation_calibration.py crop [--data FOLDER]

`thresholds`: precision and recall of accepted components at the default thresholds, and a figure of both against each
threshold. The movies differ in seed, photons per pixel and density. Components are extracted by default (`adaptive`)
and with a fixed number a patch (`greedy_roi`), which leaves many that are not neurons and need thresholds most. A
component is a cell if its footprint matches a true neuron (IoU >= 0.5). Each panel varies one threshold and keeps the
others; the dashed line is its default. Recall is that of the neurons that were extracted.

`movie`: precision, recall and F1 of the components accepted in a movie with known truth of another simulator, with and
without the classifier, after motion correction and a refit. FOLDER has `movie.tif` (T, H, W) and `truth.npz` with the
footprints `A` (H, W, N).

`crop`: components accepted in the window of neurofinder 00.00 of FOLDER (`movie.tif`, `regions.json`), by default
`../shared/data/neurofinder_crop` beside the project, with and without the classifier, after a refit. An accepted
component matches an annotated cell if their centres lie within 5 px. Annotated cells are active if the peak of their
mean trace is above 10 times its noise.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask.array as da
import matplotlib.pyplot as plt
import numpy as np
import scipy.sparse as sp
import tifffile
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from rsc2p_kedro.algorithms import extraction
from rsc2p_kedro.algorithms.dff import noise_of_differences
from rsc2p_kedro.algorithms.evaluation import accept_components, evaluate_components
from rsc2p_kedro.algorithms.evaluation.description import centres
from rsc2p_kedro.core.parameters import (
    Acquisition,
    Compute,
    EvaluationParameters,
    ExtractionParameters,
    MotionCorrectionParameters,
)
from rsc2p_kedro.core.results import ComponentQuality, Components
from rsc2p_kedro.engines.embedded import EmbeddedEngine
from rsc2p_kedro.simulation.movie import simulate
from rsc2p_kedro.simulation.settings import SimulationSettings
from rsc2p_kedro.simulation.truth import intersection_over_union, match_footprints

ACQUISITION, COMPUTE = Acquisition(frame_rate_hz=14.7), Compute(threads=2, show_progress=False)
STILL = {"n_frames": 1000, "motion": "none", "warp_amplitude_px": 0.0}
SCENES = ({"photons": 12.0, "n_neurons": 30}, {"photons": 4.0, "n_neurons": 30}, {"photons": 12.0, "n_neurons": 55})
SWEEPS = {
    "min_snr": np.linspace(0.5, 6, 45),
    "min_r_value": np.linspace(0.3, 1, 45),
    "lowest_snr": np.linspace(0, 2, 41),
    "lowest_r_value": np.linspace(-1, 0.85, 38),
}
INITIALIZATIONS = ("adaptive", "greedy_roi")
CROP = Path(__file__).parents[1] / ".." / "shared" / "data" / "neurofinder_crop"
Extracted = tuple[Components, ComponentQuality, ComponentQuality]
"""Components, and their quality without and with the classifier."""
Measures = tuple[NDArray, NDArray, NDArray]
"""snr, r_value and whether it is a cell, of components (N,)."""


def measure(seed: int, scene: dict[str, float], initialization: str) -> Measures:
    """Measures of the components of one simulated movie."""
    recording = simulate(SimulationSettings.model_validate(STILL | scene | {"seed": seed}), ACQUISITION)
    movie = recording.movie.compute(scheduler="threads")
    parameters = ExtractionParameters.model_validate({"initialization": initialization})
    components = extraction.fit(movie, ACQUISITION, parameters, compute=COMPUTE)
    quality = evaluate_components(movie, components, ACQUISITION, EvaluationParameters(accept=None), compute=COMPUTE)
    cell = np.zeros(components.n_components, bool)
    cell[match_footprints(intersection_over_union(recording.truth.footprints, components.footprints))[1]] = True
    return quality.snr, quality.r_value, cell


def precision_and_recall(measures: Measures, **thresholds: float) -> tuple[float, float]:
    """Of the components accepted under some thresholds; lower ones above an upper one are lowered to that."""
    values = EvaluationParameters().model_dump() | thresholds
    for name in ("snr", "r_value"):
        values[f"lowest_{name}"] = min(values[f"lowest_{name}"], values[f"min_{name}"])
    snr, r_value, cell = measures
    accepted, _ = accept_components(snr, r_value, EvaluationParameters.model_validate(values))
    return float(cell[accepted].mean()) if accepted.any() else 1.0, float(accepted[cell].mean())


def draw(measures: dict[str, Measures], path: Path) -> None:
    """One panel a threshold, with precision (solid) and recall (dotted) of each initialization."""
    figure, axes = plt.subplots(1, len(SWEEPS), figsize=(15, 3.4), sharey=True, layout="constrained")
    for ax, (name, values) in zip(axes, SWEEPS.items(), strict=True):
        for color, (kind, components) in zip(("#0072B2", "#D55E00"), measures.items(), strict=True):
            curves = np.array([precision_and_recall(components, **{name: float(v)}) for v in values])
            ax.plot(values, curves[:, 0], color=color, label=f"{kind}: precision")
            ax.plot(values, curves[:, 1], color=color, ls=":", label=f"{kind}: recall of cells extracted")
        ax.axvline(getattr(EvaluationParameters(), name), color="0.5", ls="--", lw=0.8)
        ax.set(xlabel=name, ylim=(0, 1.02))
    axes[0].legend(fontsize=7, loc="lower left")
    figure.savefig(path, dpi=130)


def thresholds(seeds: list[int], figure: Path) -> None:
    """Prints precision and recall at the defaults, and draws both against each threshold."""
    measures: dict[str, Measures] = {}
    for kind in INITIALIZATIONS:
        parts = [measure(seed, scene, kind) for seed in seeds for scene in SCENES]
        snr, r_value, cell = (np.concatenate(column) for column in zip(*parts, strict=True))
        measures[kind] = (snr, r_value, cell)
        precision, recall = precision_and_recall(measures[kind])
        print(f"{kind}: {cell.sum()} cells, {(~cell).sum()} others; precision {precision:.3f}, recall {recall:.3f}")
    draw(measures, figure)


def refitted(raw: NDArray, acquisition: Acquisition, settings: list[dict[str, Any]]) -> Iterator[tuple[str, Extracted]]:
    """Extracts components after motion correction, with a refit: one result for each of some settings, by name."""
    engine, registration = EmbeddedEngine(), MotionCorrectionParameters()
    frames = da.from_array(raw, chunks=(64, -1, -1))
    motion = engine.correct_motion(frames, registration, compute=COMPUTE)
    corrected = engine.apply_motion(frames, motion, registration).persist(scheduler="synchronous")
    options = {"compute": COMPUTE, "valid_mask": motion.valid_mask}
    for values in settings:
        parameters = ExtractionParameters.model_validate(values)
        first = engine.extract_sources(corrected, acquisition, parameters, **options)
        components = engine.extract_sources(corrected, acquisition, parameters, earlier=first, **options)
        evaluations = [EvaluationParameters(accept=accept) for accept in (None, ("soma",))]
        without, with_classifier = (
            engine.evaluate(corrected, components, acquisition, each, compute=COMPUTE) for each in evaluations
        )
        yield ", ".join(f"{name} {value}" for name, value in values.items()), (components, without, with_classifier)


def movie(folder: Path) -> None:
    """Prints the accuracy of the components accepted in a movie with known truth."""
    with np.load(folder / "truth.npz") as stored:
        A = stored["A"]
    truth = sp.csc_array(A.reshape(-1, A.shape[-1]))
    settings = [{"initialization": kind} for kind in INITIALIZATIONS]
    for name, (components, *qualities) in refitted(tifffile.imread(folder / "movie.tif"), ACQUISITION, settings):
        overlap = intersection_over_union(truth, components.footprints)
        r_value = qualities[0].r_value[match_footprints(overlap)[1]]
        print(f"{name}: {components.n_components} components, {len(r_value)} of them cells", end="; ")
        print(f"r_value of cells {np.percentile(r_value, 5):.2f} at the 5th percentile")
        for use, quality in zip((False, True), qualities, strict=True):
            n = len(match_footprints(overlap[:, quality.accepted])[0])
            precision, recall = n / max(quality.accepted.sum(), 1), n / truth.shape[1]
            f1 = 2 * n / (quality.accepted.sum() + truth.shape[1])
            print(f"  classifier {use}: {quality.accepted.sum()} accepted, precision {precision:.3f}", end=", ")
            print(f"recall {recall:.3f}, F1 {f1:.3f}")


def count_matches(cells: NDArray, found: NDArray) -> int:
    """Pairs of centres (n, 2) and (m, 2) within 5 px, as many as possible."""
    distance = np.linalg.norm(cells[:, None] - found[None], axis=-1)
    rows, columns = linear_sum_assignment(-np.where(distance < 5, 6 - distance, 0))
    return int((distance[rows, columns] < 5).sum())


def crop(folder: Path) -> None:
    """Prints the components accepted in the real recording, and how many match annotated cells."""
    if not (folder / "movie.tif").exists():
        print(f"Skipped: there is no movie.tif in {folder}. Name the folder by --data.")
        return
    raw = tifffile.imread(folder / "movie.tif")
    regions = [np.array(r["coordinates"]) for r in json.loads((folder / "regions.json").read_text(encoding="utf-8"))]
    cells = np.array([region.mean(axis=0) for region in regions])
    traces = np.array([raw[:, region[:, 0], region[:, 1]].mean(axis=1) for region in regions])
    active = (traces - np.median(traces, axis=1, keepdims=True)).max(axis=1) > 10 * noise_of_differences(traces)
    print(f"{len(cells)} annotated cells, {active.sum()} of them active")
    settings = [{"initialization": k, "neuron_half_width_px": half} for half in (5, 4) for k in INITIALIZATIONS]
    acquisition = Acquisition(frame_rate_hz=7.0, decay_time_s=1.0)
    for name, (components, *qualities) in refitted(raw, acquisition, settings):
        print(f"{name}: lowest r_value {qualities[0].r_value.min():.2f}")
        for use, quality in zip((False, True), qualities, strict=True):
            found = centres(components.footprints, components.shape)[quality.accepted]
            n, of_active = count_matches(cells, found), count_matches(cells[active], found)
            print(f"  classifier {use}: {len(found)} accepted, {n} matched, {of_active} active matched", end=", ")
            print(f"F1 {2 * n / (len(found) + len(cells)):.3f}")


def main() -> None:
    """Reads the command line and runs one of the measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measurement", choices=("thresholds", "movie", "crop"))
    parser.add_argument("--figure", type=Path, default=Path("evaluation_calibration.png"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[11, 12])
    parser.add_argument("--data", type=Path, default=CROP, help="folder of the recording")
    options = parser.parse_args()
    if options.measurement == "thresholds":
        thresholds(options.seeds, options.figure)
    elif options.measurement == "movie":
        movie(options.data)
    else:
        crop(options.data)


if __name__ == "__main__":
    main()
