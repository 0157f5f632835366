"""The classifier by the book: one component, network and unit after the other."""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray


def score(features: Mapping[str, float], weights: Mapping[str, list]) -> float:
    """Mean vote of all networks on one component, from the weights as they stand in the file."""
    z = []
    for name, mean, scale in zip(weights["features"], weights["mean"], weights["scale"], strict=True):
        z.append(max(-3.0, min(3.0, (features[name] - mean) / scale)))
    votes = []
    for k, last in enumerate(weights["output_bias"]):
        logit = last
        for m, bias in enumerate(weights["hidden_bias"][k]):
            inner = bias + sum(z[f] * weights["hidden_weights"][k][f][m] for f in range(len(z)))
            logit += math.tanh(inner) * weights["output_weights"][k][m]
        votes.append(1 / (1 + math.exp(-logit)))
    return sum(votes) / len(votes)


def rings(distances: NDArray, image: NDArray, n: int, width: float) -> tuple[list[float], list[float]]:
    """Weighted mean and standard deviation of an image (P,) over each of n rings, pixel by pixel."""
    means, spreads = [], []
    for k in range(n):
        weights = [max(0.0, 1 - abs(d / width - k)) for d in distances]
        total = sum(weights)
        mean = sum(w * v for w, v in zip(weights, image, strict=True)) / total if total else 0.0
        square = sum(w * (v - mean) ** 2 for w, v in zip(weights, image, strict=True)) / total if total else 0.0
        means.append(mean)
        spreads.append(float(np.sqrt(square)))
    return means, spreads
