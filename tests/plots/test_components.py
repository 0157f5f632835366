"""Components, drawn."""

from collections.abc import Callable

import numpy as np
import pytest
import scipy.sparse as sp
from matplotlib.collections import LineCollection, PatchCollection, PathCollection
from matplotlib.figure import Figure

from rsc2p_kedro.plots import components

Render = Callable[[Figure], Figure]
SHAPE = (30, 50)
CENTRES = np.array([[10.0, 12.0], [20.0, 40.0], [0.0, 49.0]])


def _footprints(n: int = 3) -> sp.csc_array:
    """Discs of radius 4, unit L2 norm; the third is cut by the corner of the frame."""
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    discs = [((rows - y) ** 2 + (columns - x) ** 2 <= 16).astype(np.float32).ravel() for y, x in CENTRES[:n]]
    dense = np.array([disc / np.linalg.norm(disc) for disc in discs]).reshape(n, SHAPE[0] * SHAPE[1]).T
    return sp.csc_array(dense.astype(np.float32))


def _image() -> np.ndarray:
    return np.random.default_rng(0).random(SHAPE)


def _lines(figure: Figure, index: int = 0) -> list[np.ndarray]:
    found = [c for c in figure.axes[index].collections if type(c) is LineCollection]
    return [segment for collection in found for segment in collection.get_segments()]


def test_energy_level_keeps_the_share_asked_for() -> None:
    values = np.random.default_rng(0).gamma(1.0, size=200)
    level = components.energy_level(values, 0.9)
    kept, fewer = values[values >= level], values[values > level]
    assert (kept**2).sum() >= 0.9 * (values**2).sum() > (fewer**2).sum()


def test_outlines_close_around_the_right_place_in_x_and_y() -> None:
    for lines, (y, x) in zip(components.outlines(_footprints(), SHAPE), CENTRES, strict=True):
        (line,) = lines
        np.testing.assert_array_equal(line[0], line[-1])
        if y > 0:
            np.testing.assert_allclose(line.min(0), [x - 4, y - 4], atol=1)
            np.testing.assert_allclose(line.max(0), [x + 4, y + 4], atol=1)


def test_the_hole_of_a_ring_is_not_outlined() -> None:
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    distance = np.hypot(rows - 15, columns - 25)
    ring = sp.csc_array(((distance > 3) & (distance < 7)).astype(np.float32).reshape(-1, 1))
    assert len(components.outlines(ring, SHAPE)[0]) == 1


def test_a_single_pixel_has_a_contour_and_an_empty_footprint_has_none() -> None:
    dense = np.zeros((SHAPE[0] * SHAPE[1], 2), dtype=np.float32)
    dense[0, 0] = 1.0
    assert [len(lines) for lines in components.outlines(sp.csc_array(dense), SHAPE)] == [1, 0]


def test_islands_of_less_than_a_tenth_of_the_cell_are_not_outlined() -> None:
    dense = _footprints(1).toarray().reshape(SHAPE)
    dense[25:27, 40:42] = dense.max()
    dense[25, 30] = dense[28, 45] = dense.max()
    (lines,) = components.outlines(sp.csc_array(dense.reshape(-1, 1)), SHAPE, energy_share=0.99)
    assert [line.mean(axis=0).round().tolist() for line in lines] == [CENTRES[0, ::-1].tolist()]
    dense[20:25, 30:35] = dense.max()
    assert len(components.outlines(sp.csc_array(dense.reshape(-1, 1)), SHAPE, energy_share=0.99)[0]) == 2


def test_many_components_are_drawn_thinner_and_on_more_paper() -> None:
    n = components.MANY + 1
    many = sp.hstack([_footprints(1)] * n, format="csc")
    widths, sizes = zip(*(_width_and_size(found) for found in (_footprints(), many)), strict=True)
    assert widths[1] < widths[0]
    assert sizes[1] > sizes[0]


def _width_and_size(footprints: sp.csc_array) -> tuple[float, float]:
    figure = components.contours(_image(), footprints, ids=range(footprints.shape[1]))
    (lines,) = {c.get_linewidth()[0] for c in figure.axes[0].collections if c.get_paths()}
    return lines, figure.get_figwidth()


def test_titles_of_tall_images_are_not_cut_off(render: Render) -> None:
    image, footprints = _image().T[:, :12], sp.csc_array((12 * SHAPE[1], 12), dtype=np.float32)
    figure = render(components.fit_and_refit(image, footprints, footprints, np.arange(12) > 3, title="a.1"))
    assert figure.axes[2].get_title(loc="left") == "8 accepted (orange), 4 rejected (dashed)"
    title = "an_animal.and_the_long_name_of_a_session: 12 accepted components"
    assert render(components.contours(image, footprints, title=title)).axes[0].get_title(loc="left") == title


def test_components_that_are_not_evaluated_have_a_colour_of_their_own() -> None:
    before = components.contours(_image(), _footprints()).axes[0].collections
    after = components.contours(_image(), _footprints(), accepted=np.array([True, False, True])).axes[0].collections
    colors = [{tuple(line.get_edgecolor()[0]) for line in lines if line.get_paths()} for lines in (before, after)]
    assert [len(found) for found in colors] == [1, 2]
    assert not colors[0] & colors[1]


