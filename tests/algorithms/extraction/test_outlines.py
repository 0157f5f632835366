"""Closed outlines by polar dynamic programming."""

import numpy as np
import pytest
from tests.algorithms.extraction.shapes import disc
from tests.reference import extraction as reference

from rsc2p_kedro.algorithms.extraction.outlines import (
    N_DIRECTIONS,
    closed_paths,
    outlines_by_edges,
    pixels_within,
    polar_samples,
)


def test_closed_path_has_the_highest_gain_of_all():
    gains = np.random.default_rng(0).normal(size=(20, 6, 4))
    for gain, path in zip(gains, closed_paths(gains), strict=True):
        assert np.abs(path - np.roll(path, 1)).max() <= 1
        np.testing.assert_allclose(gain[np.arange(6), path].sum(), reference.best_closed_path(gain))


def test_samples_follow_directions_and_are_zero_outside_the_frame():
    y, x = np.mgrid[:40, :50].astype(float)
    samples = polar_samples(x + 100 * y, np.array([[20.0, 20.0]]), 0.5)[0]
    quarter = N_DIRECTIONS // 4
    np.testing.assert_allclose(samples[0, 10], 2025)  # along x
    np.testing.assert_allclose(samples[quarter, 10], 2520)  # along y
    assert not polar_samples(np.ones((40, 50)), np.array([[-30.0, 20.0]]), 0.5).any()


@pytest.mark.parametrize(("half_width", "radius"), [(4, 3), (5, 5), (5, 7), (9, 10)])
def test_outline_of_a_disc_is_its_edge_and_its_centre_is_found(half_width, radius):
    image = 4 * disc((80, 80), 41, 38, radius)
    found = outlines_by_edges(
        image, np.array([[42.0, 37.0]]), np.array([1.0]), np.array([False]), half_width_px=half_width
    )
    np.testing.assert_allclose(found.centres, [[41, 38]], atol=0.6)
    inside = np.zeros((80, 80), bool)
    inside.flat[pixels_within(found.centres[0], found.steps[0], found.step_px, (80, 80))] = True
    assert (inside & (image > 0)).sum() / (inside | (image > 0)).sum() > 0.8


def test_ring_is_outlined_at_its_outer_edge():
    image = disc((60, 60), 30, 30, 6) - 2 * disc((60, 60), 30, 30, 3.5)
    found = outlines_by_edges(image, np.array([[30.0, 31.0]]), np.array([1.0]), np.array([True]), half_width_px=6)
    np.testing.assert_allclose(found.steps.mean() * found.step_px, 6.2, atol=0.6)
    assert found.rim.mean() > 0.7
    assert found.inside.mean() < 0
    assert abs(found.outside.mean()) < 0.2


def test_pixels_within_are_cut_off_at_the_frame():
    steps = np.full(N_DIRECTIONS, 10)
    whole = pixels_within(np.array([20.0, 20.0]), steps, 0.5, (40, 40))
    cut = pixels_within(np.array([0.0, 20.0]), steps, 0.5, (40, 40))
    assert len(whole) == (disc((40, 40), 20, 20, 5) > 0).sum()
    assert len(cut) == (disc((40, 40), 0, 20, 5) > 0).sum()
    assert (np.diff(cut) > 0).all()
