import numpy as np
import pytest
from tests.reference import registration as reference

from rsc2p_kedro.algorithms.registration import gauss_newton
from rsc2p_kedro.algorithms.registration.field import FieldGrid, patch_grid

SHAPE = (60, 72)


@pytest.fixture(scope="module")
def equations():
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]].astype(float)
    template = 100 * reference.CosineScene(3)(y, x)
    grid = patch_grid(SHAPE, stride=18, overlap=12)
    prior = gauss_newton.prior_precision(grid, rigid_sd=6, deviation_sd=1.5)
    return gauss_newton.normal_equations(
        (template - template.mean()).astype(np.float32),
        np.full(SHAPE, 25, np.float32),
        np.ones(SHAPE, bool),
        grid,
        prior=prior,
        high_pass_sigma=4,
    )


def random_fields(equations, n, size):
    shape = (n, 2, len(equations.grid.nodes_y), len(equations.grid.nodes_x))
    return np.random.default_rng(0).normal(0, size, shape).astype(np.float32)


def test_right_hand_sides_agree_with_the_plain_version(equations):
    rng = np.random.default_rng(1)
    frames = (1.3 * equations.template + rng.normal(0, 5, (3, *SHAPE)) + 7).astype(np.float32)
    fields = random_fields(equations, 3, 1.0)
    b = gauss_newton.right_hand_sides(frames, fields, equations)
    for t, (frame, field) in enumerate(zip(frames, fields, strict=True)):
        plain = reference.right_hand_side(
            frame,
            equations.grid.dense(field),
            equations.template,
            equations.clip_limit,
            equations.weighted_gradient,
            equations.grid.basis_y,
            equations.grid.basis_x,
        )
        np.testing.assert_allclose(b[t], plain, rtol=1e-3, atol=2e-3 * np.abs(plain).max())


def test_the_weighted_gradient_agrees_with_the_plain_version(equations):
    expected = reference.weighted_gradient(equations.template, np.full(SHAPE, 25.0), high_pass_sigma=4)
    np.testing.assert_allclose(equations.weighted_gradient, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def test_residuals_are_clipped_at_4_sd_and_at_6_sd_of_a_typical_pixel(equations):
    np.testing.assert_allclose(equations.clip_limit, 4 * 5, rtol=1e-6)
    variance = np.full(SHAPE, 25, np.float32)
    variance[20:30, 20:30] = 10_000
    flashing = gauss_newton.normal_equations(
        equations.template,
        variance,
        np.ones(SHAPE, bool),
        equations.grid,
        prior=equations.prior_precision,
        high_pass_sigma=4,
    )
    np.testing.assert_allclose(flashing.clip_limit[20:30, 20:30], 6 * 5, rtol=1e-6)
    np.testing.assert_allclose(flashing.clip_limit[40:], 4 * 5, rtol=1e-6)


def test_a_template_without_texture_gives_finite_equations(equations):
    variance = np.arange(1.0, 4321.0).reshape(SHAPE)
    variance[-1] = 1e6
    blank = gauss_newton.normal_equations(
        np.zeros(SHAPE),
        variance,
        np.ones(SHAPE, bool),
        equations.grid,
        prior=equations.prior_precision,
        high_pass_sigma=4,
    )
    assert np.isfinite(blank.inverse_hessian).all()
    assert blank.clip_limit.max() == pytest.approx(4 * 1.5 * np.sqrt(2160.5))


def test_the_spline_gram_matrix_agrees_with_the_plain_version():
    grid = patch_grid(SHAPE, stride=18, overlap=12)
    weights = np.random.default_rng(0).normal(size=SHAPE)
    plain = reference.spline_gram_matrix(weights, grid.basis_y, grid.basis_x)
    np.testing.assert_allclose(gauss_newton.spline_gram_matrix(weights, grid), plain, atol=1e-4)


def test_a_brighter_frame_with_an_offset_leaves_no_residual(equations):
    brighter = (2.5 * equations.template + 30)[None].astype(np.float32)
    noise = np.random.default_rng(0).normal(0, 50, (1, *SHAPE)).astype(np.float32)
    no_motion = random_fields(equations, 1, 0)
    b, b_of_noise = (gauss_newton.right_hand_sides(frames, no_motion, equations) for frames in (brighter, noise))
    assert np.abs(b).max() < 1e-3 * np.abs(b_of_noise).max()


def test_the_spread_of_estimates_is_the_predicted_one(equations):
    rng = np.random.default_rng(5)
    frames = (equations.template + rng.normal(0, 5, (300, *SHAPE))).astype(np.float32)
    start = random_fields(equations, 300, 0)
    b = gauss_newton.right_hand_sides(frames, start, equations)
    estimates = -b.reshape(300, -1) @ equations.inverse_hessian
    np.testing.assert_allclose(estimates.std(0), np.sqrt(np.diag(equations.noise_covariance)), rtol=0.25)


def test_the_product_of_a_row_does_not_depend_on_the_other_rows():
    rng = np.random.default_rng(0)
    rows, matrix = rng.normal(size=(17, 50)), rng.normal(size=(50, 50))
    np.testing.assert_allclose(gauss_newton.multiply_rows(rows, matrix), rows @ matrix, atol=1e-12)
    np.testing.assert_array_equal(
        gauss_newton.multiply_rows(rows[3:4], matrix)[0], gauss_newton.multiply_rows(rows, matrix)[3]
    )


def test_the_prior_allows_a_common_shift_and_limits_deviations_from_it():
    grid = patch_grid(SHAPE, stride=18, overlap=12)
    prior = gauss_newton.prior_precision(grid, rigid_sd=10, deviation_sd=1)
    common = np.ones(2 * grid.n_nodes)
    single = np.eye(2 * grid.n_nodes)[0]
    assert common[: grid.n_nodes] @ prior[: grid.n_nodes, : grid.n_nodes] @ common[: grid.n_nodes] == pytest.approx(
        0.01
    )
    assert single @ prior @ single > 0.9


def test_fields_are_held_within_their_limits():
    grid = FieldGrid.from_nodes((40, 40), np.array([9.75, 29.25]), np.array([9.75, 29.25]))
    fields = np.full((1, 2, 2, 2), 7, np.float32)
    fields[0, 0] = [[9, 7], [7, 5]]
    limited = gauss_newton.clip_fields(fields, grid, max_shift=6, max_deviation=1)
    np.testing.assert_allclose(limited[0, 0], [[7, 6], [6, 5]], atol=1e-5)
    unchanged = np.full((1, 2, 2, 2), 6, np.float32)
    np.testing.assert_allclose(gauss_newton.clip_fields(unchanged, grid, max_shift=6, max_deviation=1), 6, atol=1e-5)


def test_a_step_is_the_solution_of_the_regularized_equations_and_limited(equations):
    fields, b = random_fields(equations, 2, 0.5), random_fields(equations, 2, 100.0).astype(float)
    stepped = gauss_newton.gauss_newton_step(fields, b, equations, largest=np.inf)
    flat = fields.reshape(2, -1).astype(float)
    gradient = b.reshape(2, -1) + flat @ equations.prior_precision
    expected = flat - gradient @ equations.inverse_regularized_hessian
    np.testing.assert_allclose(stepped.reshape(2, -1), expected, rtol=1e-5, atol=1e-6)
    limited = gauss_newton.gauss_newton_step(fields, 1e6 * b, equations, largest=0.25)
    assert np.abs(limited - fields).max() == pytest.approx(0.25, abs=1e-6)
