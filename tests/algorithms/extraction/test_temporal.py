import numpy as np
import scipy.sparse as sp
from tests.algorithms.extraction.shapes import as_footprints, disc
from tests.reference import extraction as reference

from rsc2p_kedro.algorithms.extraction import background, temporal
from rsc2p_kedro.core.parameters import Compute

COMPUTE = Compute(threads=2, show_progress=False)


def test_projections_and_joint_traces_agree_with_the_reference():
    rng = np.random.default_rng(3)
    shape = (24, 30)
    A = as_footprints(disc(shape, 8, 8, 4), disc(shape, 11, 12, 4))
    neuropil = background.neuropil_basis(shape, 12, 2)
    gain = rng.uniform(1, 2, shape).astype(np.float32)
    movie = rng.normal(0, 1, (70, *shape)).astype(np.float32)
    p = temporal.project_movie(lambda span: movie[span], 70, A, neuropil, gain, COMPUTE)
    np.testing.assert_allclose(p.U, reference.project_frames(movie.reshape(70, -1), A.toarray()), atol=1e-3)
    B, grid = neuropil.footprints(gain).toarray().astype(float), (neuropil.u.shape[1], neuropil.v.shape[1])
    C, F = reference.solve_jointly(A.toarray().astype(float), B, movie.reshape(70, -1), grid)
    solved = temporal.solve_jointly(p)
    np.testing.assert_allclose(solved.C, C, atol=1e-3)
    np.testing.assert_allclose(solved.F, F, atol=1e-3)
    np.testing.assert_allclose(temporal.solve_neuropil(p, solved.C), solved.F, atol=1e-3)


def test_an_isolated_trace_is_free_of_overlapping_components_and_neuropil():
    rng = np.random.default_rng(4)
    shape, n = (24, 30), 50
    A = as_footprints(disc(shape, 8, 8, 4), disc(shape, 11, 12, 4))
    neuropil = background.neuropil_basis(shape, 12, 2)
    gain = np.ones(shape, np.float32)
    C, F = rng.gamma(1, 1, (2, n)), rng.normal(0, 0.3, (neuropil.n_splines, n))
    movie = ((A @ C).T.reshape(n, *shape) + neuropil.evaluate(F)).astype(np.float32)
    p = temporal.project_movie(lambda span: movie[span], n, A, neuropil, gain, COMPUTE)
    np.testing.assert_allclose(temporal.isolated_traces(p, temporal.Traces(C, F)), C, atol=1e-4)


def test_members_of_a_group_do_not_overlap_and_every_component_is_in_one():
    shape = (30, 60)
    A = as_footprints(*(disc(shape, 15, x, 5) for x in (8, 14, 20, 40, 52)))
    groups = temporal._non_overlapping_groups(sp.csc_array(A.T @ A))
    assert sorted(j for group in groups for j in group) == [0, 1, 2, 3, 4]
    for group in groups:
        gram = (A[:, group].T @ A[:, group]).toarray()
        assert np.count_nonzero(gram - np.diag(gram.diagonal())) == 0
