"""Which components are cells: how exceptional their transients are, how well the movie fits their footprints, and - if
asked - how likely shape and trace are a neuron's."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rsc2p_kedro.algorithms import blocks
from rsc2p_kedro.algorithms.evaluation.acceptance import decide
from rsc2p_kedro.algorithms.evaluation.classifier import half_width_of, load_classifier
from rsc2p_kedro.algorithms.evaluation.features import describe
from rsc2p_kedro.algorithms.evaluation.snr import Transients, count_runs, find_transients
from rsc2p_kedro.algorithms.evaluation.spatial_consistency import (
    Portraits,
    agreement,
    neighbours,
    portraits,
    transient_weights,
)
from rsc2p_kedro.core.parameters import Acquisition, Compute, EvaluationParameters
from rsc2p_kedro.core.results import ComponentQuality, Components

__all__ = ["decide", "describe_components", "evaluate_components"]

_GROUP = 32


def _check(movie: blocks.Movie, components: Components) -> None:
    expected = (components.n_frames, *components.shape)
    if movie.shape != expected:
        raise ValueError(
            f"Components cannot be evaluated: they are those of a movie (T, H, W) of {expected}, this one is "
            f"{movie.shape}. Evaluate them on the movie they were found in."
        )


def _transients(components: Components, acquisition: Acquisition, compute: Compute) -> Transients:
    """Transients of all components, some components at a time."""
    groups = blocks.frame_blocks(components.n_components, _GROUP)
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


@dataclass(frozen=True, eq=False)
class _Measures:
    """What components are judged by."""

    transients: Transients
    images: Portraits
    r_value: NDArray[np.float64]


def _measure(movie: blocks.Movie, components: Components, acquisition: Acquisition, *, compute: Compute) -> _Measures:
    """Transients, portraits and r_value of components in their movie."""
    transients = _transients(components, acquisition, compute)
    weights = transient_weights(components.traces, transients.frames, neighbours(components.footprints))
    images = portraits(movie, components, weights, compute=compute)
    return _Measures(transients, images, agreement(images, components))


def _describe(components: Components, measures: _Measures, acquisition: Acquisition) -> dict[str, NDArray[np.float64]]:
    return describe(
        components,
        measures.images,
        measures.transients,
        measures.r_value,
        acquisition=acquisition,
        half_width_px=half_width_of(components),
    )


def describe_components(
    movie: blocks.Movie, components: Components, acquisition: Acquisition, *, compute: Compute
) -> dict[str, NDArray[np.float64]]:
    """Features (N,) by name that the classifier sees of components in the movie (T, H, W) they were found in."""
    _check(movie, components)
    return _describe(components, _measure(movie, components, acquisition, compute=compute), acquisition)


def evaluate_components(
    movie: blocks.Movie,
    components: Components,
    acquisition: Acquisition,
    parameters: EvaluationParameters,
    *,
    compute: Compute,
) -> ComponentQuality:
    """Quality and acceptance of components on the movie they were found in.

    Args:
        movie: (T, H, W), lazy or not.
        components: found in that movie.
        acquisition: frame rate and decay time, which set how long a transient is.
        parameters: thresholds, and whether the classifier takes part.
        compute: what the machine may use; it does not change the result by a bit.

    Raises:
        ValueError: the components are not of this movie, or the classifier is asked for and they do not say how large
            neurons are.
    """
    _check(movie, components)
    asked = parameters.use_classifier
    if not components.n_components:
        nothing = np.zeros(0, np.float32)
        no_score = nothing if asked else None
        return ComponentQuality(nothing, nothing, np.zeros(0, bool), (), np.zeros(0, np.int64), no_score)
    measures = _measure(movie, components, acquisition, compute=compute)
    snr, r_value = measures.transients.snr.astype(np.float32), measures.r_value.astype(np.float32)
    classifier_score = load_classifier().score(_describe(components, measures, acquisition)) if asked else None
    accepted, reasons = decide(snr, r_value, parameters, classifier_score=classifier_score)
    return ComponentQuality(
        snr=snr,
        r_value=r_value,
        accepted=accepted,
        reasons=reasons,
        n_transients=count_runs(measures.transients.frames),
        classifier_score=classifier_score,
    )
