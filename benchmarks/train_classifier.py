"""Trains the classifier of components on simulated movies, and measures it on others.

    python benchmarks/train_classifier.py [--movies 80] [--unseen 20] [--cache FOLDER] [--figure PNG] [--write]
    python benchmarks/train_classifier.py --measure [--unseen 20] [--cache FOLDER] [--figure PNG]
    python benchmarks/train_classifier.py --ablate [--movies 80] [--cache FOLDER]

Three of four movies are of tissue (:func:`draw_tissue_settings`, 192 x 192 px, 900 frames): somata of many sizes and
densities over processes, spots and somata out of focus, registered by this project. Every fourth is smooth
(:func:`draw_smooth_settings`). Components are extracted by default (`adaptive`, with a refit) and, from half of the
movies, with a fixed number a patch (`greedy_roi`), which leaves many that are not neurons. The simulator's objects say
what each component is (:func:`kinds_of`): spots are processes; pieces of somata, and what lies on nothing, are `other`.
Each component counts twice: with the half-width of a neuron on record, and with one up to 20 % wrong.

Each network is trained by L-BFGS on a bootstrap sample of movies, with cross-entropy and a penalty on squared weights.
Of the training movies every fifth is kept from the networks; the temperature that calibrates the probabilities is
fitted on these. Neither has seen the `--unseen` movies, on which the printed figures are measured.

`--cache` is the folder of the components' features, which the script fills, so that an interrupted run continues;
delete it after a change of the engine or of the features. `--write` replaces the weights in the package; `--measure`
trains nothing, and measures the weights in the package; `--ablate` prints what each group of features is worth.
"""

import argparse
import json
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import dask.array as da
import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize, minimize_scalar

from rsc2p_kedro import __version__
from rsc2p_kedro.algorithms import evaluation
from rsc2p_kedro.algorithms.evaluation import accept_components
from rsc2p_kedro.algorithms.evaluation import classifier as package
from rsc2p_kedro.algorithms.evaluation.classifier import MAX_ABS_Z, Classifier, load_classifier, softmax
from rsc2p_kedro.core.parameters import (
    Acquisition,
    Compute,
    EvaluationParameters,
    ExtractionParameters,
    MotionCorrectionParameters,
)
from rsc2p_kedro.core.results import COMPONENT_CLASSES, Components
from rsc2p_kedro.engines.embedded import EmbeddedEngine
from rsc2p_kedro.simulation.movie import SimulatedRecording, simulate
from rsc2p_kedro.simulation.object_scores import kinds_of
from rsc2p_kedro.simulation.settings import SimulationSettings
from rsc2p_kedro.simulation.truth import align_footprints, intersection_over_union
from rsc2p_kedro.simulation.varied import draw_tissue_settings

