"""Agreement of footprints with the movie."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
from tests.reference import evaluation as reference

from rsc2p_kedro.algorithms.evaluation.description import radii
from rsc2p_kedro.algorithms.evaluation.snr import Transients, find_transients
from rsc2p_kedro.algorithms.evaluation.spatial_consistency import (
    BLUR_RADII,
    blur,
    lone_frames,
    mean_of_frames,
    neighbours,
    on_region,
    pearson,
    r_values,
    surroundings,
)
from rsc2p_kedro.parameters import Acquisition, Compute

COMPUTE = Compute(threads=2, show_progress=False)


def test_surroundings_are_as_wide_as_the_cell_and_end_at_the_edge(scene) -> None:
    """Discs of 13 px (radius 2.03 px) with a margin of 1.25 radii, in the middle and in a corner."""
    y, x = np.mgrid[:20, :24]
    places = [(10, 12), (0, 0)]
    discs = np.stack([((y - cy) ** 2 + (x - cx) ** 2 <= 4).ravel() for cy, cx in places], axis=1)
    noise = np.ones((20, 24), np.float32)
    noise[:, 13:] = 0
    components = replace(
        scene.components.select(np.array([0, 1])),
        shape=(20, 24), footprints=sp.csc_array(discs.astype(np.float32)), pixel_noise=noise,
        background_footprints=sp.csc_array((480, 1), dtype=np.float32),
    )  # fmt: skip
    region = surroundings(components).toarray().astype(bool).reshape(20, 24, 2)
    for i in range(len(places)):
        margin = 1.25 * np.sqrt(discs[:, i].sum() / np.pi)
        py, px = np.divmod(np.flatnonzero(discs[:, i]), 24)
        distance = np.hypot(y[..., None] - py, x[..., None] - px).min(axis=-1)
        np.testing.assert_array_equal(region[..., i], (distance <= margin) & (noise > 0))


def test_blur_keeps_what_is_even_and_does_not_see_beyond_its_pixels() -> None:
    pixels = np.array([3, 4, 13, 14, 25])
    values = np.stack([np.full(5, 7.0), np.arange(5.0)])
    even, rising = blur(values, pixels, 10, 0.8)
    np.testing.assert_allclose(even, 7)
    assert (np.diff(rising) > 0).all()
    assert np.ptp(rising) < 4


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
    region = surroundings(scene.components)
    means = mean_of_frames(scene.movie, chosen, region, compute=COMPUTE)
    for i in (0, 1, 3):
        part = slice(region.indptr[i], region.indptr[i + 1])
        expected = scene.movie.reshape(len(scene.movie), -1)[chosen[i]].mean(axis=0, dtype=float)
        np.testing.assert_allclose(means[part], expected[region.indices[part]], rtol=1e-6)
    assert not means[region.indptr[2] : region.indptr[3]].any()
    other = Compute(threads=1, block_frames=7, show_progress=False)
    np.testing.assert_array_equal(means, mean_of_frames(scene.movie, chosen, region, compute=other))


def test_sums_on_a_region_are_those_of_the_whole_images(scene) -> None:
    region = surroundings(scene.components)
    weights = np.random.default_rng(1).normal(size=(4, 4))
    whole = (scene.components.footprints @ weights).T
    expected = [whole[i][region.indices[slice(*region.indptr[i : i + 2])]] for i in range(4)]
    np.testing.assert_allclose(on_region(scene.components.footprints, weights, region), np.concatenate(expected))


def test_r_values_agree_with_their_slow_twin(scene, acquisition: Acquisition) -> None:
    c = scene.components
    chosen = find_transients(c.traces + c.residual_traces, acquisition).frames
    region = surroundings(c).toarray() > 0
    model = (c.footprints.toarray(), c.traces, c.background_footprints.toarray(), c.background_traces)
    sigma = BLUR_RADII * radii(c.footprints)
    slow = [reference.r_value(scene.movie, *model, i, chosen[i], region[:, i], sigma[i]) for i in range(4)]
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
