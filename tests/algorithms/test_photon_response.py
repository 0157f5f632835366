"""Dark level, gain and read noise of detectors that are known come back, whatever was done to the movie."""

import dask.array as da
import numpy as np
import pytest
from numpy.typing import NDArray

from rsc2p_kedro.algorithms.detector import measure_detector
from rsc2p_kedro.algorithms.photon_response import with_blank_frames, zero_of_variance
from rsc2p_kedro.core.parameters import Compute
from rsc2p_kedro.core.results import BLANK_FRAMES, NOISE, UNKNOWN, DetectorResponse

QUIET = Compute(threads=1, show_progress=False)
GAIN, READ, PHOTONS = 20.0, 8.0, 6.0


def light(seed: int = 0, *, side: int = 72, contrast: float = 0.9) -> NDArray[np.float64]:
    """A still image (side, side) in photons: smooth, from 1 - contrast to 1 + contrast times `PHOTONS`."""
    rng = np.random.default_rng(seed)
    waves = np.cumsum(rng.normal(size=(side, side)), axis=0) + np.cumsum(rng.normal(size=(side, side)), axis=1)
    return PHOTONS * (1 + contrast * (2 * (waves - waves.min()) / np.ptp(waves) - 1))


def counts(photons: NDArray, dark: float, *, n: int = 272, gain: float = GAIN, read: float = READ) -> NDArray:
    """Movie (n, H, W) of a detector, in counts, not limited to any dtype."""
    rng = np.random.default_rng(7)
    detected = rng.poisson(np.broadcast_to(photons, (n, *photons.shape[-2:])))
    return np.rint(gain * detected + dark + rng.normal(0, read, detected.shape)).astype(np.int64)


def respond(movie: NDArray) -> DetectorResponse:
    return measure_detector(movie, compute=QUIET).response


def assert_dark(response: DetectorResponse, dark: float, *, tolerance: float = 0.08) -> None:
    """Within a part of the light, and within three of the errors that it tells."""
    assert response.dark_level is not None
    error = abs(response.dark_level - dark)
    assert error < tolerance * GAIN * PHOTONS
    assert error < 3 * response.dark_level_error


@pytest.mark.parametrize("dark", [-1000, -200, 0, 93, 1000, 32768, 40000])
def test_the_dark_level_comes_back_whatever_it_is(dark: int) -> None:
    movie = counts(light(), dark)
    response = respond(movie.astype(np.uint16 if movie.min() >= 0 else np.int16))
    assert response.source == NOISE
    if movie.min() >= 0 or dark < 0:  # at 0, what is negative in int16
        assert_dark(response, dark)
    assert response.gain == pytest.approx(GAIN, rel=0.05)
    assert response.read_noise == pytest.approx(READ, rel=0.8)


def test_a_constant_moves_the_dark_level_by_exactly_this_constant() -> None:
    movie = counts(light(), 100)
    one, other = respond(movie.astype(np.uint16)), respond((movie + 30000).astype(np.uint16))
    assert other.dark_level == pytest.approx(one.dark_level + 30000, abs=1e-9)
    assert (other.dark_level_error, other.gain, other.read_noise) == (
        one.dark_level_error, one.gain, one.read_noise,
    )  # fmt: skip


def test_read_noise_is_told_from_light() -> None:
    """Read noise of 1.5 photons adds as much variance as 2.25 photons: the variance alone is 0 far below the dark."""
    response = respond(counts(light(), 300, read=1.5 * GAIN))
    assert_dark(response, 300, tolerance=0.15)
    assert response.read_noise == pytest.approx(1.5 * GAIN, rel=0.25)


def test_photons_of_different_sizes_do_not_move_the_dark_level() -> None:
    """Photomultiplier: each photon has an exponentially distributed size, which doubles the variance."""
    rng = np.random.default_rng(3)
    photons = rng.poisson(np.broadcast_to(light(), (272, 72, 72)))
    movie = np.rint(rng.gamma(np.maximum(photons, 1e-9), GAIN) + 200 + rng.normal(0, READ, photons.shape))
    response = respond(movie.astype(np.int32))
    assert_dark(response, 200)
    assert response.gain == pytest.approx(2 * GAIN, rel=0.05)


def test_a_black_border_is_no_dark_level() -> None:
    movie = counts(light(), 93).astype(np.uint16)
    rng = np.random.default_rng(0)
    for frame in movie:
        frame[: rng.integers(1, 6)], frame[:, -rng.integers(1, 6) :] = 0, 0
    assert_dark(respond(movie), 93)


def test_values_cut_off_at_0_are_left_out() -> None:
    """The darkest pixels are cut off, and the others tell the dark level."""
    response = respond(np.clip(counts(light(), -15), 0, None).astype(np.uint16))
    assert response.clipped_share > 0.02
    assert_dark(response, -15, tolerance=0.2)


