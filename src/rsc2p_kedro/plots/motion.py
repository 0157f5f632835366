"""Motion of a recording: rigid and non-rigid shifts, and the quality of their correction."""

from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from rsc2p_kedro.plots import style
from rsc2p_kedro.plots.style import PixelSize


def _mark_unregistered(ax: Axes, times: NDArray, registered: NDArray[np.bool_]) -> None:
    """Draws a grey band over frames that were excluded or could not be registered."""
    style.mark_excluded((ax,), times, ~registered, name="excluded or not registered")


def shifts_over_time(
    shifts: NDArray,
    largest_deviation: NDArray,
    registered: NDArray[np.bool_],
    *,
    frame_rate_hz: float,
    title: str = "",
    pixel_size_um: PixelSize = None,
) -> Figure:
    """Rigid shifts, and the largest deviation of a patch from them, over time.

    Args:
        shifts: (T, 2) as (dy, dx) in px, as applied to the frames.
        largest_deviation: (T,) largest distance in px of a patch's shift from the rigid one.
        registered: (T,), false where a frame could not be registered.
        frame_rate_hz: frames per second.
        title: of the figure.
        pixel_size_um: (y, x); where it is known, the heading gives µm besides px.

    Returns:
        The figure, with three panels.
    """
    times = np.arange(len(shifts)) / frame_rate_hz
    figure = style.new_figure(11, 5.4)
    top, middle, bottom = figure.subplots(3, 1, sharex=True)
    for ax, values, name, color in (
        (top, shifts[:, 0], "y shift (px)", style.BLUE),
        (middle, shifts[:, 1], "x shift (px)", style.GREEN),
        (bottom, largest_deviation, "largest deviation\nof a patch (px)", style.PURPLE),
    ):
        style.label_axes(ax, y=name, x="time (s)" if ax is bottom else "")
        ax.axhline(0, color=style.GREY, lw=0.6)
        _mark_unregistered(ax, times, registered)
        ax.plot(times, values, color=color, lw=0.9)
        ax.margins(x=0.005)
    if not registered.all():
        style.add_legend(top)
    largest = float(np.hypot(*shifts.T).max(initial=0.0))
    bend = float(largest_deviation.max(initial=0.0))
    heading = (
        f"Largest rigid shift {largest:.1f} px{style.in_micrometres(largest, pixel_size_um)}, "
        f"largest deviation of a patch {bend:.1f} px{style.in_micrometres(bend, pixel_size_um)}"
    )
    figure.suptitle(title, fontsize=style.TITLE + 1, fontweight="bold")
    top.set_title(heading, fontsize=style.TITLE, loc="left")
    return figure


def most_deformed_frame(deviations: NDArray, registered: NDArray[np.bool_]) -> int:
    """The registered frame with the largest RMS of the deviations over patches.

    Args:
        deviations: (T, P, 2) shift of each patch minus the rigid shift, in px.
        registered: (T,), false where a frame could not be registered.

    Returns:
        Index of the frame.
    """
    rms = np.sqrt((deviations.astype(np.float64) ** 2).sum(axis=2).mean(axis=1))
    return int(np.argmax(np.where(registered, rms, -1.0)))


def nearest_centre(shape: tuple[int, int], centres: NDArray) -> NDArray[np.intp]:
    """The patch centre that is nearest to each pixel.

    Args:
        shape: (H, W).
        centres: (P, 2) as (y, x) in px.

    Returns:
        (H, W) indices of the centres.
    """
    rows, columns = np.arange(shape[0])[:, None], np.arange(shape[1])[None, :]
    squared = [(rows - y) ** 2 + (columns - x) ** 2 for y, x in centres]
    return np.argmin(squared, axis=0)


