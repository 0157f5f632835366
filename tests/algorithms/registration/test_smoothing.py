import numpy as np

from rsc2p_kedro.algorithms.registration.field import patch_grid
from rsc2p_kedro.algorithms.registration.smoothing import smooth_covariance, smooth_fields, spatial_modes, wiener_filter

CENTRES = patch_grid((128, 128), stride=32, overlap=16).centres
K = 2 * len(CENTRES)


def noise(T, variance, seed=0):
    return np.random.default_rng(seed).normal(0, np.sqrt(variance), (T, K))


def test_pure_noise_is_removed():
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
        modes = spatial_modes(lower, centres, 120)
        np.testing.assert_allclose(modes.T @ modes, np.eye(2 * len(centres)), atol=1e-9)


def test_smooth_fields_are_correlated_over_the_given_length_and_along_one_axis_only():
    covariance = smooth_covariance(np.array([[0, 0], [30, 40]]), 50)
    np.testing.assert_allclose(covariance[0], [1, np.exp(-0.5), 0, 0])


def test_the_length_of_smoothing_is_30_half_widths_of_a_neuron():
    rng = np.random.default_rng(2)
    deformation = np.sin(CENTRES @ [0.03, 0.05]).repeat(2) * np.sin(np.arange(200) / 9)[:, None]
    estimates = (deformation + noise(200, 0.25)).astype(np.float32)
    factor = rng.normal(size=(K, K))
    covariance = 0.25 * np.eye(K) + 0.05 * factor @ factor.T / K
    default = smooth_fields(estimates, covariance, CENTRES)
    enlarged = smooth_fields(estimates, covariance, 2 * CENTRES, neuron_half_width_px=8)
    np.testing.assert_array_equal(smooth_fields(estimates, covariance, CENTRES, neuron_half_width_px=4), default)
    np.testing.assert_array_equal(enlarged, default)
    assert np.abs(smooth_fields(estimates, covariance, CENTRES, neuron_half_width_px=8) - default).max() > 1e-3


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
    assert (np.linalg.norm(wiener_filter(series), axis=0) <= np.linalg.norm(series, axis=0)).all()
