"""Images of a recording."""

from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.figure import Figure

from rsc2p_kedro.plots import images

Look = Callable[[Figure], Figure]
SHAPES = [(32, 32), (24, 60), (60, 24)]


def _image(shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).gamma(2.0, size=shape).astype(np.float32)


@pytest.mark.parametrize("shape", SHAPES)
def test_summary_images_shows_each_image_the_right_way_up(shape: tuple[int, int], look: Look) -> None:
    pictures = [_image(shape, seed) for seed in range(4)]
    figure = look(images.summary_images(*pictures, title="a.b", pixel_size_um=(1.2, 1.2)))
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
def test_original_and_corrected_share_their_limits(shape: tuple[int, int], look: Look) -> None:
    dim, bright = _image(shape), 3 * _image(shape, 1)
    figure = look(images.original_and_corrected(dim, bright, bright, dim, title="a.b"))
    limits = [ax.images[0].get_clim() for ax in figure.axes if ax.images]
    assert limits[0] == limits[1]
    assert limits[2] == limits[3]
    assert [ax.get_title(loc="left") for ax in figure.axes if ax.images] == list(images.COLUMNS)


def test_grid_has_a_row_a_recording_whatever_their_shapes(look: Look) -> None:
    rows = [[_image(shape, seed) for seed in range(4)] for shape in SHAPES]
    figure = look(images.recordings_grid(["a.1", "a.2", "b.1"], rows, pixel_sizes_um=[(1, 1), None, (2, 1)]))
    shown = [ax for ax in figure.axes if ax.images]
    assert [ax.images[0].get_array().shape for ax in shown[::4]] == SHAPES
    assert [ax.texts[0].get_text() for ax in shown[::4]] == ["a.1", "a.2", "b.1"]


def test_grid_of_nothing_says_so(look: Look) -> None:
    assert "No recordings" in look(images.recordings_grid([], [])).axes[0].texts[0].get_text()


def test_grid_wants_as_many_rows_as_names() -> None:
    with pytest.raises(ValueError, match="0 rows for 1 recordings"):
        images.recordings_grid(["a"], [])


def test_template_says_how_much_of_it_every_frame_saw(look: Look) -> None:
    mask = np.zeros((10, 20), dtype=bool)
    mask[1:9, 2:18] = True
    figure = look(images.template(_image((10, 20)), mask))
    assert "64.0%" in figure.axes[0].get_title(loc="left")
    veil = figure.axes[0].images[1].get_array()
    np.testing.assert_array_equal(veil[..., 3] > 0, ~mask)


def test_a_given_ax_is_drawn_on() -> None:
    figure = Figure()
    ax = figure.add_subplot()
    assert images.template(_image((8, 8)), np.ones((8, 8), bool), ax=ax) is figure
    assert len(ax.images) == 2
