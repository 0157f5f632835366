"""Sampling of images equals scipy's interpolation, and the matrix that moves footprints."""

import numpy as np
import pytest
import scipy.ndimage as ndi

from rsc2p_kedro.algorithms.tracking.sampling import sample, sampling_matrix


@pytest.fixture
def images_and_places():
    rng = np.random.default_rng(2)
    images = rng.standard_normal((3, 17, 23)).astype(np.float32)
    places = rng.uniform(-4, 27, (2, 40, 31))
    places[:, 0, :3] = [[0, 16, 16], [0, 22, 0]]  # on the border itself
    return images, places


@pytest.mark.parametrize(("beyond_is_zero", "mode"), [(False, "nearest"), (True, "constant")])
def test_images_are_interpolated_as_by_scipy(images_and_places, beyond_is_zero, mode):
    images, places = images_and_places
    expected = np.stack([ndi.map_coordinates(image, places, order=1, mode=mode) for image in images])
    np.testing.assert_allclose(sample(images, places, beyond_is_zero=beyond_is_zero), expected, atol=1e-6)
    np.testing.assert_allclose(sample(images[1], places, beyond_is_zero=beyond_is_zero), expected[1], atol=1e-6)


def test_the_matrix_does_the_same(images_and_places):
    images, places = images_and_places
    by_matrix = sampling_matrix(places, images.shape[1:]) @ images[0].ravel()
    np.testing.assert_allclose(sample(images[0], places, beyond_is_zero=True).ravel(), by_matrix, atol=1e-5)
