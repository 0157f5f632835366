"""The classifier: inference, weights, and its part in acceptance."""

import json
import re
from dataclasses import replace
from importlib import resources

import dask.array as da
import numpy as np
import pytest
from tests.reference import classifier as reference

from rsc2p_kedro.algorithms.evaluation import component_features, evaluate_components
from rsc2p_kedro.algorithms.evaluation.classifier import Classifier, load_classifier, neuron_half_width
from rsc2p_kedro.core.parameters import Acquisition, Compute, EvaluationParameters
from rsc2p_kedro.core.results import ComponentQuality

COMPUTE = Compute(threads=2, show_progress=False)
DEFAULT = EvaluationParameters()
SCORED = EvaluationParameters(accept=None, use_classifier=True, lowest_classifier_score=0.2)


@pytest.fixture(scope="module")
def components(sharp_scene):
    """The components of the scene, with the half-width of a neuron on record."""
    return replace(sharp_scene.components, neuron_half_width_px=3)


@pytest.fixture(scope="module")
def features(sharp_scene, components, acquisition: Acquisition):
    return component_features(sharp_scene.movie, components, acquisition, compute=COMPUTE)


@pytest.fixture(scope="module")
def weights() -> dict:
    package = resources.files("rsc2p_kedro.algorithms.evaluation")
    return json.loads(package.joinpath("classifier.json").read_text(encoding="utf-8"))


def test_probabilities_agree_with_the_reference(features, weights) -> None:
    rows = [{name: float(column[i]) for name, column in features.items()} for i in range(4)]
    slow = [reference.probabilities(row, weights) for row in rows]
    np.testing.assert_allclose(load_classifier().probabilities(features), slow, atol=1e-6)


def test_cells_with_an_edge_are_somata_and_blurred_ones_less_so(features, scene, acquisition: Acquisition) -> None:
    blurred = replace(scene.components, neuron_half_width_px=3)
    others = component_features(scene.movie, blurred, acquisition, compute=COMPUTE)
    sharp, soft = (load_classifier().probabilities(f)[:3, 0] for f in (features, others))
    assert (sharp > 0.8).all()
    assert (soft < sharp - 0.1).all()


def test_probabilities_do_not_depend_on_the_other_components(features) -> None:
    whole = load_classifier().probabilities(features)
    single = [load_classifier().probabilities({n: v[[i]] for n, v in features.items()})[0] for i in range(4)]
    np.testing.assert_array_equal(whole, single)
    assert load_classifier().probabilities({n: v[:0] for n, v in features.items()}).shape == (0, 4)


def test_probabilities_of_extreme_features_sum_to_1(features) -> None:
    extreme = {name: np.full(2, 1e12) * [1, -1] for name in features}
    probabilities = load_classifier().probabilities(extreme)
    assert (probabilities >= 0).all()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)


def test_a_temperature_above_1_makes_probabilities_less_certain(features) -> None:
    classifier = load_classifier()
    cold, hot = (replace(classifier, temperature=t).probabilities(features) for t in (0.5, 2.0))
    np.testing.assert_array_equal(cold.argmax(axis=1), hot.argmax(axis=1))
    assert (cold.max(axis=1) > hot.max(axis=1)).all()


def test_weights_record_their_provenance(weights) -> None:
    provenance = weights["provenance"]
    assert "train_classifier.py" in provenance["made_by"]
    assert "simulated movies only" in provenance["data"]
    rows = {(r["movies"], r["initialization"], r["rule"]): r for r in provenance["unseen"]["acceptance"]}
    for kind in ("adaptive", "greedy_roi"):
        without, with_it = (rows["tissue", kind, rule] for rule in ("thresholds", "and class"))
        assert with_it["precision"] > without["precision"] + 0.1
    assert max(provenance["unseen"]["calibration_error"].values()) < 0.05


def test_weights_survive_writing_and_inconsistent_ones_are_refused() -> None:
    classifier = load_classifier()
    again = Classifier.from_json(classifier.to_json())
    np.testing.assert_array_equal(again.hidden_weights, classifier.hidden_weights)
    assert again.features == classifier.features
    with pytest.raises(ValueError, match=r"mean should have shape .*; output_bias holds NaN"):
        replace(classifier, mean=classifier.mean[1:], output_bias=classifier.output_bias * np.nan)
    with pytest.raises(ValueError, match="temperature should be positive"):
        replace(classifier, temperature=0.0)
    with pytest.raises(ValueError, match=r"missing: .*elongation"):
        classifier.probabilities({"snr": np.zeros(1)})


