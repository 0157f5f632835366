"""Trains the classifier of shape and trace on simulated movies, and measures it on others.

    python benchmarks/train_classifier.py [--movies 44] [--unseen 16] [--cache FOLDER] [--write]

Every movie has other settings (:func:`draw_settings`: size, density, light, activity, motion left over, neuropil, frame
rate, indicator) and is searched twice: as by default (`adaptive`), and for a fixed number of components a patch
(`greedy_roi`), which leaves many that are no neurons; one of the two is refitted. A component is a neuron if its
footprint overlaps with a true one by an IoU of 0.5 or more.

Each network is trained by L-BFGS on a bootstrap sample of movies, with cross-entropy and a penalty on squared weights.
Number of units and penalty were chosen by cross-validation over movies. `--write` replaces the weights in the package.
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
from rsc2p_kedro.algorithms.evaluation import classifier as package
from rsc2p_kedro.algorithms.evaluation import decide
from rsc2p_kedro.algorithms.evaluation.classifier import CLIP, Classifier
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
    """Movie, recording and the settings of the search (half-width of a neuron, patches), drawn at random."""
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
        # What registration leaves: the movie is searched as it is.
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
    # Users measure the size of neurons by eye.
    half_width = max(2, round(radius / 1.15 * rng.uniform(0.8, 1.2)))
    search = {
        "neuron_half_width_px": half_width,
        "components_per_patch": int(rng.choice([2, 4, 6])),
        "patch_half_width_px": max(15, round(3.5 * half_width)),
        "patch_overlap_px": max(10, round(2.5 * half_width)),
    }
    return SimulationSettings.model_validate(settings), acquisition, search


def _candidates(seed: int, compute: Compute) -> Iterable[Table]:
    """Components of one movie, by each way of initialization."""
    settings, acquisition, search = draw_settings(seed)
    recording, engine = simulate(settings, acquisition), EmbeddedEngine()
    movie = da.from_array(recording.movie.compute(scheduler="threads"), chunks=(64, -1, -1))
    for k, kind in enumerate(INITIALIZATIONS):
        parameters = ExtractionParameters.model_validate(search | {"initialization": kind})
        found = engine.extract_sources(movie, acquisition, parameters, compute=compute)
        if k == seed % 2:
            found = engine.extract_sources(movie, acquisition, parameters, compute=compute, earlier=found)
        if not found.n_components:
            continue
        overlap = intersection_over_union(recording.truth.footprints, found.footprints).max(axis=0)
        facts = {"movie": seed, "adaptive": kind == "adaptive"}
        columns = {name: np.full(found.n_components, value) for name, value in facts.items()} | {"iou": overlap}
        yield columns | evaluation.describe_components(movie, found, acquisition, compute=compute)


def candidates(seed: int, cache: Path, compute: Compute) -> Table:
    """Components of one movie, kept in the folder so that a run that was stopped goes on."""
    path = cache / f"movie_{seed}.npz"
    if not path.exists():
        np.savez(path, **_stack(_candidates(seed, compute)))
        print(f"movie {seed} searched", flush=True)
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
        slopes = [(z.T @ inner + 2 * penalty * V).ravel(), inner.sum(axis=0), hidden.T @ error + 2 * penalty * w]
        return float(value), np.concatenate([*slopes, [error.sum()]])

    start = [rng.normal(0, n_features**-0.5, n_features * units), np.zeros(units), rng.normal(0, 0.5, units), [0.0]]
    found = minimize(loss, np.concatenate(start), jac=True, method="L-BFGS-B", options={"maxiter": 400})
    return unpack(found.x)


def _rounded(values: NDArray) -> NDArray[np.float64]:
    return np.vectorize(lambda v: float(f"{v:.{DIGITS}g}"))(values)


def train(table: Table, provenance: dict[str, object]) -> Classifier:
    """Networks on bootstrap samples of the movies of a table."""
    names = tuple(name for name in table if name not in ("movie", "adaptive", "iou"))
    x, is_cell, movies = np.stack([table[n] for n in names], axis=1), table["iou"] >= 0.5, np.unique(table["movie"])
    mean, scale = x.mean(axis=0), x.std(axis=0) + 1e-9
    z, networks = np.clip((x - mean) / scale, -CLIP, CLIP), []
    for k in range(NETWORKS):
        rng = np.random.default_rng([7, k])
        times = np.bincount(np.searchsorted(movies, rng.choice(movies, len(movies))), minlength=len(movies))
        weights = times[np.searchsorted(movies, table["movie"])].astype(float)
        networks.append(train_network(z, is_cell, weights, rng, units=UNITS, penalty=PENALTY))
    arrays = [_rounded(np.array(part)) for part in zip(*networks, strict=True)]
    return Classifier(names, _rounded(mean), _rounded(scale), *arrays, provenance=provenance)


def measure(trained: Classifier, table: Table) -> dict[str, dict[str, float]]:
    """Precision and recall (of the neurons found) of what is accepted, without and with the classifier."""
    cells, result = table["iou"] >= 0.5, {}
    snr, r_value = np.expm1(table["snr"]), np.tanh(table["r_value"])
    scores = trained.score(table)
    for kind in INITIALIZATIONS:
        here = table["adaptive"] == (kind == "adaptive")
        for name, cnn in (("snr and r_value", None), ("and classifier", scores[here])):
            accepted, _ = decide(snr[here], r_value[here], EvaluationParameters(), classifier_score=cnn)
            result[f"{kind}, {name}"] = {
                "components": int(here.sum()),
                "neurons": int(cells[here].sum()),
                "precision": round(float(cells[here][accepted].mean()), 3),
                "recall": round(float(accepted[cells[here]].mean()), 3),
            }
    return result


def main() -> None:
    """Reads the command line, trains, prints how well it did, and writes the weights if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--movies", type=int, default=44, help="movies to train on: seeds 0 ...")
    parser.add_argument("--unseen", type=int, default=16, help="movies to measure on: seeds 500 ...")
    parser.add_argument("--cache", type=Path, default=Path("data/training"), help="folder for what was found in movies")
    parser.add_argument("--write", action="store_true", help="replace the weights in the package")
    options = parser.parse_args()
    options.cache.mkdir(parents=True, exist_ok=True)
    compute = Compute(threads=2, show_progress=False)
    seen = _stack(candidates(seed, options.cache, compute) for seed in range(options.movies))
    unseen = _stack(candidates(500 + seed, options.cache, compute) for seed in range(options.unseen))
    facts: dict[str, object] = {
        "made_by": f"benchmarks/train_classifier.py of rsc2p-kedro {__version__}",
        "data": f"movies of rsc2p_kedro.simulation alone: draw_settings(0 ... {options.movies - 1})",
        "components": len(seen["iou"]),
        "neurons": int((seen["iou"] >= 0.5).sum()),
        "networks": NETWORKS,
        "units": UNITS,
        "penalty": PENALTY,
    }
    trained = train(seen, facts)
    facts["unseen"] = measure(trained, unseen) | {"data": f"draw_settings(500 ... {499 + options.unseen})"}
    for name, values in facts["unseen"].items():
        print(name, values)
    if options.write:
        WEIGHTS.write_text(trained.to_json(), encoding="utf-8")
        print(f"{WEIGHTS}: {WEIGHTS.stat().st_size} bytes")


if __name__ == "__main__":
    main()
