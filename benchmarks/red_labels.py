"""Accuracy of the label of a structural channel, on simulated recordings with known labels and planted crosstalk.

    python -m benchmarks.red_labels [--seeds 9000 9001 ...]

Recordings differ in tissue, photons, number of neurons, fraction and brightness of labelled ones, and crosstalk. Scores
are over the components that match a neuron: area under the ROC curve (AUC) and Brier score of the probability, its
reliability (how many of those with a probability are labelled), and the error of the crosstalk. The priors of the
method were tuned on other seeds (3000 to 3069).
"""

import argparse
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from rsc2p_kedro.algorithms.evaluation.red_label import label_components, mean_traces
from rsc2p_kedro.algorithms.summary_images import summarize
from rsc2p_kedro.core.parameters import Acquisition, Compute, ExtractionParameters, MotionCorrectionParameters
from rsc2p_kedro.core.results import Components, RedLabels
from rsc2p_kedro.engines.embedded import EmbeddedEngine
from rsc2p_kedro.simulation.movie import simulate
from rsc2p_kedro.simulation.settings import SimulationSettings
from rsc2p_kedro.simulation.truth import (
    SimulatedTruth,
    align_footprints,
    area_under_roc,
    intersection_over_union,
    match_footprints,
)

ACQUISITION = Acquisition(frame_rate_hz=10)
COMPUTE = Compute(show_progress=False)
EDGES = (0, 0.05, 0.2, 0.5, 0.8, 0.95, 1.001)


def settings_of(seed: int) -> SimulationSettings:
    """Settings of one recording, drawn from its seed."""
    rng = np.random.default_rng([seed, 77])
    return SimulationSettings(
        seed=seed,
        n_frames=400,
        height_px=128,
        width_px=128,
        n_neurons=int(rng.choice([12, 24])),
        tissue=str(rng.choice(["smooth", "processes"])),
        photons=float(rng.choice([6, 12, 24])),
        crosstalk=float(rng.choice([0, 0.05, 0.1, 0.2, 0.4])),
        red_share=float(rng.choice([0, 0.15, 0.3, 0.6])),
        red_strength=float(rng.choice([0.2, 0.4, 0.8])),
    )


def process(settings: SimulationSettings) -> tuple[Components, RedLabels, SimulatedTruth]:
    """Motion correction by the functional channel, extraction and labels, at default parameters."""
    engine, parameters = EmbeddedEngine(), MotionCorrectionParameters()
    recording = simulate(settings, ACQUISITION, structural=True)
    green, red = recording.movie.persist(), recording.structural_movie.persist()
    motion = engine.correct_motion(green, parameters, compute=COMPUTE)
    green, red = (engine.apply_motion(movie, motion, parameters).persist() for movie in (green, red))
    extraction = ExtractionParameters()
    options = {"compute": COMPUTE, "valid_mask": motion.valid_mask}
    fit = engine.extract_sources(green, ACQUISITION, extraction, **options)
    components = engine.extract_sources(green, ACQUISITION, extraction, **options, earlier=fit)
    labels = label_components(
        components,
        summarize(red, compute=COMPUTE).mean,
        summarize(green, compute=COMPUTE).mean,
        mean_traces(red, components.footprints, compute=COMPUTE),
        mean_traces(green, components.footprints, compute=COMPUTE),
        motion.valid_mask,
        half_width_px=components.neuron_half_width_px or 4.0,
    )
    return components, labels, recording.truth


def matched(components: Components, labels: RedLabels, truth: SimulatedTruth) -> tuple[NDArray, NDArray]:
    """Probability of the components that match a neuron, and whether the neuron is labelled."""
    iou = intersection_over_union(truth.footprints, align_footprints(truth, components.footprints))
    neurons, found = match_footprints(iou)
    return labels.red_probability[found].astype(float), truth.labelled[neurons]


def main() -> None:
    """Processes all recordings and prints their scores, then those of all components together."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(9000, 9020)))
    every = []
    for seed in parser.parse_args().seeds:
        settings = settings_of(seed)
        components, labels, truth = process(settings)
        probability, labelled = matched(components, labels, truth)
        every.append((probability, labelled))
        brier = np.mean((probability - labelled) ** 2) if len(labelled) else np.nan
        print(
            f"{seed} {settings.tissue:<9} photons {settings.photons:>4g} strength {settings.red_strength:g} "
            f"labelled {labelled.sum():>2} of {len(labelled):>2}: AUC {area_under_roc(probability, labelled):.3f}, "
            f"Brier {brier:.3f}, crosstalk {labels.crosstalk:.3f} ± "
            f"{labels.crosstalk_error:.3f} (true {settings.crosstalk:g})",
            flush=True,
        )
    probability, labelled = (np.concatenate(part) for part in zip(*every, strict=True))
    print(f"all: AUC {area_under_roc(probability, labelled):.3f}, Brier {np.mean((probability - labelled) ** 2):.3f}")
    for low, high in pairwise(EDGES):
        inside = (probability >= low) & (probability < high)
        if inside.any():
            share, mean = labelled[inside].mean(), probability[inside].mean()
            print(f"probability {low:.2f} to {high:.2f}: mean {mean:.2f}, labelled {share:.2f} of {inside.sum()}")


if __name__ == "__main__":
    main()
