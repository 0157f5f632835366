"""Columns of the component table."""

import numpy as np
import scipy.sparse as sp

from rsc2p_kedro.algorithms.evaluation.description import areas, centres, decay_times, event_rates


def test_centres_are_weighted_and_in_rows_and_columns() -> None:
    footprints = np.zeros((5 * 7, 3), np.float32)
    footprints[2 * 7 + 1, 0] = 3
    footprints[2 * 7 + 5, 0] = 1
    footprints[4 * 7 + 6, 1] = 1
    expected = [[2, 2], [4, 6], [0, 0]]
    np.testing.assert_allclose(centres(sp.csc_array(footprints), (5, 7)), expected)


def test_areas_count_pixels_above_a_fifth_of_the_maximum() -> None:
    footprints = np.array([[1.0, 5, 0], [0.21, 1, 0], [0.2, 0.9, 0], [0, 2, 0]], np.float32)
    assert areas(sp.csc_array(footprints)).tolist() == [2, 2, 0]


def test_events_are_runs_of_frames_with_a_likely_event() -> None:
    """A certain event, one shared between two frames, a long one; improbable ones do not count."""
    certain = np.array([0, 1.0, 0, 0, 0, 0, 0.3, 0.3, 0, 0, 0, 0.9, 0.8, 0.9, 0, 0])
    improbable = np.full(16, 0.1)
    assert event_rates(np.stack([certain, improbable]), 8.0).tolist() == [1.5, 0.0]


def test_decay_times_come_back_from_coefficients() -> None:
    decay, rise = np.exp(-1 / (0.4 * 15)), np.exp(-1 / (0.1 * 15))
    np.testing.assert_allclose(decay_times(np.array([[decay]]), 15.0), [0.4])
    np.testing.assert_allclose(decay_times(np.array([[decay + rise, -decay * rise]]), 15.0), [0.4])
    assert np.isnan(decay_times(np.array([[1.2], [-0.3]]), 15.0)).all()
    assert decay_times(np.zeros((0, 1)), 15.0).shape == (0,)
