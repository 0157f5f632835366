"""Trains the classifier of footprint and trace on simulated movies, and measures its accuracy on others.

    python benchmarks/train_classifier.py [--movies 44] [--unseen 16] [--cache FOLDER] [--write]
    python benchmarks/train_classifier.py --measure [--unseen 16] [--cache FOLDER]

Every movie has different settings (:func:`draw_settings`: size, density, photons, activity, residual motion, neuropil,
frame rate, indicator). Components are extracted by default (`adaptive`) and with a fixed number a patch (`greedy_roi`),
which leaves many that are not neurons; one of the two is refitted. A component is a neuron if its footprint overlaps
with a true one by an IoU of 0.5 or more.

Each network is trained by L-BFGS on a bootstrap sample of movies, with cross-entropy and a penalty on squared weights.
Number of units and penalty were chosen by cross-validation over movies. `--write` replaces the weights in the package;
`--measure` trains nothing, and measures the weights in the package on the unseen movies.
"""

import argparse
from collections.abc import Iterable
from pathlib import Path

import dask.array as da
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from rsc2p_kedro import __version__
from rsc2p_kedro.algorithms import evaluation
from rsc2p_kedro.algorithms.evaluation import accept_components
from rsc2p_kedro.algorithms.evaluation import classifier as package
from rsc2p_kedro.algorithms.evaluation.classifier import MAX_ABS_Z, Classifier, load_classifier
from rsc2p_kedro.core.parameters import Acquisition, Compute, EvaluationParameters, ExtractionParameters
from rsc2p_kedro.engines.embedded import EmbeddedEngine
from rsc2p_kedro.simulation.movie import simulate
from rsc2p_kedro.simulation.settings import SimulationSettings
from rsc2p_kedro.simulation.truth import intersection_over_union

WEIGHTS = Path(package.__file__).with_name("classifier.json")
INITIALIZATIONS = ("adaptive", "greedy_roi")
NETWORKS, UNITS, PENALTY = 8, 8, 3e-3
DIGITS = 6
"""Significant digits that weights are stored with."""
Table = dict[str, NDArray]
"""Columns of equal length, one row a component: features by name, and `movie`, `adaptive`, `iou`."""


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def draw_settings(seed: int) -> tuple[SimulationSettings, Acquisition, dict[str, int]]:
    """Settings of movie, acquisition and extraction (half-width of a neuron, patches), drawn at random."""
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
    # Users estimate the size of neurons by eye, up to 20 % wrong.
    half_width = max(2, round(radius / 1.15 * rng.uniform(0.8, 1.2)))
    extraction = {
        "neuron_half_width_px": half_width,
        "components_per_patch": int(rng.choice([2, 4, 6])),
        "patch_half_width_px": max(15, round(3.5 * half_width)),
        "patch_overlap_px": max(10, round(2.5 * half_width)),
    }
    return SimulationSettings.model_validate(settings), acquisition, extraction


def _candidates(seed: int, compute: Compute) -> Iterable[Table]:
    """Features of the components of one movie, by each initialization."""
    settings, acquisition, extraction = draw_settings(seed)
    recording, engine = simulate(settings, acquisition), EmbeddedEngine()
    movie = da.from_array(recording.movie.compute(scheduler="threads"), chunks=(64, -1, -1))
    for k, kind in enumerate(INITIALIZATIONS):
        parameters = ExtractionParameters.model_validate(extraction | {"initialization": kind})
        components = engine.extract_sources(movie, acquisition, parameters, compute=compute)
        if k == seed % 2:
            components = engine.extract_sources(movie, acquisition, parameters, compute=compute, earlier=components)
        if not components.n_components:
            continue
        overlap = intersection_over_union(recording.truth.footprints, components.footprints).max(axis=0)
        origin = {"movie": seed, "adaptive": kind == "adaptive"}
        columns = {name: np.full(components.n_components, value) for name, value in origin.items()} | {"iou": overlap}
        yield columns | evaluation.component_features(movie, components, acquisition, compute=compute)


def candidates(seed: int, cache: Path, compute: Compute) -> Table:
    """Features of the components of one movie, cached in a folder so that an interrupted run continues."""
    path = cache / f"movie_{seed}.npz"
    if not path.exists():
        np.savez(path, **_stack(_candidates(seed, compute)))
        print(f"movie {seed} extracted", flush=True)
    with np.load(path, allow_pickle=False) as stored:
        return dict(stored)


def _stack(parts: Iterable[Table]) -> Table:
    tables = list(parts)
    return {name: np.concatenate([table[name] for table in tables]) for name in (tables[0] if tables else ())}


