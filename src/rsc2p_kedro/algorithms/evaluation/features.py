"""What the classifier of :mod:`.classifier` looks at: 45 numbers a component, none of which depends on its orientation.

Lengths are in units of the half-width h of a neuron, so that one classifier serves every magnification. Of each
component's footprint a(p) and of what its transients bring to the pixels m(p) (see :mod:`.spatial_consistency`), rings
around the centre of the footprint are taken:

    a_k = mean of a(p) over ring k,   m_k, mean of m(p),   s_k, standard deviation of m(p),   all over max a
    ring k: pixels at a distance d from the centre, weighted by max(0, 1 - |d / (0.35 h) - k|),   k = 0 ... 6

A soma is bright to its edge at about 1.2 h and ends there in both images; some have a dark nucleus; a piece of neuropil
does not end. Beside the rings stand the shape as a whole, the transients (how they begin and end: an indicator rises
fast and decays slowly, neuropil comes and goes alike), the trace, its likeness to the background's, and the mean image.
"""

from collections.abc import Mapping

import numpy as np
import scipy.ndimage as ndi
import scipy.sparse as sp
from numpy.typing import NDArray

from rsc2p_kedro.algorithms.dff import background_under_footprints, remove_baseline
from rsc2p_kedro.algorithms.evaluation.description import MASK_LEVEL, areas
from rsc2p_kedro.algorithms.evaluation.snr import Transients, count_runs, run_length
from rsc2p_kedro.algorithms.evaluation.spatial_consistency import Portraits, cosines, pearson
from rsc2p_kedro.core.parameters import Acquisition
from rsc2p_kedro.core.results import Components

RINGS = 7
"""Rings around the centre."""
RING_WIDTH = 0.35
"""Distance of neighbouring rings, in half-widths of a neuron."""
_TINY = 1e-12