WEIGHTS = Path(package.__file__).with_name("classifier.json")
CLASS_OF_KIND = {"soma": "soma", "process": "process", "spot": "process", "out_of_focus": "out_of_focus"}
"""Class of a component by the kind of object that it lies on; `other` for all other kinds."""
NETWORKS, UNITS, PENALTY = 8, 16, 1e-3
SMOOTH_EVERY, GREEDY_EVERY, CALIBRATION_EVERY = 4, 2, 5
"""Every how many movies one is smooth, one is also extracted by `greedy_roi`, and one serves calibration only."""
FIRST_UNSEEN = 500
"""Seed of the first movie that is not used in training."""
WIDTH_OF_RADIUS = 1.0
"""Half-width of a neuron over its radius, as the engine measures it."""
WIDTH_ERROR = 0.2
"""Largest relative error of the half-width of a neuron that a user gives."""
DIGITS = 6
"""Significant digits that weights are stored with."""
PROBABILITY_BINS = np.linspace(0, 1, 11)
GROUPS = {
    "rings about the centre": ("footprint_ring", "transient_ring"),
    "outline": ("solidity", "raggedness", "elongation", "log_radius_ratio", "largest_part_fraction"),
    "size": ("log_area_ratio", "log_minor_half_axis", "log_major_half_axis", "flatness"),
    "profiles across the edge": ("footprint_edge", "transient_edge", "sharpness"),
    "surroundings of the transient image": ("outside",),
    "trace": ("pre_", "post_", "denoised", "residual", "background"),
    "neighbours": ("max_overlap", "neighbour"),
}
"""Prefixes of the names of features by group, for `--ablate`."""
Table = dict[str, NDArray]
"""Columns of equal length, one row a component: features by name, and `movie`, `smooth`, `adaptive`, `label` (index of
its class), `raw_snr` and `raw_r_value`."""
NOT_FEATURES = ("movie", "smooth", "adaptive", "label", "raw_snr", "raw_r_value")


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def draw_smooth_settings(seed: int) -> tuple[SimulationSettings, Acquisition]:
    """Settings of a movie of smooth discs without other objects, and its acquisition, drawn at random."""
    rng = np.random.default_rng([20261122, seed])
    radius = float(rng.uniform(3.4, 6.8))
    acquisition = Acquisition(
        frame_rate_hz=float(rng.choice([5.0, 7.0, 10.0, 14.7, 20.0, 30.0])),
        decay_time_s=float(rng.choice([0.3, 0.4, 0.7, 1.0, 1.3])),
    )
    settings = {
        "seed": 1000 + seed,
        "n_frames": int(rng.integers(600, 1001)),
        "n_neurons": 4 + int(_log_uniform(rng, 8, 60) * (4.6 / radius) ** 1.3),
        "neuron_radius_px": radius,
        "hollow_share": rng.uniform(0, 1),
        "overlap_share": rng.uniform(0, 0.5),
        "amplitude": _log_uniform(rng, 0.1, 0.6),
        "rise_time_s": float(rng.choice([0.0, 0.05, 0.15])),
        "spike_rate_hz": _log_uniform(rng, 0.005, 0.3),
        "burst_rate_hz": _log_uniform(rng, 0.01, 0.15),
        # Residual motion: the movie is not registered.
        "motion": str(rng.choice(["none", "walk", "jerks"])),
        "rigid_amplitude_px": rng.uniform(0.2, 1.0),
        "warp_amplitude_px": rng.uniform(0, 0.8),
        "warp_scale_px": rng.uniform(50, 120),
        "neuropil_strength": _log_uniform(rng, 0.3, 4),
        "n_vessels": int(rng.integers(0, 6)),
        "vignetting": rng.uniform(0, 0.6),
        "bleaching": rng.uniform(0, 0.3),
        "photons": _log_uniform(rng, 2, 60),
        "read_noise": rng.uniform(2, 30),
        "offset": rng.uniform(0, 300),
    }
    return SimulationSettings.model_validate(settings), acquisition


def draw_movie(seed: int) -> tuple[SimulationSettings, Acquisition, bool]:
    """Settings of a movie, its acquisition, and whether it is a smooth one."""
    if seed % SMOOTH_EVERY == SMOOTH_EVERY - 1:
        return *draw_smooth_settings(seed), True
    return *draw_tissue_settings(20_000 + seed, n_frames=900, side_px=192), False


def _registered(
    recording: SimulatedRecording, settings: SimulationSettings, compute: Compute
) -> tuple[da.Array, NDArray[np.bool_]]:
    """The movie of a recording after motion correction, and the mask of its valid pixels."""
    engine, reach = EmbeddedEngine(), int(max(6, np.ceil(2 * settings.rigid_amplitude_px)))
    raw = da.from_array(recording.movie.compute(scheduler="synchronous"), chunks=(64, -1, -1))
    parameters = MotionCorrectionParameters(max_shift_px=reach)
    motion = engine.correct_motion(raw, parameters, compute=compute)
    corrected = engine.apply_motion(raw, motion, parameters).compute(scheduler="synchronous")
    return da.from_array(corrected, chunks=(64, -1, -1)), motion.valid_mask


