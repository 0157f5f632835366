import numpy as np
import pytest
from tests.algorithms.extraction.shapes import disc
from tests.reference import extraction as reference

from rsc2p_kedro.algorithms.extraction import detection


def test_energies_agree_with_the_reference():
    filtered = np.random.default_rng(9).normal(0, 2, (4, 5, 60)).astype(np.float32)
    energies = np.empty((4, 5))
    detection._update_energies(filtered, 3.0, np.zeros((4, 5), bool), energies, 0, 4, 0, 5)
    np.testing.assert_allclose(energies, reference.thresholded_energy(filtered, 3.0), rtol=1e-5)


def test_peak_amplitudes_agree_with_the_reference():
    traces = np.random.default_rng(9).normal(0, 1, (3, 80))
    expected = [reference.peak_amplitude(trace, 0.7, 0.5) for trace in traces]
    np.testing.assert_allclose(detection.peak_amplitudes(traces, 0.7, np.full(3, 0.5)), expected, atol=1e-4)


def test_a_neuron_that_is_active_most_of_the_time_has_a_peak_and_noise_has_none():
    noise = np.random.default_rng(12).normal(0, 1, (2, 600))
    active = np.sin(np.arange(600) / 15) > -0.5
    busy, idle = detection.peak_amplitudes(noise + np.outer([10, 0], active), 0.0, np.ones(2))
    assert active.mean() > 0.6
    assert busy > 6
    assert abs(idle) < 2


@pytest.mark.parametrize(("n_bins", "min_peak_sd"), [(500, 4.0), (500, 30.0), (8, 4.0)])
def test_the_threshold_of_energy_agrees_with_the_reference(n_bins, min_peak_sd):
    expected = reference.energy_threshold(n_bins, min_peak_sd)
    assert detection.energy_threshold(n_bins, min_peak_sd) == pytest.approx(expected, rel=1e-6)


def test_the_energy_of_noise_stays_below_its_threshold():
    noise = np.random.default_rng(10).normal(0, 1, (5000, 500))
    energy = reference.thresholded_energy(noise, 3.0)
    assert np.mean(energy > detection.energy_threshold(500, 4.0)) < 2e-3


def test_adaptive_detection_agrees_with_the_reference():
    rng = np.random.default_rng(14)
    shape, n = (14, 16), 60
    spikes = rng.poisson(0.05, (2, n)) * 6.0
    C = np.array([np.convolve(s, 0.7 ** np.arange(20))[:n] for s in spikes])
    A = np.stack([disc(shape, 5, 4, 3), disc(shape, 9, 11, 3)]).astype(float)
    residual = (np.einsum("nt,nyx->tyx", C, A) + rng.normal(0, 1, (n, *shape))).astype(np.float32)
    settings = detection.DetectionSettings(
        neuron_half_width_px=3,
        max_per_patch=4,
        min_energy=detection.energy_threshold(n, 4),
        min_peak_amplitude=4,
        decay=0.7,
        patch_px=shape,
    )
    core = (slice(0, 14), slice(0, 16))
    footprints, traces = detection.detect_in_block(residual, np.ones(shape, bool), settings, core)
    expected = reference.detect(residual, half_width=3, max_candidates=4, min_peak_sd=4, decay=0.7)
    assert len(footprints) == len(expected[0]) >= 2
    np.testing.assert_allclose(footprints, expected[0], atol=1e-3)
    np.testing.assert_allclose(traces, expected[1], atol=1e-2)
