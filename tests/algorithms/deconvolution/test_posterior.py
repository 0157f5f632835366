"""Spike inference: known spikes are recovered, in time and number."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d
from tests.reference import deconvolution as reference

from rsc2p_kedro.algorithms.deconvolution import deconvolve, infer_spikes, infer_spikes_of_all, posterior
from rsc2p_kedro.core.parameters import Acquisition, Compute
from rsc2p_kedro.core.results import SpikeInference

FINE = 20
"""Steps of the simulation in a frame."""


def simulate(
    rate_hz: float = 15.0, *, n: int = 8, decay_s: float = 0.6, rise_s: float = 0.03, noise: float = 0.3, seconds=120.0
) -> tuple[np.ndarray, np.ndarray]:
    """Traces and spikes (n, T): calcium rises and decays in continuous time, and each frame shows its mean."""
    rng = np.random.default_rng(5)
    T = int(seconds * rate_hz)
    busy = np.repeat(rng.random((n, T // 10 + 1)) < 0.1, 10 * FINE, axis=1)[:, : T * FINE]
    spikes = rng.poisson(np.where(busy, 4.0, 0.2) / (rate_hz * FINE))
    times = np.arange(int(6 * decay_s * rate_hz * FINE)) / (rate_hz * FINE)
    kernel = np.exp(-times / decay_s) * (1 - np.exp(-times / rise_s))
    calcium = np.stack([np.convolve(train, kernel / kernel.max())[: T * FINE] for train in spikes])
    frames = calcium.reshape(n, T, FINE).mean(axis=2)
    return frames + rng.normal(0, noise, frames.shape), spikes.reshape(n, T, FINE).sum(axis=2).astype(float)


def correlation(rates: np.ndarray, spikes: np.ndarray, sigma_frames: float) -> float:
    """Median over rows of the correlation of rates with true spikes, both smoothed."""
    rows = [gaussian_filter1d(x.astype(float), sigma_frames, axis=1, mode="constant") for x in (rates, spikes)]
    return float(np.median([np.corrcoef(a, b)[0, 1] for a, b in zip(*rows, strict=True)]))


@pytest.fixture(scope="module")
def known() -> tuple[np.ndarray, np.ndarray, SpikeInference]:
    traces, spikes = simulate()
    return traces, spikes, infer_spikes(traces, Acquisition(frame_rate_hz=15, decay_time_s=0.5))


def run_windowed(y: np.ndarray, g: float, sigma: float, p: float, mu: float) -> tuple[np.ndarray, ...]:
    """The recursion of the module, on 21 levels half a sigma apart: probability, size, calcium, log-likelihood."""
    n, T, spacing = 21, len(y), 0.5 * sigma
    work = (np.empty(T, np.int64), np.empty(T, np.int64), np.empty((T, n)), np.empty((T, n + 1)), np.empty((T, n)))
    jumps, sizes, calcium = np.empty(T), np.empty(T), np.empty(T)
    log_likelihood = posterior._forward(y, g, sigma, p, mu, spacing, *work)
    posterior._backward(g, p, mu, spacing, *work, jumps, sizes, calcium)
    return jumps, sizes, calcium, log_likelihood


@pytest.mark.parametrize("artefact", [0.0, 30.0])
def test_the_recursion_agrees_with_the_reference(artefact: float) -> None:
    """Levels far from the trace are left out without a loss of accuracy, even next to an artefact of one frame."""
    rng = np.random.default_rng(0)
    jumps = (rng.random(200) < 0.1) * rng.exponential(6.0, 200)
    calcium = np.zeros(200)
    for t in range(1, 200):
        calcium[t] = 0.85 * calcium[t - 1] + jumps[t]
    y = calcium + rng.normal(0, 1, 200)
    y[120] += artefact
    fast = run_windowed(y, 0.85, 1.0, 0.1, 6.0)
    slow = reference.jumps(y, 0.85, 1.0, 0.1, 6.0)
    np.testing.assert_allclose(fast[0], slow[0], atol=2e-3)
    np.testing.assert_allclose(fast[1], slow[1], atol=0.03)
    np.testing.assert_allclose(fast[2], slow[2], atol=0.03)
    first_frame = np.log(160 / 21)
    assert artefact or fast[3] == pytest.approx(slow[3] + first_frame, abs=0.05)


def test_expected_spikes_follow_true_ones_better_than_the_most_probable_ones(known) -> None:
    traces, spikes, inferred = known
    simple = deconvolve(traces, decay_frames=7.5).spikes
    for sigma in (0.5, 1.0, 3.0):
        assert correlation(inferred.rates, spikes, sigma) > correlation(simple, spikes, sigma)
    assert correlation(inferred.rates, spikes, 1.5) > 0.85


def test_spikes_are_in_their_frame_and_not_at_the_peak_of_fluorescence(known) -> None:
    _, spikes, inferred = known
    shifted = [correlation(np.roll(inferred.rates, k, axis=1), spikes, 0.5) for k in (-1, 0, 1)]
    assert shifted[1] == max(shifted)


@pytest.mark.parametrize("rate_hz", [7.5, 30.0])
def test_other_frame_rates(rate_hz: float) -> None:
    traces, spikes = simulate(rate_hz)
    inferred = infer_spikes(traces, Acquisition(frame_rate_hz=rate_hz, decay_time_s=0.5))
    assert correlation(inferred.rates, spikes, 0.1 * rate_hz) > 0.8


def test_the_decay_is_that_of_the_trace_within_its_bounds() -> None:
    for true, known_s, expected in ((0.6, 0.4, 0.6), (0.4, 0.4, 0.4), (3.0, 0.4, 1.6), (0.2, 0.4, 0.4)):
        traces, _ = simulate(decay_s=true, rise_s=0.001, noise=0.05)
        inferred = infer_spikes(traces, Acquisition(frame_rate_hz=15, decay_time_s=known_s)).decay_time_s
        assert np.median(inferred) == pytest.approx(expected, rel=0.28)
        assert (inferred >= known_s * 0.999).all()
        assert (inferred <= known_s * 4.001).all()


def test_rates_do_not_depend_on_the_unit_of_the_trace(known) -> None:
    traces, _, inferred = known
    scaled = infer_spikes(1000 * traces + 500, Acquisition(frame_rate_hz=15, decay_time_s=0.5))
    np.testing.assert_allclose(scaled.rates, inferred.rates, atol=2e-3)
    np.testing.assert_allclose(scaled.transient_amplitude, 1000 * inferred.transient_amplitude, rtol=1e-3)


def test_drift_as_large_as_a_transient_is_not_activity(known) -> None:
    traces, spikes, inferred = known
    drift = np.sin(np.arange(traces.shape[1]) / traces.shape[1] * 6)
    drifting = infer_spikes(traces + drift, Acquisition(frame_rate_hz=15, decay_time_s=0.5))
    assert correlation(drifting.rates, spikes, 1.5) > correlation(inferred.rates, spikes, 1.5) - 0.03


def test_noise_alone_has_no_certain_events() -> None:
    noise = np.random.default_rng(1).normal(2, 0.5, (10, 1500))
    inferred = infer_spikes(noise, Acquisition(frame_rate_hz=15, decay_time_s=0.4))
    assert (inferred.event_probability > 0.9).mean() < 1e-3
    assert inferred.event_probability.mean() < 0.05


def test_large_transients_count_for_fewer_spikes_if_fluorescence_is_supralinear(known) -> None:
    traces, _, inferred = known
    linear = infer_spikes(traces, Acquisition(frame_rate_hz=15, decay_time_s=0.5), supralinearity=1.0)
    np.testing.assert_array_equal(linear.event_probability, inferred.event_probability)
    assert (linear.rates.max(axis=1) > inferred.rates.max(axis=1)).all()


@pytest.mark.parametrize("make", [np.zeros, lambda shape: np.full(shape, 3.0), np.ones])
def test_traces_without_noise_have_no_spikes(make: Callable[[tuple[int, int]], np.ndarray]) -> None:
    inferred = infer_spikes(make((2, 60)), Acquisition(frame_rate_hz=15))
    assert not inferred.rates.any()
    assert inferred.decay_time_s == pytest.approx([0.4, 0.4])


def test_no_traces_give_no_rows() -> None:
    acquisition, compute = Acquisition(frame_rate_hz=15), Compute(show_progress=False)
    inferred = infer_spikes_of_all(np.zeros((0, 50)), acquisition, delay=0, supralinearity=1, compute=compute)
    assert inferred.rates.shape == (0, 50)


def test_rows_are_independent(known) -> None:
    traces, _, inferred = known
    single = infer_spikes(traces[3:4], Acquisition(frame_rate_hz=15, decay_time_s=0.5))
    np.testing.assert_array_equal(single.rates[0], inferred.rates[3])


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_neither_threads_nor_groups_change_a_bit(known, threads: int) -> None:
    traces = np.tile(known[0], (5, 1))[:, :200]
    acquisition = Acquisition(frame_rate_hz=15, decay_time_s=0.5)
    options = {"delay": 0.05, "supralinearity": 1.5}
    compute = Compute(threads=threads, show_progress=False)
    whole = infer_spikes(traces, acquisition, **options)
    parts = infer_spikes_of_all(traces, acquisition, compute=compute, **options)
    for name in ("rates", "event_probability", "decay_time_s", "transient_amplitude", "noise"):
        np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name))


@pytest.mark.parametrize("wrong", [np.zeros(50), np.zeros((2, 3)), np.full((1, 50), np.nan)])
def test_invalid_traces_are_refused(wrong: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"finite traces \(N, T\)"):
        infer_spikes(wrong, Acquisition(frame_rate_hz=15))


def test_advancing_by_a_fraction_shares_between_frames() -> None:
    train = np.array([[0.0, 0, 0, 8, 0, 0]])
    np.testing.assert_allclose(posterior.advance(train, np.array([1.25])), [[0, 2, 6, 0, 0, 0]])
    both = posterior.advance(np.tile(train, (2, 1)), np.array([0.0, 4.0]))
    np.testing.assert_allclose(both, [train[0], np.zeros(6)])
