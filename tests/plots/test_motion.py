"""Motion, drawn."""

from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.quiver import Quiver

from rsc2p_kedro.plots import motion

Render = Callable[[Figure], Figure]
T = 40


def _shifts() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(T, 2)).astype(np.float32)


def _registered(*lost: int) -> np.ndarray:
    registered = np.ones(T, dtype=bool)
    registered[list(lost)] = False
    return registered


def test_shifts_are_drawn_over_seconds_with_unregistered_frames_marked(render: Render) -> None:
    shifts = _shifts()
    figure = render(
        motion.shifts_over_time(shifts, np.ones(T), _registered(4, 8), frame_rate_hz=10, pixel_size_um=(2.0, 2.0))
    )
    y_axis, x_axis, _ = figure.axes
    np.testing.assert_allclose(y_axis.lines[1].get_xydata(), np.stack([np.arange(T) / 10, shifts[:, 0]], 1))
    np.testing.assert_allclose(x_axis.lines[1].get_ydata(), shifts[:, 1])
    (marks,) = y_axis.collections
    extents = [path.get_extents() for path in marks.get_paths()]
    np.testing.assert_allclose([(e.x0, e.x1) for e in extents], [(0.35, 0.45), (0.75, 0.85)])
    assert f"{np.hypot(*shifts.T).max():.1f} px" in y_axis.get_title(loc="left")


def test_no_mark_where_all_frames_are_registered() -> None:
    figure = motion.shifts_over_time(_shifts(), np.zeros(T), _registered(), frame_rate_hz=10)
    assert not figure.axes[0].collections


def test_the_most_deformed_frame_is_a_registered_one() -> None:
    deviations = np.zeros((T, 4, 2))
    deviations[7], deviations[9] = 2.0, 1.0
    assert motion.most_deformed_frame(deviations, _registered()) == 7
    assert motion.most_deformed_frame(deviations, _registered(7)) == 9


def test_every_pixel_belongs_to_its_nearest_centre() -> None:
    centres = np.array([[2.0, 2.0], [2.0, 17.0], [7.0, 9.0]])
    found = motion.nearest_centre((10, 20), centres)
    grid = np.stack(np.mgrid[:10, :20], axis=-1)[:, :, None]
    np.testing.assert_array_equal(found, np.argmin(((grid - centres) ** 2).sum(-1), axis=-1))


@pytest.mark.parametrize("shape", [(40, 40), (30, 80), (90, 35)])
def test_arrows_point_along_the_deviation_of_the_chosen_frame(shape: tuple[int, int], render: Render) -> None:
    shifts, centres = _shifts(), np.array([[10.0, 10.0], [10.0, 30.0], [25.0, 20.0]])
    patch_shifts = np.repeat(shifts[:, None], 3, axis=1)
    patch_shifts[5] += [[1.0, 0.0], [0.0, -2.0], [0.5, 0.5]]
    template = np.random.default_rng(1).random(shape)
    figure = render(motion.patch_shift_field(template, shifts, patch_shifts, centres, _registered(), frame_rate_hz=10))
    (quiver,) = figure.axes[0].findobj(Quiver)
    np.testing.assert_allclose(quiver.U, [0.0, -2.0, 0.5], atol=1e-6)
    np.testing.assert_allclose(quiver.V, [1.0, 0.0, 0.5], atol=1e-6)
    rms = figure.axes[1].images[0].get_array()
    assert rms[10, 30] == pytest.approx(2.0 / np.sqrt(T), rel=1e-4)
    title = figure.axes[0].get_title(loc="left")
    assert "Frame 5" in title
    assert "largest 2.00 px" in title


def test_arrows_stay_within_the_frame() -> None:
    shifts, centres, shape = np.zeros((T, 2)), np.array([[20.0, 12.0], [60.0, 12.0], [75.0, 12.0]]), (90, 24)
    patch_shifts = np.zeros((T, 3, 2))
    patch_shifts[5] = [[0.0, 3.0], [0.0, -3.0], [3.0, 0.0]]
    figure = motion.patch_shift_field(np.ones(shape), shifts, patch_shifts, centres, _registered(), frame_rate_hz=10)
    (quiver,) = figure.axes[0].findobj(Quiver)
    tips = centres + np.stack([quiver.V, quiver.U], axis=1) / quiver.scale
    assert np.abs(tips - centres).max() > 5, "long enough to see"
    assert (tips >= 0).all()
    assert (tips <= np.array(shape) - 1).all()


def test_patches_that_do_not_move_draw_without_a_warning(render: Render) -> None:
    shifts, centres = np.zeros((T, 2)), np.array([[5.0, 5.0], [5.0, 15.0]])
    figure = render(
        motion.patch_shift_field(
            np.ones((20, 20)), shifts, np.zeros((T, 2, 2)), centres, _registered(), frame_rate_hz=10
        )
    )
    assert "largest 0.00 px" in figure.axes[0].get_title(loc="left")


def test_rigid_motion_has_no_shifts_of_patches(render: Render) -> None:
    figure = render(
        motion.patch_shift_field(
            np.ones((20, 20)), _shifts(), np.zeros((T, 0, 2)), np.zeros((0, 2)), _registered(), frame_rate_hz=10
        )
    )
    assert "Only rigid shifts" in figure.axes[0].texts[0].get_text()


def test_motion_quality_shows_its_numbers(render: Render) -> None:
    before, after = np.full(T, 0.5), np.full(T, 0.7)
    after[0] = 0.4
    figure = render(motion.motion_quality(before, after, _registered(3), (10.0, 12.0), (0.8, 0.2), frame_rate_hz=10))
    _, scatter, crispness, residual = figure.axes
    assert [bar.get_height() for bar in crispness.patches] == [10.0, 12.0]
    assert [bar.get_height() for bar in residual.patches] == [0.8, 0.2]
    assert scatter.get_title(loc="left").startswith("39 of 40 frames")


def test_unknown_measures_are_stated(render: Render) -> None:
    nothing = (float("nan"), float("nan"))
    figure = render(
        motion.motion_quality(np.full(T, 0.5), np.full(T, 0.5), _registered(), nothing, nothing, frame_rate_hz=10)
    )
    assert [ax.texts[0].get_text() for ax in figure.axes[2:]] == ["not measured"] * 2
