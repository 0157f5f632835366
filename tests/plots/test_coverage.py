"""Pictures of what components cover, and of the detector."""

from collections.abc import Callable

import numpy as np
import pytest
import scipy.sparse as sp
from matplotlib.figure import Figure

from rsc2p_kedro.plots import coverage, detector

Render = Callable[[Figure], Figure]
SHAPES = [(32, 32), (24, 60), (60, 24)]


def squares(shape: tuple[int, int], *corners: tuple[int, int]) -> sp.csc_array:
    images = np.zeros((len(corners), *shape), np.float32)
    for image, (y, x) in zip(images, corners, strict=True):
        image[y : y + 5, x : x + 5] = 1
    return sp.csc_array(images.reshape(len(corners), shape[0] * shape[1]).T)


@pytest.mark.parametrize("shape", SHAPES)
def test_unexplained_pixels_are_marked_where_they_are(shape: tuple[int, int], render: Render) -> None:
    image = np.random.default_rng(0).random(shape)
    high, unexplained = np.zeros((2, *shape), bool)
    high[3:7, 4:9], unexplained[3:5, 4:9] = True, True
    figure = render(coverage.unexplained_correlation(image, squares(shape, (12, 10)), high, unexplained, title="a.b"))
    right = figure.axes[1]
    np.testing.assert_array_equal(right.images[1].get_array()[..., 3] > 0, unexplained)
    assert right.get_title(loc="left") == "10 of 20 px of high correlation unexplained (50%)"
    assert len(right.collections) == 1
    nothing = coverage.unexplained_correlation(image, squares(shape), ~high & high, ~high & high)
    assert "%" not in render(nothing).axes[1].get_title(loc="left")


@pytest.mark.parametrize("shape", SHAPES)
def test_components_found_in_both_halves_are_solid(shape: tuple[int, int], render: Render) -> None:
    image = np.random.default_rng(0).random(shape)
    first, second = squares(shape, (2, 2), (12, 10)), squares(shape, (12, 10))
    matched = (np.array([1]), np.array([0]))
    figure = render(coverage.halves_figure(image, (first, second), matched, title="a.b"))
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert "First half: 2 accepted, 1 also" in titles[0]
    assert "Second half: 1 accepted, 1 also" in titles[1]
    once, again = figure.axes[0].collections
    assert len(once.get_segments()) == len(again.get_segments()) == 1
    np.testing.assert_allclose(again.get_segments()[0].mean(axis=0), [12, 14], atol=0.6)


def test_the_photon_transfer_curve_shows_the_level(render: Render) -> None:
    levels = np.arange(10.0, 110.0, 10)
    variance = np.where(levels > 70, 20, levels)
    figure = render(detector.photon_transfer_curve(levels, variance, levels, 70.0, title="a.b"))
    (ax,) = figure.axes
    line, measured, limit = ax.lines
    np.testing.assert_array_equal(measured.get_ydata(), variance)
    np.testing.assert_array_equal(line.get_ydata(), levels)
    assert limit.get_xdata()[0] == 70
    assert ax.get_title(loc="left") == "a.b: saturates from 70 counts"
    assert "No saturation" in detector.photon_transfer_curve(levels, levels, levels, None).axes[0].get_title(loc="left")
    empty = np.zeros(0)
    render(detector.photon_transfer_curve(empty, empty, empty, None, title="a.b"))
