"""Which components have the label of a structural channel: their red signal, and the probability of being labelled.

*Crosstalk.* Part alpha of the functional (green) fluorescence is detected in the structural (red) channel:
R(p, t) = L(p) + alpha G(p, t), where the label L does not change with time. Bright neurons therefore look red, and a
regression of the red on the green image cannot tell crosstalk from neurons that are both bright and labelled. Their
activity can, because the label does not take part in it: alpha is the slope of the red on the green trace under a
footprint. The green trace is noisy, which would make the slope too small, so that the denoised trace C of the component
is the instrument of the regression: alpha = cov(R, C) / cov(G, C). Drift (bleaching) is removed as a polynomial of
second order. The weighted median over all components is robust against those whose slope is wrong, by residual motion
for example.

*Red signal.* The mean of L = R - alpha G over the pixels of the footprint, weighted by it, minus the median over a ring
around it. Pixels that belong to other components as well are left out, so that a labelled neighbour is not taken for
the component's own label; unless they are most of its footprint.

*Probability.* The same contrast of footprints moved to random places without components shows how much the signal of an
unlabelled component varies, by noise and by the texture of the tissue; its lower half is used, because cells without
indicator may be labelled as well. In units of this spread, the signals of all components are a mixture of two normal
distributions, unlabelled and labelled, which the EM algorithm fits with priors of a few components' weight; they decide
where components are few or of one kind only. The probability is that of the labelled part. It plays the role of
Suite2p's `redcell` (Pachitariu et al. 2017, doi 10.1101/061507), which is a ratio of intensities.
"""

from dataclasses import dataclass

import numpy as np
import scipy.ndimage as ndi
import scipy.sparse as sp
from numpy.typing import NDArray

from rsc2p_kedro.algorithms import blocks
from rsc2p_kedro.algorithms.extraction.footprints import MASK_LEVEL, footprint_masks
from rsc2p_kedro.algorithms.extraction.neuron_size import weighted_median
from rsc2p_kedro.core.parameters import Compute
from rsc2p_kedro.core.results import Components, RedLabels

Float = NDArray[np.float64]

RING = (0.5, 3.0)
"""Inner and outer distance of the ring from the mask in half-widths of a neuron: far enough that the label of the cell
does not reach it, near enough for the same background. Chosen, not tuned."""
MIN_RING_PX = 12
"""Pixels of the ring below which a place or a component has no surroundings to compare with. Chosen, not tuned."""
MIN_EXCLUSIVE = 0.3
"""Part of a footprint that no other component covers from which only this part is used. Chosen, not tuned."""
N_PLACES = 2000
"""Random places. Their spread is then known to 2 %."""
MAX_PLACES_OVERLAP = 0.1
"""Fraction of a moved footprint that may lie on components."""
SEED = 20240613
"""Of the random places, so that results can be reproduced."""

# Priors of the mixture, in units of the spread at random places. Tuned on simulated recordings with other seeds than
# those of the benchmark (benchmarks/red_labels.py).
_MEAN_WEIGHT, _SPREAD_WEIGHT = 3.0, 15.0
"""Weights, in components, of the priors that unlabelled ones have the mean and the spread of random places. The mean
has little weight: a soma without label is darker than its surroundings, whose label it displaces."""
_LABELLED_WEIGHT, _LABELLED_DISTANCE, _LABELLED_SPREAD = 1.0, 4.0, 3.0
"""Weight, expected distance from the unlabelled ones, and its spread: wide, as labels are of any strength."""
_MIN_DISTANCE = 1.0
"""Distance between the means of both parts at least, in standard deviations of the unlabelled one."""
_N_ITERATIONS = 200


@dataclass(frozen=True, eq=False)
class _Place:
    """Pixels of a footprint and of the ring around it, as (n, 2) rows and columns, and the weights of the footprint."""

    inside: NDArray[np.int64]
    weights: Float
    ring: NDArray[np.int64]


def mean_traces(movie: blocks.Movie, footprints: sp.csc_array, *, compute: Compute) -> NDArray[np.float32]:
    """Computes the mean of a movie over each footprint, weighted by it.

    Args:
        movie: (T, H, W), lazy or not.
        footprints: CSC (H*W, N).
        compute: resources of the machine; the traces do not depend on them.

    Returns:
        (N, T) float32, in units of the movie; 0 for an empty footprint.
    """
    mass = np.asarray(footprints.sum(axis=0)).ravel()
    weights = sp.csr_array((footprints @ sp.diags_array(1 / np.where(mass > 0, mass, 1))).T.astype(np.float32))

    def project(frames: slice) -> NDArray[np.float32]:
        part = blocks.read(movie, frames).reshape(frames.stop - frames.start, -1)
        return weights @ part.T.astype(np.float32)

    parts = blocks.frame_blocks(len(movie), compute.block_frames)
    sizes = [part.stop - part.start for part in parts]
    traces = blocks.run(project, parts, compute=compute, description="Traces", unit="frame", sizes=sizes)
    return np.concatenate(traces, axis=1)


