"""Scores against the truth."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp

from rsc2p_kedro.core.parameters import Acquisition
from rsc2p_kedro.core.results import Components, MotionCorrection
from rsc2p_kedro.simulation.movie import simulate
from rsc2p_kedro.simulation.settings import SimulationSettings
from rsc2p_kedro.simulation.truth import SimulatedTruth, intersection_over_union, motion_error, score

T = 200


@pytest.fixture(scope="module")
def truth() -> SimulatedTruth:
    settings = SimulationSettings(n_frames=T, height_px=64, width_px=64, n_neurons=6, burst_rate_hz=0.4)
    return simulate(settings, Acquisition(frame_rate_hz=15)).truth


def perfect(truth: SimulatedTruth) -> Components:
    """Components that are the truth."""
    N = truth.n_neurons
    zeros = np.zeros(N, np.float32)
    return Components(
        shape=truth.shape, ids=np.arange(N), footprints=truth.footprints, traces=truth.traces, spikes=truth.spikes,
        residual_traces=np.zeros((N, T), np.float32), background_traces=np.zeros((1, T), np.float32),
        background_footprints=sp.csc_array((64 * 64, 1), dtype=np.float32), baseline=zeros, noise=zeros,
        ar_coefficients=zeros[:, None], lam=zeros, pixel_noise=np.zeros(truth.shape, np.float32),
    )  # fmt: skip


def corrected(truth: SimulatedTruth, points: np.ndarray, offset: float = 0.0) -> MotionCorrection:
    """The right correction, up to the place of its template."""
    per_frame = np.zeros(T, np.float32)
    return MotionCorrection(
        template=truth.background, shifts=-truth.rigid_motion + np.float32(offset),
        patch_shifts=-truth.displacement(points) + np.float32(offset), patch_centres=points.astype(np.float32),
        valid_mask=np.ones(truth.shape, bool), peak_quality=per_frame, registered=np.ones(T, bool),
    )  # fmt: skip


def values(rows: list) -> dict[str, float]:
    return {row.measure: row.value for row in rows}


def test_the_truth_scores_one(truth: SimulatedTruth) -> None:
    found = values(score(truth, perfect(truth)))
    for name in ("precision", "recall", "f1", "iou", "trace_correlation", "noisy_trace_correlation"):
        assert found[name] == pytest.approx(1), name
    assert found["spike_correlation"] == pytest.approx(1)


def test_a_template_elsewhere_is_no_fault_of_the_components(truth: SimulatedTruth) -> None:
    A = truth.footprints.toarray().reshape(64, 64, -1)
    moved = replace(perfect(truth), footprints=sp.csc_array(np.roll(A, (2, -3), axis=(0, 1)).reshape(64 * 64, -1)))
    assert values(score(truth, moved))["f1"] == pytest.approx(1)


def test_precision_and_recall_count_what_is_accepted(truth: SimulatedTruth) -> None:
    components = perfect(truth).select(np.array([0, 1, 2, 3]))
    found = values(score(truth, components))
    assert (found["precision"], found["recall"]) == (1, pytest.approx(4 / 6))
    accepted = np.array([True, True, False, False])
    found = values(score(truth, components, accepted))
    assert (found["recall"], found["recall_all"]) == (pytest.approx(2 / 6), pytest.approx(4 / 6))
    assert found["f1"] == pytest.approx(2 * (1 / 3) / (4 / 3))
    assert (found["n_components"], found["n_accepted"]) == (4, 2)


def test_a_footprint_in_the_wrong_place_is_false(truth: SimulatedTruth) -> None:
    A = truth.footprints.toarray()
    A[:, 0] = 0
    A[:30, 0] = 1
    assert values(score(truth, replace(perfect(truth), footprints=sp.csc_array(A))))["precision"] == pytest.approx(
        5 / 6
    )


def test_nothing_found_scores_zero_and_has_no_correlations(truth: SimulatedTruth) -> None:
    found = values(score(truth, perfect(truth).select(np.zeros(6, bool))))
    assert found["f1"] == found["precision"] == found["recall"] == 0
    assert np.isnan(found["trace_correlation"])


def test_noise_in_the_traces_lowers_their_correlation(truth: SimulatedTruth) -> None:
    noise = np.random.default_rng(0).normal(0, 1, (6, T)) * truth.traces.std(axis=1, keepdims=True)
    found = values(score(truth, replace(perfect(truth), residual_traces=noise.astype(np.float32))))
    assert found["trace_correlation"] == pytest.approx(1)
    assert found["noisy_trace_correlation"] == pytest.approx(np.sqrt(0.5), abs=0.07)


def test_overlap_is_that_of_masks() -> None:
    first = sp.csc_array(np.array([[1, 0.1, 0.5, 0, 0]], np.float32).T)
    second = sp.csc_array(np.array([[0, 0, 2, 2, 2], [0, 0, 0, 0, 0]], np.float32).T)
    np.testing.assert_allclose(intersection_over_union(first, second), [[1 / 4, 0]])


@pytest.mark.parametrize("offset", [0.0, 1.7])
def test_the_right_correction_has_no_error_wherever_its_template_lies(truth: SimulatedTruth, offset: float) -> None:
    points = np.array([[10, 10], [10, 50], [50, 30]])
    found = values(score(truth, motion=corrected(truth, points, offset)))
    assert found["rigid_motion_error"] == pytest.approx(0, abs=1e-5)
    assert found["local_motion_error"] == pytest.approx(0, abs=1e-5)
    assert found["uncorrected_local_motion"] > found["rigid_for_local_error"] > 0.1


def test_shifts_of_the_wrong_sign_double_the_error(truth: SimulatedTruth) -> None:
    right = motion_error(0 * truth.rigid_motion, truth.rigid_motion)
    assert motion_error(truth.rigid_motion, truth.rigid_motion) == pytest.approx(2 * right)


def test_rigid_correction_is_scored_at_places_all_over_the_frame(truth: SimulatedTruth) -> None:
    rigid = corrected(truth, np.zeros((0, 2)))
    found = values(score(truth, motion=rigid))
    assert found["local_motion_error"] == found["rigid_for_local_error"] > 0.1


def test_parts_that_do_not_fit_are_refused(truth: SimulatedTruth) -> None:
    with pytest.raises(ValueError, match=r"traces should have shape \(6, 200\)"):
        replace(truth, traces=truth.traces[:, 1:])
