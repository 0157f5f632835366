"""Evaluation of components: SNR of the transients, spatial consistency and, optionally, the score of a classifier."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rsc2p_kedro.algorithms import blocks
from rsc2p_kedro.algorithms.evaluation.acceptance import accept_components
from rsc2p_kedro.algorithms.evaluation.classifier import load_classifier, neuron_half_width
from rsc2p_kedro.algorithms.evaluation.features import compute_features
from rsc2p_kedro.algorithms.evaluation.snr import Transients, count_runs, find_transients
from rsc2p_kedro.algorithms.evaluation.spatial_consistency import (
    SpatialSnippets,
    neighbours,
    r_values,
    spatial_snippets,
    transient_weights,
)
from rsc2p_kedro.core.parameters import Acquisition, Compute, EvaluationParameters
from rsc2p_kedro.core.results import ComponentQuality, Components

__all__ = ["accept_components", "component_features", "evaluate_components"]

_COMPONENTS_AT_ONCE = 32
"""Components in one task of a thread; does not change the result."""


def evaluate_components(
    movie: blocks.Movie,
    components: Components,
    acquisition: Acquisition,
    parameters: EvaluationParameters,
    *,
    compute: Compute,
) -> ComponentQuality:
    """Quality and acceptance of components in the movie they were extracted from.

    Args:
        movie: (T, H, W), lazy or not.
        components: extracted from that movie.
        acquisition: frame rate and decay time, which set the length of a transient.
        parameters: thresholds, and whether to use the classifier.
        compute: resources of the machine; the result does not depend on them.

    Returns:
        SNR, r_value, acceptance with its reason and number of transients of each component; its classifier score if
        `use_classifier` is set.

    Raises:
        ValueError: the components are not of this movie, or the classifier is used and they do not record the
            half-width of a neuron.
    """
    _check(movie, components)
    if not components.n_components:
        empty = np.zeros(0, np.float32)
        no_score = empty if parameters.use_classifier else None
        return ComponentQuality(empty, empty, np.zeros(0, bool), (), np.zeros(0, np.int64), no_score)
    measures = _measure(movie, components, acquisition, compute=compute)
    score = None
    if parameters.use_classifier:
        score = load_classifier().score(_features(components, measures, acquisition))
    snr, r_value = measures.transients.snr.astype(np.float32), measures.r_value.astype(np.float32)
    accepted, reasons = accept_components(snr, r_value, parameters, classifier_score=score)
    return ComponentQuality(
        snr=snr,
        r_value=r_value,
        accepted=accepted,
        reasons=reasons,
        n_transients=count_runs(measures.transients.frames),
        classifier_score=score,
    )


def component_features(
    movie: blocks.Movie, components: Components, acquisition: Acquisition, *, compute: Compute
) -> dict[str, NDArray[np.float64]]:
    """Features that the classifier uses, see :mod:`.features`.

    Args:
        movie: (T, H, W), lazy or not.
        components: extracted from that movie.
        acquisition: frame rate and decay time.
        compute: resources of the machine; the result does not depend on them.

    Returns:
        (N,) by name.

    Raises:
        ValueError: the components are not of this movie, or do not record the half-width of a neuron.
    """
    _check(movie, components)
    return _features(components, _measure(movie, components, acquisition, compute=compute), acquisition)


@dataclass(frozen=True, eq=False)
class _Measures:
    """Measures of components, from which features and acceptance follow."""

    transients: Transients
    snippets: SpatialSnippets
    r_value: NDArray[np.float64]


def _measure(movie: blocks.Movie, components: Components, acquisition: Acquisition, *, compute: Compute) -> _Measures:
    """Transients, spatial snippets and r_value of components in their movie."""
    transients = _find_transients(components, acquisition, compute)
    weights = transient_weights(components.traces, transients.frames, neighbours(components.footprints))
    snippets = spatial_snippets(movie, components, weights, compute=compute)
    return _Measures(transients, snippets, r_values(snippets, components))


def _find_transients(components: Components, acquisition: Acquisition, compute: Compute) -> Transients:
    """Transients of all components, some components a task."""
    groups = blocks.frame_blocks(components.n_components, _COMPONENTS_AT_ONCE)
    parts = blocks.run(
        lambda s: find_transients(components.traces[s] + components.residual_traces[s], acquisition),
        groups,
        compute=compute,
        description="Transients",
        unit="component",
        sizes=[s.stop - s.start for s in groups],
    )
    columns = zip(*((p.snr, p.frames, p.active) for p in parts), strict=True)
    return Transients(*map(np.concatenate, columns))


def _features(components: Components, measures: _Measures, acquisition: Acquisition) -> dict[str, NDArray[np.float64]]:
    return compute_features(
        components,
        measures.snippets,
        measures.transients,
        measures.r_value,
        acquisition=acquisition,
        half_width_px=neuron_half_width(components),
    )


def _check(movie: blocks.Movie, components: Components) -> None:
    """Raises ValueError where a movie does not have the shape of that of the components."""
    expected = (components.n_frames, *components.shape)
    if movie.shape != expected:
        raise ValueError(
            f"The components were extracted from a movie (T, H, W) of shape {expected}, this movie has shape "
            f"{movie.shape}. Evaluate them on the movie that they were extracted from."
        )
