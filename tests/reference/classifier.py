"""Reference implementation of the classifier: one component, network and unit after the other."""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray


def probabilities(features: Mapping[str, float], weights: Mapping[str, list]) -> list[float]:
    """Calibrated probabilities of the four classes of one component, from the weights in the file."""
    z = []
    for name, mean, scale in zip(weights["features"], weights["mean"], weights["scale"], strict=True):
        z.append(max(-3.0, min(3.0, (features[name] - mean) / scale)))
    mean_of_networks = [0.0] * 4
    for k, bias in enumerate(weights["output_bias"]):
        logits = list(bias)
        for m, inner in enumerate(weights["hidden_bias"][k]):
            unit = math.tanh(inner + sum(z[f] * weights["hidden_weights"][k][f][m] for f in range(len(z))))
            logits = [logit + unit * weights["output_weights"][k][m][c] for c, logit in enumerate(logits)]
        total = sum(math.exp(logit) for logit in logits)
        for c, logit in enumerate(logits):
            mean_of_networks[c] += math.exp(logit) / total / len(weights["output_bias"])
    powers = [q ** (1 / weights["temperature"]) for q in mean_of_networks]
    return [power / sum(powers) for power in powers]


def ring_statistics(distances: NDArray, image: NDArray) -> tuple[list[float], list[float]]:
    """Weighted mean and standard deviation of an image (P,) over 7 rings, 0.35 half-widths apart, pixel by pixel."""
    means, deviations = [], []
    for k in range(7):
        weights = [max(0.0, 1 - abs(d / 0.35 - k)) for d in distances]
        total = sum(weights)
        mean = sum(w * v for w, v in zip(weights, image, strict=True)) / total if total else 0.0
        square = sum(w * (v - mean) ** 2 for w, v in zip(weights, image, strict=True)) / total if total else 0.0
        means.append(mean)
        deviations.append(float(np.sqrt(square)))
    return means, deviations
