"""Precision and recall of accepted components against each threshold, on simulated movies.

    python benchmarks/evaluation_calibration.py [--figure calibration.png] [--seeds 11 12]

Movies differ in seed, light (12 and 4 photons a pixel) and density. In each, components are sought as by default
(adaptive), and as a fixed number a patch (greedy_roi), which leaves many that are no neurons: those are what
thresholds are for. A component is a cell if its footprint matches a neuron's (IoU >= 0.5). Each panel moves one
threshold and keeps the others; the line at the default is dashed. Recall is that of the neurons that were found at all.
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray

from rsc2p_kedro.algorithms import extraction
from rsc2p_kedro.algorithms.evaluation import decide, evaluate_components
from rsc2p_kedro.core.parameters import Acquisition, Compute, EvaluationParameters, ExtractionParameters
from rsc2p_kedro.simulation.movie import simulate
from rsc2p_kedro.simulation.settings import SimulationSettings
from rsc2p_kedro.simulation.truth import intersection_over_union, match_footprints

ACQUISITION, COMPUTE = Acquisition(frame_rate_hz=14.7), Compute(threads=2, show_progress=False)
SCENES = ({"photons": 12.0, "n_neurons": 30}, {"photons": 4.0, "n_neurons": 30}, {"photons": 12.0, "n_neurons": 55})
SWEEPS = {
    "min_snr": np.linspace(0.5, 6, 45),
    "min_r_value": np.linspace(0.3, 1, 45),
    "lowest_snr": np.linspace(0, 2, 41),
    "lowest_r_value": np.linspace(-1, 0.85, 38),
}
Judged = tuple[NDArray, NDArray, NDArray]
"""snr, r_value and whether it is a cell, of components (N,)."""


def judge(seed: int, scene: dict[str, float], initialization: str) -> Judged:
    """Components of one simulated movie, and which of them are cells."""
    size = {"seed": seed, "n_frames": 1000, "motion": "none", "warp_amplitude_px": 0.0}
    recording = simulate(SimulationSettings.model_validate(size | scene), ACQUISITION)
    movie = recording.movie.compute(scheduler="threads")
    parameters = ExtractionParameters.model_validate({"initialization": initialization})
    found = extraction.fit(movie, ACQUISITION, parameters, compute=COMPUTE)
    quality = evaluate_components(movie, found, ACQUISITION, EvaluationParameters(), compute=COMPUTE)
    cell = np.zeros(found.n_components, bool)
    cell[match_footprints(intersection_over_union(recording.truth.footprints, found.footprints))[1]] = True
    return quality.snr, quality.r_value, cell


def precision_and_recall(judged: Judged, **thresholds: float) -> tuple[float, float]:
    """Of the components accepted under some thresholds; lower ones that would exceed an upper one move that."""
    values = EvaluationParameters().model_dump() | thresholds
    for name in ("snr", "r_value"):
        values[f"lowest_{name}"] = min(values[f"lowest_{name}"], values[f"min_{name}"])
    accepted, _ = decide(judged[0], judged[1], EvaluationParameters.model_validate(values))
    cells = judged[2]
    return float(cells[accepted].mean()) if accepted.any() else 1.0, float(accepted[cells].mean())


def draw(judged: dict[str, Judged], path: Path) -> None:
    """One panel a threshold; precision (solid) and recall (dotted) of each way of initialization."""
    figure, axes = plt.subplots(1, len(SWEEPS), figsize=(15, 3.4), sharey=True, layout="constrained")
    for ax, (name, values) in zip(axes, SWEEPS.items(), strict=True):
        for color, (kind, components) in zip(("#0072B2", "#D55E00"), judged.items(), strict=True):
            curves = np.array([precision_and_recall(components, **{name: float(v)}) for v in values])
            ax.plot(values, curves[:, 0], color=color, label=f"{kind}: precision")
            ax.plot(values, curves[:, 1], color=color, ls=":", label=f"{kind}: recall of cells found")
        ax.axvline(getattr(EvaluationParameters(), name), color="0.5", ls="--", lw=0.8)
        ax.set(xlabel=name, ylim=(0, 1.02))
    axes[0].legend(fontsize=7, loc="lower left")
    figure.savefig(path, dpi=130)


def main() -> None:
    """Reads the command line, prints the figures at the defaults, and draws."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--figure", type=Path, default=Path("evaluation_calibration.png"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[11, 12])
    options = parser.parse_args()
    judged: dict[str, Judged] = {}
    for kind in ("adaptive", "greedy_roi"):
        parts = [judge(seed, scene, kind) for seed in options.seeds for scene in SCENES]
        snr, r_value, cell = (np.concatenate(column) for column in zip(*parts, strict=True))
        judged[kind] = (snr, r_value, cell)
        precision, recall = precision_and_recall(judged[kind])
        print(f"{kind}: {cell.sum()} cells, {(~cell).sum()} others; precision {precision:.3f}, recall {recall:.3f}")
    draw(judged, options.figure)


if __name__ == "__main__":
    main()
