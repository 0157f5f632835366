"""Images of a recording."""

from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.figure import Figure

from rsc2p_kedro.plots import images

Render = Callable[[Figure], Figure]
SHAPES = [(32, 32), (24, 60), (60, 24)]


def _image(shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).gamma(2.0, size=shape).astype(np.float32)


@pytest.mark.parametrize("shape", SHAPES)
def test_summary_images_shows_each_image_the_right_way_up(shape: tuple[int, int], render: Render) -> None:
    pictures = [_image(shape, seed) for seed in range(4)]
    figure = render(images.summary_images(*pictures, title="a.b", pixel_size_um=(1.2, 1.2)))
    shown = [ax.images[0] for ax in figure.axes if ax.images]
    for picture, drawn in zip(pictures, shown, strict=True):
        np.testing.assert_array_equal(drawn.get_array(), picture)
        assert tuple(drawn.get_extent()) == (-0.5, shape[1] - 0.5, shape[0] - 0.5, -0.5)


def test_maximum_and_correlation_are_shown_from_the_50th_to_the_99_5th_percentile() -> None:
    picture = _image((32, 32))
    figure = images.summary_images(*[picture] * 4)
    expected = tuple(np.percentile(picture, (50, 99.5)))
    assert figure.axes[0].images[0].get_clim() == pytest.approx(expected)
    assert figure.axes[2].images[0].get_clim() == pytest.approx(expected)


@pytest.mark.parametrize("shape", SHAPES)
def test_original_and_corrected_share_their_limits(shape: tuple[int, int], render: Render) -> None:
    dim, bright = _image(shape), 3 * _image(shape, 1)
    figure = render(images.original_and_corrected(dim, bright, bright, dim, title="a.b"))
    limits = [ax.images[0].get_clim() for ax in figure.axes if ax.images]
    assert limits[0] == limits[1]
    assert limits[2] == limits[3]
    assert [ax.get_title(loc="left") for ax in figure.axes if ax.images] == [
        "Original: maximum", "Corrected: maximum", "Original: correlation", "Corrected: correlation",
    ]  # fmt: skip


def test_template_states_the_part_visible_in_every_frame(render: Render) -> None:
    mask = np.zeros((10, 20), dtype=bool)
    mask[1:9, 2:18] = True
    figure = render(images.template(_image((10, 20)), mask))
    assert "64.0%" in figure.axes[0].get_title(loc="left")
    veil = figure.axes[0].images[1].get_array()
    np.testing.assert_array_equal(veil[..., 3] > 0, ~mask)


def test_a_given_ax_is_drawn_on() -> None:
    figure = Figure()
    ax = figure.add_subplot()
    assert images.template(_image((8, 8)), np.ones((8, 8), bool), ax=ax) is figure
    assert len(ax.images) == 2
