"""Each step against its slow twin, and against what must hold of it."""

import numpy as np
import pytest
import scipy.sparse as sp
from tests.reference import extraction as reference

from rsc2p_kedro.algorithms.extraction import background, initialization, merging, noise, patches, spatial, temporal
from rsc2p_kedro.algorithms.extraction.cnmf import fit
from rsc2p_kedro.core.parameters import Acquisition, Compute, ExtractionParameters

COMPUTE = Compute(threads=2, show_progress=False)


def disc(shape, cy, cx, radius):
    y, x = np.ogrid[: shape[0], : shape[1]]
    return ((y - cy) ** 2 + (x - cx) ** 2 <= radius**2).astype(np.float32)


def columns(*images):
    return sp.csc_array(np.stack([image.ravel() for image in images], axis=1).astype(np.float32))


@pytest.mark.parametrize(("shape", "core", "margin"), [((100, 70), 21, 10), ((10, 10), 64, 5), ((65, 64), 64, 0)])
def test_cores_of_patches_cover_a_frame_once(shape, core, margin):
    seen = np.zeros(shape, int)
    for patch in patches.grid(shape, core, margin):
        seen[patch.core_rows, patch.core_columns] += 1
        inside = np.zeros(shape, bool)[patch.rows, patch.columns][patch.core_within]
        assert inside.shape == seen[patch.core_rows, patch.core_columns].shape
    assert (seen == 1).all()


@pytest.mark.parametrize(("n_frames", "bin_frames"), [(1500, 3), (8, 1), (300, 7), (1000, 40), (5, 5)])
def test_segments_cover_time_in_whole_bins(n_frames, bin_frames):
    spans = patches.segments(n_frames, bin_frames)
    assert [t for span in spans for t in range(span.start, span.stop)] == list(range(n_frames))
    assert all((span.stop - span.start) % bin_frames == 0 for span in spans[:-1])
    assert all(span.stop - span.start >= bin_frames for span in spans)


def test_noise_and_mean_of_pixels_come_back():
    rng = np.random.default_rng(0)
    sd, level = np.linspace(1, 5, 20)[:, None] * np.ones(24), np.linspace(50, 90, 24) * np.ones((20, 1))
    movie = (rng.normal(0, 1, (900, 20, 24)) * sd + level).astype(np.float32)
    short = noise.shorten(movie, 3, compute=COMPUTE)
    np.testing.assert_allclose(short.noise, sd, rtol=0.25)
    assert np.median(short.noise / sd) == pytest.approx(1, abs=0.02)
    np.testing.assert_allclose(short.mean, movie.mean(axis=0), rtol=1e-5)
    assert short.movie.shape == (300, 20, 24)
    assert short.movie.std() == pytest.approx(1, abs=0.03)
    np.testing.assert_allclose(short.movie * short.scale, movie.reshape(300, 3, 20, 24).mean(1) - short.mean, atol=0.2)


def test_a_short_movie_on_disk_is_the_one_in_memory():
    movie = np.random.default_rng(1).normal(0, 1, (64, 16, 16)).astype(np.float32)
    there = noise.shorten(movie, 2, compute=Compute(memory_gb=1e-6, show_progress=False))
    here = noise.shorten(movie, 2, compute=COMPUTE)
    assert isinstance(there.movie, np.memmap)
    np.testing.assert_array_equal(there.movie, here.movie)


