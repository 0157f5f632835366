import numpy as np
import scipy.sparse as sp

from rsc2p_kedro.algorithms.extraction.state import Factorization
from rsc2p_kedro.algorithms.extraction.updates import _active_footprints


def test_a_component_whose_trace_explains_nothing_gets_no_footprint():
    A = sp.csc_array(np.array([[0.5, 0.5], [0.0, 2.0], [1.0, 0.0]], np.float32))
    C = np.array([[3.0, -3.0, 0.0], [1e-25, 0.0, -1e-25]])
    state = Factorization(A, C, np.zeros((0, 3)), np.zeros((1, 3), np.float32), ((0,), (1,)))
    active = _active_footprints(state)
    np.testing.assert_array_equal(active.toarray(), [[0.5, 0], [0, 0], [1, 0]])
    assert np.diff(active.indptr).tolist() == [2, 0]
