import logging
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import tifffile
from tests.reference import registration as reference

from rsc2p_kedro.algorithms.registration import apply_motion, estimate_motion
from rsc2p_kedro.algorithms.registration.motion import interpolate_unregistered
from rsc2p_kedro.core.parameters import Compute, MotionCorrectionParameters

COMPUTE = Compute(threads=2, show_progress=False)
SMALL_PATCHES = MotionCorrectionParameters(patch_stride_px=32, patch_overlap_px=16)
REAL = Path(__file__).parents[3] / "../shared/data/neurofinder_crop/movie.tif"


def walk(n_frames, seed=0, step=0.4, largest=4.0):
    shifts = np.cumsum(np.random.default_rng(seed).normal(0, step, (n_frames, 2)), 0)
    shifts = np.clip(shifts - shifts.mean(0), -largest, largest)
    return shifts - shifts.mean(0)


def rms(values):
    return float(np.sqrt(np.mean(np.square(values))))


@pytest.fixture(scope="module")
def walking():
    shifts = walk(90)
    return shifts, reference.moving_movie(90, (96, 112), reference.rigid(shifts), photons=60)


@pytest.fixture(scope="module")
def walking_motion(walking):
    return estimate_motion(walking[1], SMALL_PATCHES, compute=COMPUTE)


def test_the_scene_of_the_test_movies_is_the_same_on_axes_and_on_pixels():
    y, x = np.mgrid[:20, :30] / 0.7
    np.testing.assert_allclose(reference.CosineScene(0)(y[:, :1], x[:1]), reference.CosineScene(0)(y, x), atol=1e-12)


def test_known_subpixel_shifts_come_back(walking, walking_motion):
    assert rms(walking_motion.shifts + walking[0]) < 0.02
    assert np.abs(walking_motion.shifts + walking[0]).max() < 0.05
    assert rms(walking_motion.patch_shifts + walking[0][:, None]) < 0.03
    assert walking_motion.registered.all()


def test_shifts_are_not_biased_towards_whole_pixels(walking, walking_motion):
    fraction = walking[0] - np.rint(walking[0])
    error = -walking_motion.shifts - walking[0]
    assert abs(np.polyfit(fraction.ravel(), error.ravel(), 1)[0]) < 0.02


def test_no_motion_is_no_shift():
    movie = reference.moving_movie(100, (128, 128), reference.rigid(np.zeros((100, 2))), photons=50)
    motion = estimate_motion(movie, SMALL_PATCHES, compute=COMPUTE)
    assert np.abs(motion.shifts).max() < 0.02
    assert np.abs(motion.patch_shifts).max() < 0.02


def test_motion_that_differs_by_place_comes_back_better_than_rigid():
    def shear(t, y, x):
        size = 1.5 * np.sin(t / 6)
        return 0.6 * size * (x / 55.5 - 1), size * (y / 47.5 - 1)

    movie = reference.moving_movie(90, (96, 112), shear, photons=20)
    motion = estimate_motion(movie, SMALL_PATCHES, compute=COMPUTE)
    y, x = motion.patch_centres.T
    truth = np.stack([np.stack(shear(t, y, x), 1) for t in range(90)])
    truth -= truth.mean(0)
    assert rms(motion.patch_shifts + truth) < 0.05
    assert rms(motion.shifts[:, None] + truth) > 5 * rms(motion.patch_shifts + truth)
    assert rms(motion.shifts) < 0.02


@pytest.mark.parametrize(("threads", "block_frames"), [(1, 7), (4, 64), (2, 1000)])
def test_threads_and_blocks_change_no_bit(walking, walking_motion, threads, block_frames):
    compute = Compute(threads=threads, block_frames=block_frames, show_progress=False)
    movie = da.from_array(walking[1], chunks=(10, 50, 50))
    motion = estimate_motion(movie, SMALL_PATCHES, compute=compute)
    for name in ("template", "shifts", "patch_shifts", "valid_mask", "peak_quality"):
        np.testing.assert_array_equal(getattr(motion, name), getattr(walking_motion, name))


def test_the_smoothing_of_shifts_scales_with_the_neurons(walking, walking_motion):
    default, larger = (
        estimate_motion(walking[1], SMALL_PATCHES, compute=COMPUTE, neuron_half_width_px=half_width)
        for half_width in (4, 12)
    )
    np.testing.assert_array_equal(default.patch_shifts, walking_motion.patch_shifts)
    assert 0 < np.abs(larger.patch_shifts - default.patch_shifts).max() < 0.05


