"""Features of components for :mod:`.classifier`: 58 numbers each, independent of the orientation of the image.

Lengths are in units of the half-width h of a neuron, so that one classifier serves every magnification. The footprint
a(p) and the transient image m(p) of a component (:mod:`.spatial_consistency`) are averaged over rings about the centre
of the footprint::

    a_k = mean of a(p) over ring k,    m_k = mean of m(p),    s_k = standard deviation of m(p),    all over max a
    ring k: pixels at distance d from the centre, weighted by max(0, 1 - |d / (0.35 h) - k|),    k = 0 ... 6

A soma is bright up to its edge, at about 1.2 h; some have a dark nucleus; a piece of neuropil has no
edge. Further features describe the outline (:mod:`.outline_features`), the edge and what lies beyond it
(:mod:`.edge_features`), the time course of transients (an indicator rises fast and decays slowly, neuropil rises and
decays alike), the trace, and its correlation with the background and with neighbours. Brightness, number of frames, SNR
and rate of events are not among them: they are facts of a recording. `r_value` added nothing to them.
"""

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from rsc2p_kedro.algorithms.dff import background_under_footprints, remove_baseline
from rsc2p_kedro.algorithms.evaluation.description import centres
from rsc2p_kedro.algorithms.evaluation.edge_features import edge_features
from rsc2p_kedro.algorithms.evaluation.outline_features import outline_features
from rsc2p_kedro.algorithms.evaluation.snr import Transients, transient_length
from rsc2p_kedro.algorithms.evaluation.spatial_consistency import SpatialSnippets, footprint_cosines, pearson
from rsc2p_kedro.algorithms.extraction.footprints import MASK_LEVEL
from rsc2p_kedro.core.parameters import Acquisition
from rsc2p_kedro.core.results import Components

N_RINGS = 7
"""Rings about the centre, up to 6 x 0.35 = 2.1 half-widths. Part of the trained model, as all values here."""
RING_SPACING = 0.35
"""Distance of neighbouring rings, in half-widths of a neuron."""
_MAX_RELATIVE_VALUE = 3.0
"""Clip of the images in the rings, in units of the maximum of the footprint."""
_NEIGHBOUR_HALF_WIDTHS = 4.0
"""Distance of the centres of neighbouring components, in half-widths of a neuron: two somata in contact, and half."""
_TINY = 1e-12


