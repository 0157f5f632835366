"""Trains the score of silent neurons on images of simulated tissue, and measures it on others.

    python -m benchmarks.train_silent [--fields 48] [--empty 24] [--unseen 20] [--write]
    python -m benchmarks.train_silent --measure [--unseen 20]

A field is the mean image of a tissue of :func:`rsc2p_kedro.simulation.varied.draw_tissue_settings`, drawn without its
movie, with differences that the mean image of real tissue asks for: a soma displaces the neuropil with its whole
body, nucleus included; nuclei are dark to all degrees and silent somata have a fluorescence of 0.55 to 2 times the mean
background, so that their rim is about as bright as the neuropil or brighter (a soma without fluorescence of its own
cannot be told from an unlabelled cell); and there are as many dark holes, round or long, as somata. Two in three fields
have noise of a random grain in their texture, or consist of it; some
fields have no neurons at all. Two in five somata are active, their pixels are occupied.

A candidate is a neuron if its centre lies within half a radius of a silent soma's and their IoU is at least 0.35;
it is none if it touches no soma; the rest is left out. `--write` replaces the weights in the package; `--measure`
trains nothing.
"""

import argparse
import json
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy.ndimage as ndi
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from rsc2p_kedro import __version__
from rsc2p_kedro.algorithms.extraction import silent
from rsc2p_kedro.algorithms.extraction.footprints import footprint_masks
from rsc2p_kedro.algorithms.extraction.outlines import outlines_by_edges, pixels_within
from rsc2p_kedro.simulation import tissue
from rsc2p_kedro.simulation.anatomy import smooth_noise
from rsc2p_kedro.simulation.movie import draw_canvas
from rsc2p_kedro.simulation.somata import signed_distance
from rsc2p_kedro.simulation.truth import intersection_over_union
from rsc2p_kedro.simulation.varied import draw_tissue_settings

WEIGHTS = Path(silent.__file__).with_name("silent.json")
FIRST_SEED, UNITS, PENALTY, DIGITS = 9000, 6, 3e-4, 6
ACTIVE_SHARE, REST, N_AVERAGED = 0.4, (0.55, 2.0), 1500
MARGIN_PX = 4
GRAIN_PX = (0.4, 4.0)
Image = NDArray[np.float64]


class Field(NamedTuple):
    """Mean image (H, W), somata CSC (H*W, N), which of them are active (N,), and the median radius of a soma in px."""

    image: Image
    somata: sp.csc_array
    active: NDArray[np.bool_]
    radius_px: float

    @property
    def occupied(self) -> NDArray[np.bool_]:
        """Pixels (H, W) of the active somata."""
        return np.asarray(self.somata[:, self.active].sum(axis=1) > 0).reshape(self.image.shape)


def draw_body(rng: np.random.Generator, mask: NDArray) -> tuple[Image, Image]:
    """Body of a soma, 0 to 1, and its brightness, both like `mask` (h, w)."""
    distance, radius = signed_distance(mask), np.sqrt(mask.sum() / np.pi)
    body = expit(distance / 0.5)
    darkness, nucleus = rng.uniform(0.1, 1.0), rng.uniform(0.5, 0.7)
    inner = ndi.shift(distance, 0.1 * radius * rng.standard_normal(2), order=1, mode="nearest")
    dark = darkness * expit((inner - distance.max() * (1 - nucleus)) / (0.08 * radius))
    texture = np.clip(1 + 0.13 * smooth_noise(rng, mask.shape, 0.25 * radius), 0.5, None)
    return body, body * (1 - dark) * texture


def draw_holes(rng: np.random.Generator, n: int, radius_px: float, bodies: Image) -> Image:
    """Transmission (rows, columns) of n dark holes, round or up to 2.2 times as long as wide, outside of bodies."""
    transmission = np.ones(bodies.shape)
    for _ in range(n):
        radius, stretch = radius_px * rng.uniform(0.45, 1), np.exp(rng.uniform(0, np.log(2.2)))
        angle = rng.uniform(0, np.pi)
        centre, reach = rng.uniform(0, bodies.shape), 3 * radius_px
        window = tuple(
            slice(max(int(c - reach), 0), min(int(c + reach) + 1, n)) for c, n in zip(centre, bodies.shape, strict=True)
        )
        y, x = np.ogrid[window]
        y, x = y - centre[0], x - centre[1]
        along, across = y * np.sin(angle) + x * np.cos(angle), y * np.cos(angle) - x * np.sin(angle)
        distance = np.hypot(along / np.sqrt(stretch), across * np.sqrt(stretch))
        hole = expit((radius - distance) / rng.uniform(0.4, 0.9))
        darkness = rng.uniform(0.3, 0.95)
        if (hole * bodies[window]).sum() <= 0.1 * hole.sum():
            transmission[window] *= 1 - darkness * hole
    return transmission