def estimate_crosstalk(red: NDArray, green: NDArray, denoised: NDArray) -> tuple[float, float]:
    """Estimates the part of the functional fluorescence that is detected in the structural channel.

    Args:
        red: (N, T), mean traces of the structural channel under the footprints.
        green: (N, T), the same of the functional channel.
        denoised: (N, T), denoised traces of the components.

    Returns:
        The crosstalk, at least 0, and its standard error; both 0 where no component has activity.
    """
    R, G, C = (_without_drift(traces) for traces in (red, green, denoised))
    shared = np.einsum("nt,nt->n", G, C)
    active = shared > 1e-9 * np.maximum(np.einsum("nt,nt->n", G, G), 1e-30)
    if not active.any():
        return 0.0, 0.0
    R, G, C, shared = R[active], G[active], C[active], shared[active]
    slopes = np.einsum("nt,nt->n", R, C) / shared
    noise = (R - slopes[:, None] * G).std(axis=1)
    errors = np.maximum(noise * np.linalg.norm(C, axis=1) / shared, 1e-12)
    weights = 1 / errors**2
    spread = weighted_median(np.abs(slopes - weighted_median(slopes, weights)), weights) / 0.6745
    by_noise = 1.2533 / np.sqrt(weights.sum())
    by_spread = 1.2533 * spread * np.sqrt((weights**2).sum()) / weights.sum()
    return max(weighted_median(slopes, weights), 0.0), float(max(by_noise, by_spread))


def _without_drift(traces: NDArray) -> Float:
    """Residuals of traces (N, T) of a polynomial of second order in time."""
    t = np.linspace(-1, 1, traces.shape[1])
    basis = np.linalg.qr(np.stack([np.ones_like(t), t, t**2], axis=1))[0]
    traces = traces.astype(np.float64)
    return traces - (traces @ basis) @ basis.T


def label_components(
    components: Components,
    structural_mean: NDArray,
    functional_mean: NDArray,
    red_traces: NDArray,
    green_traces: NDArray,
    valid_mask: NDArray[np.bool_],
    *,
    half_width_px: float,
) -> RedLabels:
    """Measures the red signal of components and the probability that they are labelled.

    Args:
        components: N components of the functional channel.
        structural_mean: (H, W), mean image of the structural channel, corrected by the same shifts.
        functional_mean: (H, W), mean image of the functional channel.
        red_traces: (N, T), mean traces of the structural channel under the footprints (:func:`mean_traces`).
        green_traces: (N, T), the same of the functional channel.
        valid_mask: (H, W), pixels that were visible in every frame.
        half_width_px: half-width of a neuron, which the ring scales with.

    Returns:
        Signals and probabilities (N,), the contrasts of both channels they were made from, and the crosstalk.
    """
    crosstalk, error = estimate_crosstalk(red_traces, green_traces, components.traces)
    covered = _coverage(components)
    occupied = covered > 0
    free = valid_mask & ~occupied
    places = [_place(components, i, covered, half_width_px) for i in range(components.n_components)]
    red, green = (
        np.array([_contrast(image, place, free) for place in places]).reshape(len(places))
        for image in (structural_mean.astype(np.float64), functional_mean.astype(np.float64))
    )
    signal = red - crosstalk * green
    known = np.isfinite(signal)
    unmixed = structural_mean.astype(np.float64) - crosstalk * functional_mean.astype(np.float64)
    null = _random_contrasts(unmixed, places, occupied, valid_mask)
    centre, scale = _null_of(null, signal[known])
    scales = np.hypot(scale, error * np.where(known, green, 0))
    probability = np.zeros(len(places))
    probability[known] = labelled_probability((signal[known] - centre) / scales[known])
    return RedLabels(
        red_signal=np.where(known, signal, 0).astype(np.float32),
        red_probability=probability.astype(np.float32),
        red_contrast=np.where(known, red, 0).astype(np.float32),
        functional_contrast=np.where(known, green, 0).astype(np.float32),
        crosstalk=crosstalk,
        crosstalk_error=error,
        null_centre=centre,
        null_scale=scale,
    )


