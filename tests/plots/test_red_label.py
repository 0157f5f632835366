"""The figure of the structural channel."""

import numpy as np
import pytest
import scipy.sparse as sp

from rsc2p_kedro.plots.red_label import structural_channel


@pytest.mark.parametrize("n", [0, 3])
def test_points_lie_at_the_contrasts_and_the_line_at_the_crosstalk(render, n) -> None:
    rng = np.random.default_rng(1)
    footprints = sp.csc_array((np.ones(4 * n), (np.arange(4 * n) * 31 % 1200, np.repeat(np.arange(n), 4))), (1200, n))
    red, green = np.array([50.0, 10.0, 30.0])[:n], np.array([80.0, 100.0, 300.0])[:n]
    probability = np.array([0.9, 0.0, 0.1])[:n]
    figure = render(
        structural_channel(
            rng.random((30, 40)), footprints, probability, red, green, crosstalk=0.1, crosstalk_error=0.01, title="a.s"
        )
    )
    left, right = figure.axes[:2]
    assert f"{min(n, 1)} of {n} component" in left.get_title(loc="left")
    assert "Crosstalk 10.0 ± 1.0 %" in right.get_title(loc="left")
    np.testing.assert_array_equal(right.collections[0].get_offsets(), np.stack([green, red], axis=1))
    x, y = right.lines[0].get_data()
    np.testing.assert_allclose(y, 0.1 * x)
