"""Classifier that says what a component is, from its footprint, its trace and the images around it.

K small neural networks of one hidden layer each classify the features x of a component (:mod:`.features`)::

    z = clip((x - mean) / scale, -3, 3)
    q = mean over k of softmax(tanh(z V_k + c_k) W_k + d_k)
    p = q^(1 / T) / sum of q^(1 / T) over the classes

Averaging networks trained on bootstrap samples is bagging (Breiman 1996, doi 10.1007/BF00058655): their disagreement
keeps probabilities away from 0 and 1 for components unlike those in the training data, and the clip keeps a single
feature from deciding. The temperature T calibrates the probabilities (Guo et al. 2017, arXiv 1706.04599): it was fitted
on movies that the networks were not trained on. All were simulated, by `benchmarks/train_classifier.py`, which wrote
`classifier.json` beside this module: weights, temperature, feature names and provenance.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np
from numpy.typing import NDArray

from rsc2p_kedro.core.results import COMPONENT_CLASSES, Components

Array = NDArray[np.float64]
MAX_ABS_Z = 3.0
"""Clip of a standardized feature in standard deviations of the training data; part of the trained model."""
_TINY = 1e-12
"""Smallest mean probability of a class, so that its logarithm is finite."""
_ARRAYS = ("mean", "scale", "hidden_weights", "hidden_bias", "output_weights", "output_bias")


def softmax(logits: Array) -> Array:
    """Probabilities from logits; classes are summed in order, so that rows do not influence each other.

    Args:
        logits: (N, C).

    Returns:
        (N, C), rows sum to 1.
    """
    powers = np.exp(logits - logits.max(axis=1, keepdims=True, initial=-np.inf))
    return powers / sum(powers[:, [c]] for c in range(powers.shape[1]))


@dataclass(frozen=True, eq=False)
class Classifier:
    """K networks of M hidden units on F features for 4 classes, consistent by construction.

    Attributes:
        features: names of the features, in order.
        mean: (F,), of each feature in the training data.
        scale: (F,), standard deviation of each feature in the training data.
        hidden_weights: V, (K, F, M).
        hidden_bias: c, (K, M).
        output_weights: W, (K, M, 4), to the classes in the order of `COMPONENT_CLASSES`.
        output_bias: d, (K, 4).
        temperature: T, > 0.
        provenance: training data, settings, and accuracy on movies that were not used in training.
    """

    features: tuple[str, ...]
    mean: Array
    scale: Array
    hidden_weights: Array
    hidden_bias: Array
    output_weights: Array
    output_bias: Array
    temperature: float
    provenance: Mapping[str, object]

    def __post_init__(self) -> None:
        F, (K, M) = len(self.features), self.hidden_bias.shape
        C = len(COMPONENT_CLASSES)
        expected = {"mean": (F,), "scale": (F,), "hidden_weights": (K, F, M), "output_weights": (K, M, C)}
        expected["output_bias"] = (K, C)
        problems = [
            f"{name} should have shape {shape}, has {getattr(self, name).shape}"
            for name, shape in expected.items()
            if getattr(self, name).shape != shape
        ]
        problems += [
            f"{name} holds NaN or infinite values" for name in _ARRAYS if not np.isfinite(getattr(self, name)).all()
        ]
        if not 0 < self.temperature < np.inf:
            problems.append(f"temperature should be positive, is {self.temperature}")
        if problems:
            raise ValueError("Classifier is inconsistent: " + "; ".join(problems) + ". Train it again.")

    def standardize(self, features: Mapping[str, NDArray]) -> Array:
        """Standardized and clipped features.

        Args:
            features: (N,) by name; others than those of the classifier are ignored.

        Returns:
            z, (N, F), in standard deviations of the training data.

        Raises:
            ValueError: features are missing.
        """
        if missing := [name for name in self.features if name not in features]:
            raise ValueError(f"Features of the classifier are missing: {', '.join(missing)}.")
        x = np.stack([features[name] for name in self.features], axis=1)
        return np.clip((x - self.mean) / self.scale, -MAX_ABS_Z, MAX_ABS_Z)

    def probabilities(self, features: Mapping[str, NDArray]) -> NDArray[np.float32]:
        """Calibrated probabilities of the classes of components.

        Products are summed in a fixed order, so that probabilities are the same, bit for bit, whichever components are
        classified with it; a matrix product may sum in another order for another number of rows.

        Args:
            features: (N,) by name.

        Returns:
            (N, 4), in the order of `COMPONENT_CLASSES`.

        Raises:
            ValueError: features are missing.
        """
        z = self.standardize(features)
        total = np.zeros((len(z), len(COMPONENT_CLASSES)))
        layers = (self.hidden_weights, self.hidden_bias, self.output_weights, self.output_bias)
        for V, c, W, d in zip(*layers, strict=True):
            hidden = np.tanh(c + sum(z[:, [f]] * V[f] for f in range(len(V))))
            total += softmax(d + sum(hidden[:, [m]] * W[m] for m in range(len(W))))
        mean = np.maximum(total / len(self.output_bias), _TINY)
        return softmax(np.log(mean) / self.temperature).astype(np.float32)

    def to_json(self) -> str:
        """The classifier as JSON.

        Returns:
            A JSON object with one array per line.
        """
        values: dict[str, object] = {"provenance": self.provenance, "features": self.features}
        values |= {"classes": COMPONENT_CLASSES, "temperature": self.temperature}
        values |= {name: getattr(self, name).tolist() for name in _ARRAYS}
        return "{\n" + ",\n".join(f'"{name}": {json.dumps(value)}' for name, value in values.items()) + "\n}\n"

    @classmethod
    def from_json(cls, text: str) -> "Classifier":
        """The classifier written by :meth:`to_json`.

        Args:
            text: JSON.

        Returns:
            The classifier.

        Raises:
            ValueError: shapes do not fit together, or values are not finite.
        """
        values = json.loads(text)
        arrays = {name: np.array(values[name], np.float64) for name in _ARRAYS}
        return cls(
            features=tuple(values["features"]),
            temperature=float(values["temperature"]),
            provenance=values["provenance"],
            **arrays,
        )


@cache
def load_classifier() -> Classifier:
    """The classifier that is part of the project.

    Returns:
        The classifier of `classifier.json`, read once per process.
    """
    return Classifier.from_json(resources.files(__package__).joinpath("classifier.json").read_text(encoding="utf-8"))


def neuron_half_width(components: Components) -> float:
    """Half-width of a neuron that was used to extract components.

    Args:
        components: of a source extraction.

    Returns:
        Half-width in px.

    Raises:
        ValueError: it is not known.
    """
    if components.neuron_half_width_px is None:
        raise ValueError(
            "The classifier scales shapes by `neuron_half_width_px` of source extraction, which is not on record for "
            "these components. Run source extraction again, or set `evaluation: {accept: null, use_classifier: false}`."
        )
    return float(components.neuron_half_width_px)