def test_without_accepted_classes_the_classifier_is_not_run(sharp_scene, components, acquisition: Acquisition) -> None:
    without = evaluate_components(
        sharp_scene.movie, sharp_scene.components, acquisition, EvaluationParameters(accept=None), compute=COMPUTE
    )
    quality = evaluate_components(sharp_scene.movie, components, acquisition, DEFAULT, compute=COMPUTE)
    assert without.classifier_score is without.component_class is without.class_probabilities is None
    np.testing.assert_array_equal(quality.snr, without.snr)
    np.testing.assert_array_equal(quality.r_value, without.r_value)
    assert without.accepted.tolist() == quality.accepted.tolist() == [True, True, True, False]
    np.testing.assert_array_equal(quality.classifier_score, quality.class_probabilities[:, 0])
    assert quality.component_class[:3] == ("soma",) * 3
    assert quality.reasons[0].startswith("accepted: class soma (")
    assert re.search(r"rejected: .*snr 0\.\d\d < ", quality.reasons[3])


def test_the_score_is_a_measure_only_if_asked_for(sharp_scene, components, acquisition: Acquisition) -> None:
    def accepted(**thresholds: float) -> tuple[list[bool], tuple[str, ...]]:
        parameters = SCORED.model_copy(update=thresholds)
        quality = evaluate_components(sharp_scene.movie, components, acquisition, parameters, compute=COMPUTE)
        return quality.accepted.tolist(), quality.reasons

    none, reasons = accepted(lowest_classifier_score=1, min_classifier_score=1)
    assert none == [False] * 4
    assert re.fullmatch(r"rejected: classifier_score 0\.\d\d < lowest 1.00", reasons[0])
    good, reasons = accepted(min_snr=1e3, min_r_value=1, min_classifier_score=0.5)
    assert good == [True, True, True, False]
    assert reasons[0] == "accepted: classifier_score"


def test_silent_components_are_accepted_only_if_asked_for(sharp_scene, components, acquisition: Acquisition) -> None:
    silent = replace(components, silent=np.array([False, False, False, True]))

    def evaluate(*accept: str) -> ComponentQuality:
        parameters = EvaluationParameters(accept=accept or None)
        return evaluate_components(sharp_scene.movie, silent, acquisition, parameters, compute=COMPUTE)

    quality = evaluate("soma")
    assert quality.component_class == ("soma", "soma", "soma", "silent")
    assert quality.class_probabilities[3].tolist() == [1, 0, 0, 0]
    assert quality.accepted.tolist() == [True, True, True, False]
    assert quality.reasons[3] == "rejected: class silent"
    assert evaluate("soma", "silent").accepted.tolist() == [True] * 4  # the thresholds do not apply to it
    assert evaluate("silent").accepted.tolist() == [False, False, False, True]
    unclassified = evaluate()
    assert unclassified.component_class is None
    assert unclassified.accepted.tolist() == [True, True, True, False]


def test_neither_threads_nor_blocks_change_a_probability(sharp_scene, components, acquisition: Acquisition) -> None:
    whole = evaluate_components(sharp_scene.movie, components, acquisition, DEFAULT, compute=COMPUTE)
    lazy, other = da.from_array(sharp_scene.movie, chunks=(30, 20, 44)), Compute(threads=3, block_frames=17)
    parts = evaluate_components(
        lazy, components, acquisition, DEFAULT, compute=other.model_copy(update={"show_progress": False})
    )
    np.testing.assert_array_equal(whole.class_probabilities, parts.class_probabilities)


def test_no_components_have_no_classes(sharp_scene, components, acquisition: Acquisition) -> None:
    none = components.select(np.zeros(4, bool))
    quality = evaluate_components(sharp_scene.movie, none, acquisition, DEFAULT, compute=COMPUTE)
    assert quality.component_class == ()
    assert quality.class_probabilities.shape == (0, 4)
    assert quality.classifier_score.shape == (0,)


def test_components_out_of_view_are_no_somata(sharp_scene, components, acquisition: Acquisition) -> None:
    noise = components.pixel_noise.copy()
    noise.ravel()[components.footprints[:, [3]].indices] = 0
    hidden = replace(components, pixel_noise=noise)
    quality = evaluate_components(sharp_scene.movie, hidden, acquisition, DEFAULT, compute=COMPUTE)
    assert quality.component_class[3] != "soma"


def test_components_without_a_half_width_are_refused(sharp_scene, components, acquisition: Acquisition) -> None:
    assert neuron_half_width(replace(components, neuron_half_width_px=3.4)) == 3.4
    with pytest.raises(ValueError, match="neuron_half_width_px"):
        evaluate_components(sharp_scene.movie, sharp_scene.components, acquisition, DEFAULT, compute=COMPUTE)
