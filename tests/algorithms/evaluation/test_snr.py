"""Exceptionality of transients."""

import numpy as np
import pytest
from tests.reference import evaluation as reference

from rsc2p_kedro.algorithms.dff import remove_baseline
from rsc2p_kedro.algorithms.evaluation.snr import (
    exceptionality,
    find_transients,
    frames_of_runs,
    mode_and_noise,
    select_runs,
)
from rsc2p_kedro.core.parameters import Acquisition


def test_exceptionality_agrees_with_the_reference() -> None:
    trace = np.random.default_rng(0).normal(0, 1, 300)
    trace[100:106] += 4
    assert exceptionality(trace, 6).max() == pytest.approx(reference.snr(trace, 6), rel=1e-9)


def test_a_plateau_of_k_times_three_sd_has_an_snr_of_k() -> None:
    """The scale: a run that stays at z = k is as exceptional as k standard normal deviations, wherever k is."""
    trace = np.random.default_rng(1).normal(0, 1, 20_000)
    mode, noise = mode_and_noise(trace)
    for k in (2, 5, 40, 400):
        trace[50:56] = mode + 3 * noise * k
        assert exceptionality(trace, 6).max() == pytest.approx(k, rel=1e-3)


def test_mode_and_noise_of_a_trace_with_transients() -> None:
    rng = np.random.default_rng(2)
    trace = rng.normal(7, 2, 3000)
    trace[:200] += 30
    mode, noise = mode_and_noise(trace)
    assert mode == pytest.approx(7, abs=0.4)
    assert noise == pytest.approx(2, rel=0.1)


def test_noise_alone_stays_below_the_thresholds(acquisition: Acquisition) -> None:
    noise = np.random.default_rng(3).normal(0, 5, (200, 1500))
    snr = find_transients(noise, acquisition).snr
    assert np.median(snr) == pytest.approx(0.5, abs=0.15)
    assert snr.max() < 1


def test_drift_is_not_a_transient(acquisition: Acquisition) -> None:
    rng = np.random.default_rng(4)
    drift = 40 * np.linspace(1, 0, 3000) ** 2
    snr = find_transients(rng.normal(0, 1, (1, 3000)) + drift, acquisition).snr
    assert snr[0] < 1
    assert np.ptp(remove_baseline(drift[None], acquisition)[0, 200:-200]) < 8


@pytest.mark.parametrize("trace", [np.zeros(100), np.full(100, 3.0), np.arange(3.0), np.array([1.0])])
def test_traces_without_noise_give_finite_values(trace: np.ndarray) -> None:
    transients = find_transients(trace[None], Acquisition(frame_rate_hz=10, decay_time_s=1))
    assert np.isfinite(transients.snr).all()
    assert not transients.active.any()


@pytest.mark.parametrize(("min_value", "max_runs"), [(0.5, 20), (-9.0, 4), (99.0, 5)])
def test_selected_runs_agree_with_the_reference(min_value: float, max_runs: int) -> None:
    values = np.random.default_rng(5).normal(0, 1, 200)
    starts = select_runs(values, 7, min_value=min_value, max_runs=max_runs)
    assert starts.tolist() == reference.select_runs(values, 7, min_value, max_runs)


def test_frames_of_runs_end_with_the_recording() -> None:
    assert np.flatnonzero(frames_of_runs(np.array([2, 4, 8]), 3, 10)).tolist() == [2, 3, 4, 5, 6, 8, 9]


def test_transients_are_found_where_they_are(scene, acquisition: Acquisition) -> None:
    components = scene.components
    transients = find_transients(components.traces + components.residual_traces, acquisition)
    for i in range(3):
        assert transients.frames[i, scene.onsets[i] + 2].all()
        assert transients.active[i].sum() < 80
    assert (transients.snr[:3] > 2).all()
    assert not transients.active[3].any()