def ring_statistics(distances: NDArray, images: NDArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weighted means and standard deviations of images over rings.

    Args:
        distances: (P,), of the pixels from the centre, in half-widths of a neuron.
        images: (n, P), values at the pixels.

    Returns:
        Means and standard deviations, (n, `N_RINGS`) each, in the units of the images; 0 in a ring without pixels.
    """
    weights = np.maximum(1 - np.abs(distances / RING_SPACING - np.arange(N_RINGS)[:, None]), 0)
    weights /= np.maximum(weights.sum(axis=1, keepdims=True), _TINY)
    means = np.einsum("np,kp->nk", images, weights)
    squares = np.einsum("np,kp->nk", images**2, weights)
    return means, np.sqrt(np.maximum(squares - means**2, 0))


def transient_edges(trace: NDArray, frames: NDArray[np.bool_], length: int) -> dict[str, float]:
    """Mean of a trace before and after its transients, relative to the mean within them.

    Args:
        trace: (T,), less its slow baseline.
        frames: (T,), frames of the transients.
        length: frames taken before and after each transient.

    Returns:
        `pre_transient` and `post_transient`; both are 1 for a trace without transients.
    """
    within = trace[frames].mean() if frames.any() else 0.0
    if within <= 0:
        return {"pre_transient": 1.0, "post_transient": 1.0}
    edges = np.diff(frames.astype(np.int8), prepend=0, append=0)
    steps = np.arange(length)
    before = (np.flatnonzero(edges == 1)[:, None] - 1 - steps).ravel()
    after = (np.flatnonzero(edges == -1)[:, None] + steps).ravel()
    around = {"pre_transient": before[before >= 0], "post_transient": after[after < len(trace)]}
    return {name: float(trace[at].mean() / within) if len(at) else 0.0 for name, at in around.items()}


def trace_statistics(noisy: NDArray, denoised: NDArray, background: NDArray) -> dict[str, float]:
    """Features of the noise of a trace and of its correlation with the background.

    Args:
        noisy: (T,), less its slow baseline.
        denoised: (T,).
        background: (T,), under the footprint.

    Returns:
        `denoised_fraction`, standard deviation of the denoised trace over the sum of it and that of the residual;
        `residual_autocorrelation` at a lag of one frame; `background_correlation`, and `background_step_correlation` of
        the differences between frames.
    """
    residual = noisy - denoised
    residual = residual - residual.mean()
    noise = np.sqrt((residual**2).mean())
    return {
        "denoised_fraction": float(denoised.std() / ((denoised.std() + noise) or 1)),
        "residual_autocorrelation": pearson(residual[1:], residual[:-1]),
        "background_correlation": pearson(noisy, background),
        "background_step_correlation": pearson(np.diff(noisy), np.diff(background)),
    }


def max_overlaps(footprints: sp.csc_array) -> NDArray[np.float64]:
    """Largest overlap of each footprint with any other one.

    Args:
        footprints: A, CSC (H*W, N).

    Returns:
        (N,), cosine in 0..1.
    """
    return footprint_cosines(footprints).max(axis=1).toarray().ravel()


def neighbour_correlations(traces: NDArray, positions: NDArray, reach_px: float) -> NDArray[np.float64]:
    """Largest correlation of each trace with that of a neighbour, of which pieces and processes of one neuron have one.

    Args:
        traces: (N, T).
        positions: (N, 2), (y, x) of the components in px.
        reach_px: distance in px within which components are neighbours.

    Returns:
        (N,), 0..1; 0 without neighbours or with negative correlations only.
    """
    result = np.zeros(len(traces))
    for i, position in enumerate(positions):
        near = np.flatnonzero(np.hypot(*(positions - position).T) < reach_px)
        result[i] = max((pearson(traces[i], traces[j]) for j in near if j != i), default=0.0)
    return np.maximum(result, 0)


def _spatial_features(pixels: NDArray, pair: NDArray, *, width: int, half_width_px: float) -> dict[str, float]:
    """Features of the images of one component: footprint and transient image (2, P)."""
    if not pair[0].any():  # out of view in some frame: as a single pixel without transients
        pixels, pair = np.zeros(1, np.int64), np.array([[1.0], [0.0]])
    y, x = np.divmod(pixels, width)
    maximum = max(pair[0].max(initial=0), _TINY)
    footprint = pair[0] / maximum
    core = np.where(footprint > MASK_LEVEL, footprint, 0)
    core /= max(core.sum(), _TINY)
    distances = np.hypot(y - core @ y, x - core @ x) / half_width_px
    relative = np.clip(pair / maximum, -_MAX_RELATIVE_VALUE, _MAX_RELATIVE_VALUE)
    means, deviations = ring_statistics(distances, relative)
    rings = {"footprint_ring": means[0], "transient_ring": means[1], "transient_ring_sd": deviations[1]}
    inside = footprint > 0
    return (
        {f"{name}_{k}": value for name, values in rings.items() for k, value in enumerate(values)}
        | outline_features(pixels[inside], footprint[inside], width=width, half_width_px=half_width_px)
        | edge_features(pixels, np.stack([footprint, pair[1]]), width=width, half_width_px=half_width_px)
    )


def compute_features(
    components: Components,
    snippets: SpatialSnippets,
    transients: Transients,
    *,
    acquisition: Acquisition,
    half_width_px: float,
) -> dict[str, NDArray[np.float64]]:
    """All features of components.

    Args:
        components: of a movie.
        snippets: their footprints and transient images in that movie.
        transients: of their noisy traces.
        acquisition: frame rate and decay time.
        half_width_px: half-width of a neuron in px.

    Returns:
        (N,) by name. Without components, only the features that are computed for all components together.
    """
    length = min(transient_length(acquisition), components.n_frames)
    noisy = remove_baseline(components.traces + components.residual_traces, acquisition)
    background = background_under_footprints(components)
    rows = []
    for i in range(components.n_components):
        pixels, pair = snippets.component(i)
        rows.append(
            _spatial_features(pixels, pair, width=components.shape[1], half_width_px=half_width_px)
            | transient_edges(noisy[i], transients.frames[i], length)
            | trace_statistics(noisy[i], components.traces[i], background[i])
        )
    columns = {name: np.array([row[name] for row in rows], np.float64) for name in (rows[0] if rows else ())}
    return columns | {
        "max_overlap": max_overlaps(components.footprints),
        "neighbour_correlation": neighbour_correlations(
            noisy, centres(components.footprints, components.shape), _NEIGHBOUR_HALF_WIDTHS * half_width_px
        ),
    }
