"""Neurons that show in the mean image without being active: rings with a dark nucleus, and filled discs.

1. *Units.* The image is divided into its local level (median) and spread (scaled median absolute deviation) over +-5
   half-widths, so that thresholds and weights know neither gain and offset nor how bright a corner of the field is.
2. *Candidates.* Matched templates of five sizes, a disc and a ring each, are compared with the image; every local
   maximum above three spreads of the template's own response is a candidate.
3. *Outline.* The closed path of the best edge around each candidate (:mod:`.outlines`) gives place, size and shape.
4. *Score.* Features x of the outline (radial profile, weakest parts of its edge, evenness, size, shape) go through
   a logistic function with one hidden layer, trained on simulated tissue by `benchmarks/train_silent.py`, which wrote
   `silent.json` beside this module::

       z = clip((x - mean) / scale, -4, 4),    score = 1 / (1 + exp(-(tanh(z V + c) . w + d)))

5. *Selection*, best score first: an outline that overlaps what was found before is left out.
"""

import json
from dataclasses import replace
from functools import cache
from importlib import resources
from typing import NamedTuple

import numpy as np
import scipy.fft
import scipy.ndimage as ndi
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.special import expit

from rsc2p_kedro.algorithms.extraction.footprints import half_axes, stack_columns
from rsc2p_kedro.algorithms.extraction.outlines import (
    N_DIRECTIONS,
    N_RADII,
    RADIUS_STEP,
    Outlines,
    directions,
    outlines_by_edges,
    pixels_within,
)
from rsc2p_kedro.algorithms.extraction.state import Factorization, Inputs

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

MIN_SCORE = 0.5
"""Lowest score of a silent neuron: more probably one than not, on tissue like that of the training. Not tuned."""
MAX_ABS_Z = 4.0
"""Clip of a standardized feature in standard deviations of the training data; part of the trained model."""
_SOMA_MINOR_AXIS, _SOMA_MAJOR_AXIS = 0.58, 1.6
"""Range of half-axes, in half-widths, within which an active component has the shape of a soma. Chosen, not tuned."""
_SURROUNDINGS = 5.0
"""Half of the side, in half-widths, of the window that level and spread are taken from. Chosen, not tuned."""
_GRID = 3.0
"""Distance in half-widths of the places where level and spread are taken; between them they are interpolated."""
_MIN_SAMPLES = 30
"""Pixels of a window that level and spread need. Chosen, not tuned."""
_MAX_CONTRAST = 5.0
"""Largest contrast in local spreads; what is brighter or darker counts as this. Chosen, not tuned."""
_SMOOTHING = 0.12
"""Standard deviation in half-widths of the smoothing before templates and outlines; 0.6 px at 5 px. Chosen, not
tuned."""
_TEMPLATE_RADII = (0.6, 0.75, 0.95, 1.2, 1.5)
"""Radii of the templates in half-widths; a template tolerates the quarter between them."""
_TEMPLATE_RIM = 0.35
"""Width of rim and surround of a template in half-widths. Chosen by eye, not tuned."""
_MIN_RESPONSE = 3.0
"""Response of a template, in its own scaled median absolute deviation over the image, above which it is a candidate.
Chosen low, not tuned: the score decides."""
_PEAK_DISTANCE = 0.4
"""Distance in half-widths within which only the largest response is a candidate. Chosen, not tuned."""
_MAX_OCCUPIED = 0.25
"""Largest part of an outline's area that may belong to footprints found by activity, or lie outside the valid pixels.
Of marked neurons, 9 to 18 % share more than a fifth of their mask with another."""
_MAX_OVERLAP = 0.2
"""Largest part of an outline's area that may belong to better ones; see above."""
_PROFILE = (0.1, 0.3, 0.5, 0.65, 0.8, 0.95, 1.1, 1.25, 1.45)
"""Places of the radial profile relative to the outline; the last three lie outside it."""
_N_OUTSIDE = 3


