"""Which components are taken for cells, and why.

A component is accepted if any of its measures reaches its upper threshold, and all of them reach their lower ones.
"""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from rsc2p_kedro.core.parameters import EvaluationParameters


def _say(value: float) -> str:
    """Two decimals, rounded down: what is below a threshold shall not look equal to it."""
    return f"{math.floor(value * 100) / 100:.2f}"


def _decide_one(values: Mapping[str, float], parameters: EvaluationParameters) -> tuple[bool, str]:
    """Whether one component is accepted, and the reason, from its measures by name."""
    low = {name: getattr(parameters, f"lowest_{name}") for name in values}
    enough = {name: getattr(parameters, f"min_{name}") for name in values}
    too_low = [f"{name} {_say(v)} < lowest {low[name]:.2f}" for name, v in values.items() if v < low[name]]
    if too_low:
        return False, "rejected: " + " and ".join(too_low)
    passed = [name for name, v in values.items() if v >= enough[name]]
    if passed:
        return True, "accepted: " + ", ".join(passed)
    return False, "rejected: " + " and ".join(f"{name} {_say(v)} < {enough[name]:.2f}" for name, v in values.items())


def decide(
    snr: NDArray, r_value: NDArray, parameters: EvaluationParameters, *, classifier_score: NDArray | None = None
) -> tuple[NDArray[np.bool_], tuple[str, ...]]:
    """Accepted (N,) and reasons, such as `rejected: r_value 0.41 < 0.85 and snr 1.20 < 2.00`, from measures (N,)."""
    measures = {"r_value": r_value, "snr": snr} | (
        {} if classifier_score is None else {"classifier_score": classifier_score}
    )
    rows = [dict(zip(measures, map(float, row), strict=True)) for row in zip(*measures.values(), strict=True)]
    decisions = [_decide_one(row, parameters) for row in rows]
    return np.array([good for good, _ in decisions], bool), tuple(reason for _, reason in decisions)
