"""Accuracy of results against the ground truth."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp

from rsc2p_kedro.core.parameters import Acquisition
from rsc2p_kedro.core.results import Components, MotionCorrection
from rsc2p_kedro.simulation.movie import simulate
from rsc2p_kedro.simulation.settings import SimulationSettings
from rsc2p_kedro.simulation.truth import SimulatedTruth, intersection_over_union, motion_error, score_results

T = 200


@pytest.fixture(scope="module")
def truth() -> SimulatedTruth:
    settings = SimulationSettings(n_frames=T, height_px=64, width_px=64, n_neurons=6, burst_rate_hz=0.4)
    return simulate(settings, Acquisition(frame_rate_hz=15)).truth


def perfect(truth: SimulatedTruth) -> Components:
    """Components that equal the ground truth."""
    N = truth.n_neurons
    zeros = np.zeros(N, np.float32)
    return Components(
        shape=truth.shape, ids=np.arange(N), footprints=truth.footprints, traces=truth.traces, spikes=truth.spikes,
        residual_traces=np.zeros((N, T), np.float32), background_traces=np.zeros((1, T), np.float32),
        background_footprints=sp.csc_array((64 * 64, 1), dtype=np.float32), baseline=zeros, noise=zeros,
        ar_coefficients=zeros[:, None], lam=zeros, pixel_noise=np.zeros(truth.shape, np.float32),
    )  # fmt: skip


def corrected(truth: SimulatedTruth, points: np.ndarray, offset: float = 0.0) -> MotionCorrection:
    """The correct shifts, up to a constant offset."""
    per_frame = np.zeros(T, np.float32)
    return MotionCorrection(
        template=truth.background, shifts=-truth.rigid_motion + np.float32(offset),
        patch_shifts=-truth.displacement(points) + np.float32(offset), patch_centres=points.astype(np.float32),
        valid_mask=np.ones(truth.shape, bool), peak_quality=per_frame, registered=np.ones(T, bool),
    )  # fmt: skip


def values(rows: list) -> dict[str, float]:
    return {row.measure: row.value for row in rows}


def test_the_ground_truth_scores_one(truth: SimulatedTruth) -> None:
    scores = values(score_results(truth, perfect(truth)))
    for name in ("precision", "recall", "f1", "iou", "trace_correlation", "noisy_trace_correlation"):
        assert scores[name] == pytest.approx(1), name
    assert scores["spike_correlation"] == pytest.approx(1)


def test_an_offset_of_the_template_does_not_lower_the_scores_of_components(truth: SimulatedTruth) -> None:
    A = truth.footprints.toarray().reshape(64, 64, -1)
    moved = replace(perfect(truth), footprints=sp.csc_array(np.roll(A, (2, -3), axis=(0, 1)).reshape(64 * 64, -1)))
    assert values(score_results(truth, moved))["f1"] == pytest.approx(1)


def test_precision_and_recall_count_what_is_accepted(truth: SimulatedTruth) -> None:
    components = perfect(truth).select(np.array([0, 1, 2, 3]))
    scores = values(score_results(truth, components))
    assert (scores["precision"], scores["recall"]) == (1, pytest.approx(4 / 6))
    accepted = np.array([True, True, False, False])
    scores = values(score_results(truth, components, accepted))
    assert (scores["recall"], scores["recall_all"]) == (pytest.approx(2 / 6), pytest.approx(4 / 6))
    assert scores["f1"] == pytest.approx(2 * (1 / 3) / (4 / 3))
    assert (scores["n_components"], scores["n_accepted"]) == (4, 2)


def test_a_footprint_in_the_wrong_place_lowers_precision(truth: SimulatedTruth) -> None:
    A = truth.footprints.toarray()
    A[:, 0] = 0
    A[:30, 0] = 1
    assert values(score_results(truth, replace(perfect(truth), footprints=sp.csc_array(A))))[
        "precision"
    ] == pytest.approx(5 / 6)


def test_no_components_score_zero_and_have_no_correlations(truth: SimulatedTruth) -> None:
    scores = values(score_results(truth, perfect(truth).select(np.zeros(6, bool))))
    assert scores["f1"] == scores["precision"] == scores["recall"] == 0
    assert np.isnan(scores["trace_correlation"])


def test_noise_in_the_traces_lowers_their_correlation(truth: SimulatedTruth) -> None:
    noise = np.random.default_rng(0).normal(0, 1, (6, T)) * truth.traces.std(axis=1, keepdims=True)
    scores = values(score_results(truth, replace(perfect(truth), residual_traces=noise.astype(np.float32))))
    assert scores["trace_correlation"] == pytest.approx(1)
    assert scores["noisy_trace_correlation"] == pytest.approx(np.sqrt(0.5), abs=0.07)


def test_intersection_over_union_is_that_of_masks() -> None:
    first = sp.csc_array(np.array([[1, 0.1, 0.5, 0, 0]], np.float32).T)
    second = sp.csc_array(np.array([[0, 0, 2, 2, 2], [0, 0, 0, 0, 0]], np.float32).T)
    np.testing.assert_allclose(intersection_over_union(first, second), [[1 / 4, 0]])


@pytest.mark.parametrize("offset", [0.0, 1.7])
def test_the_correct_shifts_have_no_error_for_any_offset_of_the_template(truth: SimulatedTruth, offset: float) -> None:
    points = np.array([[10, 10], [10, 50], [50, 30]])
    scores = values(score_results(truth, motion=corrected(truth, points, offset)))
    assert scores["rigid_motion_error"] == pytest.approx(0, abs=1e-5)
    assert scores["local_motion_error"] == pytest.approx(0, abs=1e-5)
    assert scores["uncorrected_local_motion"] > scores["rigid_for_local_error"] > 0.1


def test_shifts_of_the_wrong_sign_double_the_error(truth: SimulatedTruth) -> None:
    right = motion_error(0 * truth.rigid_motion, truth.rigid_motion)
    assert motion_error(truth.rigid_motion, truth.rigid_motion) == pytest.approx(2 * right)


def test_rigid_shifts_are_scored_on_a_grid_over_the_frame(truth: SimulatedTruth) -> None:
    rigid = corrected(truth, np.zeros((0, 2)))
    scores = values(score_results(truth, motion=rigid))
    assert scores["local_motion_error"] == scores["rigid_for_local_error"] > 0.1


def test_inconsistent_shapes_are_rejected(truth: SimulatedTruth) -> None:
    with pytest.raises(ValueError, match=r"traces should have shape \(6, 200\)"):
        replace(truth, traces=truth.traces[:, 1:])
