"""The classifier: inference, weights, and its part in acceptance."""

import json
from dataclasses import replace
from importlib import resources

import dask.array as da
import numpy as np
import pytest
from tests.reference import classifier as reference

from rsc2p_kedro.algorithms.evaluation import component_features, evaluate_components
from rsc2p_kedro.algorithms.evaluation.classifier import Classifier, load_classifier, neuron_half_width
from rsc2p_kedro.core.parameters import Acquisition, Compute, EvaluationParameters

COMPUTE = Compute(threads=2, show_progress=False)
WITH = EvaluationParameters(use_classifier=True, lowest_classifier_score=0.2)


@pytest.fixture(scope="module")
def components(scene):
    """The components of the scene, with the half-width of a neuron on record."""
    return replace(scene.components, neuron_half_width_px=3)


@pytest.fixture(scope="module")
def features(scene, components, acquisition: Acquisition):
    return component_features(scene.movie, components, acquisition, compute=COMPUTE)


@pytest.fixture(scope="module")
def weights() -> dict:
    package = resources.files("rsc2p_kedro.algorithms.evaluation")
    return json.loads(package.joinpath("classifier.json").read_text(encoding="utf-8"))


def test_scores_agree_with_the_reference(features, weights) -> None:
    rows = [{name: float(column[i]) for name, column in features.items()} for i in range(4)]
    slow = [reference.score(row, weights) for row in rows]
    np.testing.assert_allclose(load_classifier().score(features), slow, atol=1e-6)


def test_cells_score_high_and_noise_low(features) -> None:
    score = load_classifier().score(features)
    assert (score[:3] > 0.5).all()
    assert score[3] < 0.2


def test_a_score_does_not_depend_on_the_other_components(features) -> None:
    whole = load_classifier().score(features)
    single = [load_classifier().score({n: v[[i]] for n, v in features.items()})[0] for i in range(4)]
    np.testing.assert_array_equal(whole, single)
    assert load_classifier().score({n: v[:0] for n, v in features.items()}).shape == (0,)


def test_scores_of_extreme_features_stay_within_bounds(features) -> None:
    extreme = {name: np.full(2, 1e12) * [1, -1] for name in features}
    score = load_classifier().score(extreme)
    assert ((score >= 0) & (score <= 1)).all()


def test_weights_record_their_provenance(weights) -> None:
    provenance = weights["provenance"]
    assert "train_classifier.py" in provenance["made_by"]
    assert "simulated movies only" in provenance["data"]
    for kind in ("adaptive", "greedy_roi"):
        without, with_it = (provenance["unseen"][f"{kind}, {name}"] for name in ("snr and r_value", "and classifier"))
        assert with_it["precision"] > without["precision"]


def test_weights_survive_writing_and_inconsistent_ones_are_refused() -> None:
    classifier = load_classifier()
    again = Classifier.from_json(classifier.to_json())
    np.testing.assert_array_equal(again.hidden_weights, classifier.hidden_weights)
    assert again.features == classifier.features
    with pytest.raises(ValueError, match=r"mean should have shape .*; output_bias holds NaN"):
        replace(classifier, mean=classifier.mean[1:], output_bias=classifier.output_bias * np.nan)
    with pytest.raises(ValueError, match=r"missing: .*elongation"):
        classifier.score({"snr": np.zeros(1)})


def test_the_classifier_is_used_only_if_asked_for(scene, components, acquisition: Acquisition) -> None:
    without = evaluate_components(scene.movie, components, acquisition, EvaluationParameters(), compute=COMPUTE)
    quality = evaluate_components(scene.movie, components, acquisition, WITH, compute=COMPUTE)
    assert without.classifier_score is None
    assert quality.classifier_score is not None
    np.testing.assert_array_equal(quality.snr, without.snr)
    np.testing.assert_array_equal(quality.r_value, without.r_value)
    assert quality.accepted.tolist() == [True, True, True, False]
    assert (
        f"classifier_score {np.floor(quality.classifier_score[3] * 100) / 100:.2f} < lowest 0.20" in quality.reasons[3]
    )


def test_its_thresholds_are_honoured(scene, components, acquisition: Acquisition) -> None:
    def accepted(**thresholds: float) -> tuple[list[bool], tuple[str, ...]]:
        parameters = EvaluationParameters(use_classifier=True, **thresholds)
        quality = evaluate_components(scene.movie, components, acquisition, parameters, compute=COMPUTE)
        return quality.accepted.tolist(), quality.reasons

    assert accepted(lowest_classifier_score=1, min_classifier_score=1)[0] == [False] * 4
    good, reasons = accepted(min_snr=1e3, min_r_value=1, min_classifier_score=0.5)
    assert good == [True, True, True, False]
    assert reasons[0] == "accepted: classifier_score"


def test_neither_threads_nor_blocks_change_a_bit_of_the_score(scene, components, acquisition: Acquisition) -> None:
    whole = evaluate_components(scene.movie, components, acquisition, WITH, compute=COMPUTE)
    lazy, other = da.from_array(scene.movie, chunks=(30, 20, 44)), Compute(threads=3, block_frames=17)
    parts = evaluate_components(
        lazy, components, acquisition, WITH, compute=other.model_copy(update={"show_progress": False})
    )
    np.testing.assert_array_equal(whole.classifier_score, parts.classifier_score)


def test_no_components_have_no_scores(scene, components, acquisition: Acquisition) -> None:
    quality = evaluate_components(scene.movie, components.select(np.zeros(4, bool)), acquisition, WITH, compute=COMPUTE)
    assert quality.classifier_score is not None
    assert quality.classifier_score.shape == (0,)


def test_components_without_a_half_width_are_refused(scene, components, acquisition: Acquisition) -> None:
    assert neuron_half_width(components) == 3
    with pytest.raises(ValueError, match="neuron_half_width_px"):
        evaluate_components(scene.movie, scene.components, acquisition, WITH, compute=COMPUTE)
