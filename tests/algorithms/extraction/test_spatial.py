import numpy as np
import scipy.ndimage as ndi
from tests.algorithms.extraction.shapes import as_footprints, disc
from tests.reference import extraction as reference

from rsc2p_kedro.algorithms.extraction import background, spatial
from rsc2p_kedro.core.parameters import Compute

COMPUTE = Compute(threads=2, show_progress=False)


def test_the_regression_of_pixels_is_non_negative_least_squares():
    rng = np.random.default_rng(4)
    shape, n = (16, 18), 120
    discs = [disc(shape, 6, 6, 4), disc(shape, 8, 10, 4)]
    truth = as_footprints(*discs)
    C = rng.gamma(1, 2, (2, n))
    C -= C.mean(axis=1, keepdims=True)
    neuropil = background.neuropil_basis(shape, 10, 2)
    F = rng.normal(0, 0.3, (neuropil.n_splines, n))
    h0 = np.full(shape, 2.0, np.float32)
    U = neuropil.evaluate(F)
    movie = (U * 2 + (truth @ C).T.reshape(n, *shape) + rng.normal(0, 1, (n, *shape))).astype(np.float32)
    mask = np.ones(shape, bool)
    mask[:, -2:] = False
    A, gain = spatial.regress_footprints(movie, mask, truth, C, neuropil, F, h0, h0, grow_px=2, compute=COMPUTE)
    y, x = np.mgrid[-2:3, -2:3]
    allowed = np.stack([ndi.binary_dilation(image, np.hypot(y, x) <= 2.3) for image in discs], axis=-1)
    for y, x in [(6, 6), (7, 8), (3, 13), (12, 3)]:
        near = np.flatnonzero(allowed[y, x])
        expected = reference.regress_pixel(
            C[near], U[:, y, x], movie[:, y, x], 2.0, np.array([discs[j][y, x] for j in near])
        )
        found = [A[y * shape[1] + x, j] for j in near]
        np.testing.assert_allclose([*found, gain[y, x]], expected, atol=2e-3)
    assert A.data.min() >= 0
    assert not A.toarray().reshape(*shape, 2)[~allowed].any()
    assert not A.toarray().reshape(*shape, 2)[~mask].any()
    assert not gain[~mask].any()


def test_cleaning_keeps_the_disc_and_removes_specks_and_noise():
    rng = np.random.default_rng(5)
    shape = (30, 30)
    body = disc(shape, 14, 14, 5)
    dirty = body + 0.2 * np.abs(rng.normal(0, 0.3, shape)) + disc(shape, 26, 26, 1.5)
    traces = np.array([[10.0]])  # noise of a pixel of the footprint: 1 / 10
    clean = spatial.clean_footprints(as_footprints(dirty), traces, np.ones(shape), shape, 5).toarray().reshape(shape)
    assert np.sum((clean > 0) & (body > 0)) / np.sum((clean > 0) | (body > 0)) > 0.8
    assert not clean[23:, 23:].any()


def test_a_footprint_of_noise_is_empty_after_cleaning():
    shape = (20, 20)
    noise = np.abs(np.random.default_rng(6).normal(0, 0.1, shape))
    assert spatial.clean_footprints(as_footprints(noise), np.array([[1.0]]), np.ones(shape), shape, 4).nnz == 0


def test_column_products_agree_with_numpy():
    U, D = np.random.default_rng(13).normal(0, 1, (2, 40, 7)).astype(np.float32)
    UU, UD = spatial._column_products(U, D)
    np.testing.assert_allclose(UU, (U.astype(float) ** 2).sum(0), rtol=1e-6)
    np.testing.assert_allclose(UD, (U.astype(float) * D).sum(0), rtol=1e-5, atol=1e-6)


def test_a_process_is_cut_off_its_soma_and_a_dark_nucleus_stays():
    shape = (40, 40)
    ring = disc(shape, 18, 18, 6) - 0.95 * disc(shape, 18, 18, 2)
    process = np.zeros(shape, np.float32)
    process[18, 24:38] = 0.8
    clean = spatial.clean_footprints(as_footprints(ring + process), np.array([[1e3]]), np.ones(shape), shape, 6)
    image = clean.toarray().reshape(shape)
    assert not image[:, 27:].any()
    assert (image[disc(shape, 18, 18, 5) > 0] > 0).all()
    assert 0 < image[18, 18] < 0.4 * image.max()


def test_a_weak_footprint_is_smooth_and_compact():
    rng = np.random.default_rng(7)
    shape, solidities = (30, 30), []
    for _ in range(20):
        noisy = np.maximum(disc(shape, 14, 14, 5) + rng.normal(0, 0.35, shape), 0)
        clean = spatial.clean_footprints(as_footprints(noisy), np.array([[2.0]]), np.ones(shape), shape, 5)
        mask = clean.toarray().reshape(shape) > 0
        assert ndi.label(mask)[1] == 1
        assert np.sum(mask & (disc(shape, 14, 14, 5) > 0)) / np.sum(mask | (disc(shape, 14, 14, 5) > 0)) > 0.6
        hull = ndi.binary_closing(np.pad(mask, 12), np.ones((9, 9)))
        solidities.append(mask.sum() / hull.sum())
    assert np.median(solidities) > 0.9


def test_smoothing_reduces_white_noise_by_the_factor_that_is_assumed():
    noise = np.random.default_rng(15).normal(0, 1, (200, 200))
    smooth, _, factor = spatial._smooth(noise, np.ones(noise.shape), 6)
    np.testing.assert_allclose(smooth[20:-20, 20:-20].std(), factor, rtol=0.05)
