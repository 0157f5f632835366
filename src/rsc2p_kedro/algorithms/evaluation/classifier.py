"""Classifier that scores from footprint and trace how likely a component is a neuron.

K small neural networks of one hidden layer each classify the features x of a component (:mod:`.features`)::

    z = clip((x - mean) / scale, -3, 3)
    score = mean over k of 1 / (1 + exp(-(tanh(z V_k + c_k) . w_k + d_k)))

Averaging networks trained on bootstrap samples is bagging (Breiman 1996, doi 10.1007/BF00058655): their disagreement
keeps the score away from 0 and 1 for components unlike those in the training data, and the clip keeps a single feature
from deciding. The networks were trained on simulated movies only, by `benchmarks/train_classifier.py`, which wrote
`classifier.json` beside this module: weights, feature names and provenance.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from rsc2p_kedro.core.results import Components

Array = NDArray[np.float64]
MAX_ABS_Z = 3.0
"""Clip of a standardized feature in standard deviations of the training data; part of the trained model."""
_ARRAYS = ("mean", "scale", "hidden_weights", "hidden_bias", "output_weights", "output_bias")


@dataclass(frozen=True, eq=False)
class Classifier:
    """K networks of M hidden units on F features, consistent by construction.

    Attributes:
        features: names of the features, in order.
        mean: (F,), of each feature in the training data.
        scale: (F,), standard deviation of each feature in the training data.
        hidden_weights: V, (K, F, M).
        hidden_bias: c, (K, M).
        output_weights: w, (K, M).
        output_bias: d, (K,).
        provenance: training data, settings, and accuracy on movies that were not used in training.
    """

    features: tuple[str, ...]
    mean: Array
    scale: Array
    hidden_weights: Array
    hidden_bias: Array
    output_weights: Array
    output_bias: Array
    provenance: Mapping[str, object]

    def __post_init__(self) -> None:
        F, (K, M) = len(self.features), self.hidden_bias.shape
        expected = {"mean": (F,), "scale": (F,), "hidden_weights": (K, F, M), "output_weights": (K, M)}
        expected["output_bias"] = (K,)
        problems = [
            f"{name} should have shape {shape}, has {getattr(self, name).shape}"
            for name, shape in expected.items()
            if getattr(self, name).shape != shape
        ]
        problems += [
            f"{name} holds NaN or infinite values" for name in _ARRAYS if not np.isfinite(getattr(self, name)).all()
        ]
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

    def score(self, features: Mapping[str, NDArray]) -> NDArray[np.float32]:
        """Scores of components.

        Products are summed in a fixed order, so that a score is the same, bit for bit, whichever components are scored
        with it; a matrix product may sum in another order for another number of rows.

        Args:
            features: (N,) by name.

        Returns:
            (N,), in 0..1: 1 for a neuron.

        Raises:
            ValueError: features are missing.
        """
        z = self.standardize(features)
        scores = np.zeros(len(z))
        layers = (self.hidden_weights, self.hidden_bias, self.output_weights, self.output_bias)
        for V, c, w, d in zip(*layers, strict=True):
            hidden = np.tanh(c + sum(z[:, [f]] * V[f] for f in range(len(V))))
            scores += expit(d + sum(hidden[:, m] * w[m] for m in range(len(w))))
        return (scores / len(self.output_bias)).astype(np.float32)

    def to_json(self) -> str:
        """The classifier as JSON.

        Returns:
            A JSON object with one array per line.
        """
        values = {"provenance": self.provenance, "features": self.features}
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
        return cls(features=tuple(values["features"]), provenance=values["provenance"], **arrays)


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
            "use_classifier: the classifier scales shapes by `neuron_half_width_px` of source extraction, which these "
            "components do not record. Run source extraction again, or set use_classifier to false."
        )
    return components.neuron_half_width_px
