import numpy as np
import pytest

from rsc2p_kedro.algorithms.extraction.binned_movie import bin_movie, choose_bin_frames
from rsc2p_kedro.core.parameters import Compute

COMPUTE = Compute(threads=2, show_progress=False)


def test_noise_and_mean_of_pixels_are_recovered():
    rng = np.random.default_rng(0)
    sd, level = np.linspace(1, 5, 20)[:, None] * np.ones(24), np.linspace(50, 90, 24) * np.ones((20, 1))
    movie = (rng.normal(0, 1, (900, 20, 24)) * sd + level).astype(np.float32)
    binned = bin_movie(movie, 3, compute=COMPUTE)
    np.testing.assert_allclose(binned.noise, sd, rtol=0.25)
    assert np.median(binned.noise / sd) == pytest.approx(1, abs=0.02)
    np.testing.assert_allclose(binned.mean, movie.mean(axis=0), rtol=1e-5)
    assert binned.movie.shape == (300, 20, 24)
    assert binned.movie.std() == pytest.approx(1, abs=0.03)
    means = movie.reshape(300, 3, 20, 24).mean(axis=1)
    np.testing.assert_allclose(binned.movie * binned.scale, means - binned.mean, atol=0.2)


def test_a_binned_movie_in_a_file_is_the_one_in_memory():
    movie = np.random.default_rng(1).normal(0, 1, (64, 16, 16)).astype(np.float32)
    in_file = bin_movie(movie, 2, compute=Compute(memory_gb=1e-6, show_progress=False))
    in_memory = bin_movie(movie, 2, compute=COMPUTE)
    assert isinstance(in_file.movie, np.memmap)
    np.testing.assert_array_equal(in_file.movie, in_memory.movie)


@pytest.mark.parametrize(
    ("n_frames", "decay_frames", "temporal_downsampling", "expected"),
    [(1000, 6, 1, 3), (1000, 6, 4, 4), (30000, 6, 1, 10), (40, 60, 1, 5), (8, 60, 1, 1)],
)
def test_a_bin_is_half_a_decay_unless_the_recording_is_long_or_short(
    n_frames, decay_frames, temporal_downsampling, expected
):
    assert choose_bin_frames(n_frames, decay_frames, temporal_downsampling) == expected
