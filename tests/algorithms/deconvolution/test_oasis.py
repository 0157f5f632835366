"""Deconvolution against non-negative least squares, oasis-deconv and simulated truth."""

import numpy as np
import pytest
from tests.algorithms.deconvolution.test_autoregressive import calcium
from tests.reference import deconvolution as reference

from rsc2p_kedro.algorithms.deconvolution import decay_to_ar, deconvolve

NOISE = 0.3


def make(seed=0, n_frames=600, order=1, rate=0.05, baseline=0.6):
    rng = np.random.default_rng(seed)
    g = decay_to_ar(6.0, order)
    spikes = rng.poisson(rate, n_frames) * 1.0
    c = calcium(g, spikes)
    return c + baseline + rng.normal(0, NOISE, n_frames), c, spikes, g


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("lam", [0.0, 0.4])
def test_agrees_with_non_negative_least_squares(order, lam):
    y, _, _, g = make(n_frames=150, order=order)
    result = deconvolve(y, g=g, noise=NOISE, lam=lam, baseline=0.6)
    c, s = reference.deconvolve(y, g, lam, 0.6)
    np.testing.assert_allclose(result.calcium, c, atol=1e-8)
    np.testing.assert_allclose(result.spikes, s, atol=1e-7)


@pytest.mark.parametrize("lam", [0.0, 0.2, 1.5])
def test_order_1_agrees_with_the_oasis_program(lam):
    oasis = pytest.importorskip("oasis.oasis_methods", reason="oasis-deconv is an optional oracle")
    y, _, _, g = make()
    c, s = oasis.oasisAR1(y - 0.6, g[0], lam=lam)
    result = deconvolve(y, g=g, lam=lam, baseline=0.6)
    np.testing.assert_allclose(result.calcium, c, atol=1e-12)
    np.testing.assert_allclose(result.spikes[1:], s[1:], atol=1e-12)


def test_the_noise_constraint_agrees_with_the_oasis_program():
    oasis = pytest.importorskip("oasis.oasis_methods", reason="oasis-deconv is an optional oracle")
    y, _, _, g = make()
    c, _, b, _, lam = oasis.constrained_oasisAR1(y, g[0], NOISE, optimize_b=True)
    result = deconvolve(y, g=g, noise=NOISE)
    np.testing.assert_allclose(result.calcium, c, atol=1e-2)
    assert result.baseline == pytest.approx(b, abs=1e-3)
    assert result.lam == pytest.approx(lam, rel=1e-2)


@pytest.mark.parametrize("order", [1, 2])
def test_the_residual_has_the_power_of_the_noise(order):
    y, _, _, g = make(order=order)
    result = deconvolve(y, g=g, noise=NOISE)
    assert np.mean((y - result.baseline - result.calcium) ** 2) == pytest.approx(NOISE**2, rel=1e-6)
    assert (y - result.baseline - result.calcium).sum() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("order", [1, 2])
def test_spikes_are_non_negative_and_generate_the_calcium(order):
    y, _, _, _ = make(order=order)
    result = deconvolve(y, order=order, decay_frames=6.0)
    assert result.spikes.min() >= 0
    assert result.calcium.min() >= 0
    np.testing.assert_allclose(calcium(result.g, result.spikes), result.calcium, atol=1e-6)


def test_true_calcium_spikes_and_baseline_are_recovered():
    y, c, s, g = make(n_frames=3000)
    result = deconvolve(y, g=g, noise=NOISE)
    kernel = np.exp(-0.5 * (np.arange(-6, 7) / 2) ** 2)
    assert np.corrcoef(result.calcium, c)[0, 1] > 0.96
    assert np.corrcoef(np.convolve(result.spikes, kernel), np.convolve(s, kernel))[0, 1] > 0.9
    assert result.baseline == pytest.approx(0.6, abs=0.2)


def test_noise_alone_has_no_spikes():
    rng = np.random.default_rng(3)
    result = deconvolve(rng.normal(2.0, 0.5, (4, 1000)), g=decay_to_ar(6.0), noise=0.55)
    assert not result.spikes.any()
    np.testing.assert_allclose(result.baseline, 2.0, atol=0.1)


def test_a_constant_trace_has_no_spikes():
    result = deconvolve(np.full((1, 100), 3.0), decay_frames=6.0)
    np.testing.assert_allclose(result.calcium, 0, atol=1e-9)
    np.testing.assert_allclose(result.baseline, 3.0)


def test_the_baseline_stays_above_its_lowest_value():
    y, _, _, g = make(baseline=-2.0)
    assert deconvolve(y, g=g, noise=NOISE).baseline < -1.5
    assert deconvolve(y, g=g, noise=NOISE, lowest_baseline=0.0).baseline == 0


def test_rows_are_independent_and_one_trace_gives_one_result():
    rows = np.stack([make(seed)[0] for seed in range(3)])
    together, single = deconvolve(rows, decay_frames=6.0), deconvolve(rows[1], decay_frames=6.0)
    np.testing.assert_allclose(together.calcium[1], single.calcium, atol=1e-9)
    assert together.spikes.shape == rows.shape
    assert single.spikes.shape == rows[1].shape


@pytest.mark.parametrize(
    ("trace", "options", "message"),
    [
        (np.array([1.0, np.nan, 2, 3, 4]), {"decay_frames": 3}, "NaN"),
        (np.arange(3.0), {"decay_frames": 3}, "4 frames"),
        (np.arange(9.0), {}, "decay_frames"),
        (np.arange(9.0), {"g": [0.1, 0.1, 0.1]}, "p 1 or 2"),
    ],
)
def test_invalid_arguments_are_refused(trace, options, message):
    with pytest.raises(ValueError, match=message):
        deconvolve(trace, **options)
