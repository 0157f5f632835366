import numpy as np
import pytest
from tests.reference import registration as reference

from rsc2p_kedro.algorithms.registration.field import rigid_grid
from rsc2p_kedro.algorithms.registration.template import (
    denoise_template,
    estimate_brightness_limit,
    make_template,
    most_similar_frames,
    sample_frames,
    subtract_mean_field,
    thumbnails,
    usable_pixels,
    variance_over_time,
)
from rsc2p_kedro.core.parameters import Compute, MotionCorrectionParameters

COMPUTE = Compute(threads=2, show_progress=False)


def test_samples_spread_evenly_and_stay_within_bounds():
    np.testing.assert_array_equal(sample_frames(10, 5, 1), [1, 3, 5, 7, 9])
    np.testing.assert_array_equal(sample_frames(3, 200, 1), [0, 1, 2])
    assert len(sample_frames(10_000, 200, 64 * 2**20)) == 20


def test_similar_frames_are_chosen_even_if_most_frames_differ_from_each_other():
    shifts = np.array([[0, 0]] * 6 + [[9, 0], [-9, 3], [5, 8], [-4, -9], [9, 9], [-9, -9], [0, 9], [3, -8]])
    movie = reference.moving_movie(len(shifts), (64, 64), reference.rigid(shifts))
    np.testing.assert_array_equal(most_similar_frames(thumbnails(movie, 4, np.inf), 5), np.arange(6))


def test_mean_motion_is_taken_out_with_weights():
    fields = np.arange(8, dtype=np.float32).reshape(4, 2, 1, 1)
    centred = subtract_mean_field(fields, np.array([True, True, False, False]))
    np.testing.assert_allclose(centred[:2].mean(0), 0)


def test_the_template_is_the_scene_in_its_mean_position():
    shifts = np.random.default_rng(0).uniform(-4, 4, (60, 2))
    shifts -= shifts.mean(0)
    movie = reference.moving_movie(60, (72, 80), reference.rigid(shifts), photons=30)
    template = make_template(movie, rigid_grid((72, 80)), MotionCorrectionParameters(), compute=COMPUTE)
    y, x = np.mgrid[:72, :80].astype(float)
    truth = reference.CosineScene(0)(y, x)
    assert np.corrcoef(template.image[8:-8, 8:-8].ravel(), truth[8:-8, 8:-8].ravel())[0, 1] > 0.99
    shot_noise = 20**2 * 30
    assert np.median(template.variance) / shot_noise < 1.5


def test_empty_borders_and_what_they_may_reach_do_not_count():
    movie = reference.moving_movie(30, (64, 64), reference.rigid(np.zeros((30, 2))))
    movie[:, :5], movie[:, 40, 40] = 0, 7
    movie[3] = 65535
    usable = usable_pixels(movie, 2)
    assert not usable[:7].any()
    assert not usable[38:43, 38:43].any()
    assert usable.sum() == 57 * 64 - 25
    assert usable_pixels(np.zeros((5, 32, 32)), 6).all()


def test_variance_over_time_is_that_of_numpy_and_exactly_0_where_nothing_changes():
    movie = np.random.default_rng(0).integers(60_000, 60_100, (50, 32, 40)).astype(np.uint16)
    movie[:, 3] = 65535
    variance = variance_over_time(movie)
    np.testing.assert_allclose(variance, movie.var(0), rtol=1e-4)
    assert not variance[3].any()


def test_denoising_removes_noise_and_keeps_the_scene():
    y, x = np.mgrid[:96, :96].astype(float)
    scene = reference.CosineScene(0)(y, x) - 1
    noise = np.random.default_rng(0).normal(0, 0.2, scene.shape)
    error = denoise_template((scene + noise).astype(np.float32), 0.04) - scene
    assert error.std() < 0.6 * 0.2
    assert np.abs(denoise_template(noise.astype(np.float32), 0.04)).std() < 0.25 * 0.2


def test_the_brightness_limit_is_4_robust_standard_deviations_of_binned_frames():
    sample = np.random.default_rng(0).normal(500, 20, (40, 60, 66)).astype(np.float32)
    sample[:, :6, :6] += 5000
    assert estimate_brightness_limit(sample) == pytest.approx(4 * 20 / 2, rel=0.03)
    assert estimate_brightness_limit(np.full((3, 40, 40), 7)) == np.inf