def textured(rng: np.random.Generator, background: Image, seed: int) -> Image:
    """A background as it is, with noise of a random grain on it, or nothing but that: a third of the seeds each."""
    noise = smooth_noise(rng, background.shape, np.exp(rng.uniform(*np.log(GRAIN_PX))))
    base = np.ones(background.shape) if seed % 3 == 2 else background
    return base * (1 + rng.uniform(0.05, 0.25) * noise).clip(0.1) if seed % 3 else base


def draw_field(seed: int) -> Field:
    """The mean image of a tissue with its somata."""
    settings, acquisition = draw_tissue_settings(FIRST_SEED + seed, n_frames=600)
    canvas, rng = draw_canvas(settings), np.random.default_rng([seed, 6])
    scene, _ = tissue.draw_tissue_scene(settings, acquisition, canvas)
    footprints, n = sp.csc_array(scene.footprints), scene.n_somata
    active, levels = rng.random(n) < ACTIVE_SHARE, scene.rest[:n] + scene.traces.mean(axis=1)
    bodies, light = np.zeros(canvas.shape), np.zeros(canvas.shape)
    for i, mask in enumerate(footprint_masks(footprints).toarray().T.reshape(n, *canvas.shape) > 0):
        y, x = np.nonzero(mask)
        window = tuple(slice(max(v.min() - MARGIN_PX, 0), v.max() + MARGIN_PX + 1) for v in (y, x))
        body, brightness = draw_body(rng, mask[window])
        rest = np.exp(rng.uniform(*np.log(REST)))
        bodies[window] += body
        of_active = footprints[:, [i]].toarray().reshape(canvas.shape)[window]
        light[window] += levels[i] * of_active if active[i] else rest * brightness
    part = tissue._DISPLACED_BY_SOMA
    before = 1 - part * footprints.sum(axis=1).clip(0, 1).reshape(canvas.shape)
    around = textured(rng, scene.mean_background() / before, seed) * (1 - part * bodies.clip(0, 1))
    around *= draw_holes(rng, n, settings.neuron_radius_px, bodies)
    image = ndi.gaussian_filter(canvas.crop(around + light) * scene.vignette, 0.5)
    photons = rng.poisson(image.clip(0) * settings.photons * N_AVERAGED) / N_AVERAGED
    noise = settings.read_noise / np.sqrt(N_AVERAGED) * rng.standard_normal(image.shape)
    somata = sp.csc_array(footprint_masks(canvas.crop_rows(footprints)))
    return Field(settings.gain * photons + settings.offset + noise, somata, active, settings.neuron_radius_px)


def centres_of(masks: sp.csc_array, shape: tuple[int, int]) -> Image:
    """Centres of mass (N, 2) in px of masks (H*W, N)."""
    places = np.stack([*np.divmod(np.arange(masks.shape[0]), shape[1]), np.ones(masks.shape[0])], axis=1)
    moments = masks.T @ places
    return moments[:, :2] / np.maximum(moments[:, 2:], 1)


def as_masks(pixels: list[NDArray], n_pixels: int) -> sp.csc_array:
    """Masks CSC (n_pixels, N) of lists of pixels."""
    columns = np.repeat(np.arange(len(pixels)), [len(p) for p in pixels])
    rows = np.concatenate([np.empty(0, int), *pixels])
    return sp.csc_array((np.ones(len(rows), np.float32), (rows, columns)), shape=(n_pixels, len(pixels)))


def draw_empty_field(seed: int) -> Field:
    """A field of texture without neurons; for seeds below 0."""
    rng, shape = np.random.default_rng([-seed, 8]), (256, 256)
    image = 1000 * textured(rng, np.ones(shape), 2)
    return Field(image, sp.csc_array((image.size, 0)), np.zeros(0, bool), rng.uniform(3.8, 8.2))


def labelled_candidates(seed: int) -> tuple[dict[str, NDArray], NDArray[np.bool_]]:
    """Features of the candidates of a field, and whether each is a neuron; the size given is wrong by up to a fifth."""
    field = draw_field(seed) if seed >= 0 else draw_empty_field(seed)
    half_width = field.radius_px * np.exp(np.random.default_rng([abs(seed), 7]).uniform(-0.2, 0.2))
    free = ~field.occupied
    contrast = silent.local_contrast(field.image, np.ones(free.shape, bool), field.occupied, half_width)
    candidates = silent.find_candidates(contrast, free, half_width)
    outlines = outlines_by_edges(contrast, *candidates[:3], half_width_px=half_width)
    shape = field.image.shape
    pixels = [
        pixels_within(c, s, outlines.step_px, shape) for c, s in zip(outlines.centres, outlines.steps, strict=True)
    ]
    iou = intersection_over_union(as_masks(pixels, field.image.size), field.somata)
    distance = np.linalg.norm(outlines.centres[:, None] - centres_of(field.somata, shape)[None], axis=2)
    near = distance < field.radius_px / 2
    is_neuron, is_none = (near & (iou >= 0.35)).any(axis=1), ~(near | (iou >= 0.15)).any(axis=1)
    known = (is_neuron | is_none) & np.array([field.occupied.flat[p].mean() < 0.25 for p in pixels])
    features = silent.outline_features(outlines, candidates)
    return {name: value[known] for name, value in features.items()}, is_neuron[known]