def rings(distances: NDArray, images: NDArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Means and standard deviations (n, RINGS) of images (n, P) over rings, 0 where a ring has no pixels.

    Args:
        distances: (P,) of the pixels from the centre, in half-widths of a neuron.
        images: (n, P), values at the pixels.
    """
    weights = np.maximum(1 - np.abs(distances / RING_WIDTH - np.arange(RINGS)[:, None]), 0)
    weights /= np.maximum(weights.sum(axis=1, keepdims=True), _TINY)
    means = np.einsum("np,kp->nk", images, weights)
    squares = np.einsum("np,kp->nk", images**2, weights)
    return means, np.sqrt(np.maximum(squares - means**2, 0))


def shape_of(pixels: NDArray, values: NDArray, width: int) -> dict[str, float]:
    """Elongation, raggedness and wholeness of a footprint with the given values at its pixels.

    Elongation is 0 for a disc and 1 for a line; raggedness the root mean square distance from the centre over that in
    a disc of the same area, in logarithms; wholeness the share of the largest piece.
    """
    y, x = np.divmod(pixels[values > MASK_LEVEL * values.max()], width)
    places = np.stack([y - y.mean(), x - x.mean()])
    # 1/12 is the variance within a pixel: one alone is no line.
    small, large = np.linalg.eigvalsh(places @ places.T / len(y) + np.eye(2) / 12)
    image = np.zeros((int(np.ptp(y)) + 1, int(np.ptp(x)) + 1), bool)
    image[y - y.min(), x - x.min()] = True
    pieces, _ = ndi.label(image)
    return {
        "elongation": 1 - np.sqrt(small / large),
        "raggedness": 0.5 * np.log((small + large) * 2 * np.pi / len(y)),
        "wholeness": np.bincount(pieces.ravel())[1:].max() / len(y),
    }


def transient_of(trace: NDArray, frames: NDArray[np.bool_], length: int) -> dict[str, float]:
    """Light before and after the transients of a trace (T,) without its slow baseline, over that within them.

    Before and after are `length` frames each. Where the trace has no transients both are 1: it goes on as it is.
    """
    within = trace[frames].mean() if frames.any() else 0.0
    if within <= 0:
        return {"before": 1.0, "after": 1.0}
    edges = np.diff(frames.astype(np.int8), prepend=0, append=0)
    steps = np.arange(length)
    before = (np.flatnonzero(edges == 1)[:, None] - 1 - steps).ravel()
    after = (np.flatnonzero(edges == -1)[:, None] + steps).ravel()
    before, after = before[before >= 0], after[after < len(trace)]
    rest = {"before": before, "after": after}
    return {name: float(trace[at].mean() / within) if len(at) else 0.0 for name, at in rest.items()}


def trace_of(noisy: NDArray, denoised: NDArray, background: NDArray) -> dict[str, float]:
    """How a component's noisy trace (T,), without its slow baseline, is distributed, and how like the background's."""
    centred, residual = noisy - noisy.mean(), noisy - denoised
    residual = residual - residual.mean()
    sd, noise = np.sqrt((centred**2).mean()), np.sqrt((residual**2).mean())
    return {
        "skewness": np.log1p(max(float((centred**3).mean() / max(sd, _TINY) ** 3), -0.5)),
        "denoised_share": float(denoised.std() / (denoised.std() + noise + _TINY)),
        "residual_memory": pearson(residual[1:], residual[:-1]),
        "like_background": pearson(noisy, background),
        "step_like_background": pearson(np.diff(noisy), np.diff(background)),
    }


def overlaps(footprints: sp.csc_array) -> NDArray[np.float64]:
    """Largest cosine (N,) of each footprint with any other one."""
    return cosines(footprints).max(axis=1).toarray().ravel()


def _space(
    i: int, images: Portraits, components: Components, mean_image: NDArray, half_width_px: float
) -> dict[str, float]:
    """What component i looks like."""
    pixels, pair = images.of(i)
    y, x = np.divmod(pixels, components.shape[1])
    own = pair[0] / max(pair[0].max(initial=0), _TINY)
    core = np.where(own > MASK_LEVEL, own, 0)
    core /= max(core.sum(), _TINY)
    distances = np.hypot(y - core @ y, x - core @ x) / half_width_px
    light = mean_image[pixels]
    light = light / max(float(light.mean()), _TINY)
    scaled = np.clip(pair / max(pair[0].max(initial=0), _TINY), -3, 3)
    means, spreads = rings(distances, np.concatenate([scaled, light[None]]))
    named = {f"footprint_{k}": v for k, v in enumerate(means[0])} | {f"seen_{k}": v for k, v in enumerate(means[1])}
    named |= {f"seen_spread_{k}": v for k, v in enumerate(spreads[1])}
    named |= {f"mean_image_{k}": v for k, v in enumerate(means[2])}
    return (
        named | {"like_mean_image": pearson(own, light)} | shape_of(pixels[own > 0], own[own > 0], components.shape[1])
    )


def describe(
    components: Components,
    images: Portraits,
    transients: Transients,
    r_value: NDArray,
    *,
    acquisition: Acquisition,
    half_width_px: float,
) -> dict[str, NDArray[np.float64]]:
    """Features (N,) of components by name.

    Args:
        components: of a movie.
        images: their portraits in it.
        transients: of their noisy traces.
        r_value: (N,).
        acquisition: frame rate and decay time.
        half_width_px: of a neuron.
    """
    n_frames, length = components.n_frames, min(run_length(acquisition), components.n_frames)
    noisy = remove_baseline(components.traces + components.residual_traces, acquisition)
    background = background_under_footprints(components)
    mean_image = components.background_footprints @ components.background_traces.mean(axis=1)
    rows: list[Mapping[str, float]] = [
        _space(i, images, components, mean_image, half_width_px)
        | transient_of(noisy[i], transients.frames[i], length)
        | trace_of(noisy[i], components.traces[i], background[i])
        for i in range(components.n_components)
    ]
    columns = {name: np.array([row[name] for row in rows], np.float64) for name in (rows[0] if rows else ())}
    minutes = n_frames / acquisition.frame_rate_hz / 60
    return columns | {
        "size": np.log(np.maximum(areas(components.footprints), 1) / (np.pi * half_width_px**2)),
        "overlap": overlaps(components.footprints),
        "snr": np.log1p(np.maximum(transients.snr, 0)),
        "r_value": np.arctanh(np.clip(r_value, -0.999, 0.999)),
        "active_share": transients.active.mean(axis=1),
        "active_rate": np.log1p(count_runs(transients.active) / minutes),
    }
