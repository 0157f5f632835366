"""Correlation of footprints with the images of their transients."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
from tests.reference import evaluation as reference

from rsc2p_kedro.algorithms.evaluation.snr import find_transients
from rsc2p_kedro.algorithms.evaluation.spatial_consistency import (
    blur,
    combine_on_region,
    evaluation_regions,
    neighbours,
    pearson,
    r_values,
    spatial_snippets,
    transient_weights,
    weighted_frame_sums,
)
from rsc2p_kedro.core.parameters import Acquisition, Compute

COMPUTE = Compute(threads=2, show_progress=False)


def correlate(movie, components, weights) -> np.ndarray:
    """r_value (N,) of components, given the weights (N, T) of their transients."""
    return r_values(spatial_snippets(movie, components, weights, compute=COMPUTE), components)


def test_margins_are_as_wide_as_the_cell_and_end_at_the_edge(scene) -> None:
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
    region = evaluation_regions(components).toarray().astype(bool).reshape(20, 24, 2)
    for i in range(len(places)):
        margin = 1.25 * np.sqrt(discs[:, i].sum() / np.pi)
        py, px = np.divmod(np.flatnonzero(discs[:, i]), 24)
        distance = np.hypot(y[..., None] - py, x[..., None] - px).min(axis=-1)
        np.testing.assert_array_equal(region[..., i], (distance <= margin) & (noise > 0))


def test_blur_keeps_a_constant_and_ignores_other_pixels() -> None:
    pixels = np.array([3, 4, 13, 14, 25])
    values = np.stack([np.full(5, 7.0), np.arange(5.0)])
    even, rising = blur(values, pixels, 10, 0.8)
    np.testing.assert_allclose(even, 7)
    assert (np.diff(rising) > 0).all()
    assert np.ptp(rising) < 4


def test_neighbours_are_those_that_overlap(scene) -> None:
    assert [list(n) for n in neighbours(scene.components.footprints)] == [[1], [0], [], []]


def weights_of(components, acquisition: Acquisition) -> np.ndarray:
    frames = find_transients(components.traces + components.residual_traces, acquisition).frames
    return transient_weights(components.traces, frames, neighbours(components.footprints))


def test_weights_select_a_components_transients_and_not_those_of_neighbours(scene, acquisition: Acquisition) -> None:
    c = scene.components
    weights = weights_of(c, acquisition)
    coefficients = weights @ c.traces.T.astype(float)
    np.testing.assert_allclose(np.diag(coefficients)[:3], 1, atol=0.01)
    assert abs(coefficients[0, 1]) < 0.01
    assert abs(coefficients[1, 0]) < 0.01
    np.testing.assert_allclose(weights.sum(axis=1) * 90, 0, atol=0.05)
    assert not weights[3].any()


def test_sums_are_those_of_numpy_whatever_blocks_and_threads(scene) -> None:
    weights = np.random.default_rng(0).normal(size=(4, len(scene.movie)))
    weights[2] = 0
    region = evaluation_regions(scene.components)
    sums = weighted_frame_sums(scene.movie, weights, region, compute=COMPUTE)
    for i in range(4):
        part = slice(region.indptr[i], region.indptr[i + 1])
        expected = weights[i] @ scene.movie.reshape(len(scene.movie), -1).astype(float)
        np.testing.assert_allclose(sums[part], expected[region.indices[part]], rtol=1e-6, atol=1e-6)
    other = Compute(threads=1, block_frames=7, show_progress=False)
    np.testing.assert_array_equal(sums, weighted_frame_sums(scene.movie, weights, region, compute=other))


def test_sums_on_a_region_are_those_of_the_whole_images(scene) -> None:
    region = evaluation_regions(scene.components)
    weights = np.random.default_rng(1).normal(size=(4, 4))
    whole = (scene.components.footprints @ weights).T
    expected = [whole[i][region.indices[slice(*region.indptr[i : i + 2])]] for i in range(4)]
    np.testing.assert_allclose(
        combine_on_region(scene.components.footprints, weights, region), np.concatenate(expected)
    )


def test_r_values_agree_with_the_reference(scene, acquisition: Acquisition) -> None:
    c = scene.components
    frames = find_transients(c.traces + c.residual_traces, acquisition).frames
    region, near = evaluation_regions(c).toarray() > 0, neighbours(c.footprints)
    model = (c.footprints.toarray(), c.traces, c.background_footprints.toarray(), c.background_traces)
    slow = [reference.r_value(scene.movie, *model, i, frames[i], near[i], region[:, i]) for i in range(4)]
    np.testing.assert_allclose(correlate(scene.movie, c, weights_of(c, acquisition)), slow, atol=1e-5)
    assert min(slow[:3]) > 0.9
    assert slow[3] == 0


def test_a_cell_that_is_only_active_with_its_neighbour_has_a_high_r_value(scene, acquisition: Acquisition) -> None:
    """Two overlapping cells whose transients overlap each time, one 2 frames after the other, and unlike in height.

    The neighbour's footprint is wrong by a pixel: subtracting it does not take it out, its trace does.
    """
    rng = np.random.default_rng(6)
    onsets = np.arange(30, 480, 45)
    C = np.zeros((2, len(scene.movie)), np.float32)
    for onset in onsets:
        for i, late in enumerate((0, 2)):
            C[i, onset + late :] += rng.uniform(40, 160) * np.exp(-np.arange(len(scene.movie) - onset - late) / 6)
    A = scene.components.footprints[:, [0, 1]].toarray()
    movie = (C.T @ A.T).reshape(scene.movie.shape) + rng.normal(0, 3, scene.movie.shape)
    nothing = np.zeros((2, len(scene.movie)), np.float32)
    components = replace(
        scene.components.select(np.array([0, 1])),
        traces=C, spikes=nothing, residual_traces=nothing + rng.normal(0, 3, nothing.shape).astype(np.float32),
        footprints=sp.csc_array(np.stack([A[:, 0], np.roll(A[:, 1], 1)], axis=1)),
        background_footprints=sp.csc_array((A.shape[0], 1), dtype=np.float32),
    )  # fmt: skip
    assert (correlate(movie.astype(np.float32), components, weights_of(components, acquisition)) > 0.9).all()


def test_a_displaced_footprint_has_a_low_r_value(scene, acquisition: Acquisition) -> None:
    c = scene.components
    wrong = replace(c, footprints=sp.csc_array(np.roll(c.footprints.toarray(), 3, axis=0)))
    assert correlate(scene.movie, wrong, weights_of(c, acquisition))[2] < 0.6


def test_without_weights_the_r_value_is_0(scene) -> None:
    none = np.zeros((4, len(scene.movie)))
    assert not correlate(scene.movie, scene.components, none).any()


def test_pearson_of_a_constant_is_zero() -> None:
    assert pearson(np.ones(5), np.arange(5)) == 0
    assert pearson(np.arange(5), 3 - 2 * np.arange(5)) == pytest.approx(-1)
