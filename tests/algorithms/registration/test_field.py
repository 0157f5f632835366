import numpy as np
import pytest

from rsc2p_kedro.algorithms.registration.field import (
    FieldGrid,
    patch_grid,
    patch_starts,
    rigid_grid,
    spline_basis,
)


def test_patches_are_those_of_normcorre():
    np.testing.assert_array_equal(patch_starts(256, 72, 48), [0, 48, 96, 144, 184])
    grid = patch_grid((256, 100), stride=48, overlap=24)
    np.testing.assert_array_equal(grid.nodes_y, [35.5, 83.5, 131.5, 179.5, 219.5])
    np.testing.assert_array_equal(grid.nodes_x, [35.5, 63.5])


def test_a_patch_larger_than_the_frame_is_the_frame():
    grid = patch_grid((40, 33), stride=48, overlap=24)
    np.testing.assert_array_equal(grid.centres, [[19.5, 16.0]])


@pytest.mark.parametrize("nodes", [[10.0], [10.0, 50.0], [10.0, 20.0, 47.0, 90.0]])
def test_splines_pass_through_their_nodes_and_sum_to_one(nodes):
    basis = spline_basis(100, np.array(nodes))
    np.testing.assert_allclose(basis[:, np.array(nodes, int)], np.eye(len(nodes)), atol=1e-12)
    np.testing.assert_allclose(basis.sum(0), 1)


def test_linear_fields_are_exact_also_beyond_the_nodes():
    nodes = np.array([10.0, 25.0, 60.0])
    np.testing.assert_allclose((3 - 0.2 * nodes) @ spline_basis(80, nodes), 3 - 0.2 * np.arange(80), atol=1e-9)


def test_mean_weights_give_the_mean_of_the_dense_field():
    grid = patch_grid((100, 130), stride=24, overlap=12)
    theta = np.random.default_rng(0).normal(size=(2, len(grid.nodes_y), len(grid.nodes_x)))
    np.testing.assert_allclose(
        grid.dense(theta).mean((1, 2)), theta.reshape(2, -1) @ grid.mean_weights, rtol=1e-4, atol=1e-6
    )


def test_the_grid_of_binned_frames_gives_the_binned_field():
    grid = patch_grid((96, 128), stride=24, overlap=12)
    theta = np.random.default_rng(0).normal(size=(2, len(grid.nodes_y), len(grid.nodes_x)))
    full, half = grid.dense(theta), grid.bin_2x2().dense(theta)
    binned = full.reshape(2, 48, 2, 64, 2).mean((2, 4))
    np.testing.assert_allclose(half, binned, atol=0.01)


def test_rigid_grid_has_one_node_in_the_middle():
    grid = rigid_grid((32, 64))
    assert grid.n_nodes == 1
    np.testing.assert_array_equal(grid.centres, [[15.5, 31.5]])
    np.testing.assert_array_equal(grid.dense(np.array([[[1.5]], [[-2.0]]]))[:, 3, 7], [1.5, -2.0])


def test_a_grid_has_a_spline_for_each_node():
    grid = FieldGrid.from_nodes((50, 60), np.array([10.0, 40.0]), np.array([5.0, 30.0, 55.0]))
    assert (grid.basis_y.shape, grid.basis_x.shape, grid.n_nodes) == ((2, 50), (3, 60), 6)
