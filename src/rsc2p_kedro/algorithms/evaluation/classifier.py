"""A learned classifier of shape and trace: how likely a component is to be a neuron.

K small networks, each of one hidden layer, look at the features x of a component (:mod:`.features`) and vote:

    z = clip((x - mean) / scale, -3, 3)
    score = mean over k of 1 / (1 + exp(-(tanh(z V_k + c_k) . w_k + d_k)))

Each was trained on simulated movies alone, on another draw of them, so that they disagree, and the score stays away
from 0 and 1, where a component is unlike all they have seen; the clip keeps any one feature from deciding alone. The
script is `benchmarks/train_classifier.py`; what it made is `classifier.json` beside this module: numbers, names, and
where they come from. Sums are taken in a fixed order: a score is the same, bit for bit, whoever else is scored.
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
CLIP = 3.0
"""Standard deviations beyond which a feature counts as no further away."""
_ARRAYS = ("mean", "scale", "hidden_weights", "hidden_bias", "output_weights", "output_bias")


@dataclass(frozen=True, eq=False)
class Classifier:
    """K networks of M hidden units on F features.

    Attributes:
        features: names of the features, in order.
        mean: (F,), of each feature in training.
        scale: (F,), standard deviation of each feature in training.
        hidden_weights: V, (K, F, M).
        hidden_bias: c, (K, M).
        output_weights: w, (K, M).
        output_bias: d, (K,).
        provenance: how it was trained, on what, and how well it did on movies it had not seen.
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
            raise ValueError("Classifier is inconsistent: " + "; ".join(problems) + ". Train it anew.")

    def standardize(self, features: Mapping[str, NDArray]) -> Array:
        """z (N, F) of features (N,) by name."""
        if missing := [name for name in self.features if name not in features]:
            raise ValueError(f"The classifier looks at features that are not there: {', '.join(missing)}.")
        x = np.stack([features[name] for name in self.features], axis=1)
        return np.clip((x - self.mean) / self.scale, -CLIP, CLIP)

    def score(self, features: Mapping[str, NDArray]) -> NDArray[np.float32]:
        """Scores (N,) in 0..1 of features (N,) by name."""
        z = self.standardize(features)
        votes = np.zeros(len(z))
        for V, c, w, d in zip(
            self.hidden_weights, self.hidden_bias, self.output_weights, self.output_bias, strict=True
        ):
            # One product after the other: a matrix product may add in another order for another number of rows.
            hidden = np.tanh(c + sum(z[:, [f]] * V[f] for f in range(len(V))))
            votes += expit(d + sum(hidden[:, m] * w[m] for m in range(len(w))))
        return (votes / len(self.output_bias)).astype(np.float32)

    def to_json(self) -> str:
        """All of it as JSON, one array a line."""
        values = {"provenance": self.provenance, "features": self.features}
        values |= {name: getattr(self, name).tolist() for name in _ARRAYS}
        return "{\n" + ",\n".join(f'"{name}": {json.dumps(value)}' for name, value in values.items()) + "\n}\n"

    @classmethod
    def from_json(cls, text: str) -> "Classifier":
        """The classifier that :meth:`to_json` wrote."""
        values = json.loads(text)
        arrays = {name: np.array(values[name], np.float64) for name in _ARRAYS}
        return cls(features=tuple(values["features"]), provenance=values["provenance"], **arrays)


@cache
def load_classifier() -> Classifier:
    """The classifier that comes with the project."""
    return Classifier.from_json(resources.files(__package__).joinpath("classifier.json").read_text(encoding="utf-8"))


def half_width_of(components: Components) -> int:
    """Half-width in px of a neuron that components were sought with.

    Raises:
        ValueError: the components do not say.
    """
    if components.neuron_half_width_px is None:
        raise ValueError(
            "use_classifier: the classifier judges shapes by `neuron_half_width_px` of source extraction, and these "
            "components do not say which half-width they were searched with. Run source extraction again, or set "
            "use_classifier to false."
        )
    return components.neuron_half_width_px
