"""Acceptance of components as cells, by thresholds on their quality measures.

A component is accepted if any measure reaches its upper threshold (`min_*`), and all of them reach their lower one
(`lowest_*`): the rule of CaImAn (Giovannucci et al. 2019, doi 10.7554/eLife.38173).
"""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from rsc2p_kedro.core.parameters import EvaluationParameters


def accept_components(
    snr: NDArray, r_value: NDArray, parameters: EvaluationParameters, *, classifier_score: NDArray | None = None
) -> tuple[NDArray[np.bool_], tuple[str, ...]]:
    """Decides which components are accepted, with a reason for each.

    Args:
        snr: (N,).
        r_value: (N,), in -1..1.
        parameters: the thresholds.
        classifier_score: (N,), in 0..1; None leaves the classifier out.

    Returns:
        Accepted (N,), and N reasons such as `rejected: r_value 0.41 < 0.85 and snr 1.20 < 2.00`.
    """
    measures = {"r_value": r_value, "snr": snr}
    if classifier_score is not None:
        measures["classifier_score"] = classifier_score
    rows = [dict(zip(measures, map(float, row), strict=True)) for row in zip(*measures.values(), strict=True)]
    decisions = [_accept(row, parameters) for row in rows]
    return np.array([accepted for accepted, _ in decisions], bool), tuple(reason for _, reason in decisions)


def _accept(values: Mapping[str, float], parameters: EvaluationParameters) -> tuple[bool, str]:
    """Whether one component is accepted, and the reason, from its measures by name."""
    lowest = {name: getattr(parameters, f"lowest_{name}") for name in values}
    minimum = {name: getattr(parameters, f"min_{name}") for name in values}
    # Rounded down: a value below a threshold should not be shown as equal to it.
    shown = {name: f"{math.floor(value * 100) / 100:.2f}" for name, value in values.items()}
    if too_low := [name for name, value in values.items() if value < lowest[name]]:
        return False, "rejected: " + " and ".join(
            f"{name} {shown[name]} < lowest {lowest[name]:.2f}" for name in too_low
        )
    if passed := [name for name, value in values.items() if value >= minimum[name]]:
        return True, "accepted: " + ", ".join(passed)
    return False, "rejected: " + " and ".join(f"{name} {shown[name]} < {minimum[name]:.2f}" for name in values)