def test_splines_are_a_partition_of_unity_and_projections_match_their_footprints():
    tiles = background.tiles((40, 57), 12.0, 2)
    rng = np.random.default_rng(2)
    frames, f = rng.normal(0, 1, (5, 40, 57)).astype(np.float32), rng.normal(0, 1, (tiles.n, 5))
    phi = tiles.footprints(np.ones((40, 57))).toarray()
    assert phi.min() >= 0
    np.testing.assert_allclose(phi.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(tiles.project(frames), phi.T @ frames.reshape(5, -1).T, atol=1e-4)
    np.testing.assert_allclose(tiles.evaluate(f).reshape(5, -1), (phi @ f).T, atol=1e-4)
    np.testing.assert_allclose(
        tiles.evaluate(f, slice(3, 9), slice(30, 50)), tiles.evaluate(f)[:, 3:9, 30:50], atol=1e-6
    )


def test_one_background_component_has_no_tiles():
    assert background.tiles((20, 20), 10, 1).n == 0


def test_projections_and_joint_traces_agree_with_their_twins():
    rng = np.random.default_rng(3)
    shape = (24, 30)
    A = columns(disc(shape, 8, 8, 4), disc(shape, 11, 12, 4))
    tiles = background.tiles(shape, 12, 2)
    gain = rng.uniform(1, 2, shape).astype(np.float32)
    movie = rng.normal(0, 1, (70, *shape)).astype(np.float32)
    p = temporal.project(lambda span: movie[span], 70, A, tiles, gain, COMPUTE)
    np.testing.assert_allclose(p.U, reference.gather(movie.reshape(70, -1), A.toarray()), atol=1e-3)
    B = tiles.footprints(gain).toarray().astype(float)
    C, F = reference.solve_jointly(A.toarray().astype(float), B, movie.reshape(70, -1), background.PRIOR_SD)
    found = temporal.solve_jointly(p)
    np.testing.assert_allclose(found.C, C, atol=1e-3)
    np.testing.assert_allclose(found.F, F, atol=1e-3)
    np.testing.assert_allclose(temporal.solve_neuropil(p, found.C), found.F, atol=1e-3)


def test_members_of_a_group_do_not_overlap_and_every_component_is_in_one():
    shape = (30, 60)
    A = columns(*(disc(shape, 15, x, 5) for x in (8, 14, 20, 40, 52)))
    groups = temporal.groups(sp.csc_array(A.T @ A))
    assert sorted(j for group in groups for j in group) == [0, 1, 2, 3, 4]
    for group in groups:
        gram = (A[:, group].T @ A[:, group]).toarray()
        assert np.count_nonzero(gram - np.diag(gram.diagonal())) == 0


def test_the_regression_of_pixels_is_non_negative_least_squares():
    rng = np.random.default_rng(4)
    shape, n = (16, 18), 120
    truth = columns(disc(shape, 6, 6, 4), disc(shape, 8, 10, 4))
    C = rng.gamma(1, 2, (2, n))
    C -= C.mean(axis=1, keepdims=True)
    tiles = background.tiles(shape, 10, 2)
    F = rng.normal(0, 0.3, (tiles.n, n))
    h0 = np.full(shape, 2.0, np.float32)
    movie = (tiles.evaluate(F) * 2 + (truth @ C).T.reshape(n, *shape) + rng.normal(0, 1, (n, *shape))).astype(
        np.float32
    )
    mask = np.ones(shape, bool)
    mask[:, -2:] = False
    A, gain = spatial.regress(movie, mask, truth, C, tiles, F, h0, h0, grow_px=2, compute=COMPUTE)
    allowed = spatial.support(truth, shape, 2)
    allowed.data[:] = 1
    allowed, U = allowed.toarray().reshape(*shape, 2), tiles.evaluate(F)
    for y, x in [(6, 6), (7, 8), (3, 13), (12, 3)]:
        near = np.flatnonzero(allowed[y, x])
        kappa = 1 / (spatial.GAIN_PRIOR_SD * 2.0) ** 2
        expected = reference.regress_pixel(C[near], U[:, y, x], movie[:, y, x], 2.0, kappa)
        found = [A[y * shape[1] + x, j] for j in near]
        np.testing.assert_allclose([*found, gain[y, x]], expected, atol=2e-3)
    assert A.data.min() >= 0
    assert not A.toarray().reshape(*shape, 2)[~mask].any()
    assert not gain[~mask].any()


def test_tidying_keeps_the_disc_and_drops_specks_and_noise():
    rng = np.random.default_rng(5)
    shape = (30, 30)
    body = disc(shape, 14, 14, 5)
    dirty = body + 0.2 * np.abs(rng.normal(0, 0.3, shape)) + disc(shape, 26, 26, 1.5)
    clean = spatial.tidy_window(dirty.astype(np.float32), np.full(shape, 0.1))
    assert np.sum((clean > 0) & (body > 0)) / np.sum((clean > 0) | (body > 0)) > 0.8
    assert not clean[23:, 23:].any()
    assert not spatial.tidy_window(np.zeros((9, 9), np.float32), np.ones((9, 9))).any()


def test_half_axes_of_discs_are_their_radii():
    shape = (60, 60)
    thin, long = spatial.half_axes(columns(disc(shape, 30, 30, 12), disc(shape, 10, 10, 0)), shape)
    assert thin[0] == pytest.approx(12, rel=0.03)
    assert long[0] == pytest.approx(12, rel=0.03)
    assert thin[1] == long[1] == 0


def test_parts_of_one_neuron_are_merged_and_neighbours_are_not():
    shape = (20, 40)
    rng = np.random.default_rng(6)
    c = rng.gamma(1, 1, (2, 300))
    whole = disc(shape, 10, 10, 5)
    left, right = whole.copy(), whole.copy()
    left[:, 12:], right[:, :9] = 0, 0
    A = columns(left, right, disc(shape, 10, 17, 4))
    C = np.stack([c[0], 2 * c[0], c[1]])
    groups = merging.clusters(A, C, 0.85)
    assert groups == [[0, 1], [2]]
    joined, traces = merging.join(A, C, groups)
    assert joined.shape[1] == 2
    assert np.corrcoef(traces[0], c[0])[0, 1] > 0.999
    assert ((joined[:, [0]].toarray() > 0).reshape(shape) == (whole > 0)).all()


def test_merging_does_not_change_its_input():
    shape = (12, 12)
    A, C = columns(disc(shape, 5, 5, 3), disc(shape, 6, 5, 3)), np.random.default_rng(7).gamma(1, 1, (2, 50))
    before = C.copy()
    merging.join(A, C, [[0, 1]])
    np.testing.assert_array_equal(C, before)


def test_the_matched_filter_agrees_with_its_twin_and_keeps_the_variance_of_noise():
    rng = np.random.default_rng(8)
    mask = np.ones((20, 22), bool)
    mask[:5, :7] = False
    frames = rng.normal(0, 1, (400, 20, 22)).astype(np.float32) * mask
    blur = np.exp(-0.5 * np.arange(-3, 4) ** 2 / 2.0).astype(np.float32)
    filtered, norm = initialization.matched_filter(np.moveaxis(frames, 0, -1), mask, blur)
    np.testing.assert_allclose(filtered[..., 0], reference.matched_filter(frames[0], mask, blur), atol=1e-4)
    assert initialization.filtered_noise(filtered, norm) == pytest.approx(1, abs=0.08)


def test_energies_and_rises_agree_with_their_twins():
    rng = np.random.default_rng(9)
    filtered = rng.normal(0, 2, (4, 5, 60)).astype(np.float32)
    score = np.empty((4, 5))
    initialization._energies(filtered, 3.0, np.zeros((4, 5), bool), score, 0, 4, 0, 5)
    np.testing.assert_allclose(score, reference.energies(filtered, 3.0), rtol=1e-5)
    traces = rng.normal(0, 1, (3, 80))
    expected = [reference.rise(trace, 0.7, 0.5) for trace in traces]
    np.testing.assert_allclose(initialization.rises(traces, 0.7, np.full(len(traces), 0.5)), expected, atol=1e-4)


@pytest.mark.parametrize("n", [1, 2, 3, 50, 501])
def test_quantiles_agree_with_numpy(n):
    values = np.random.default_rng(n).integers(-5, 5, n) / 2
    assert initialization._quantile(values.copy(), 0.2) == pytest.approx(np.quantile(values, 0.2), abs=1e-12)


def test_a_neuron_that_is_active_most_of_the_time_rises_and_noise_does_not():
    rng = np.random.default_rng(12)
    noise = rng.normal(0, 1, (2, 600))
    active = np.sin(np.arange(600) / 15) > -0.5
    busy, idle = initialization.rises(noise + np.outer([10, 0], active), 0.0, np.ones(2))
    assert active.mean() > 0.6
    assert busy > 6
    assert abs(idle) < 2


def test_the_energy_of_noise_stays_below_its_threshold():
    rng = np.random.default_rng(10)
    energy = initialization.thresholded_energy(rng.normal(0, 1, (5000, 500)))
    assert np.mean(energy > initialization.energy_threshold(500, 4.0)) < 2e-3


def test_binned_pixels_and_running_sums_keep_the_variance_of_noise():
    movie = np.random.default_rng(11).normal(0, 1, (300, 21, 20)).astype(np.float32)
    binned = initialization.bin_pixels(movie, 2)
    assert binned.shape == (300, 10, 10)
    assert binned.std() == pytest.approx(1, abs=0.02)
    summed = initialization.rolling_sum(movie, 10)
    np.testing.assert_allclose(summed[50], movie[41:51].sum(axis=0) / np.sqrt(10), atol=1e-3)


@pytest.mark.parametrize(
    ("seeds", "message"),
    [(np.zeros((2, 3)), "centres"), (np.zeros((1, 8, 9)), "cover no pixel"), ([[50, 50]], "leave")],
)
def test_seeds_that_do_not_fit_are_refused(seeds, message):
    with pytest.raises(ValueError, match=message):
        initialization.seed_footprints(np.asarray(seeds), (8, 9), 2)


def test_column_products_agree_with_numpy():
    U, D = np.random.default_rng(13).normal(0, 1, (2, 40, 7)).astype(np.float32)
    UU, UD = spatial.column_products(U, D)
    np.testing.assert_allclose(UU, (U.astype(float) ** 2).sum(0), rtol=1e-6)
    np.testing.assert_allclose(UD, (U.astype(float) * D).sum(0), rtol=1e-5, atol=1e-6)


def test_the_greedy_search_agrees_with_its_twin():
    rng = np.random.default_rng(14)
    shape, n = (14, 16), 60
    spikes = rng.poisson(0.05, (2, n)) * 6.0
    C = np.array([np.convolve(s, 0.7 ** np.arange(20))[:n] for s in spikes])
    A = np.stack([disc(shape, 5, 4, 3), disc(shape, 9, 11, 3)]).astype(float)
    residual = (np.einsum("nt,nyx->tyx", C, A) + rng.normal(0, 1, (n, *shape))).astype(np.float32)
    search = initialization.Search(
        half_width=3, most=4, least_energy=initialization.energy_threshold(n, 4), least_rise=4, decay=0.7, cell=shape
    )
    footprints, traces = initialization.search_tile(
        residual, np.ones(shape, bool), search, (slice(0, 14), slice(0, 16))
    )
    Z, norm = initialization.matched_filter(np.moveaxis(residual, 0, -1), np.ones(shape, bool), search.blur)
    expected = reference.greedy(residual, search.blur, initialization.filtered_noise(Z, norm), search=search)
    assert len(footprints) == len(expected[0]) >= 2
    np.testing.assert_allclose(footprints, expected[0], atol=1e-3)
    np.testing.assert_allclose(traces, expected[1], atol=1e-2)


def test_candidates_without_a_pixel_are_left_out():
    """They made the joint least squares singular: a bin at the rim of the mask is no pixel inside of it."""
    grid = patches.grid((6, 8), 8, 0)
    found = np.zeros((3, 6, 8), np.float32)
    found[0, 1, 2], found[2, 5, 7] = 2, 3
    A, C = initialization.stitch([(found, np.arange(12.0).reshape(3, 4))], grid, (6, 8))
    assert A.shape == (48, 2)
    assert A.data.tolist() == [2, 3]
    np.testing.assert_array_equal(C, [[0, 1, 2, 3], [8, 9, 10, 11]])


@pytest.mark.parametrize("initialized_by", ["adaptive", "greedy_roi"])
def test_binned_search_in_a_mask_with_ragged_rim_gives_finite_results(initialized_by):
    rng = np.random.default_rng(0)
    mask = np.ones((40, 52), bool)
    mask[:7], mask[:, -5:], mask[30:33, 11] = False, False, False
    parameters = ExtractionParameters(initialization=initialized_by, spatial_downsampling=2, neuron_half_width_px=7)
    movie = rng.poisson(20, (120, *mask.shape)).astype(np.uint16)
    found = fit(movie, Acquisition(frame_rate_hz=15), parameters, compute=Compute(show_progress=False), valid_mask=mask)
    assert not found.footprints[~mask.ravel()].nnz
