from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from tests.reference import registration as reference

from rsc2p_kedro.algorithms.registration import apply_motion, estimate_motion, motion_quality
from rsc2p_kedro.algorithms.registration.quality import (
    bin_edges,
    correlation_with_template,
    crispness,
    displacement_between,
    jackknife_error,
    residual_motion,
    tissue_crispness,
)
from rsc2p_kedro.core.parameters import Compute, MotionCorrectionParameters
from rsc2p_kedro.pipelines.motion_correction.nodes import tabulate_motion
from rsc2p_kedro.reports.assessment import Level, assess_motion

COMPUTE = Compute(threads=2, show_progress=False)


def test_correction_improves_all_figures():
    shifts = np.stack([2 * np.sin(np.arange(120) / 9), np.cos(np.arange(120) / 5)], 1)
    movie = reference.moving_movie(120, (96, 96), reference.rigid(shifts), photons=20)
    parameters = MotionCorrectionParameters(patch_stride_px=32, patch_overlap_px=16)
    motion = estimate_motion(movie, parameters, compute=COMPUTE)
    quality = motion_quality(movie, apply_motion(movie, motion, parameters), motion, compute=COMPUTE)
    assert all(better for *_, better in quality.rows())
    assert quality.residual_before > 0.5
    assert quality.residual_after < 0.1
    assert quality.registered_fraction == 1


def test_crispness_is_the_norm_of_the_gradient():
    y, x = np.mgrid[:10, :20].astype(float)
    assert np.isclose(crispness(3 * y + 4 * x), 5 * np.sqrt(200))


def test_bins_cover_all_frames_in_order():
    edges = bin_edges(1000)
    assert (edges[0], edges[-1], len(edges)) == (0, 1000, 257)
    assert (np.diff(edges) >= 3).all()
    np.testing.assert_array_equal(bin_edges(3), [0, 1, 2, 3])


def test_residual_motion_measures_a_drift():
    shifts = np.stack([np.linspace(-1, 1, 60), np.zeros(60)], 1)
    movie = reference.moving_movie(60, (96, 96), reference.rigid(shifts), photons=50).astype(np.float32)
    still = reference.moving_movie(60, (96, 96), reference.rigid(0 * shifts), photons=50).astype(np.float32)
    assert residual_motion(movie)[0] > 0.5
    assert residual_motion(still)[0] < 0.1
    assert residual_motion(still[:1])[0] == 0


def displaced(shape, shift, scale=1):
    """A scene and the same displaced by `shift` px along y, both enlarged."""
    scene = reference.CosineScene(0)
    y, x = np.arange(shape[0])[:, None] / scale, np.arange(shape[1])[None] / scale
    return [scene(y - moved / scale, x).astype(np.float32) for moved in (0, shift)]


def test_patches_and_filter_of_residual_motion_scale_with_the_neurons():
    assert displacement_between(*displaced((96, 112), 1.5)) == pytest.approx(1.5 / np.sqrt(2), rel=0.01)
    small = displacement_between(*displaced((96, 112), 1.5), neuron_half_width_px=4)
    large = displacement_between(*displaced((192, 224), 3, scale=2), neuron_half_width_px=8)
    assert large == pytest.approx(2 * small, rel=0.01)


@pytest.mark.parametrize("half_width", [2, 4, 8])
def test_the_largest_residual_motion_is_one_and_a_half_half_widths(half_width):
    largest = 1.5 * half_width
    within, beyond = (
        displacement_between(*displaced((160, 160), shift, scale=2), neuron_half_width_px=half_width)
        for shift in (0.9 * largest, 2 * largest)
    )
    assert within == pytest.approx(0.9 * largest / np.sqrt(2), rel=0.05)
    assert beyond < 1.9 * largest / np.sqrt(2)


def test_residual_motion_of_a_movie_scales_with_the_neurons():
    shifts = np.linspace(-1, 1, 12)
    scene = reference.CosineScene(0)
    movie, enlarged = (
        np.stack([scene(pixels[:, None] - d, pixels[None]) for d in shifts]).astype(np.float32)
        for pixels in (np.arange(96.0), np.arange(192) / 2)
    )
    expected = 2 * residual_motion(movie)[0]
    assert residual_motion(enlarged, neuron_half_width_px=8)[0] == pytest.approx(expected, rel=0.05)


