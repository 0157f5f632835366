"""The learned classifier: inference, its weights, and how it takes part in acceptance."""

import json
from dataclasses import replace
from importlib import resources

import dask.array as da
import numpy as np
import pytest
from tests.reference import classifier as reference

from rsc2p_kedro.algorithms.evaluation import describe_components, evaluate_components
from rsc2p_kedro.algorithms.evaluation.classifier import Classifier, half_width_of, load_classifier
from rsc2p_kedro.core.parameters import Acquisition, Compute, EvaluationParameters

COMPUTE = Compute(threads=2, show_progress=False)
WITH = EvaluationParameters(use_classifier=True, lowest_classifier_score=0.2)


@pytest.fixture(scope="module")
def found(scene):
    """The components of the scene, which say how large neurons are."""
    return replace(scene.components, neuron_half_width_px=3)


@pytest.fixture(scope="module")
def features(scene, found, acquisition: Acquisition):
    return describe_components(scene.movie, found, acquisition, compute=COMPUTE)


@pytest.fixture(scope="module")
def weights() -> dict:
    package = resources.files("rsc2p_kedro.algorithms.evaluation")
    return json.loads(package.joinpath("classifier.json").read_text(encoding="utf-8"))


def test_scores_agree_with_their_slow_twin(features, weights) -> None:
    rows = [{name: float(column[i]) for name, column in features.items()} for i in range(4)]
    slow = [reference.score(row, weights) for row in rows]
    np.testing.assert_allclose(load_classifier().score(features), slow, atol=1e-6)


def test_cells_score_high_and_noise_low(features) -> None:
    score = load_classifier().score(features)
    assert (score[:3] > 0.5).all()
    assert score[3] < 0.2


def test_a_score_does_not_depend_on_who_else_is_scored(features) -> None:
    whole = load_classifier().score(features)
    alone = [load_classifier().score({n: v[[i]] for n, v in features.items()})[0] for i in range(4)]
    np.testing.assert_array_equal(whole, alone)
    assert load_classifier().score({n: v[:0] for n, v in features.items()}).shape == (0,)


def test_wild_features_stay_within_bounds(features) -> None:
    wild = {name: np.full(2, 1e12) * [1, -1] for name in features}
    score = load_classifier().score(wild)
    assert ((score >= 0) & (score <= 1)).all()


def test_weights_tell_where_they_come_from(weights) -> None:
    provenance = weights["provenance"]
    assert "train_classifier.py" in provenance["made_by"]
    assert "simulation alone" in provenance["data"]
    for kind in ("adaptive", "greedy_roi"):
        without, with_it = (provenance["unseen"][f"{kind}, {name}"] for name in ("snr and r_value", "and classifier"))
        assert with_it["precision"] > without["precision"]


def test_weights_survive_writing_and_odd_ones_are_refused() -> None:
    classifier = load_classifier()
    again = Classifier.from_json(classifier.to_json())
    np.testing.assert_array_equal(again.hidden_weights, classifier.hidden_weights)
    assert again.features == classifier.features
    with pytest.raises(ValueError, match=r"mean should have shape .*; output_bias holds NaN"):
        replace(classifier, mean=classifier.mean[1:], output_bias=classifier.output_bias * np.nan)
    with pytest.raises(ValueError, match=r"not there: .*elongation"):
        classifier.score({"snr": np.zeros(1)})


def test_the_classifier_takes_part_only_where_it_is_asked_for(scene, found, acquisition: Acquisition) -> None:
    without = evaluate_components(scene.movie, found, acquisition, EvaluationParameters(), compute=COMPUTE)
    quality = evaluate_components(scene.movie, found, acquisition, WITH, compute=COMPUTE)
    assert without.classifier_score is None
    assert quality.classifier_score is not None
    np.testing.assert_array_equal(quality.snr, without.snr)
    np.testing.assert_array_equal(quality.r_value, without.r_value)
    assert quality.accepted.tolist() == [True, True, True, False]
    assert (
        f"classifier_score {np.floor(quality.classifier_score[3] * 100) / 100:.2f} < lowest 0.20" in quality.reasons[3]
    )


def test_its_thresholds_are_honoured(scene, found, acquisition: Acquisition) -> None:
    def accepted(**thresholds: float) -> tuple[list[bool], tuple[str, ...]]:
        parameters = EvaluationParameters(use_classifier=True, **thresholds)
        quality = evaluate_components(scene.movie, found, acquisition, parameters, compute=COMPUTE)
        return quality.accepted.tolist(), quality.reasons

    assert accepted(lowest_classifier_score=1, min_classifier_score=1)[0] == [False] * 4
    good, reasons = accepted(min_snr=1e3, min_r_value=1, min_classifier_score=0.5)
    assert good == [True, True, True, False]
    assert reasons[0] == "accepted: classifier_score"


def test_neither_threads_nor_blocks_change_a_bit_of_the_score(scene, found, acquisition: Acquisition) -> None:
    whole = evaluate_components(scene.movie, found, acquisition, WITH, compute=COMPUTE)
    lazy, other = da.from_array(scene.movie, chunks=(30, 20, 44)), Compute(threads=3, block_frames=17)
    parts = evaluate_components(
        lazy, found, acquisition, WITH, compute=other.model_copy(update={"show_progress": False})
    )
    np.testing.assert_array_equal(whole.classifier_score, parts.classifier_score)


def test_no_components_have_no_scores(scene, found, acquisition: Acquisition) -> None:
    quality = evaluate_components(scene.movie, found.select(np.zeros(4, bool)), acquisition, WITH, compute=COMPUTE)
    assert quality.classifier_score is not None
    assert quality.classifier_score.shape == (0,)


def test_components_must_say_how_large_neurons_are(scene, found, acquisition: Acquisition) -> None:
    assert half_width_of(found) == 3
    with pytest.raises(ValueError, match="neuron_half_width_px"):
        evaluate_components(scene.movie, scene.components, acquisition, WITH, compute=COMPUTE)