def patch_shift_field(
    template: NDArray,
    shifts: NDArray,
    patch_shifts: NDArray,
    patch_centres: NDArray,
    registered: NDArray[np.bool_],
    *,
    frame_rate_hz: float,
    frame: int | None = None,
    title: str = "",
    pixel_size_um: PixelSize = None,
) -> Figure:
    """Non-rigid shifts of the patches in one frame, and their RMS over the whole recording.

    Args:
        template: (H, W), drawn under the arrows.
        shifts: (T, 2) as (dy, dx) in px, rigid.
        patch_shifts: (T, P, 2), the whole shift of each patch.
        patch_centres: (P, 2) as (y, x) in px.
        registered: (T,), false where a frame could not be registered.
        frame_rate_hz: frames per second.
        frame: index of the frame to draw; None for the most deformed one.
        title: of the figure.
        pixel_size_um: (y, x), for the scale bars.

    Returns:
        The figure, with two panels.
    """
    figure = style.new_figure(11.4, style.panel_height(template.shape, 5.2, pixel_size_um) + 1.4)
    figure.suptitle(title, fontsize=style.TITLE + 1, fontweight="bold")
    if len(patch_centres) == 0 or len(shifts) == 0:
        style.show_message(figure.add_subplot(), "Only rigid shifts were estimated.")
        return figure
    left, right = figure.subplots(1, 2)
    deviations = patch_shifts - shifts[:, None, :]
    chosen = most_deformed_frame(deviations, registered) if frame is None else frame
    _draw_arrows(left, template, deviations[chosen], patch_centres, pixel_size_um)
    name = f"Frame {chosen} ({chosen / frame_rate_hz:.1f} s)" + (", most deformed" if frame is None else "")
    longest = float(np.hypot(*deviations[chosen].T).max())
    left.set_title(
        f"{name}: shifts of the patches\nrelative to the rigid shift, largest {longest:.2f} px"
        f"{style.in_micrometres(longest, pixel_size_um)}",
        fontsize=style.TITLE,
        loc="left",
    )
    _draw_rms(figure, right, template.shape, deviations, patch_centres, pixel_size_um)
    return figure


def _draw_arrows(ax: Axes, template: NDArray, deviations: NDArray, centres: NDArray, pixel_size_um: PixelSize) -> None:
    """Arrows from the patch centres along the shifts, scaled so that they are visible and stay within the frame."""
    limits = style.percentile_limits(template, percentiles=(1.0, 99.9))
    style.show_image(ax, template, limits=limits, pixel_size_um=pixel_size_um, cmap="gray")
    longest = float(np.hypot(*deviations.T).max())
    room = float(min(centres.min(), (np.array(template.shape) - 1 - centres).min()))
    drawn = max(min(0.9 * float(np.sqrt(template.size / len(centres))), room), 1.0)
    ax.quiver(
        centres[:, 1], centres[:, 0], deviations[:, 1], deviations[:, 0], color=style.ORANGE, angles="xy",
        scale_units="xy", scale=max(longest, 1e-3) / drawn, width=0.008, edgecolor=style.DARK, linewidth=0.4,
    )  # fmt: skip


def _draw_rms(
    figure: Figure, ax: Axes, shape: tuple[int, int], deviations: NDArray, centres: NDArray, pixel_size_um: PixelSize
) -> None:
    """RMS over time of the deviation of each patch, as a labelled map of the pixels nearest to its centre."""
    rms = np.sqrt((deviations.astype(np.float64) ** 2).sum(axis=2).mean(axis=0))
    limits = (0.0, float(max(rms.max(), 1e-3)))
    nearest = nearest_centre(shape, centres)
    image = rms[nearest]
    shown = style.show_image(ax, image, limits=limits, pixel_size_um=pixel_size_um)
    style.add_colorbar(figure, shown, ax, "px")
    if len(centres) <= 100:
        for index in np.unique(nearest):
            value = rms[index]
            color = "white" if value < 0.6 * limits[1] else "black"
            y, x = np.mean(np.nonzero(nearest == index), axis=1)  # centre of the pixels drawn, clear of the neighbours
            ax.text(x, y, f"{value:.2f}", ha="center", va="center", fontsize=style.SMALL, color=color)
    ax.set_title("Deviation from the rigid shift,\nRMS over all frames (px)", fontsize=style.TITLE, loc="left")


