"""Acceptance of components: thresholds on their quality measures, and the class that the classifier gives them.

Thresholds: a component passes if any measure reaches its upper threshold (`min_*`), and all of them reach their lower
one (`lowest_*`): the rule of CaImAn (Giovannucci et al. 2019, doi 10.7554/eLife.38173).

Class: the most probable one has to be among those in `accept`; somata moreover have to be as probable as
`min_soma_probability`. Silent components have no transients; only the class decides on them.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from rsc2p_kedro.core.parameters import EvaluationParameters
from rsc2p_kedro.core.results import COMPONENT_CLASSES, SILENT


def accept_components(
    snr: NDArray,
    r_value: NDArray,
    parameters: EvaluationParameters,
    *,
    classifier_score: NDArray | None = None,
    classes: Sequence[str | None] | None = None,
    probabilities: NDArray | None = None,
) -> tuple[NDArray[np.bool_], tuple[str, ...]]:
    """Decides which components are accepted, with a reason for each.

    Args:
        snr: (N,).
        r_value: (N,), in -1..1.
        parameters: the thresholds, and the accepted classes.
        classifier_score: (N,), in 0..1, a third measure; None leaves it out.
        classes: N classes, None for a component that was not classified; None leaves classes out.
        probabilities: (N, 4), of `COMPONENT_CLASSES`; needed for components that were classified.

    Returns:
        Accepted (N,), and N reasons such as `rejected: r_value 0.41 < 0.85 and snr 1.20 < 2.00` or
        `rejected: class process (0.93)`.
    """
    measures = {"r_value": r_value, "snr": snr}
    if classifier_score is not None:
        measures["classifier_score"] = classifier_score
    rows = [dict(zip(measures, map(float, row), strict=True)) for row in zip(*measures.values(), strict=True)]
    classes = [None] * len(rows) if classes is None else classes
    decisions = []
    for i, (row, name) in enumerate(zip(rows, classes, strict=True)):
        probability = 1.0 if probabilities is None else _probability(name, probabilities[i])
        judged = name == SILENT or (name is not None and parameters.accept is not None)
        verdicts = [_judge_class(name, probability, parameters)] if judged else []
        if name != SILENT:
            verdicts.append(_judge_measures(row, parameters))
        decisions.append(_combine(verdicts))
    return np.array([accepted for accepted, _ in decisions], bool), tuple(reason for _, reason in decisions)


def _probability(name: str | None, probabilities: NDArray) -> float:
    """Probability of a class; 1 for one that does not come from the classifier."""
    return float(probabilities[COMPONENT_CLASSES.index(name)]) if name in COMPONENT_CLASSES else 1.0


def _combine(verdicts: Sequence[tuple[bool, str]]) -> tuple[bool, str]:
    """Accepted if all verdicts are, with the texts of those that are of the outcome."""
    accepted = all(good for good, _ in verdicts)
    texts = [text for good, text in verdicts if good == accepted]
    return accepted, f"accepted: {', '.join(texts)}" if accepted else f"rejected: {' and '.join(texts)}"


def _shown(value: float) -> str:
    """A value rounded down: below a threshold it should not be shown as equal to it."""
    return f"{math.floor(value * 100) / 100:.2f}"


def _judge_class(name: str | None, probability: float, parameters: EvaluationParameters) -> tuple[bool, str]:
    """Whether a class is accepted, and the class with its probability."""
    lowest = parameters.min_soma_probability
    accepted = parameters.accept is not None and name in parameters.accept
    if name == SILENT:
        return accepted, f"class {name}"
    if accepted and name == COMPONENT_CLASSES[0] and probability < lowest:
        return False, f"class {name} ({_shown(probability)} < {lowest:.2f})"
    return accepted, f"class {name} ({_shown(probability)})"


def _judge_measures(values: Mapping[str, float], parameters: EvaluationParameters) -> tuple[bool, str]:
    """Whether the measures of one component meet their thresholds, and which of them do or do not."""
    lowest = {name: getattr(parameters, f"lowest_{name}") for name in values}
    minimum = {name: getattr(parameters, f"min_{name}") for name in values}
    shown = {name: _shown(value) for name, value in values.items()}
    if too_low := [name for name, value in values.items() if value < lowest[name]]:
        return False, " and ".join(f"{name} {shown[name]} < lowest {lowest[name]:.2f}" for name in too_low)
    if passed := [name for name, value in values.items() if value >= minimum[name]]:
        return True, ", ".join(passed)
    return False, " and ".join(f"{name} {shown[name]} < {minimum[name]:.2f}" for name in values)
