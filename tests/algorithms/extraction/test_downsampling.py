import numpy as np
import pytest

from rsc2p_kedro.algorithms.extraction import downsampling


def test_binned_pixels_and_running_sums_keep_the_variance_of_noise():
    movie = np.random.default_rng(11).normal(0, 1, (300, 21, 20)).astype(np.float32)
    binned = downsampling.bin_pixels(movie, 2)
    assert binned.shape == (300, 10, 10)
    assert binned.std() == pytest.approx(1, abs=0.02)
    summed = downsampling.running_sum(movie, 10)
    np.testing.assert_allclose(summed[50], movie[41:51].sum(axis=0) / np.sqrt(10), atol=1e-3)


def test_an_expanded_footprint_gives_the_binned_one_back():
    footprint = np.random.default_rng(12).uniform(0, 1, (3, 5, 6)).astype(np.float32)
    mask = np.ones((11, 13), bool)
    expanded = downsampling.expand_footprints(footprint, 2, mask)
    np.testing.assert_allclose(downsampling.bin_pixels(expanded, 2), footprint, rtol=1e-5)
    assert not expanded[:, 10:].any()
    mask[:4] = False
    assert not downsampling.expand_footprints(footprint, 2, mask)[:, :4].any()