def test_contours_draw_each_component_once_and_write_the_ids_of_the_accepted(render: Render) -> None:
    accepted = np.array([True, False, True])
    figure = render(components.contours(_image(), _footprints(), accepted=accepted, ids=[5, 6, 7], title="a"))
    assert len(_lines(figure)) == 3
    written = {text.get_text() for text in figure.axes[0].texts}
    assert {"5", "7"} <= written
    assert "6" not in written


def test_contours_leave_the_limits_of_the_image() -> None:
    ax = components.contours(_image(), _footprints()).axes[0]
    assert ax.get_xlim() == (-0.5, SHAPE[1] - 0.5)
    assert ax.get_ylim() == (SHAPE[0] - 0.5, -0.5)


@pytest.mark.parametrize("n", [0, 1, 3])
def test_fit_and_refit_count_their_components(n: int, render: Render) -> None:
    accepted = np.arange(n) == 0
    figure = render(components.fit_and_refit(_image(), _footprints(), _footprints(n), accepted, title="a.b"))
    assert [len(_lines(figure, index)) for index in range(3)] == [3, n, n]
    assert figure.axes[1].get_title(loc="left") == f"Refit: {n}"
    assert figure.axes[2].get_title(loc="left").startswith(f"{accepted.sum()} accepted")


def test_a_crop_is_the_footprint_around_its_centre_and_empty_beyond_the_frame() -> None:
    cropped = components.crop(_footprints(), SHAPE, 2, CENTRES[2], 5)
    assert cropped.shape == (11, 11)
    assert cropped[:5].sum() == cropped[:, 6:].sum() == 0
    assert (cropped > 0).sum() == _footprints()[:, [2]].nnz


def test_montage_shows_the_clearest_first_and_frames_them_by_acceptance(render: Render) -> None:
    accepted = np.array([True, False, True])
    figure = render(
        components.footprint_montage(
            _footprints(), SHAPE, ids=[4, 5, 6], snr=np.array([1.0, 9.0, 3.0]), accepted=accepted, at_most=2
        )
    )
    ax = figure.axes[0]
    assert [text.get_text() for text in ax.texts] == ["5 (9.0)", "4 (1.0)"], "the clearest, and the faintest"
    frames = [c for c in ax.collections if isinstance(c, PatchCollection)]
    assert [len(c.get_paths()) for c in frames] == [1, 1]
    assert "2 components" in ax.get_title(loc="left")
    assert "1 of intermediate SNR omitted" in ax.get_title(loc="left")


@pytest.mark.parametrize("n", [1, 2, 3])
def test_montage_shows_each_once(n: int) -> None:
    figure = components.footprint_montage(
        _footprints(n), SHAPE, ids=range(n), snr=np.arange(n)[::-1], accepted=np.ones(n, dtype=bool), at_most=3
    )
    assert [text.get_text().split()[0] for text in figure.axes[0].texts] == [str(i) for i in range(n)]


@pytest.mark.parametrize("n", [0, 1])
def test_montage_of_few(n: int, render: Render) -> None:
    figure = render(
        components.footprint_montage(
            _footprints(n), SHAPE, ids=range(n), snr=np.ones(n), accepted=np.ones(n, dtype=bool), title="a.b"
        )
    )
    assert figure.axes[0].texts[0].get_text() == ("There are no components." if n == 0 else "0 (1.0)")


THRESHOLDS = {"min_snr": 2.0, "min_r_value": 0.85, "lowest_snr": 0.5, "lowest_r_value": -1.0}


def test_quality_draws_every_component_and_every_threshold(render: Render) -> None:
    snr, r_value = np.array([-1.0, 0.01, 3.0, 40.0]), np.array([-0.5, 0.2, 0.9, 0.99])
    figure = render(
        components.snr_against_r_value(snr, r_value, np.array([False, False, True, True]), **THRESHOLDS, title="a")
    )
    ax = figure.axes[0]
    drawn = np.concatenate([c.get_offsets() for c in ax.collections if isinstance(c, PathCollection)])
    np.testing.assert_allclose(drawn, np.stack([np.maximum(snr, 0.1), r_value], 1))
    assert {line.get_xdata()[0] for line in ax.lines} >= {2.0, 0.5}
    assert 0.85 in {line.get_ydata()[0] for line in ax.lines}
    assert ax.get_xlim()[0] < 0.1
    assert ax.get_xlim()[1] > 40


@pytest.mark.parametrize("n", [0, 1])
def test_quality_of_few(n: int, render: Render) -> None:
    ax = render(components.snr_against_r_value(np.ones(n), np.ones(n), np.ones(n, dtype=bool), **THRESHOLDS)).axes[0]
    assert sum(len(c.get_offsets()) for c in ax.collections if isinstance(c, PathCollection)) == n
    assert [text.get_text() for text in ax.texts] == ([] if n else ["There are no components."])