def label_components(recording: SimulatedRecording, components: Components) -> NDArray[np.intp]:
    """Index of the class of each component, from the objects of the simulation."""
    truth, objects = recording.truth, recording.objects
    reach = max(3, int(np.ceil(np.abs(truth.rigid_motion).max(initial=0))))
    footprints = align_footprints(truth, components.footprints, max_offset_px=reach)
    if objects is None:
        found = intersection_over_union(truth.footprints, footprints).max(axis=0) >= 0.5
        kinds = np.where(found, "soma", "nothing")
    else:
        kinds = kinds_of(footprints, objects)
    return np.array([COMPONENT_CLASSES.index(CLASS_OF_KIND.get(str(kind), "other")) for kind in kinds], np.intp)


def extract(
    movie: da.Array, valid_mask: NDArray[np.bool_] | None, acquisition: Acquisition, extraction: ExtractionParameters
) -> Components:
    """Components of a movie after the refit."""
    engine, compute = EmbeddedEngine(), Compute(threads=1, show_progress=False)
    first = engine.extract_sources(movie, acquisition, extraction, compute=compute, valid_mask=valid_mask)
    return engine.extract_sources(movie, acquisition, extraction, compute=compute, valid_mask=valid_mask, earlier=first)


def _extraction(width_px: float, kind: str, rng: np.random.Generator) -> ExtractionParameters:
    """Parameters as a user would set them, who estimates the size of neurons by eye, up to 20 % wrong.

    Half of the users leave the size to the engine, if that finds it by default.
    """
    found_by_default = not isinstance(ExtractionParameters.model_fields["neuron_half_width_px"].default, int)
    if found_by_default and rng.random() < 0.5:
        return ExtractionParameters.model_validate({"initialization": kind})
    given = max(2, round(width_px * rng.uniform(1 - WIDTH_ERROR, 1 + WIDTH_ERROR)))
    return ExtractionParameters.model_validate(
        {
            "initialization": kind,
            "neuron_half_width_px": given,
            "components_per_patch": int(rng.choice([2, 4, 6])),
            "patch_half_width_px": max(15, round(3.5 * given)),
            "patch_overlap_px": max(10, round(2.5 * given)),
        }
    )


def _candidates(seed: int) -> Iterator[Table]:
    """Features and labels of the components of one movie."""
    settings, acquisition, smooth = draw_movie(seed)
    rng, compute = np.random.default_rng([20261125, seed]), Compute(threads=1, show_progress=False)
    recording = simulate(settings, acquisition)
    if smooth:  # its motion is a residual one
        raw = recording.movie.compute(scheduler="synchronous")
        movie, mask = da.from_array(raw, chunks=(64, -1, -1)), None
    else:
        movie, mask = _registered(recording, settings, compute)
    width = settings.neuron_radius_px * WIDTH_OF_RADIUS
    for kind in ("adaptive", "greedy_roi") if seed % GREEDY_EVERY == 0 or smooth else ("adaptive",):
        components = extract(movie, mask, acquisition, _extraction(width, kind, rng))
        if not components.n_components:
            continue
        label = label_components(recording, components)
        origin = {"movie": seed, "smooth": smooth, "adaptive": kind == "adaptive"}
        columns = {name: np.full(components.n_components, value) for name, value in origin.items()}
        for half_width in (components.neuron_half_width_px, width * rng.uniform(1 - WIDTH_ERROR, 1 + WIDTH_ERROR)):
            scaled = replace(components, neuron_half_width_px=half_width)
            features = evaluation.component_features(movie, scaled, acquisition, compute=compute)
            plain = EvaluationParameters(accept=None)
            quality = evaluation.evaluate_components(movie, scaled, acquisition, plain, compute=compute)
            yield columns | {"label": label, "raw_snr": quality.snr, "raw_r_value": quality.r_value} | features


def fill_cache(seed: int, cache: Path) -> Path:
    """The file with the features of one movie, which is made if it does not exist."""
    path = cache / f"movie_{seed}.npz"
    if not path.exists():
        np.savez(path, **_stack(_candidates(seed)))
        print(f"movie {seed} done", flush=True)
    return path


def read_tables(seeds: Iterable[int], cache: Path, processes: int) -> Table:
    """Features of the components of some movies."""
    with ProcessPoolExecutor(processes) as pool:
        paths = list(pool.map(partial(fill_cache, cache=cache), seeds))
    return _stack(dict(np.load(path, allow_pickle=False)) for path in paths)


