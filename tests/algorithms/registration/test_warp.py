import numpy as np
import pytest
from tests.reference import registration as reference

from rsc2p_kedro.algorithms.registration.field import patch_grid, rigid_grid
from rsc2p_kedro.algorithms.registration.warp import round_to, valid_mask, warp_frames


def fields(grid, n, size, seed=0):
    shape = (n, 2, len(grid.nodes_y), len(grid.nodes_x))
    return np.random.default_rng(seed).normal(0, size, shape).astype(np.float32)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_warp_agrees_with_the_plain_version(dtype):
    grid = patch_grid((40, 52), stride=12, overlap=8)
    frames = np.random.default_rng(1).integers(0, 3000, (2, 40, 52)).astype(dtype)
    thetas = fields(grid, 2, 2.0)
    expected = [reference.warp_frame(f.astype(float), grid.dense(th)) for f, th in zip(frames, thetas, strict=True)]
    np.testing.assert_allclose(warp_frames(frames, thetas, grid), expected, atol=0.05)


def test_no_motion_is_the_identity():
    frames = np.random.default_rng(0).integers(0, 65535, (3, 33, 47)).astype(np.uint16)
    grid = patch_grid((33, 47), stride=8, overlap=8)
    warped = warp_frames(frames, np.zeros((3, 2, len(grid.nodes_y), len(grid.nodes_x)), np.float32), grid)
    np.testing.assert_array_equal(round_to(warped, frames.dtype), frames)


def test_whole_pixels_move_exactly_and_edges_repeat():
    frame = np.random.default_rng(0).integers(0, 4000, (1, 32, 32)).astype(np.uint16)
    warped = warp_frames(frame, np.array([[[[2.0]], [[-3.0]]]], np.float32), rigid_grid((32, 32)))[0]
    np.testing.assert_array_equal(warped[:-2, 3:], frame[0, 2:, :-3])
    np.testing.assert_array_equal(warped[-2:, 3:], np.repeat(frame[0, -1:, :-3], 2, 0))


def test_quadratics_are_interpolated_exactly():
    y, x = np.mgrid[:40, :40].astype(np.float32)
    warped = warp_frames((y**2 - x * y)[None], np.array([[[[0.3]], [[0.6]]]], np.float32), rigid_grid((40, 40)))[0]
    np.testing.assert_allclose(warped[2:-3, 2:-3], ((y + 0.3) ** 2 - (x + 0.6) * (y + 0.3))[2:-3, 2:-3], atol=2e-3)


def test_the_valid_mask_agrees_with_the_plain_version():
    grid = patch_grid((48, 60), stride=12, overlap=8)
    thetas = fields(grid, 5, 1.5)
    expected = reference.valid_mask(np.stack([grid.dense(theta) for theta in thetas]))
    np.testing.assert_array_equal(valid_mask(thetas, grid), expected)
    assert valid_mask(thetas[:0], grid).all()


@pytest.mark.parametrize(
    ("dtype", "expected"), [(np.uint8, [0, 2, 255]), (np.int16, [-3, 2, 32767]), (np.float32, [-2.6, 2.4, 1e5])]
)
def test_integers_are_rounded_and_held_within_their_range(dtype, expected):
    rounded = round_to(np.array([-2.6, 2.4, 1e5], np.float32), np.dtype(dtype))
    assert rounded.dtype == dtype
    np.testing.assert_array_equal(rounded, np.array(expected, dtype))