def _local_statistics(image: Array, use: Mask, half_width_px: float) -> tuple[Array, Array]:
    """Level and spread (H, W) of the pixels in use around each pixel; spread 0 where there are too few."""
    reach, step = int(np.ceil(_SURROUNDINGS * half_width_px)), max(1, round(_GRID * half_width_px))
    rows, columns = (np.unique(np.append(np.arange(0, n, step), n - 1)) for n in image.shape)
    level, spread = np.full((2, len(rows), len(columns)), np.nan)
    for i, y in enumerate(rows):
        for j, x in enumerate(columns):
            window = slice(max(y - reach, 0), y + reach + 1, 2), slice(max(x - reach, 0), x + reach + 1, 2)
            values = image[window][use[window]]
            if len(values) >= _MIN_SAMPLES:
                level[i, j] = np.median(values)
                spread[i, j] = np.median(np.abs(values - level[i, j])) / 0.6745
    unknown = np.isnan(level)
    if unknown.all():
        return np.zeros_like(image), np.zeros_like(image)
    nearest = tuple(ndi.distance_transform_edt(unknown, return_distances=False, return_indices=True))
    places = [
        np.interp(np.arange(n), at, np.arange(len(at))) for n, at in zip(image.shape, (rows, columns), strict=True)
    ]
    grid = np.stack(np.meshgrid(*places, indexing="ij"))
    return tuple(ndi.map_coordinates(values[nearest], grid, order=1, mode="nearest") for values in (level, spread))


def local_contrast(image: NDArray, mask: NDArray, occupied: NDArray, half_width_px: float) -> Array:
    """Contrast of an image with its surroundings in units of their spread, a little smoothed.

    Args:
        image: (H, W), of any gain and offset.
        mask: (H, W) bool, valid pixels.
        occupied: (H, W) bool, pixels of known neurons; they and their neighbours are no measure of the surroundings.
        half_width_px: half-width of a neuron in px.

    Returns:
        (H, W), -5 to 5; 0 outside the mask.
    """
    image, mask = np.asarray(image, float), np.asarray(mask, bool)
    level, spread = _local_statistics(image, mask & ~ndi.binary_dilation(occupied), half_width_px)
    known = mask & (spread > 0)
    contrast = np.divide(image - level, spread, out=np.zeros_like(image), where=known)
    return ndi.gaussian_filter(contrast.clip(-_MAX_CONTRAST, _MAX_CONTRAST), _SMOOTHING * half_width_px)


def _annulus(distance: Array, inner: float, outer: float) -> Array:
    """Mean over an annulus with edges of one pixel, as weights."""
    weights = np.clip(outer + 0.5 - distance, 0, 1) * np.clip(distance - inner + 0.5, 0, 1)
    return weights / weights.sum()


def _template(radius_px: float, rim_px: float, is_ring: bool) -> Array:
    """Disc or ring minus its surroundings (n, n), n odd."""
    reach = int(np.ceil(radius_px + rim_px)) + 1
    distance = np.hypot(*np.mgrid[-reach : reach + 1, -reach : reach + 1])
    outside = _annulus(distance, radius_px, radius_px + rim_px)
    if not is_ring:
        return _annulus(distance, -1, radius_px) - outside
    nucleus = max(radius_px - rim_px, 0.3 * radius_px)
    return _annulus(distance, nucleus, radius_px) - (_annulus(distance, -1, nucleus) + outside) / 2


def _responses(contrast: Array, half_width_px: float, is_ring: bool) -> Array:
    """Correlation (S, H, W) of the image with templates of S sizes; 0 beyond the frame."""
    (H, W), rim = contrast.shape, _TEMPLATE_RIM * half_width_px
    margin = 2 * (int(np.ceil(_TEMPLATE_RADII[-1] * half_width_px + rim)) + 1)
    shape = [scipy.fft.next_fast_len(n + margin, real=True) for n in (H, W)]
    spectrum, responses = scipy.fft.rfft2(contrast, shape), []
    for radius in _TEMPLATE_RADII:
        template = _template(radius * half_width_px, rim, is_ring)
        reach = len(template) // 2
        whole = scipy.fft.irfft2(spectrum * scipy.fft.rfft2(template, shape), shape)
        responses.append(whole[reach : reach + H, reach : reach + W])
    return np.array(responses)


class Candidates(NamedTuple):
    """Places that look like a disc or a ring.

    Attributes:
        centres: (n, 2), (y, x) in px.
        radii: (n,) in half-widths.
        is_ring: (n,) bool, ring and not disc.
        response: (n,), of the best template, in the spread of its response over the image.
    """

    centres: Array
    radii: Array
    is_ring: Mask
    response: Array


