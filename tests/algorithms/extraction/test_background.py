import numpy as np
import pytest
import scipy.sparse as sp
from tests.algorithms.extraction.shapes import as_footprints, disc

from rsc2p_kedro.algorithms.extraction.background import expected_gain, neuropil_basis, resting_fluorescence
from rsc2p_kedro.algorithms.extraction.binned_movie import BinnedMovie

SHAPE = (40, 57)


def still(mean):
    """A binned movie of which only the mean image matters."""
    ones = np.ones(mean.shape, np.float32)
    return BinnedMovie(np.zeros((8, *mean.shape), np.float32), 1, mean.astype(np.float32), ones, ones > 0)


def test_splines_are_a_partition_of_unity_and_projections_match_their_footprints():
    basis = neuropil_basis(SHAPE, 12.0, 2)
    rng = np.random.default_rng(2)
    frames, f = rng.normal(0, 1, (5, *SHAPE)).astype(np.float32), rng.normal(0, 1, (basis.n_splines, 5))
    phi = basis.footprints(np.ones(SHAPE)).toarray()
    assert phi.min() >= 0
    np.testing.assert_allclose(phi.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(basis.project(frames), phi.T @ frames.reshape(5, -1).T, atol=1e-4)
    np.testing.assert_allclose(basis.evaluate(f).reshape(5, -1), (phi @ f).T, atol=1e-4)
    part = basis.evaluate(f, slice(3, 9), slice(30, 50))
    np.testing.assert_allclose(part, basis.evaluate(f)[:, 3:9, 30:50], atol=1e-6)


def test_the_gram_matrix_holds_the_inner_products_of_the_footprints():
    basis = neuropil_basis(SHAPE, 12.0, 2)
    gain = np.random.default_rng(3).uniform(0, 2, SHAPE)
    B = basis.footprints(gain).toarray().astype(float)
    np.testing.assert_allclose(basis.gram(gain).toarray(), B.T @ B, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("n_background", [0, 1])
def test_without_neuropil_there_are_no_splines(n_background):
    assert neuropil_basis((20, 20), 10, n_background).n_splines == 0


def test_the_expected_gain_is_a_line_through_the_mean_image_that_ignores_neurons():
    brightness = np.linspace(1, 3, SHAPE[1]) * np.ones((SHAPE[0], 1))
    neuron = disc(SHAPE, 20, 20, 4)
    binned = still(100 + 50 * brightness + 80 * neuron)  # detector offset, tissue, resting fluorescence
    gain = (brightness + neuron).astype(np.float32)
    expected = expected_gain(binned, as_footprints(neuron), gain, 4)
    np.testing.assert_allclose(expected[neuron == 0], brightness[neuron == 0], rtol=1e-3)
    np.testing.assert_allclose(expected[neuron > 0], brightness[neuron > 0], rtol=0.02)


def test_resting_fluorescence_is_what_a_footprint_adds_to_its_surroundings():
    neuron = disc(SHAPE, 20, 20, 4)
    unit = as_footprints(neuron / np.linalg.norm(neuron))
    resting = resting_fluorescence(still(100 + 7 * neuron), sp.csc_array(unit), 4)
    np.testing.assert_allclose(resting, 7 * np.linalg.norm(neuron), rtol=1e-3)