def test_correlation_with_the_template_is_pearsons():
    rng = np.random.default_rng(0)
    frames, template = rng.normal(100, 5, (6, 20, 30)).astype(np.float32), rng.normal(size=(20, 30)).astype(np.float32)
    frames[1:] += 3 * template
    frames[3] = 7
    expected = [0 if t == 3 else np.corrcoef(frame.ravel(), template.ravel())[0, 1] for t, frame in enumerate(frames)]
    np.testing.assert_allclose(correlation_with_template(frames - 100, template), expected, atol=1e-4)


def still_and_moving(n_frames, photons, seed=0, border=0, shape=(96, 96)):
    """A moving movie, with a black border that stands still, its correction, and the quality of that."""
    rng = np.random.default_rng(seed)
    shifts = 2 * rng.normal(size=(n_frames, 2)).clip(-2, 2)
    movie = reference.moving_movie(n_frames, shape, reference.rigid(shifts), photons=photons)
    if border:
        movie[:, :border] = movie[:, :, -border:] = 0
        movie[:, :border] += rng.poisson(1, movie[:, :border].shape).astype(movie.dtype)  # read noise
    parameters = MotionCorrectionParameters(piecewise=False)
    motion = estimate_motion(movie, parameters, compute=COMPUTE)
    corrected = apply_motion(movie, motion, parameters)
    return motion_quality(movie, corrected, motion, compute=COMPUTE), motion


def verdict(quality, motion):
    table = pd.DataFrame(quality.rows(), columns=["measure", "before", "after", "standard_error", "improved"])
    return assess_motion(tabulate_motion(motion, quality), table)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("photons", [3, 20])
def test_corrected_motion_of_few_frames_is_not_called_worse(photons, seed):
    """The gradient of a mean of 30 frames is mostly noise, which interpolation lowers."""
    quality, motion = still_and_moving(30, photons, seed)
    assert quality.crispness_after > quality.crispness_before
    assert "worsened" not in verdict(quality, motion).finding


@pytest.mark.parametrize("border", [3, 12])
def test_a_black_border_that_stands_still_is_no_false_alarm(border):
    quality, motion = still_and_moving(120, 20, border=border)
    assert all(better for *_, better in quality.rows())
    assert verdict(quality, motion).level is Level.OK


def test_crispness_of_tissue_is_free_of_noise():
    scene = reference.CosineScene(0)
    image = scene(np.arange(64.0)[:, None], np.arange(64.0)[None])
    rng, pixels = np.random.default_rng(0), np.ones((64, 64), bool)
    true = crispness(image)
    found = []
    for _ in range(20):
        means = (image + rng.normal(0, 3 * image.std(), (40, 64, 64))).astype(np.float32)
        found.append(tissue_crispness(means, pixels)[0])
        assert crispness(means.mean(0)) > 1.2 * true
    assert np.mean(found) == pytest.approx(true, rel=0.05)


def test_jackknife_gives_the_standard_error_of_a_mean():
    values = np.random.default_rng(0).normal(size=12)
    left_out = (values.sum() - values) / 11
    assert jackknife_error(left_out) == pytest.approx(values.std(ddof=1) / np.sqrt(12))
    assert np.isnan(jackknife_error(left_out[:1]))


def test_frames_that_were_not_registered_do_not_count():
    shifts = np.stack([2 * np.sin(np.arange(60) / 9), np.cos(np.arange(60) / 5)], 1)
    movie = reference.moving_movie(60, (64, 64), reference.rigid(shifts), photons=20)
    parameters = MotionCorrectionParameters(piecewise=False)
    motion = estimate_motion(movie, parameters, compute=COMPUTE)
    kept = motion_quality(movie[:50], apply_motion(movie, motion, parameters)[:50], first(motion, 50), compute=COMPUTE)
    spoiled = movie.copy()
    spoiled[50:] = 65535
    lost = replace(motion, registered=np.arange(60) < 50)
    quality = motion_quality(spoiled, apply_motion(spoiled, motion, parameters), lost, compute=COMPUTE)
    for name in ("correlation", "crispness", "residual"):
        assert getattr(quality, f"{name}_after") == pytest.approx(getattr(kept, f"{name}_after"), rel=1e-4)


def first(motion, n):
    per_frame = ("shifts", "patch_shifts", "peak_quality", "registered")
    return replace(motion, **{name: getattr(motion, name)[:n] for name in per_frame})
