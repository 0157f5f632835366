"""Agreement of footprints with the movie."""

import numpy as np
import pytest
import scipy.sparse as sp
from tests.reference import evaluation as reference

from rsc2p_kedro.algorithms.evaluation.snr import Transients, find_transients
from rsc2p_kedro.algorithms.evaluation.spatial_consistency import (
    lone_frames,
    mean_of_frames,
    neighbours,
    pearson,
    r_values,
    surroundings,
)
from rsc2p_kedro.parameters import Acquisition, Compute

COMPUTE = Compute(threads=2, show_progress=False)


def test_surroundings_reach_as_far_as_the_margin_and_not_over_the_edge() -> None:
    footprints = np.zeros((7 * 9, 2), np.float32)
    footprints[3 * 9 + 4, 0] = footprints[0, 1] = 1
    region = surroundings(sp.csc_array(footprints), (7, 9), 2).toarray().astype(bool)
    y, x = np.mgrid[:7, :9]
    for column, (cy, cx) in enumerate([(3, 4), (0, 0)]):
        np.testing.assert_array_equal(region[:, column].reshape(7, 9), (y - cy) ** 2 + (x - cx) ** 2 <= 4)


def test_neighbours_are_those_that_overlap(scene) -> None:
    assert [list(n) for n in neighbours(scene.components.footprints)] == [[1], [0], [], []]


def test_frames_in_which_a_neighbour_is_active_are_left_out() -> None:
    frames = np.array([[1, 1, 1, 0], [0, 1, 1, 1]], bool)
    active = np.array([[0, 1, 0, 0], [0, 0, 1, 1]], bool)
    lone = lone_frames(Transients(np.zeros(2), frames, active), [np.array([1]), np.array([0])])
    assert lone.astype(int).tolist() == [[1, 1, 0, 0], [0, 0, 1, 1]]


def test_means_are_those_of_numpy_whatever_blocks_and_threads(scene) -> None:
    chosen = np.random.default_rng(0).random((4, len(scene.movie))) < 0.1
    chosen[2] = False
    region = surroundings(scene.components.footprints, scene.components.shape, 1)
    means = mean_of_frames(scene.movie, chosen, region, compute=COMPUTE)
    for i in (0, 1, 3):
        part = slice(region.indptr[i], region.indptr[i + 1])
        expected = scene.movie.reshape(len(scene.movie), -1)[chosen[i]].mean(axis=0, dtype=float)
        np.testing.assert_allclose(means[part], expected[region.indices[part]], rtol=1e-6)
    assert not means[region.indptr[2] : region.indptr[3]].any()
    other = Compute(threads=1, block_frames=7, show_progress=False)
    np.testing.assert_array_equal(means, mean_of_frames(scene.movie, chosen, region, compute=other))


def test_r_values_agree_with_their_slow_twin(scene, acquisition: Acquisition) -> None:
    c = scene.components
    chosen = find_transients(c.traces + c.residual_traces, acquisition).frames
    region = surroundings(c.footprints, c.shape, 2).toarray() > 0
    model = (c.footprints.toarray(), c.traces, c.background_footprints.toarray(), c.background_traces)
    slow = [reference.r_value(scene.movie, *model, i, chosen[i], region[:, i]) for i in range(4)]
    np.testing.assert_allclose(r_values(scene.movie, c, chosen, compute=COMPUTE), slow, atol=1e-5)
    assert min(slow[:3]) > 0.9
    assert slow[3] < 0.7


def test_a_footprint_in_the_wrong_place_agrees_less(scene, acquisition: Acquisition) -> None:
    c = scene.components
    chosen = find_transients(c.traces + c.residual_traces, acquisition).frames
    moved = sp.csc_array(np.roll(c.footprints.toarray(), 3, axis=0))
    wrong = type(c)(**{**vars(c), "footprints": moved})
    assert r_values(scene.movie, wrong, chosen, compute=COMPUTE)[2] < 0.6


def test_without_frames_there_is_no_agreement(scene) -> None:
    none = np.zeros((4, len(scene.movie)), bool)
    assert not r_values(scene.movie, scene.components, none, compute=COMPUTE).any()


def test_pearson_of_a_constant_is_zero() -> None:
    assert pearson(np.ones(5), np.arange(5)) == 0
    assert pearson(np.arange(5), 3 - 2 * np.arange(5)) == pytest.approx(-1)