def motion_quality(
    correlation_before: NDArray,
    correlation_after: NDArray,
    registered: NDArray[np.bool_],
    crispness: tuple[float, float],
    residual_motion_px: tuple[float, float],
    *,
    frame_rate_hz: float,
    title: str = "",
) -> Figure:
    """Quality of the correction: correlation with the template, crispness of the mean image, residual motion.

    Args:
        correlation_before: (T,) of the raw frames with the template.
        correlation_after: (T,) of the corrected frames.
        registered: (T,), false where a frame could not be registered.
        crispness: before and after; NaN where it is unknown.
        residual_motion_px: before and after; NaN where it is unknown.
        frame_rate_hz: frames per second.
        title: of the figure.

    Returns:
        The figure, with four panels.
    """
    figure = style.new_figure(11, 6.2)
    figure.suptitle(title, fontsize=style.TITLE + 1, fontweight="bold")
    grid = figure.add_gridspec(2, 3)
    _draw_correlations(figure.add_subplot(grid[0, :]), correlation_before, correlation_after, registered, frame_rate_hz)
    _draw_scatter(figure.add_subplot(grid[1, 0]), correlation_before, correlation_after)
    _draw_pair(figure.add_subplot(grid[1, 1]), crispness, "Crispness of the mean image", "higher is better")
    _draw_pair(figure.add_subplot(grid[1, 2]), residual_motion_px, "Residual motion (px)", "lower is better", "{:.2f}")
    return figure


def _draw_correlations(
    ax: Axes, before: NDArray, after: NDArray, registered: NDArray[np.bool_], frame_rate_hz: float
) -> None:
    """Correlation of each frame with the template over time, before and after."""
    times = np.arange(len(before)) / frame_rate_hz
    gain = float(np.mean(after) - np.mean(before)) if len(before) else 0.0
    style.label_axes(
        ax, x="time (s)", y="correlation", title=f"Correlation of each frame with the template ({gain:+.3f})"
    )
    _mark_unregistered(ax, times, registered)
    ax.plot(times, before, color=style.BEFORE, lw=0.8, label="before")
    ax.plot(times, after, color=style.AFTER, lw=0.8, label="after")
    ax.margins(x=0.005)
    style.add_legend(ax)


def _draw_scatter(ax: Axes, before: NDArray, after: NDArray) -> None:
    """Correlation of each frame with the template, after against before."""
    better = f"{np.count_nonzero(after > before)} of {style.count(len(before), 'frame')} improved"
    style.label_axes(ax, x="correlation before", y="correlation after", title=better)
    both = np.concatenate([before, after, [0.0, 1.0]] if not len(before) else [before, after])
    low, high = float(both.min()), float(both.max())
    margin = 0.05 * max(high - low, 1e-3)
    ax.plot([low, high], [low, high], color=style.GREY, lw=0.8)
    ax.scatter(before, after, s=6, color=style.AFTER, alpha=0.35, linewidths=0)
    ax.set(xlim=(low - margin, high + margin), ylim=(low - margin, high + margin))


def _draw_pair(
    ax: Axes, values: tuple[float, float], name: str, direction: str, fmt: str | Callable = style.digits
) -> None:
    """Two bars labelled with their values, or a message where they are unknown."""
    if not np.isfinite(values).all():
        style.show_message(ax, "not measured", title=name)
        return
    style.label_axes(ax, title=name, x=direction)
    bars = ax.bar(["before", "after"], values, color=[style.BEFORE, style.AFTER], width=0.55)
    ax.bar_label(bars, fmt=fmt, fontsize=style.LABEL, padding=2)
    ax.margins(y=0.15)
