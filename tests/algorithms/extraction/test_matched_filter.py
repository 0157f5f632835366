import numpy as np
import pytest
from tests.algorithms.extraction.shapes import disc
from tests.reference import extraction as reference

from rsc2p_kedro.algorithms.extraction.matched_filter import filtered_noise, gaussian_kernel, matched_filter


def test_the_matched_filter_agrees_with_the_reference_and_keeps_the_variance_of_noise():
    rng = np.random.default_rng(8)
    mask = np.ones((20, 22), bool)
    mask[:5, :7] = False
    frames = rng.normal(0, 1, (400, 20, 22)).astype(np.float32) * mask
    kernel = np.exp(-0.5 * np.arange(-3, 4) ** 2 / 2.0).astype(np.float32)
    filtered, norm = matched_filter(np.moveaxis(frames, 0, -1), mask, kernel)
    expected = reference.matched_filter(np.moveaxis(frames[:2], 0, -1), mask, kernel)
    np.testing.assert_allclose(filtered[..., :2], expected, atol=1e-4)
    assert filtered_noise(filtered, norm) == pytest.approx(1, abs=0.08)


def test_a_disc_of_the_half_width_of_a_neuron_peaks_at_its_centre():
    image = disc((41, 41), 20, 20, 4)
    filtered, _ = matched_filter(image[..., None], image >= 0, gaussian_kernel(4))
    assert np.unravel_index(filtered.argmax(), filtered.shape) == (20, 20, 0)
    assert filtered.max() > 0.85 * np.linalg.norm(image)


def test_the_kernel_matches_a_disc_as_well_as_the_best_gaussian_does():
    half_width = 20
    image = disc((121, 121), 60, 60, half_width)
    distance2 = (np.arange(121) - 60) ** 2

    def correlation(kernel):
        blob = np.outer(kernel, kernel)
        return (image * blob).sum() / np.linalg.norm(image) / np.linalg.norm(blob)

    best = max(correlation(np.exp(-distance2 / (2 * (share * half_width) ** 2))) for share in np.arange(0.4, 0.9, 0.01))
    kernel = gaussian_kernel(half_width)
    reach = len(kernel) // 2
    assert correlation(np.pad(kernel, 60 - reach)) > 0.995 * best