def _stack(parts: Iterable[Table]) -> Table:
    tables = [table for table in parts if table]
    return {name: np.concatenate([table[name] for table in tables]) for name in (tables[0] if tables else ())}


def _select(table: Table, keep: NDArray) -> Table:
    return {name: column[keep] for name, column in table.items()}


def train_network(
    z: NDArray, label: NDArray[np.intp], weights: NDArray, rng: np.random.Generator
) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """One network (V, c, W, d) for standardized features z (N, F), with some weight (N,) on each component."""
    n_features, n_classes, share = z.shape[1], len(COMPONENT_CLASSES), (weights / weights.sum())[:, None]
    target, cuts = np.eye(n_classes)[label], np.cumsum([n_features * UNITS, UNITS, UNITS * n_classes])

    def unpack(theta: NDArray) -> tuple[NDArray, NDArray, NDArray, NDArray]:
        V, c, W, d = np.split(theta, cuts)
        return V.reshape(n_features, UNITS), c, W.reshape(UNITS, n_classes), d

    def loss(theta: NDArray) -> tuple[float, NDArray]:
        V, c, W, d = unpack(theta)
        hidden = np.tanh(z @ V + c)
        probabilities = softmax(hidden @ W + d)
        value = -(share * target * np.log(np.maximum(probabilities, 1e-300))).sum()
        value += PENALTY * ((V**2).sum() + (W**2).sum())
        error = share * (probabilities - target)
        inner = (error @ W.T) * (1 - hidden**2)
        gradients = [z.T @ inner + 2 * PENALTY * V, inner.sum(axis=0), hidden.T @ error + 2 * PENALTY * W]
        return float(value), np.concatenate([*(g.ravel() for g in gradients), error.sum(axis=0)])

    start = [rng.normal(0, n_features**-0.5, n_features * UNITS), np.zeros(UNITS)]
    start += [rng.normal(0, 0.5, UNITS * n_classes), np.zeros(n_classes)]
    result = minimize(loss, np.concatenate(start), jac=True, method="L-BFGS-B", options={"maxiter": 400})
    return unpack(result.x)


def _rounded(values: NDArray) -> NDArray[np.float64]:
    return np.vectorize(lambda v: float(f"{v:.{DIGITS}g}"))(values)


def feature_names(table: Table) -> tuple[str, ...]:
    """Names of the columns that are features."""
    return tuple(name for name in table if name not in NOT_FEATURES)


def train(table: Table, names: tuple[str, ...], *, networks: int = NETWORKS) -> Classifier:
    """Networks on bootstrap samples of the movies of a table; the temperature is 1."""
    x, movies = np.stack([table[n] for n in names], axis=1), np.unique(table["movie"])
    mean, scale = x.mean(axis=0), x.std(axis=0) + 1e-9
    z, trained = np.clip((x - mean) / scale, -MAX_ABS_Z, MAX_ABS_Z), []
    for k in range(networks):
        rng = np.random.default_rng([7, k])
        times = np.bincount(np.searchsorted(movies, rng.choice(movies, len(movies))), minlength=len(movies))
        weights = times[np.searchsorted(movies, table["movie"])].astype(float)
        trained.append(train_network(z, table["label"], weights, rng))
    arrays = [_rounded(np.array(part)) for part in zip(*trained, strict=True)]
    return Classifier(names, _rounded(mean), _rounded(scale), *arrays, temperature=1.0, provenance={})


def log_loss(trained: Classifier, table: Table) -> float:
    """Mean negative log-likelihood of the labels of a table in nats."""
    probabilities = trained.probabilities(table).astype(np.float64)
    return float(-np.log(np.maximum(probabilities[np.arange(len(probabilities)), table["label"]], 1e-12)).mean())


def calibrated(trained: Classifier, table: Table) -> Classifier:
    """The classifier with the temperature under which the labels of a table are most probable."""
    result = minimize_scalar(
        lambda log_t: log_loss(replace(trained, temperature=float(np.exp(log_t))), table), bounds=(-1.5, 1.5)
    )
    return replace(trained, temperature=float(f"{np.exp(result.x):.4g}"))