def train(x: Image, y: NDArray[np.bool_]) -> dict[str, NDArray]:
    """Weights of the network of one hidden layer, by L-BFGS on the cross-entropy and a penalty on squared weights."""
    (n, F), M, rng = x.shape, UNITS, np.random.default_rng(0)
    mean, scale = x.mean(axis=0), x.std(axis=0) + 1e-9
    z = np.clip((x - mean) / scale, -silent.MAX_ABS_Z, silent.MAX_ABS_Z)
    start = [rng.standard_normal(F * M) * 0.6 / np.sqrt(F), np.zeros(M), 0.3 * rng.standard_normal(M), [-2.0]]

    def parts(b: NDArray) -> list[NDArray]:
        return np.split(b, [F * M, F * M + M, F * M + 2 * M])

    def loss(b: NDArray) -> tuple[float, NDArray]:
        V, c, w, d = parts(b)
        V = V.reshape(F, M)
        hidden = np.tanh(z @ V + c)
        u = hidden @ w + d
        slope = (expit(u) - y) / n
        inner = slope[:, None] * w * (1 - hidden**2)
        value = (np.logaddexp(0, u) - y * u).mean() + PENALTY * ((V**2).sum() + (w**2).sum())
        gradient = [(z.T @ inner + 2 * PENALTY * V).ravel(), inner.sum(axis=0), hidden.T @ slope + 2 * PENALTY * w]
        return value, np.concatenate([*gradient, [slope.sum()]])

    best = minimize(loss, np.concatenate(start), jac=True, method="L-BFGS-B", options={"maxiter": 600}).x
    V, c, w, d = parts(best)
    names = ("mean", "scale", "hidden_weights", "hidden_bias", "output_weights", "output_bias")
    return dict(zip(names, (mean, scale, V.reshape(F, M), c, w, d[0]), strict=True))


def measure(seeds: Iterable[int]) -> dict[str, float]:
    """Precision and recall of silent neurons in whole fields, by IoU of 0.5, with the weights in the package."""
    found = right = silent_somata = matched = 0
    for seed in seeds:
        field = draw_field(seed)
        everywhere = np.ones(field.image.shape, bool)
        footprints, _ = silent.find_silent_neurons(field.image, everywhere, field.occupied, field.radius_px)
        hits = intersection_over_union(footprints, field.somata[:, ~field.active]) >= 0.5
        found, right = found + len(hits), right + int(hits.any(axis=1).sum())
        silent_somata, matched = silent_somata + hits.shape[1], matched + int(hits.any(axis=0).sum())
    return {
        "found": found,
        "precision": round(right / max(found, 1), 3),
        "recall": round(matched / max(silent_somata, 1), 3),
    }


def write(weights: dict[str, NDArray], features: list[str], provenance: dict[str, object]) -> None:
    """Writes the weights into the package, one array a line."""
    rounded = {k: np.vectorize(lambda v: float(f"{v:.{DIGITS}g}"))(v).tolist() for k, v in weights.items()}
    lines = [f'"{k}": {json.dumps(v)}' for k, v in {"provenance": provenance, "features": features, **rounded}.items()]
    WEIGHTS.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    silent.load_weights.cache_clear()


def main() -> None:
    """Reads the command line, trains, writes the weights if asked to, and measures those in the package."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fields", type=int, default=48, help="fields to train on: seeds 0 ...")
    parser.add_argument("--empty", type=int, default=24, help="fields of nothing but texture to train on")
    parser.add_argument("--unseen", type=int, default=20, help="fields to measure on: seeds 500 ...")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--write", action="store_true", help="replace the weights in the package")
    parser.add_argument("--measure", action="store_true", help="measure the weights in the package, without training")
    options = parser.parse_args()
    if not options.measure:
        with ProcessPoolExecutor(options.processes) as pool:
            tables, labels = zip(*pool.map(labelled_candidates, range(-options.empty, options.fields)), strict=True)
        names, y = list(tables[0]), np.concatenate(labels)
        weights = train(np.concatenate([np.stack(list(t.values()), axis=1) for t in tables]), y)
        provenance = {
            "made_by": f"benchmarks/train_silent.py of rsc2p-kedro {__version__}",
            "data": f"simulated tissue only: draw_field(0 ... {options.fields - 1}), {options.empty} empty fields",
            "candidates": len(y),
            "neurons": int(y.sum()),
        }
        print(provenance)
        if options.write:
            write(weights, names, provenance)
    print(measure(range(500, 500 + options.unseen)))


if __name__ == "__main__":
    main()
