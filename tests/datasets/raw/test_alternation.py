"""Planted alternations are found; noise, motion, bleaching, flicker and blank frames are not taken for them."""

import dask.array as da
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from rsc2p_kedro.datasets.raw.alternation import alternating_frames, alternating_images, period
from rsc2p_kedro.datasets.raw.recording import ImageFile

T, H, W = 240, 64, 72


class InMemory(ImageFile):
    def __init__(self, movie: np.ndarray) -> None:
        self.movie, self.shape, self.dtype, self.problems = movie, movie.shape[1:], movie.dtype, ()

    @property
    def n_images(self) -> int:
        return len(self.movie)

    def read(self, images, out) -> None:
        out[...] = self.movie[list(images)]


def tissue(seed: int, brightness: float = 1.0) -> np.ndarray:
    """Expected photons of a field of neurons on uneven neuropil."""
    rng = np.random.default_rng(seed)
    cells = gaussian_filter((rng.random((H, W)) < 0.02).astype(float), 2.5)
    return brightness * (1 + cells / cells.max() * 3 + gaussian_filter(rng.random((H, W)), 12) * 2)


def film(*planes: np.ndarray, photons: float = 8, seed: int = 0) -> np.ndarray:
    """Photon counts of planes that alternate, with motion of 1 px and slow activity of the brightest pixels."""
    rng = np.random.default_rng(seed)
    images = []
    for i in range(T):
        plane = planes[i % len(planes)]
        active = plane * (1 + 0.3 * (plane > np.percentile(plane, 95)) * np.sin(i / 17))
        images.append(np.roll(active, rng.integers(-1, 2, 2), (0, 1)))
    return rng.poisson(photons * np.array(images) / np.mean(planes)).astype(np.uint16)


def found(movie: np.ndarray) -> int:
    return alternating_images([InMemory(part) for part in np.array_split(movie, 3)])


@pytest.mark.parametrize("photons", [1, 8, 50])
@pytest.mark.parametrize("n", [1, 2, 3, 4, 7])
def test_planes(photons, n):
    assert found(film(*(tissue(seed) for seed in range(n)), photons=photons)) == n


@pytest.mark.parametrize("n", [1, 2, 3])
def test_frames_of_a_movie_alternate_where_images_of_files_do(n):
    movie = film(*(tissue(seed) for seed in range(n)))
    assert alternating_frames(da.from_array(movie, chunks=(64, -1, -1))) == n
    assert alternating_frames(movie[:11]) == 1


def test_dim_second_channel():
    assert found(film(tissue(0), 0.05 + 0.0 * tissue(1))) == 2
    assert found(film(tissue(0), tissue(1, 0.1))) == 2


def test_channel_with_the_same_structure():
    assert found(film(tissue(0), 0.6 * tissue(0))) == 2


def test_two_channels_of_three_planes_with_flyback():
    planes = [tissue(seed, brightness) for seed in range(3) for brightness in (1, 0.3)]
    flyback = [gaussian_filter(tissue(0), 6), gaussian_filter(tissue(0, 0.3), 6)]
    assert found(film(*planes, *flyback)) == 8


def test_bleaching_and_blank_frames_change_nothing():
    for planes in ([tissue(0)], [tissue(0), tissue(1)]):
        movie = film(*planes) * np.exp(-np.arange(T) / 100)[:, None, None]
        movie[np.random.default_rng(1).random(T) < 0.04] = 0
        assert found(movie.astype(np.uint16)) == len(planes)


def test_flicker_and_heartbeat_are_no_channels():
    movie = film(tissue(0), photons=50)
    assert found(movie * (1 + 0.03 * (-1.0) ** np.arange(T))[:, None, None]) == 1
    shifted = [np.roll(image, round(np.sin(2 * np.pi * i / 3)), 1) for i, image in enumerate(movie)]
    assert found(np.array(shifted)) == 1


def test_pure_noise_and_constant_images():
    assert found(np.random.default_rng(0).integers(0, 4096, (T, H, W))) == 1
    assert found(np.full((T, H, W), 7)) == 1
    assert found(np.zeros((T, H, W))) == 1


def test_photostimulation_in_one_block_is_outvoted():
    movie = film(tissue(0))
    movie[120:200:4] += 20
    assert period(movie[140:188].astype(float)) > 1
    assert found(movie) == 1


def test_too_few_images_to_tell():
    assert found(film(tissue(0), tissue(1))[:11]) == 1
    assert alternating_images([]) == 1