def ablate(table: Table) -> None:
    """Prints the loss on every fifth movie without each group of features; the networks see the others."""
    held = np.isin(table["movie"], np.unique(table["movie"])[::5])
    seen, unseen, names = _select(table, ~held), _select(table, held), feature_names(table)
    print(f"{'all':40s} {log_loss(train(seen, names, networks=4), unseen):.4f}", flush=True)
    for group, prefixes in GROUPS.items():
        kept = tuple(name for name in names if not name.startswith(prefixes))
        loss = log_loss(train(seen, kept, networks=4), unseen)
        print(f"{'without ' + group:40s} {loss:.4f}  ({len(names) - len(kept)} features)", flush=True)


def class_rows(trained: Classifier, table: Table) -> list[dict[str, object]]:
    """Precision and recall of each class, if every component has its most probable class."""
    found, label = trained.probabilities(table).argmax(axis=1), table["label"]
    return [
        {
            "class": name,
            "components": int((label == k).sum()),
            "precision": round(float((label[found == k] == k).mean()), 3) if (found == k).any() else None,
            "recall": round(float((found[label == k] == k).mean()), 3) if (label == k).any() else None,
        }
        for k, name in enumerate(COMPONENT_CLASSES)
    ]


def acceptance_rows(trained: Classifier, table: Table) -> list[dict[str, object]]:
    """Share of somata among the accepted, and of the somata extracted that are accepted, without and with classes."""
    probabilities = trained.probabilities(table)
    classes = [COMPONENT_CLASSES[k] for k in probabilities.argmax(axis=1)]
    measures, rows = (table["raw_snr"], table["raw_r_value"]), []
    plain, _ = accept_components(*measures, EvaluationParameters(accept=None))
    classed, _ = accept_components(*measures, EvaluationParameters(), classes=classes, probabilities=probabilities)
    for movies, smooth in (("tissue", False), ("smooth", True)):
        for kind, adaptive in (("adaptive", True), ("greedy_roi", False)):
            here, soma = (table["smooth"] == smooth) & (table["adaptive"] == adaptive), table["label"] == 0
            for rule, accepted in (("thresholds", plain), ("and class", classed)):
                rows.append(
                    {
                        "movies": movies,
                        "initialization": kind,
                        "rule": rule,
                        "components": int(here.sum()),
                        "somata": int((here & soma).sum()),
                        "precision": round(float(soma[here & accepted].mean()), 3) if (here & accepted).any() else None,
                        "recall": round(float(accepted[here & soma].mean()), 3) if (here & soma).any() else None,
                    }
                )
    return rows


def calibration_rows(trained: Classifier, table: Table) -> list[dict[str, object]]:
    """Mean probability and observed share of each class, by bins of the probability."""
    probabilities, rows = trained.probabilities(table).astype(np.float64), []
    for k, name in enumerate(COMPONENT_CLASSES):
        bins = np.clip(np.digitize(probabilities[:, k], PROBABILITY_BINS) - 1, 0, len(PROBABILITY_BINS) - 2)
        for b in np.unique(bins):
            here = bins == b
            share = float((table["label"][here] == k).mean())
            mean = float(probabilities[here, k].mean())
            rows.append(
                {"class": name, "components": int(here.sum()), "mean": round(mean, 3), "observed": round(share, 3)}
            )
    return rows


def calibration_error(rows: list[dict[str, object]], name: str) -> float:
    """Mean absolute difference of probability and observed share of one class, weighted by components."""
    mine = [(float(str(r["components"])), float(str(r["mean"])), float(str(r["observed"]))) for r in rows]
    mine = [one for one, r in zip(mine, rows, strict=True) if r["class"] == name]
    return sum(n * abs(mean - observed) for n, mean, observed in mine) / sum(n for n, _, _ in mine)


