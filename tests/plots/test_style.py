"""Limits, lengths and scale bars."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from rsc2p_kedro.plots import style


@pytest.mark.parametrize(("length", "nice"), [(99.0, 50.0), (100.0, 100.0), (0.3, 0.2), (7.5, 5.0), (1.0, 1.0)])
def test_nice_lengths_are_round_and_do_not_exceed(length: float, nice: float) -> None:
    assert style.nice_length(length) == pytest.approx(nice)


def test_limits_of_several_images_take_in_each_of_them() -> None:
    dim, bright = np.linspace(0, 1, 101), np.linspace(10, 20, 101)
    assert style.percentile_limits(dim, bright, percentiles=(50, 100)) == (0.5, 20.0)


@pytest.mark.parametrize("image", [np.full((4, 5), 3.0), np.full((4, 5), np.nan), np.zeros((0, 0))])
def test_limits_of_flat_or_empty_images_are_in_order(image: np.ndarray) -> None:
    low, high = style.percentile_limits(image)
    assert low < high


def test_the_scale_bar_is_as_long_as_it_says() -> None:
    ax = Figure().add_subplot()
    style.show_image(ax, np.zeros((40, 100)), pixel_size_um=(2.0, 2.0))
    start, stop = ax.lines[0].get_xdata()
    assert ax.texts[0].get_text().strip() == "50 µm"
    assert (stop - start) * 2.0 == pytest.approx(50)


def test_without_a_pixel_size_the_scale_bar_is_in_px() -> None:
    ax = Figure().add_subplot()
    assert style.draw_scale_bar(ax, (40, 100)) == pytest.approx(20)
    assert ax.texts[0].get_text().strip() == "20 px"


def test_pixels_that_are_not_square_keep_their_shape() -> None:
    ax = Figure().add_subplot()
    style.show_image(ax, np.zeros((40, 100)), pixel_size_um=(3.0, 1.5))
    assert ax.get_aspect() == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("value", "text"), [(2620.4, "2620"), (0.01624, "0.0162"), (123456.0, "123000"), (0.0, "0"), (1.0, "1")]
)
def test_numbers_come_in_few_digits_and_without_an_exponent(value: float, text: str) -> None:
    assert style.digits(value) == text
