"""Quality and acceptance of components as a whole."""

import dask.array as da
import numpy as np
import pytest

from rsc2p_kedro.algorithms.evaluation import accept_components, evaluate_components
from rsc2p_kedro.core.parameters import Acquisition, Compute, EvaluationParameters

COMPUTE = Compute(threads=2, show_progress=False)
DEFAULT = EvaluationParameters(accept=None)


def test_cells_are_accepted_and_noise_is_not(scene, acquisition: Acquisition) -> None:
    quality = evaluate_components(scene.movie, scene.components, acquisition, DEFAULT, compute=COMPUTE)
    assert quality.accepted.tolist() == [True, True, True, False]
    assert (quality.snr[:3] > 2).all()
    assert quality.snr[3] < 1
    assert (quality.r_value[:3] > 0.9).all()
    assert quality.n_transients[:3].tolist() == [3, 3, 3]
    assert quality.reasons[0] == "accepted: r_value, snr"
    assert quality.reasons[3].startswith("rejected: snr 0.")


def test_neither_threads_nor_blocks_change_a_bit(scene, acquisition: Acquisition) -> None:
    whole = evaluate_components(scene.movie, scene.components, acquisition, DEFAULT, compute=COMPUTE)
    lazy = da.from_array(scene.movie, chunks=(30, 20, 44))
    other = Compute(threads=3, block_frames=17, show_progress=False)
    parts = evaluate_components(lazy, scene.components, acquisition, DEFAULT, compute=other)
    np.testing.assert_array_equal(whole.snr, parts.snr)
    np.testing.assert_array_equal(whole.r_value, parts.r_value)


def test_components_do_not_depend_on_distant_ones(scene, acquisition: Acquisition) -> None:
    whole = evaluate_components(scene.movie, scene.components, acquisition, DEFAULT, compute=COMPUTE)
    single = scene.components.select(np.array([2]))
    part = evaluate_components(scene.movie, single, acquisition, DEFAULT, compute=COMPUTE)
    assert part.snr[0] == whole.snr[2]
    assert part.r_value[0] == pytest.approx(whole.r_value[2], abs=1e-6)


def test_no_components_have_no_quality(scene, acquisition: Acquisition) -> None:
    nothing = scene.components.select(np.zeros(4, bool))
    quality = evaluate_components(scene.movie, nothing, acquisition, DEFAULT, compute=COMPUTE)
    assert quality.snr.shape == quality.accepted.shape == (0,)
    assert quality.reasons == ()


def test_components_of_another_movie_are_refused(scene, acquisition: Acquisition) -> None:
    with pytest.raises(ValueError, match=r"\(500, 40, 44\), this movie has shape \(499, 40, 44\)"):
        evaluate_components(scene.movie[1:], scene.components, acquisition, DEFAULT, compute=COMPUTE)


@pytest.mark.parametrize(
    ("snr", "r_value", "reason"),
    [
        (2.0, 0.1, "accepted: snr"),
        (0.7, 0.85, "accepted: r_value"),
        (3.0, 0.9, "accepted: r_value, snr"),
        (1.999, 0.41, "rejected: r_value 0.41 < 0.85 and snr 1.99 < 2.00"),
        (0.4, 0.99, "rejected: snr 0.40 < lowest 0.50"),
        (9.0, -0.3, "rejected: r_value -0.30 < lowest -0.20"),
    ],
)
def test_any_upper_threshold_is_enough_and_all_lower_ones_are_needed(snr: float, r_value: float, reason: str) -> None:
    parameters = EvaluationParameters(lowest_r_value=-0.2)
    accepted, reasons = accept_components(np.array([snr]), np.array([r_value]), parameters)
    assert reasons == (reason,)
    assert accepted[0] == reason.startswith("accepted")


def test_a_classifier_score_is_a_third_measure() -> None:
    snr = np.array([0.6, 3.0, 0.6])
    accepted, reasons = accept_components(snr, snr / 4, DEFAULT, classifier_score=np.array([0.995, 0.05, 0.5]))
    assert accepted.tolist() == [True, False, False]
    assert reasons[:2] == ("accepted: classifier_score", "rejected: classifier_score 0.05 < lowest 0.10")


def test_the_most_probable_class_has_to_be_accepted() -> None:
    probabilities = np.array(
        [[0.97, 0.02, 0.01, 0], [0.05, 0.93, 0.01, 0.01], [0.42, 0.3, 0.2, 0.08], [0.9, 0, 0, 0.1]]
    )
    classes, snr, r_value = ("soma", "process", "soma", "soma"), np.array([5, 5, 5, 0.1]), np.full(4, 0.9)

    def accept(**parameters: object) -> tuple[list[bool], tuple[str, ...]]:
        made = EvaluationParameters.model_validate(parameters)
        accepted, reasons = accept_components(snr, r_value, made, classes=classes, probabilities=probabilities)
        return accepted.tolist(), reasons

    accepted, reasons = accept()
    assert accepted == [True, False, False, False]
    assert reasons == (
        "accepted: class soma (0.97), r_value, snr",
        "rejected: class process (0.93)",
        "rejected: class soma (0.42 < 0.50)",
        "rejected: snr 0.10 < lowest 0.50",
    )
    assert accept(accept=["process"])[0] == [False, True, False, False]
    assert accept(min_soma_probability=0.4)[0] == [True, False, True, False]
    assert accept(min_soma_probability=0.98)[0] == [False] * 4
    both = accept(accept=["other"])[1][3]
    assert both == "rejected: class soma (0.90) and snr 0.10 < lowest 0.50"
    assert accept(accept=None)[1][1] == "accepted: r_value, snr"  # classes are no criterion