def test_a_movie_that_is_cut_off_everywhere_tells_nothing() -> None:
    response = respond(np.clip(counts(light(), -110), 0, None).astype(np.uint16))
    assert (response.source, response.dark_level, response.gain) == (UNKNOWN, None, None)
    assert response.clipped_share == 1


def test_counted_photons_have_a_gain_of_1() -> None:
    response = respond(counts(light() / 6, 0, gain=1, read=0).astype(np.uint16))
    assert response.gain == pytest.approx(1, rel=0.05)
    assert response.dark_level == pytest.approx(0, abs=0.08)


@pytest.mark.parametrize("kind", ["one brightness", "no photons", "one value"])
def test_without_a_line_the_dark_level_is_unknown(kind: str) -> None:
    rng = np.random.default_rng(1)
    movie = {
        "one brightness": counts(light(contrast=0.0), 100),
        "no photons": np.rint(light() * 20 + rng.normal(0, 9, (272, 72, 72))).astype(np.int64),
        "one value": np.full((40, 20, 20), 7),
    }[kind]
    response = respond(movie)
    vague = response.dark_level is None or response.dark_level_error > 0.2 * GAIN * PHOTONS
    assert vague


def test_trials_of_different_gain_share_a_dark_level() -> None:
    gain = np.repeat([1.0, 1.6, 0.7, 1.0], 68)[:, None, None]
    movie = np.rint((counts(light(), 0) * gain) + 150).astype(np.int64)
    assert_dark(respond(movie), 150)


def test_interpolated_movies_are_told_by_their_correlated_noise() -> None:
    movie = counts(light(), 100).astype(np.float32)
    shifted = 0.7 * movie + 0.3 * np.roll(movie, 1, axis=2)
    response = respond(shifted)
    assert_dark(response, 100)
    assert response.noise_correlation[1] == pytest.approx(0.21 / 0.58, abs=0.05)
    assert abs(response.noise_correlation[0]) < 0.02
    assert response.gain == pytest.approx(GAIN, rel=0.1)


def test_bleaching_and_drift_do_not_matter() -> None:
    photons = light(side=78)
    movie = np.stack([np.roll(photons, t // 40, axis=0)[3:75, 3:75] * (1 - 0.5 * t / 272) for t in range(272)])
    assert_dark(respond(counts(movie, 500)), 500)


def test_neither_threads_nor_chunks_change_a_bit() -> None:
    movie = counts(light(), 100).astype(np.uint16)
    whole = respond(movie)
    lazy = da.from_array(movie, chunks=(30, 20, -1))
    parts = measure_detector(lazy, compute=Compute(threads=3, show_progress=False)).response
    assert (whole.dark_level, whole.gain, whole.read_noise) == (parts.dark_level, parts.gain, parts.read_noise)
    np.testing.assert_array_equal(whole.third_moment, parts.third_moment)


def test_blank_frames_tell_the_dark_level_if_they_agree_with_the_noise() -> None:
    response = respond(counts(light(), 100))
    seen = with_blank_frames(response, np.array([100.2, 100.1, 99.9]))
    assert (seen.dark_level, seen.source) == (100.1, BLANK_FRAMES)
    assert seen.dark_level_error < response.dark_level_error
    assert with_blank_frames(response, np.array([150.0, 151.0])) is response  # a shutter that leaks
    assert with_blank_frames(response, np.zeros(0)) is response


@pytest.mark.parametrize("offset", [-500.0, 0.0, 100.0, 40000.0])
def test_the_quick_estimate_does_not_depend_on_the_offset(offset: float) -> None:
    """Pixels of 2 to 12 photons, 20 counts each: variance 20 x (mean - offset) + read^2."""
    rng = np.random.default_rng(3)
    mean = offset + 20 * rng.uniform(2, 12, 8000)
    variance = (20 * (mean - offset) + 12.0**2) * rng.normal(1, 0.02, 8000) ** 2
    mean[:100], variance[:100] = 0, 0  # a border without noise
    assert zero_of_variance(mean, variance) == pytest.approx(offset - 12**2 / 20, abs=3)


@pytest.mark.parametrize("case", ["few pixels", "one brightness", "noise that does not grow"])
def test_a_quick_estimate_without_a_line_is_none(case: str) -> None:
    rng = np.random.default_rng(4)
    mean, variance = 100 + rng.uniform(0, 300, 8000), rng.normal(10, 0.1, 8000) ** 2
    if case == "few pixels":
        mean, variance = mean[:500], mean[:500]
    elif case == "one brightness":
        mean = rng.uniform(100, 120, 8000)
        variance = mean
    assert zero_of_variance(mean, variance) is None
