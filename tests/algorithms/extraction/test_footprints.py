import numpy as np
import pytest
from tests.algorithms.extraction.shapes import as_footprints, disc

from rsc2p_kedro.algorithms.extraction import footprints

SHAPE = (60, 60)


def test_half_axes_of_discs_are_their_radii():
    minor, major = footprints.half_axes(as_footprints(disc(SHAPE, 30, 30, 12), disc(SHAPE, 10, 10, 0)), SHAPE)
    assert minor[0] == pytest.approx(12, rel=0.03)
    assert major[0] == pytest.approx(12, rel=0.03)
    assert minor[1] == major[1] == 0


def test_a_footprint_is_the_same_after_a_window_was_cut_and_put_back():
    A = as_footprints(3 * disc(SHAPE, 2, 57, 6), disc(SHAPE, 30, 30, 4))
    columns = [footprints.window_to_column(*footprints.cut_window(A, j, SHAPE, 3), SHAPE) for j in range(2)]
    np.testing.assert_array_equal(footprints.stack_columns(columns, 3600).toarray(), A.toarray())