def draw_calibration(rows: list[dict[str, object]], path: Path) -> None:
    """Draws the observed share over the probability of each class."""
    figure, axes = plt.subplots(1, len(COMPONENT_CLASSES), figsize=(11, 3.2), sharey=True, layout="constrained")
    for ax, name in zip(axes, COMPONENT_CLASSES, strict=True):
        mine = [r for r in rows if r["class"] == name]
        sizes = 6 + 1.5 * np.sqrt([float(str(r["components"])) for r in mine])
        ax.plot([0, 1], [0, 1], color="0.7", lw=1)
        ax.plot([r["mean"] for r in mine], [r["observed"] for r in mine], color="#0072B2", lw=1)
        ax.scatter([r["mean"] for r in mine], [r["observed"] for r in mine], s=sizes, color="#0072B2")
        ax.set_title(f"{name} (mean error {calibration_error(rows, name):.3f})", fontsize=10)
        ax.set(xlabel="probability", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    axes[0].set_ylabel("observed share")
    figure.savefig(path, dpi=110)


def measure(trained: Classifier, table: Table, figure: Path | None) -> dict[str, object]:
    """Prints precision and recall of classes and of acceptance, and the calibration; draws the latter."""
    classes, acceptance, calibration = (f(trained, table) for f in (class_rows, acceptance_rows, calibration_rows))
    errors = {name: round(calibration_error(calibration, name), 3) for name in COMPONENT_CLASSES}
    for row in [*classes, *acceptance, *calibration]:
        print(" | ".join(f"{value}" for value in row.values()))
    loss = round(log_loss(trained, table), 3)
    print(f"temperature {trained.temperature}, log loss {loss}, mean calibration error {json.dumps(errors)}")
    if figure is not None:
        draw_calibration(calibration, figure)
    return {"classes": classes, "acceptance": acceptance, "calibration_error": errors, "log_loss": loss}


def main() -> None:
    """Reads the command line, trains, prints the accuracy, and writes the weights if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--movies", type=int, default=80, help="movies to train on: seeds 0 ...")
    parser.add_argument("--unseen", type=int, default=20, help=f"movies to measure on: seeds {FIRST_UNSEEN} ...")
    parser.add_argument("--cache", type=Path, default=Path("data/training"), help="folder for features of components")
    parser.add_argument("--processes", type=int, default=2, help="movies that are made at the same time")
    parser.add_argument("--figure", type=Path, help="PNG to draw the calibration to")
    parser.add_argument("--write", action="store_true", help="replace the weights in the package")
    parser.add_argument("--measure", action="store_true", help="measure the weights in the package, without training")
    parser.add_argument("--ablate", action="store_true", help="measure groups of features, without writing")
    options = parser.parse_args()
    options.cache.mkdir(parents=True, exist_ok=True)
    tables = partial(read_tables, cache=options.cache, processes=options.processes)
    if options.ablate:
        ablate(tables(range(options.movies)))
        return
    unseen = tables(range(FIRST_UNSEEN, FIRST_UNSEEN + options.unseen))
    if options.measure:
        measure(load_classifier(), unseen, options.figure)
        return
    table = tables(range(options.movies))
    for_calibration = table["movie"] % CALIBRATION_EVERY == 0
    seen = _select(table, ~for_calibration)
    trained = calibrated(train(seen, feature_names(table)), _select(table, for_calibration))
    provenance: dict[str, object] = {
        "made_by": f"benchmarks/train_classifier.py of rsc2p-kedro {__version__}",
        "data": f"simulated movies only: seeds 0 ... {options.movies - 1}",
        "calibration": f"temperature fitted on every {CALIBRATION_EVERY}th of them, which the networks have not seen",
        "components": {name: int((table["label"] == k).sum() // 2) for k, name in enumerate(COMPONENT_CLASSES)},
        "networks": NETWORKS,
        "units": UNITS,
        "penalty": PENALTY,
    }
    last = FIRST_UNSEEN + options.unseen - 1
    provenance["unseen"] = measure(trained, unseen, options.figure) | {"data": f"seeds {FIRST_UNSEEN} ... {last}"}
    if options.write:
        WEIGHTS.write_text(replace(trained, provenance=provenance).to_json(), encoding="utf-8")
        print(f"{WEIGHTS}: {WEIGHTS.stat().st_size} bytes")


if __name__ == "__main__":
    main()
