import numpy as np

from rsc2p_kedro.algorithms.registration.field import patch_grid
from rsc2p_kedro.algorithms.registration.smoothing import smooth_fields, wiener

CENTRES = patch_grid((128, 128), stride=32, overlap=16).centres
K = 2 * len(CENTRES)


def noise(T, variance, seed=0):
    return np.random.default_rng(seed).normal(0, np.sqrt(variance), (T, K))


def test_noise_alone_becomes_nearly_nothing():
    smooth = smooth_fields(noise(400, 0.04).astype(np.float32), 0.04 * np.eye(K), CENTRES)
    assert (smooth - smooth.mean(0)).std() < 0.2 * 0.2


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
