import numpy as np
from tests.algorithms.extraction.shapes import as_footprints, disc

from rsc2p_kedro.algorithms.extraction import merging


def test_parts_of_one_neuron_are_merged_and_neighbours_are_not():
    shape = (20, 40)
    c = np.random.default_rng(6).gamma(1, 1, (2, 300))
    whole = disc(shape, 10, 10, 5)
    left, right = whole.copy(), whole.copy()
    left[:, 12:], right[:, :9] = 0, 0
    A = as_footprints(left, right, disc(shape, 10, 17, 4))
    C = np.stack([c[0], 2 * c[0], c[1]])
    groups = merging.merge_groups(A, C, 0.85)
    assert groups == [[0, 1], [2]]
    merged, traces = merging.merge(A, C, groups)
    assert merged.shape[1] == 2
    assert np.corrcoef(traces[0], c[0])[0, 1] > 0.999
    assert ((merged[:, [0]].toarray() > 0).reshape(shape) == (whole > 0)).all()


def test_merging_does_not_change_its_input():
    shape = (12, 12)
    A = as_footprints(disc(shape, 5, 5, 3), disc(shape, 6, 5, 3))
    C = np.random.default_rng(7).gamma(1, 1, (2, 50))
    before = A.toarray(), C.copy()
    merging.merge(A, C, [[0, 1]])
    np.testing.assert_array_equal(A.toarray(), before[0])
    np.testing.assert_array_equal(C, before[1])