def labelled_probability(z: Float) -> Float:
    """Probability that a component is labelled, from the mixture of unlabelled and labelled ones.

    Args:
        z: (N,), red signals in units of the spread at random places.

    Returns:
        (N,), 0..1; it never decreases with the signal.
    """
    if not len(z):
        return np.zeros(0)
    m0, v0, m1, v1, share = 0.0, 1.0, _LABELLED_DISTANCE, _LABELLED_SPREAD**2, 0.3
    for _ in range(_N_ITERATIONS):
        p = _posterior(z, m0, v0, m1, v1, share)
        w0, w1 = (1 - p).sum(), p.sum()
        m0 = ((1 - p) @ z) / (w0 + _MEAN_WEIGHT)
        v0 = ((1 - p) @ (z - m0) ** 2 + _SPREAD_WEIGHT) / (w0 + _SPREAD_WEIGHT)
        m1 = (p @ z + _LABELLED_WEIGHT * (m0 + _LABELLED_DISTANCE)) / (w1 + _LABELLED_WEIGHT)
        m1 = max(m1, m0 + _MIN_DISTANCE * np.sqrt(v0))
        v1 = (p @ (z - m1) ** 2 + _LABELLED_WEIGHT * _LABELLED_SPREAD**2) / (w1 + _LABELLED_WEIGHT)
        share = (w1 + 1) / (len(z) + 3)
    grid = np.maximum(z, m0)
    order = np.argsort(grid, kind="stable")
    rising = np.maximum.accumulate(_posterior(grid[order], m0, v0, m1, v1, share))
    probability = np.empty(len(z))
    probability[order] = rising
    return probability


def _posterior(z: Float, m0: float, v0: float, m1: float, v1: float, share: float) -> Float:
    """Probability of the labelled part; below its mean, the density of the labelled part is that of a normal."""
    log_ratio = (
        np.log(share / (1 - share)) + 0.5 * np.log(v0 / v1) - (z - m1) ** 2 / (2 * v1) + (z - m0) ** 2 / (2 * v0)
    )
    return 1 / (1 + np.exp(-np.clip(log_ratio, -500, 500)))


def _coverage(components: Components) -> NDArray[np.int64]:
    """(H, W), number of components to whose mask each pixel belongs."""
    return np.asarray(footprint_masks(components.footprints).sum(axis=1)).reshape(components.shape)


def _place(components: Components, i: int, covered: NDArray[np.int64], half_width_px: float) -> _Place:
    """The pixels of a component and of the ring around its mask; the ring may leave the frame."""
    A, W = components.footprints, components.shape[1]
    entries = slice(A.indptr[i], A.indptr[i + 1])
    pixels, values = A.indices[entries], A.data[entries].astype(np.float64)
    kept = values > MASK_LEVEL * values.max(initial=0)
    inside, weights = np.stack([pixels[kept] // W, pixels[kept] % W], axis=1).astype(np.int64), values[kept]
    if not len(inside):
        return _Place(inside, weights, inside)
    reach = int(np.ceil(RING[1] * half_width_px)) + 1
    corner = inside.min(axis=0) - reach
    mask = np.zeros(inside.max(axis=0) - corner + reach + 1, bool)
    mask[tuple((inside - corner).T)] = True
    distance = ndi.distance_transform_edt(~mask)
    ring = np.argwhere((distance > RING[0] * half_width_px) & (distance <= RING[1] * half_width_px)) + corner
    exclusive = weights * (covered[inside[:, 0], inside[:, 1]] == 1)
    if exclusive.sum() >= MIN_EXCLUSIVE * weights.sum():
        weights = exclusive
    return _Place(inside, weights / weights.sum(), ring)


def _contrast(image: Float, place: _Place, free: NDArray[np.bool_], offset: NDArray | None = None) -> float:
    """Weighted mean inside a footprint minus the median over the free pixels of its ring; NaN without surroundings."""
    inside, ring = place.inside, place.ring
    if offset is not None:
        inside, ring = inside + offset, ring + offset
    ring = ring[((ring >= 0) & (ring < image.shape)).all(axis=1)]
    ring = ring[free[ring[:, 0], ring[:, 1]]]
    if len(ring) < MIN_RING_PX or not len(inside):
        return float("nan")
    return float(place.weights @ image[inside[:, 0], inside[:, 1]] - np.median(image[ring[:, 0], ring[:, 1]]))


def _random_contrasts(
    image: Float, places: list[_Place], occupied: NDArray[np.bool_], valid_mask: NDArray[np.bool_]
) -> Float:
    """Contrasts of footprints at random places without components; fewer than `N_PLACES` where the frame is full."""
    rng, found = np.random.default_rng(SEED), []
    places, free = [place for place in places if len(place.inside)], valid_mask & ~occupied
    for _ in range(N_PLACES if places else 0):
        place = places[rng.integers(len(places))]
        low, high = -place.inside.min(axis=0), np.array(image.shape) - place.inside.max(axis=0)
        offset = rng.integers(low, high)
        rows, columns = (place.inside + offset).T
        if occupied[rows, columns].mean() <= MAX_PLACES_OVERLAP and valid_mask[rows, columns].all():
            found.append(_contrast(image, place, free, offset))
    contrasts = np.array(found)
    return contrasts[np.isfinite(contrasts)]


def _null_of(null: Float, signal: Float) -> tuple[float, float]:
    """Centre and spread of unlabelled signals, from the lower half of those at random places.

    Where there are fewer than 50 places without components, the lower half of the components' own signals is used.
    """
    values = null if len(null) >= 50 else signal
    if not len(values):
        return 0.0, 1.0
    centre, low = np.quantile(values, [0.5, 0.1587])
    return float(centre), float(max(centre - low, 1e-9))