def train_network(
    z: NDArray, is_cell: NDArray[np.bool_], weights: NDArray, rng: np.random.Generator, *, units: int, penalty: float
) -> tuple[NDArray, NDArray, NDArray, float]:
    """One network (V, c, w, d) for standardized features z (N, F), with some weight (N,) on each component."""
    n_features, share = z.shape[1], weights / weights.sum()
    cuts = np.cumsum([n_features * units, units, units])

    def unpack(theta: NDArray) -> tuple[NDArray, NDArray, NDArray, float]:
        V, c, w, d = np.split(theta, cuts)
        return V.reshape(n_features, units), c, w, float(d[0])

    def loss(theta: NDArray) -> tuple[float, NDArray]:
        V, c, w, d = unpack(theta)
        hidden = np.tanh(z @ V + c)
        logit = hidden @ w + d
        value = share @ (np.logaddexp(0, logit) - is_cell * logit) + penalty * ((V**2).sum() + (w**2).sum())
        error = share * (expit(logit) - is_cell)
        inner = np.outer(error, w) * (1 - hidden**2)
        gradients = [(z.T @ inner + 2 * penalty * V).ravel(), inner.sum(axis=0), hidden.T @ error + 2 * penalty * w]
        return float(value), np.concatenate([*gradients, [error.sum()]])

    start = [rng.normal(0, n_features**-0.5, n_features * units), np.zeros(units), rng.normal(0, 0.5, units), [0.0]]
    result = minimize(loss, np.concatenate(start), jac=True, method="L-BFGS-B", options={"maxiter": 400})
    return unpack(result.x)


def _rounded(values: NDArray) -> NDArray[np.float64]:
    return np.vectorize(lambda v: float(f"{v:.{DIGITS}g}"))(values)


def train(table: Table, provenance: dict[str, object]) -> Classifier:
    """Networks on bootstrap samples of the movies of a table."""
    names = tuple(name for name in table if name not in ("movie", "adaptive", "iou"))
    x, is_cell, movies = np.stack([table[n] for n in names], axis=1), table["iou"] >= 0.5, np.unique(table["movie"])
    mean, scale = x.mean(axis=0), x.std(axis=0) + 1e-9
    z, networks = np.clip((x - mean) / scale, -MAX_ABS_Z, MAX_ABS_Z), []
    for k in range(NETWORKS):
        rng = np.random.default_rng([7, k])
        times = np.bincount(np.searchsorted(movies, rng.choice(movies, len(movies))), minlength=len(movies))
        weights = times[np.searchsorted(movies, table["movie"])].astype(float)
        networks.append(train_network(z, is_cell, weights, rng, units=UNITS, penalty=PENALTY))
    arrays = [_rounded(np.array(part)) for part in zip(*networks, strict=True)]
    return Classifier(names, _rounded(mean), _rounded(scale), *arrays, provenance=provenance)


def measure(trained: Classifier, table: Table) -> dict[str, dict[str, float]]:
    """Precision, and recall of the neurons extracted, of accepted components without and with the classifier."""
    cells, result = table["iou"] >= 0.5, {}
    snr, r_value = np.expm1(table["snr"]), np.tanh(table["r_value"])
    scores = trained.score(table)
    for kind in INITIALIZATIONS:
        here = table["adaptive"] == (kind == "adaptive")
        for name, score in (("snr and r_value", None), ("and classifier", scores[here])):
            accepted, _ = accept_components(snr[here], r_value[here], EvaluationParameters(), classifier_score=score)
            result[f"{kind}, {name}"] = {
                "components": int(here.sum()),
                "neurons": int(cells[here].sum()),
                "precision": round(float(cells[here][accepted].mean()), 3),
                "recall": round(float(accepted[cells[here]].mean()), 3),
            }
    return result


def main() -> None:
    """Reads the command line, trains, prints the accuracy, and writes the weights if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--movies", type=int, default=44, help="movies to train on: seeds 0 ...")
    parser.add_argument("--unseen", type=int, default=16, help="movies to measure on: seeds 500 ...")
    parser.add_argument("--cache", type=Path, default=Path("data/training"), help="folder for features of components")
    parser.add_argument("--write", action="store_true", help="replace the weights in the package")
    parser.add_argument("--measure", action="store_true", help="measure the weights in the package, without training")
    options = parser.parse_args()
    options.cache.mkdir(parents=True, exist_ok=True)
    compute = Compute(threads=2, show_progress=False)
    unseen = _stack(candidates(500 + seed, options.cache, compute) for seed in range(options.unseen))
    if options.measure:
        for name, values in measure(load_classifier(), unseen).items():
            print(name, values)
        return
    seen = _stack(candidates(seed, options.cache, compute) for seed in range(options.movies))
    provenance: dict[str, object] = {
        "made_by": f"benchmarks/train_classifier.py of rsc2p-kedro {__version__}",
        "data": f"simulated movies only: draw_settings(0 ... {options.movies - 1})",
        "components": len(seen["iou"]),
        "neurons": int((seen["iou"] >= 0.5).sum()),
        "networks": NETWORKS,
        "units": UNITS,
        "penalty": PENALTY,
    }
    trained = train(seen, provenance)
    accuracy = measure(trained, unseen)
    provenance["unseen"] = accuracy | {"data": f"draw_settings(500 ... {499 + options.unseen})"}
    for name, values in accuracy.items():
        print(name, values)
    if options.write:
        WEIGHTS.write_text(trained.to_json(), encoding="utf-8")
        print(f"{WEIGHTS}: {WEIGHTS.stat().st_size} bytes")


if __name__ == "__main__":
    main()