def find_candidates(contrast: NDArray, free: NDArray, half_width_px: float) -> Candidates:
    """Finds the places that look like a disc or a ring.

    Args:
        contrast: (H, W), see :func:`local_contrast`.
        free: (H, W) bool, where centres may lie.
        half_width_px: half-width of a neuron in px.

    Returns:
        The candidates, discs first.
    """
    size, sizes = 2 * max(1, round(_PEAK_DISTANCE * half_width_px)) + 1, np.array(_TEMPLATE_RADII)
    found = [Candidates(np.empty((0, 2)), np.empty(0), np.empty(0, bool), np.empty(0))]
    for is_ring in (False, True) if free.any() else ():
        responses = _responses(np.asarray(contrast, float), half_width_px, is_ring)
        spread = np.median(np.abs(responses[:, free]), axis=1) / 0.6745
        relative = responses / np.maximum(spread, 1e-9)[:, None, None]
        best = relative.max(axis=0)
        peaks = free & (best >= _MIN_RESPONSE) & (best == ndi.maximum_filter(best, size))
        radii = sizes[relative[:, peaks].argmax(axis=0)]
        found.append(Candidates(np.argwhere(peaks).astype(float), radii, np.full(len(radii), is_ring), best[peaks]))
    return Candidates(*map(np.concatenate, zip(*found, strict=True)))


def outline_features(outlines: Outlines, candidates: Candidates) -> dict[str, Array]:
    """Features of outlines by name; contrasts are in local spreads, lengths in half-widths.

    Args:
        outlines: N outlines.
        candidates: the candidates that they were drawn around.

    Returns:
        (N,) each: the radial profile above the surroundings (`profile_...`, at that part of the radius), its level
        outside, the 25th and 10th percentile over the directions of the outer and the inner edge, the variation over
        the directions of nucleus, rim and surroundings, logarithm of the mean radius, elongation and roughness of
        the outline, first and second harmonic of the surroundings (gradients and lines), whether a ring was looked for,
        and logarithm of the response of its template.
    """
    steps = outlines.steps
    index = np.rint(np.multiply.outer(steps, _PROFILE)).astype(int).clip(max=N_RADII - 1)
    profiles = np.take_along_axis(outlines.samples, index, axis=2)
    level, variation = profiles.mean(axis=1), profiles.std(axis=1)
    surround = profiles[:, :, -_N_OUTSIDE:].mean(axis=2)
    outer, inner = outlines.rim - outlines.outside, outlines.rim - outlines.inside
    circle = directions() @ np.array([1j, 1])
    radius = steps.mean(axis=1)
    above = level - surround.mean(axis=1, keepdims=True)
    features = {f"profile_{place}": above[:, i] for i, place in enumerate(_PROFILE)}
    features |= {"surround": surround.mean(axis=1)}
    for name, edge in (("outer", outer), ("inner", inner)):
        features |= {f"{name}_edge_{q}": np.percentile(edge, q, axis=1) for q in (25, 10)}
    return features | {
        "nucleus_variation": variation[:, :3].mean(axis=1),
        "rim_variation": variation[:, 4:6].mean(axis=1),
        "surround_variation": variation[:, -_N_OUTSIDE:].mean(axis=1),
        "log_radius": np.log(radius * RADIUS_STEP),
        "elongation": np.abs((steps * circle**2).mean(axis=1)) / radius,
        "roughness": np.abs(np.diff(steps, axis=1)).mean(axis=1) / radius * N_DIRECTIONS,
        "surround_gradient": np.abs((surround * circle).mean(axis=1)),
        "surround_line": np.abs((surround * circle**2).mean(axis=1)),
        "is_ring": candidates.is_ring.astype(float),
        "log_response": np.log(candidates.response),
    }


@cache
def load_weights() -> dict[str, Array]:
    """The weights of the score.

    Returns:
        The arrays of `silent.json`: `mean` and `scale` (F,), `hidden_weights` (F, M), `hidden_bias` and
        `output_weights` (M,), `output_bias` ().
    """
    values = json.loads(resources.files(__package__).joinpath("silent.json").read_text(encoding="utf-8"))
    return {name: np.array(value, float) for name, value in values.items() if name not in ("provenance", "features")}


def score_outlines(features: dict[str, Array], weights: dict[str, Array]) -> Array:
    """Scores how much outlines look like a neuron; summed in a fixed order, so that no score depends on other outlines.

    Args:
        features: (N,) by name, from :func:`outline_features`.
        weights: from :func:`load_weights`.

    Returns:
        (N,), 0 to 1.
    """
    x = np.stack(list(features.values()), axis=1)
    z = np.clip((x - weights["mean"]) / weights["scale"], -MAX_ABS_Z, MAX_ABS_Z)
    V, w = weights["hidden_weights"], weights["output_weights"]
    hidden = np.tanh(weights["hidden_bias"] + sum(z[:, [f]] * V[f] for f in range(len(V))))
    return expit(weights["output_bias"] + sum(hidden[:, m] * w[m] for m in range(len(w))))


