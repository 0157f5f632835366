import numpy as np
import pytest
from tests.reference import registration as reference

from rsc2p_kedro.algorithms.registration import piecewise
from rsc2p_kedro.algorithms.registration.field import FieldGrid, patch_grid

SHAPE = (60, 72)


@pytest.fixture(scope="module")
def model():
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]].astype(float)
    template = 100 * reference.CosineScene(3)(y, x)
    grid = patch_grid(SHAPE, stride=18, overlap=12)
    prior = piecewise.deviation_prior(grid, rigid_sd=6, deviation_sd=1.5)
    return piecewise.field_model(
        (template - template.mean()).astype(np.float32),
        np.full(SHAPE, 25, np.float32),
        np.ones(SHAPE, bool),
        grid,
        prior=prior,
        high_pass_sigma=4,
    )


def random_fields(model, n, size):
    shape = (n, 2, len(model.grid.nodes_y), len(model.grid.nodes_x))
    return np.random.default_rng(0).normal(0, size, shape).astype(np.float32)


def test_residual_sums_agree_with_the_plain_version(model):
    rng = np.random.default_rng(1)
    frames = (1.3 * model.template + rng.normal(0, 5, (3, *SHAPE)) + 7).astype(np.float32)
    thetas = random_fields(model, 3, 1.0)
    b = piecewise.residual_sums(frames, thetas, model)
    for t, (frame, theta) in enumerate(zip(frames, thetas, strict=True)):
        plain = reference.residual_sums(
            frame,
            model.grid.dense(theta),
            model.template,
            model.limit,
            model.projection,
            model.grid.basis_y,
            model.grid.basis_x,
        )
        np.testing.assert_allclose(b[t], plain, rtol=1e-3, atol=2e-3 * np.abs(plain).max())


def test_weighted_products_agree_with_the_plain_version():
    grid = patch_grid(SHAPE, stride=18, overlap=12)
    q, g = np.random.default_rng(0).normal(size=(2, *SHAPE))
    plain = reference.weighted_products(q, g, grid.basis_y, grid.basis_x)
    np.testing.assert_allclose(piecewise.weighted_products(q, g, grid), plain, atol=1e-4)


def test_a_brighter_frame_with_an_offset_leaves_no_residual(model):
    b = piecewise.residual_sums((2.5 * model.template + 30)[None].astype(np.float32), random_fields(model, 1, 0), model)
    b_of_noise = piecewise.residual_sums(
        np.random.default_rng(0).normal(0, 50, (1, *SHAPE)).astype(np.float32), random_fields(model, 1, 0), model
    )
    assert np.abs(b).max() < 1e-3 * np.abs(b_of_noise).max()


def test_the_spread_of_estimates_is_the_one_foretold(model):
    rng = np.random.default_rng(5)
    frames = (model.template + rng.normal(0, 5, (300, *SHAPE))).astype(np.float32)
    start = random_fields(model, 300, 0)
    b = piecewise.residual_sums(frames, start, model)
    estimates = -b.reshape(300, -1) @ model.inverse_information
    np.testing.assert_allclose(estimates.std(0), np.sqrt(np.diag(model.noise_covariance)), rtol=0.25)


def test_products_of_one_row_do_not_depend_on_the_others():
    rng = np.random.default_rng(0)
    rows, matrix = rng.normal(size=(17, 50)), rng.normal(size=(50, 50))
    np.testing.assert_allclose(piecewise.products(rows, matrix), rows @ matrix, atol=1e-12)
    np.testing.assert_array_equal(piecewise.products(rows[3:4], matrix)[0], piecewise.products(rows, matrix)[3])


def test_steps_are_limited_and_pulled_to_the_common_shift():
    grid = patch_grid(SHAPE, stride=18, overlap=12)
    prior = piecewise.deviation_prior(grid, rigid_sd=10, deviation_sd=1)
    common = np.ones(2 * grid.n_nodes)
    single = np.eye(2 * grid.n_nodes)[0]
    assert common[: grid.n_nodes] @ prior[: grid.n_nodes, : grid.n_nodes] @ common[: grid.n_nodes] == pytest.approx(
        0.01
    )
    assert single @ prior @ single > 0.9


def test_fields_are_held_within_their_limits():
    grid = FieldGrid.of((40, 40), np.array([9.75, 29.25]), np.array([9.75, 29.25]))
    fields = np.full((1, 2, 2, 2), 7, np.float32)
    fields[0, 0] = [[9, 7], [7, 5]]
    limited = piecewise.limit_deviation(fields, grid, max_shift=6, max_deviation=1)
    np.testing.assert_allclose(limited[0, 0], [[7, 6], [6, 5]], atol=1e-5)
    unchanged = np.full((1, 2, 2, 2), 6, np.float32)
    np.testing.assert_allclose(piecewise.limit_deviation(unchanged, grid, max_shift=6, max_deviation=1), 6, atol=1e-5)


def test_half_of_the_weight_lies_below_the_weighted_median():
    assert piecewise.weighted_median(np.array([[5.0, 1.0], [9.0, 3.0]]), np.array([[1.0, 1.0], [1.0, 4.0]])) == 3
    assert piecewise.weighted_median(np.arange(5.0), np.zeros(5)) == 2
