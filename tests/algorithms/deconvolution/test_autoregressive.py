"""AR coefficients: time constants, stability and noise."""

import numpy as np
import pytest

from rsc2p_kedro.algorithms.deconvolution.autoregressive import ar_to_decay, decay_to_ar, estimate_ar, estimate_noise


def calcium(g, spikes):
    """Calcium (..., T) of spikes (..., T), by the recursion itself."""
    c = np.zeros_like(spikes)
    for t in range(spikes.shape[-1]):
        c[..., t] = spikes[..., t]
        for k in range(len(g)):
            if t > k:
                c[..., t] += g[k] * c[..., t - k - 1]
    return c


@pytest.mark.parametrize("decay", [0.8, 5.88, 40.0])
def test_time_constants_survive_the_conversion_to_coefficients_and_back(decay):
    assert ar_to_decay(decay_to_ar(decay))[0] == pytest.approx(decay)
    there = decay_to_ar(decay, 2, rise_frames=decay / 3)
    np.testing.assert_allclose(ar_to_decay(there), [decay, decay / 3])


def test_coefficients_without_an_exponential_decay_give_nan():
    assert np.isnan(ar_to_decay(np.array([1.5]))).all()
    assert np.isnan(ar_to_decay(np.array([1.0, -0.9]))).all()


def test_rows_of_coefficients_give_rows_of_time_constants():
    rows = np.stack([decay_to_ar(4.0), decay_to_ar(9.0)])
    np.testing.assert_allclose(ar_to_decay(rows), [[4.0], [9.0]])


def test_noise_is_the_sd_of_white_noise_without_slow_signals():
    rng = np.random.default_rng(0)
    white = rng.normal(0, 0.7, (20, 2000))
    slow = 50 * np.sin(np.arange(2000) / 60)
    np.testing.assert_allclose(estimate_noise(white + slow), 0.7, rtol=0.08)


def test_a_strong_trace_has_its_own_decay_and_a_weak_one_the_known_one():
    rng = np.random.default_rng(1)
    spikes = (rng.random((2, 20000)) < 0.02) * 1.0
    clean = calcium(decay_to_ar(8.0), spikes)
    noise = np.array([0.001, 5.0])
    traces = clean + rng.normal(0, 1, clean.shape) * noise[:, None]
    g = estimate_ar(traces, noise, 6.0)
    decays = ar_to_decay(g)[:, 0]
    assert decays[0] == pytest.approx(8.0, rel=0.1)
    assert decays[1] == pytest.approx(6.0, rel=0.1)


def test_estimates_are_always_stable():
    rng = np.random.default_rng(2)
    traces = np.cumsum(rng.normal(0, 1, (5, 500)), axis=1)
    for order in (1, 2):
        decays = ar_to_decay(estimate_ar(traces, np.full(5, 0.1), 5.0, order))
        assert np.nanmax(decays) <= 10.001


@pytest.mark.parametrize("wrong", [{"decay_frames": 0.0}, {"decay_frames": 5.0, "order": 3}])
def test_impossible_models_are_refused(wrong):
    with pytest.raises(ValueError, match="should"):
        decay_to_ar(**wrong)
