"""Evaluation of components: SNR of the transients, spatial consistency, and the class that a classifier gives them."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rsc2p_kedro.algorithms import blocks
from rsc2p_kedro.algorithms.evaluation.acceptance import accept_components
from rsc2p_kedro.algorithms.evaluation.classifier import load_classifier, neuron_half_width
from rsc2p_kedro.algorithms.evaluation.features import compute_features
from rsc2p_kedro.algorithms.evaluation.shape_measures import find_repeats
from rsc2p_kedro.algorithms.evaluation.snr import Transients, count_runs, find_transients
from rsc2p_kedro.algorithms.evaluation.spatial_consistency import (
    SpatialSnippets,
    neighbours,
    r_values,
    spatial_snippets,
    transient_weights,
)
from rsc2p_kedro.core.parameters import Acquisition, Compute, EvaluationParameters
from rsc2p_kedro.core.results import COMPONENT_CLASSES, SILENT, ComponentQuality, Components

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
        parameters: thresholds, and the classes that are accepted; without these, the classifier is not run.
        compute: resources of the machine; the result does not depend on them.

    Returns:
        SNR, r_value, acceptance with its reason and number of transients of each component; its class and the
        probabilities if the classifier was run.

    Raises:
        ValueError: the components are not of this movie, or the classifier is used and they do not record the
            half-width of a neuron.
    """
    _check(movie, components)
    run_classifier = parameters.accept is not None or parameters.use_classifier
    if not components.n_components:
        return _no_quality(classified=run_classifier)
    measures = _measure(movie, components, acquisition, compute=compute)
    probabilities = _classify(components, measures, acquisition) if run_classifier else None
    classes = _class_names(components, probabilities)
    score = None if probabilities is None else probabilities[:, 0]
    snr, r_value = measures.transients.snr.astype(np.float32), measures.r_value.astype(np.float32)
    accepted, reasons = accept_components(
        snr,
        r_value,
        parameters,
        classifier_score=score if parameters.use_classifier else None,
        classes=classes,
        probabilities=probabilities,
    )
    if probabilities is not None and parameters.accept is not None:
        accepted, reasons = _reject_repeats(components, accepted, reasons, probabilities[:, 0])
    return ComponentQuality(
        snr=snr,
        r_value=r_value,
        accepted=accepted,
        reasons=reasons,
        n_transients=count_runs(measures.transients.frames),
        classifier_score=score,
        component_class=None if probabilities is None else tuple(name for name in classes if name is not None),
        class_probabilities=probabilities,
    )


def _reject_repeats(
    components: Components, accepted: NDArray[np.bool_], reasons: tuple[str, ...], rank: NDArray
) -> tuple[NDArray[np.bool_], tuple[str, ...]]:
    """Rejects accepted components on the same neuron as a better one; silent ones come after all others."""
    repeats = find_repeats(components, accepted, rank - components.is_silent)
    accepted, texts = accepted.copy(), list(reasons)
    for i, better in repeats.items():
        accepted[i], texts[i] = False, f"rejected: on the same neuron as component {components.ids[better]}"
    return accepted, tuple(texts)


def _no_quality(*, classified: bool) -> ComponentQuality:
    """The quality of no components."""
    empty = np.zeros(0, np.float32)
    quality = ComponentQuality(empty, empty, np.zeros(0, bool), (), np.zeros(0, np.int64))
    if not classified:
        return quality
    none = np.zeros((0, len(COMPONENT_CLASSES)), np.float32)
    return replace(quality, classifier_score=empty, component_class=(), class_probabilities=none)


def _classify(components: Components, measures: "_Measures", acquisition: Acquisition) -> NDArray[np.float32]:
    """Probabilities of classes (N, 4). Silent components are not classified: as far as is known, they are somata."""
    probabilities = load_classifier().probabilities(_features(components, measures, acquisition))
    probabilities[components.is_silent] = np.eye(len(COMPONENT_CLASSES), dtype=np.float32)[0]
    return probabilities


def _class_names(components: Components, probabilities: NDArray | None) -> list[str | None]:
    """Most probable class of each component, `silent` for silent ones; None where no classifier was run."""
    names: list[str | None] = [None] * components.n_components
    if probabilities is not None:
        names = [COMPONENT_CLASSES[k] for k in probabilities.argmax(axis=1)]
    return [SILENT if silent else name for silent, name in zip(components.is_silent, names, strict=True)]


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
