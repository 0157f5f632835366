"""Summary images and frame statistics."""

import dask.array as da
import numpy as np
import pytest
from tests.reference import summary_images as reference

from rsc2p_kedro.algorithms.summary_images import frame_statistics, summarize
from rsc2p_kedro.core.parameters import Compute

COMPUTE = Compute(threads=2, show_progress=False)
NAMES = ("mean", "maximum", "standard_deviation", "correlation")


@pytest.fixture
def movie() -> np.ndarray:
    rng = np.random.default_rng(0)
    shared = rng.normal(0, 30, (150, 1, 1))
    return np.clip(500 + shared + rng.normal(0, 40, (150, 11, 14)), 0, None).astype(np.uint16)


def test_images_are_those_of_numpy(movie: np.ndarray) -> None:
    images = summarize(movie, compute=COMPUTE)
    np.testing.assert_allclose(images.mean, movie.mean(axis=0), rtol=1e-6)
    np.testing.assert_array_equal(images.maximum, movie.max(axis=0))
    np.testing.assert_allclose(images.standard_deviation, movie.std(axis=0), rtol=1e-6)


def test_correlation_agrees_with_the_plain_version(movie: np.ndarray) -> None:
    slow = reference.local_correlation(movie, np.ones(movie.shape[1:], bool))
    np.testing.assert_allclose(summarize(movie, compute=COMPUTE).correlation, slow, atol=1e-6)
    assert slow.mean() == pytest.approx(30**2 / (30**2 + 40**2), abs=0.05)


def test_constant_and_invalid_pixels_have_no_correlation_and_count_for_none(movie: np.ndarray) -> None:
    movie[:, 4, 5] = 77
    valid = np.ones(movie.shape[1:], bool)
    valid[:2] = False
    correlation = summarize(movie, compute=COMPUTE, valid_mask=valid).correlation
    assert correlation[4, 5] == 0
    assert not correlation[:2].any()
    np.testing.assert_allclose(correlation, reference.local_correlation(movie, valid), atol=1e-6)


def test_a_large_offset_does_not_cancel_small_changes() -> None:
    rng = np.random.default_rng(1)
    steps = rng.integers(0, 2, (200, 1, 1)) * np.ones((1, 5, 5))
    images = summarize((1e6 + steps).astype(np.float32), compute=COMPUTE)
    np.testing.assert_allclose(images.standard_deviation, steps.std(), rtol=1e-6)
    np.testing.assert_allclose(images.correlation, 1, atol=1e-6)


def test_a_single_frame_and_a_constant_movie_give_zeros_and_no_nan() -> None:
    for movie in (np.full((1, 4, 4), 5, np.uint16), np.full((80, 4, 1), 3.5, np.float32)):
        images = summarize(movie, compute=COMPUTE)
        assert (images.mean == movie[0]).all()
        assert not images.standard_deviation.any()
        assert not images.correlation.any()


@pytest.mark.parametrize(("threads", "block_frames"), [(1, 1), (3, 50), (2, 1000)])
def test_neither_threads_nor_blocks_change_a_bit(movie: np.ndarray, threads: int, block_frames: int) -> None:
    real = movie.astype(np.float32) / 3
    lazy = da.from_array(real, chunks=(40, 6, 14))
    other = Compute(threads=threads, block_frames=block_frames, show_progress=False)
    whole, parts = summarize(real, compute=COMPUTE), summarize(lazy, compute=other)
    for name in NAMES:
        np.testing.assert_array_equal(getattr(whole, name), getattr(parts, name))
    whole_frames, part_frames = frame_statistics(real, compute=COMPUTE), frame_statistics(lazy, compute=other)
    np.testing.assert_array_equal(whole_frames.mean, part_frames.mean)


def test_an_array_that_is_not_a_movie_is_refused() -> None:
    with pytest.raises(ValueError, match=r"should be \(T, H, W\).*shape \(4, 4\)"):
        summarize(np.zeros((4, 4)), compute=COMPUTE)


def test_frame_statistics_are_those_of_numpy(movie: np.ndarray) -> None:
    movie[3, :, :7] = 65535
    frames = frame_statistics(movie, compute=COMPUTE)
    np.testing.assert_array_equal(frames.minimum, movie.min(axis=(1, 2)))
    np.testing.assert_array_equal(frames.maximum, movie.max(axis=(1, 2)))
    np.testing.assert_allclose(frames.mean, movie.mean(axis=(1, 2)))
    assert frames.saturated_share[3] == pytest.approx(0.5)
    assert frames.saturated_share.sum() == frames.saturated_share[3]


def test_saturation_below_the_range_of_the_dtype_is_counted() -> None:
    """A detector of 12 bits stored in 16: the transients of a cell are clipped at 4095."""
    rng = np.random.default_rng(0)
    movie = rng.poisson(500, (60, 20, 30)).astype(np.uint16)
    whole = frame_statistics(movie, compute=COMPUTE).saturated_share
    assert whole.sum() * movie[0].size <= 3, "without clipping the highest value occurs once or twice"
    movie[20:30, 5:9, 5:9] = np.minimum(movie[20:30, 5:9, 5:9] * 9, 4095)
    for clipped in (movie, movie.astype(np.float32)):
        share = frame_statistics(clipped, compute=COMPUTE).saturated_share
        np.testing.assert_allclose(share[20:30], (movie[20:30] == 4095).mean(axis=(1, 2)))
        assert not np.delete(share, range(20, 30)).any()


def test_an_even_movie_is_not_saturated() -> None:
    assert not frame_statistics(np.full((5, 4, 4), 7, np.uint8), compute=COMPUTE).saturated_share.any()