def test_frames_without_tissue_are_flagged_and_interpolated():
    shifts = walk(80, seed=3, step=0.2)
    movie = reference.moving_movie(80, (96, 96), reference.rigid(shifts), photons=20)
    movie[0], movie[30], movie[50] = 0, 65535, np.random.default_rng(0).integers(0, 1000, (96, 96))
    motion = estimate_motion(movie, SMALL_PATCHES, compute=COMPUTE)
    np.testing.assert_array_equal(np.flatnonzero(~motion.registered), [0, 30, 50])
    good = motion.registered
    assert rms((motion.shifts + shifts)[good] - (motion.shifts + shifts)[good].mean(0)) < 0.03
    np.testing.assert_allclose(motion.shifts[30], motion.shifts[[29, 31]].mean(0), atol=0.05)


def test_flashing_cells_and_empty_borders_do_not_move_frames():
    rng, shifts = np.random.default_rng(0), walk(80, seed=5, step=0.2, largest=3)
    movie = reference.moving_movie(80, (112, 112), reference.rigid(shifts), photons=40).astype(float)
    y, x = np.mgrid[:112, :112]
    for cy, cx in rng.uniform(20, 92, (6, 2)):
        on = rng.random(80) < 0.3
        movie[on] += 3000 * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 32)
    movie[:, :8], movie[:, :, -6:] = 100, 0
    motion = estimate_motion(movie.clip(0, 65535).astype(np.uint16), SMALL_PATCHES, compute=COMPUTE)
    error = motion.shifts + shifts
    assert rms(error - error.mean(0)) < 0.05


def test_cells_that_outshine_the_tissue_do_not_move_their_neighbours():
    rng, shifts = np.random.default_rng(0), walk(100, seed=5, step=0.2, largest=3)
    movie = reference.moving_movie(100, (112, 112), reference.rigid(shifts), photons=30).astype(float)
    y, x = np.mgrid[:112, :112]
    for place in rng.uniform(15, 97, (6, 2)):
        for t in np.flatnonzero(rng.random(100) < 0.3):
            cy, cx = place + shifts[t]
            movie[t] += 6000 * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 32)
    motion = estimate_motion(movie.clip(0, 65535).astype(np.uint16), SMALL_PATCHES, compute=COMPUTE)
    local = motion.patch_shifts + shifts[:, None]
    assert rms(local - local.mean((0, 1))) < 0.05


def test_moving_bright_spots_do_not_move_frames():
    rng, shifts = np.random.default_rng(0), walk(80, seed=5, step=0.2, largest=3)
    movie = reference.moving_movie(80, (112, 112), reference.rigid(shifts), photons=40).astype(float)
    y, x = np.mgrid[:112, :112]
    for start, speed in zip(rng.uniform(10, 60, (2, 2)), rng.uniform(0.3, 0.6, (2, 2)), strict=True):
        for t in range(80):
            cy, cx = start + speed * t
            movie[t] += 8000 * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 32)
    motion = estimate_motion(movie.clip(0, 65535).astype(np.uint16), SMALL_PATCHES, compute=COMPUTE)
    error = motion.shifts + shifts
    assert motion.registered.all()
    assert rms(error - error.mean(0)) < 0.1


@pytest.mark.parametrize("limit", [2, 3])
def test_the_largest_shift_is_included_and_not_exceeded(limit):
    shifts = np.zeros((60, 2))
    shifts[::6], shifts[3::6] = limit, -limit
    parameters = MotionCorrectionParameters(piecewise=False, max_shift_px=limit)
    motion = estimate_motion(reference.moving_movie(60, (64, 64), reference.rigid(shifts)), parameters, compute=COMPUTE)
    assert rms(motion.shifts + shifts) < 0.05
    assert np.abs(motion.shifts).max() <= limit + 1e-6
    assert not motion.piecewise


