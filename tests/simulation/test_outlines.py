"""Drawn outlines have the shapes, sizes and overlaps of marked neurons.

The figures were measured once on twelve fields of marked neurons, which these tests do not need.
"""

import numpy as np
import pytest

from rsc2p_kedro.simulation.outlines import (
    draw_outlines,
    masks_in_frame,
    outline_statistics,
    overlap_fractions,
    place_outlines,
)


def test_statistics_of_a_rectangle_and_an_ellipse_are_exact() -> None:
    y, x = np.mgrid[-30:31, -30:31]
    rectangle = (abs(y) <= 5) & (abs(x) <= 10)
    along = (x + y) / np.sqrt(2)
    ellipse = (along / 20) ** 2 + (((x - y) / np.sqrt(2)) / 10) ** 2 < 1
    found = outline_statistics([rectangle, ellipse])
    assert found.area[0] == 11 * 21
    assert found.solidity[0] == pytest.approx(1)
    assert found.axis_ratio[0] == pytest.approx(11 / 21)
    assert found.orientation[0] % np.pi == pytest.approx(0, abs=1e-9)
    assert found.axis_ratio[1] == pytest.approx(0.5, abs=0.01)
    assert found.orientation[1] == pytest.approx(np.pi / 4, abs=0.01)
    assert found.radius[1] == pytest.approx(np.sqrt(200), rel=0.01)


def test_a_bite_lowers_solidity() -> None:
    square = np.ones((20, 20), bool)
    bitten = square.copy()
    bitten[5:15, 10:] = False
    assert outline_statistics([bitten]).solidity[0] == pytest.approx(0.75)


def test_only_the_largest_part_of_a_mask_is_measured() -> None:
    mask = np.zeros((30, 30), bool)
    mask[2:12, 2:12] = mask[20:24, 20:24] = True
    assert outline_statistics([mask]).area[0] == 100


@pytest.mark.parametrize("radius", [4.8, 7.5])
def test_shapes_and_sizes_are_those_of_marked_neurons(radius: float) -> None:
    """Held-out fields: solidity .917 (5 % .813), axis ratio .808 (5 % .595), spread of log radius .136."""
    found = outline_statistics(draw_outlines(np.random.default_rng(0), 1500, radius))
    assert np.median(found.radius) == pytest.approx(radius, rel=0.03)
    assert np.median(found.solidity) == pytest.approx(0.917, rel=0.025)
    assert np.percentile(found.solidity, 5) == pytest.approx(0.84, abs=0.03)
    assert (found.solidity < 0.7).mean() < 0.01
    assert np.median(found.axis_ratio) == pytest.approx(0.815, rel=0.02)
    assert np.percentile(found.axis_ratio, 5) == pytest.approx(0.6, abs=0.04)
    assert np.log(found.radius).std() == pytest.approx(0.132, abs=0.015)
    half_axis = found.radius * np.sqrt(found.axis_ratio)
    assert (abs(half_axis / np.median(half_axis) - 1) < 0.45).mean() > 0.98


def test_outlines_are_in_one_part_and_off_the_border_of_their_window() -> None:
    outlines = draw_outlines(np.random.default_rng(1), 300, 6.0)
    assert len({outline.shape for outline in outlines}) == 1
    for outline in outlines:
        assert not np.concatenate([outline[[0, -1]].ravel(), outline[:, [0, -1]].ravel()]).any()
        assert outline_statistics([outline]).area[0] == outline.sum()


@pytest.mark.parametrize("share", [0.0, 0.09, 0.45])
def test_overlaps_are_those_of_marked_fields(share: float) -> None:
    """Of 300 neurons of 7.6 px in 487 x 487 px, 36-54 % overlap, 10-17 % share more than a fifth and 0.1 % 0.6."""
    rng = np.random.default_rng(2)
    outlines = draw_outlines(rng, 300, 7.6)
    places = place_outlines(rng, outlines, np.ones((487, 487), bool), share)
    fractions = overlap_fractions(masks_in_frame(outlines, places, (487, 487)))
    assert (fractions > 0).mean() == pytest.approx(share, abs=0.015)
    assert (fractions > 0.2).mean() == pytest.approx(0.3 * share, abs=0.05)
    assert (fractions > 0.6).mean() <= 0.01


def test_centres_lie_on_free_pixels_only() -> None:
    free = np.zeros((100, 100), bool)
    free[20:80, 30:50] = True
    outlines = draw_outlines(np.random.default_rng(3), 6, 3.0)
    places = place_outlines(np.random.default_rng(3), outlines, free, 0.0)
    assert free[tuple(places.T)].all()


def test_a_full_frame_is_reported() -> None:
    outlines = draw_outlines(np.random.default_rng(4), 50, 8.0)
    with pytest.raises(RuntimeError, match="No room"):
        place_outlines(np.random.default_rng(4), outlines, np.ones((40, 40), bool), 0.0)


def test_an_overlap_that_cannot_be_had_is_given_up() -> None:
    free = np.zeros((120, 120), bool)
    free[20, 20] = free[90, 90] = True
    outlines = draw_outlines(np.random.default_rng(5), 2, 4.0)
    places = place_outlines(np.random.default_rng(5), outlines, free, 0.9)
    assert sorted(places.tolist()) == [[20, 20], [90, 90]]