def _select(outlines: Outlines, scores: Array, taken: Mask, min_score: float) -> list[tuple[int, NDArray[np.int64]]]:
    """Index and pixels of outlines that overlap neither taken pixels nor better ones, best first."""
    selected, found = [], np.zeros(taken.size, bool)
    for i in np.argsort(-scores, kind="stable"):
        if scores[i] < min_score:
            break
        pixels = pixels_within(outlines.centres[i], outlines.steps[i], outlines.step_px, taken.shape)
        if len(pixels) and taken.flat[pixels].mean() <= _MAX_OCCUPIED and found[pixels].mean() <= _MAX_OVERLAP:
            found[pixels] = True
            selected.append((int(i), pixels[~taken.flat[pixels]]))
    return selected


def find_silent_neurons(
    mean_image: NDArray,
    mask: NDArray,
    occupied: NDArray,
    neuron_half_width_px: float,
    *,
    min_score: float = MIN_SCORE,
) -> tuple[sp.csc_array, NDArray[np.float32]]:
    """Finds neurons by their shape in the mean image.

    Args:
        mean_image: (H, W), mean of the registered movie, of any gain and offset.
        mask: (H, W) bool, valid pixels.
        occupied: (H, W) bool, pixels of footprints that were found by activity.
        neuron_half_width_px: half-width of a typical neuron in px; neurons of half to 1.6 times that are found.
        min_score: lowest score that is returned, 0 to 1. Raise it to lose faint neurons and fewer mistakes.

    Returns:
        Footprints CSC (H*W, n) float32, 1 within each outline, nucleus included, and scores (n,), highest first.

    Raises:
        ValueError: shapes differ, or the half-width is not above 0.
    """
    shapes = {np.shape(mean_image), np.shape(mask), np.shape(occupied)}
    if len(shapes) != 1 or len(np.shape(mean_image)) != 2 or not neuron_half_width_px > 0:
        raise ValueError(
            "Mean image, mask and occupied pixels should have one shape (H, W) and the half-width should be above 0, "
            f"got {np.shape(mean_image)}, {np.shape(mask)}, {np.shape(occupied)} and {neuron_half_width_px}."
        )
    mask, occupied = np.asarray(mask, bool) & np.isfinite(mean_image), np.asarray(occupied, bool)
    contrast = local_contrast(mean_image, mask, occupied, neuron_half_width_px)
    candidates = find_candidates(contrast, mask & ~occupied, neuron_half_width_px)
    outlines = outlines_by_edges(contrast, *candidates[:3], half_width_px=neuron_half_width_px)
    scores = score_outlines(outline_features(outlines, candidates), load_weights())
    selected = _select(outlines, scores, ~mask | occupied, min_score)
    columns = [(np.sort(pixels), np.ones(len(pixels), np.float32)) for _, pixels in selected]
    return stack_columns(columns, mask.size), scores[[i for i, _ in selected]].astype(np.float32)


def add_silent_neurons(inputs: Inputs, state: Factorization) -> Factorization:
    """Appends neurons that show in the mean image only to the components of a factorization.

    Pixels of components that have the shape of a soma are taken; those of processes and neuropil are not, as they may
    lie over the rim of a silent neuron.

    Args:
        inputs: data and settings.
        state: the factorization of the active components.

    Returns:
        The factorization with silent neurons, without traces, after its components.
    """
    footprints, half_width = sp.csc_array(state.A.multiply(inputs.binned.scale.reshape(-1, 1))), inputs.half_width_px
    minor, major = half_axes(footprints, inputs.binned.shape)
    soma_like = (minor >= _SOMA_MINOR_AXIS * half_width) & (major <= _SOMA_MAJOR_AXIS * half_width)
    occupied = np.asarray((footprints[:, np.flatnonzero(soma_like)] > 0).sum(axis=1) > 0).reshape(inputs.binned.shape)
    found, _ = find_silent_neurons(inputs.binned.mean, inputs.binned.mask, occupied, half_width)
    n = found.shape[1]
    A = sp.csc_array(sp.hstack([state.A, inputs.to_noise_units(found)], format="csc"))
    parents = (*state.parents, *((),) * n)
    return replace(state, A=A, C=np.concatenate([state.C, np.zeros((n, inputs.n_bins))]), parents=parents)