def test_patches_larger_than_the_frame_give_rigid_motion_and_a_warning(caplog):
    shifts = walk(40, largest=3)
    movie = reference.moving_movie(40, (32, 36), reference.rigid(shifts), photons=100)
    with caplog.at_level(logging.WARNING):
        motion = estimate_motion(movie, MotionCorrectionParameters(), compute=COMPUTE)
    assert "patch_stride_px" in caplog.text
    assert not motion.piecewise
    assert rms(motion.shifts + shifts) < 0.05


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_every_dtype_gives_the_same_motion(walking, dtype):
    shifts, movie = walking
    scaled = (movie[:40] // 8).astype(dtype) if dtype == np.uint8 else movie[:40].astype(dtype)
    parameters = MotionCorrectionParameters(piecewise=False)
    motion = estimate_motion(scaled, parameters, compute=COMPUTE)
    error = motion.shifts + shifts[:40]
    assert rms(error - error.mean(0)) < 0.05
    assert apply_motion(scaled, motion, parameters).dtype == dtype


def test_one_frame_and_two_frames_are_movies():
    movie = reference.moving_movie(2, (48, 48), reference.rigid(np.array([[0.5, 0], [-0.5, 0]])))
    one = estimate_motion(movie[:1], MotionCorrectionParameters(piecewise=False), compute=COMPUTE)
    np.testing.assert_allclose(one.shifts, 0, atol=1e-3)
    two = estimate_motion(movie, MotionCorrectionParameters(piecewise=False), compute=COMPUTE)
    assert two.shifts[1, 0] - two.shifts[0, 0] == pytest.approx(1, abs=0.1)


def test_all_problems_of_a_movie_are_reported_at_once():
    with pytest.raises(ValueError, match=r"at least 32 x 32 px.*integers or floats"):
        estimate_motion(np.zeros((5, 20, 40), bool), MotionCorrectionParameters(), compute=COMPUTE)


def test_the_corrected_movie_is_still(walking, walking_motion):
    corrected = apply_motion(walking[1], walking_motion, SMALL_PATCHES)
    assert corrected.dtype == np.uint16
    assert corrected.chunks == ((64, 26), (96,), (112,))
    still = corrected.compute()
    valid = walking_motion.valid_mask
    assert 0.7 < valid.mean() < 1
    moved = walking[1].astype(float)
    assert still.astype(float).mean(0)[valid].std() > 1.05 * moved.mean(0)[valid].std()
    y, x = np.mgrid[:96, :112].astype(float)
    truth = reference.CosineScene(0)(y, x)
    assert np.corrcoef(still.mean(0)[valid], truth[valid])[0, 1] > 0.995


def test_the_corrected_movie_does_not_depend_on_chunks_and_may_be_float(walking, walking_motion):
    as_float = SMALL_PATCHES.model_copy(update={"corrected_dtype": "float32"})
    whole = apply_motion(walking[1], walking_motion, as_float).compute()
    chunked = apply_motion(da.from_array(walking[1], chunks=(13, 40, 112)), walking_motion, as_float).compute()
    np.testing.assert_array_equal(whole, chunked)
    assert whole.dtype == np.float32
    assert np.isfinite(whole).all()
    rounded = apply_motion(walking[1], walking_motion, SMALL_PATCHES).compute()
    assert np.abs(rounded - whole.clip(0, 65535)).max() <= 0.5


def test_motion_of_another_movie_is_refused(walking, walking_motion):
    with pytest.raises(ValueError, match="was estimated from"):
        apply_motion(walking[1][:50], walking_motion, SMALL_PATCHES)


def test_unregistered_frames_are_interpolated_over_time():
    fields = np.array([9.0, 1, 9, 3, 9])[:, None]
    registered = np.array([False, True, False, True, False])
    np.testing.assert_allclose(interpolate_unregistered(fields, registered)[:, 0], [1, 1, 2, 3, 3])
    np.testing.assert_array_equal(interpolate_unregistered(fields, np.zeros(5, bool)), np.zeros((5, 1)))
    np.testing.assert_array_equal(interpolate_unregistered(fields, np.arange(5) == 3)[:, 0], 3)


@pytest.mark.skipif(not REAL.exists(), reason=f"needs the real recording at {REAL}")
def test_shifts_added_to_a_real_recording_come_back():
    from scipy.ndimage import fourier_shift

    movie = tifffile.imread(REAL)[:200].astype(np.float32)
    shifts = walk(200, seed=1, step=0.3, largest=3)
    moved = [np.fft.ifft2(fourier_shift(np.fft.fft2(f), s)).real for f, s in zip(movie, shifts, strict=True)]
    crop = np.stack(moved)[:, 6:-6, 6:-6].astype(np.float32)
    parameters = MotionCorrectionParameters()
    before = estimate_motion(np.ascontiguousarray(movie[:, 6:-6, 6:-6]), parameters, compute=COMPUTE)
    after = estimate_motion(crop, parameters, compute=COMPUTE)
    assert rms(after.shifts - before.shifts + shifts) < 0.1
