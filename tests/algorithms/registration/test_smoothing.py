import numpy as np

from rsc2p_kedro.algorithms.registration.field import patch_grid
from rsc2p_kedro.algorithms.registration.smoothing import discoveries, smooth_fields, spatial_modes, wiener

CENTRES = patch_grid((128, 128), stride=32, overlap=16).centres
K = 2 * len(CENTRES)


def noise(T, variance, seed=0):
    return np.random.default_rng(seed).normal(0, np.sqrt(variance), (T, K))


def test_noise_alone_becomes_nothing():
    smooth = smooth_fields(noise(400, 0.04).astype(np.float32), 0.04 * np.eye(K), CENTRES)
    assert (smooth - smooth.mean(0)).std() < 0.01 * 0.2


def test_motion_of_the_whole_frame_stays_the_same_everywhere():
    rng = np.random.default_rng(1)
    factor = rng.normal(size=(K, K))
    covariance = 1e-3 * factor @ factor.T / K + 1e-2 * np.eye(K)
    shifts = np.cumsum(rng.normal(0, 0.3, (400, 2)), 0).repeat(len(CENTRES), axis=1)
    estimates = shifts + rng.multivariate_normal(np.zeros(K), covariance, 400)
    smooth = smooth_fields(estimates.astype(np.float32), covariance, CENTRES)
    by_node = (smooth - smooth.mean(0)).reshape(400, 2, -1)
    assert np.abs(by_node - by_node.mean(2, keepdims=True)).max() < 0.01
    assert (smooth - shifts).std() < 0.3 * (estimates - shifts).std()


def test_modes_are_orthonormal_however_the_patches_lie():
    for shape in ((128, 128), (40, 200), (300, 64)):
        centres = patch_grid(shape, stride=32, overlap=16).centres
        factor = np.random.default_rng(0).normal(size=(2 * len(centres), 2 * len(centres)))
        lower = np.linalg.cholesky(factor @ factor.T + np.eye(2 * len(centres)))
        modes = spatial_modes(lower, centres)
        np.testing.assert_allclose(modes.T @ modes, np.eye(2 * len(centres)), atol=1e-9)


def test_as_many_count_as_benjamini_and_hochberg_say():
    chances = np.array([[0.001, 0.008, 0.039, 0.041], [0.042, 0.06, 0.074, 0.205]])
    np.testing.assert_array_equal(discoveries(chances, 0.05).ravel(), [True, True, *[False] * 6])
    assert not discoveries(np.full(5, 0.5), 0.05).any()


def test_motion_far_above_the_noise_stays():
    motion = 2 * np.random.default_rng(1).normal(size=(300, 1)) * np.ones(K)
    smooth = smooth_fields((motion + noise(300, 1e-4)).astype(np.float32), 1e-4 * np.eye(K), CENTRES)
    np.testing.assert_allclose(smooth, motion, atol=0.05)


def test_slow_motion_under_noise_comes_out():
    motion = 0.4 * np.sin(np.arange(400) / 20)[:, None] * (CENTRES[:, 0] / 128 - 0.5).repeat(2)
    estimates = motion + noise(400, 0.09)
    error = smooth_fields(estimates.astype(np.float32), 0.09 * np.eye(K), CENTRES) - motion
    assert error.std() < 0.25 * 0.3


def test_the_mean_over_time_is_unchanged():
    estimates = (noise(50, 1.0) + np.arange(K)).astype(np.float32)
    smooth = smooth_fields(estimates, np.eye(K), CENTRES)
    np.testing.assert_allclose(smooth.mean(0), estimates.mean(0), atol=1e-4)


def test_one_frame_is_left_as_it_is():
    estimates = np.arange(K, dtype=np.float32)[None]
    np.testing.assert_allclose(smooth_fields(estimates, np.eye(K), CENTRES), estimates, atol=1e-5)


def test_wiener_never_amplifies():
    series = np.random.default_rng(0).normal(size=(200, 3)) * [0.5, 1, 5]
    assert (np.linalg.norm(wiener(series), axis=0) <= np.linalg.norm(series, axis=0)).all()
