"""Two engines on one recording, side by side."""

from collections.abc import Mapping

import numpy as np
import scipy.sparse as sp
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from rsc2p_kedro.plots import style
from rsc2p_kedro.plots.components import add_contours

Names = tuple[str, str]
_COLORS = ("white", style.ORANGE, style.SKY)
"""Of components of both engines, of the first one only, and of the second one only."""


def matched_outlines(
    image: NDArray,
    footprints: tuple[sp.csc_array, sp.csc_array],
    matched: NDArray[np.int64],
    names: Names,
    *,
    pixel_size_um: style.PixelSize = None,
    ax: Axes | None = None,
) -> Figure:
    """Contours of the accepted components of two engines: white where they match, else in the colour of the engine.

    Of a match, the contour of the first engine is solid and that of the second one dotted.

    Args:
        image: (H, W), usually the correlation image.
        footprints: of both engines, CSC (H*W, N), rows in C order, in one frame of reference.
        matched: (M, 2) indices of the components that match.
        names: of the engines.
        pixel_size_um: (y, x), for the scale bar.
        ax: axes to draw on; None for a new figure.

    Returns:
        The figure.
    """
    figure, ax = style.get_axes(ax, 6.4, style.panel_height(image.shape, 6.2, pixel_size_um) + 0.9)
    style.show_image(ax, image, title="Accepted components", pixel_size_um=pixel_size_um)
    shape, labels = (image.shape[0], image.shape[1]), [f"both: {len(matched)} ({names[1]} dotted)"]
    for side, color in enumerate(_COLORS[1:]):
        unmatched = np.setdiff1d(np.arange(footprints[side].shape[1]), matched[:, side])
        labels.append(f"{names[side]} only: {len(unmatched)}")
        add_contours(ax, footprints[side][:, unmatched], shape, color)
        linestyle = "solid" if side == 0 else "dotted"
        add_contours(ax, footprints[side][:, matched[:, side]], shape, "white", linestyle=linestyle)
    for color, label in zip(_COLORS, labels, strict=True):
        ax.plot([], [], color=color, label=label)
    ax.legend(
        fontsize=9, facecolor=style.DARK, labelcolor="white", borderaxespad=0.2,
        loc="upper right", bbox_to_anchor=(1.0, -0.045), ncols=3,
    )  # fmt: skip
    return figure


def match_quality(
    iou: NDArray, trace_correlation: NDArray, dff_correlation: NDArray, *, ax: Axes | None = None
) -> Figure:
    """Agreement of matching components: correlation of their traces against the overlap of their footprints.

    Args:
        iou: (M,) intersection over union of the footprints.
        trace_correlation: (M,) of the denoised traces.
        dff_correlation: (M,) of dF/F.
        ax: axes to draw on; None for a new figure.

    Returns:
        The figure.
    """
    figure, ax = style.get_axes(ax, 4.6, 4)
    title = "Matching components (IoU at least 0.5)"
    style.label_axes(ax, title=title, x="IoU of footprints", y="correlation of traces")
    if len(iou) == 0:
        style.show_message(ax, "No components match.", title=title)
        return figure
    drawn = ((dff_correlation, style.GREY, "dF/F"), (trace_correlation, style.BLUE, "denoised traces"))
    for values, color, label in drawn:
        ax.scatter(iou, values, s=14, color=color, label=f"{label}: median {np.median(values):.2f}")
    ax.set_xlim(0.48, 1.01)
    ax.set_ylim(min(0.0, float(dff_correlation.min()), float(trace_correlation.min())) - 0.02, 1.02)
    ax.legend(fontsize=8, loc="lower right", frameon=False)
    return figure


def shift_difference(
    first: NDArray, second: NDArray, *, names: Names, frame_rate_hz: float, axis: int, ax: Axes | None = None
) -> Figure:
    """Rigid shifts of the first of two engines along one axis, and how much they differ from those of the second.

    Medians are subtracted, as the position of the template is arbitrary.

    Args:
        first: (T, 2) as (dy, dx) in px.
        second: (T, 2), likewise.
        names: of the engines.
        frame_rate_hz: frames per second.
        axis: 0 for y, 1 for x.
        ax: axes to draw on; None for a new figure.

    Returns:
        The figure.
    """
    figure, ax = style.get_axes(ax, 4.6, 4)
    times = np.arange(len(first)) / frame_rate_hz
    difference = first[:, axis].astype(float) - second[:, axis]
    difference -= np.median(difference)
    style.label_axes(ax, title=f"{'yx'[axis]} shift", x="time (s)", y="shift (px)")
    ax.plot(times, first[:, axis] - np.median(first[:, axis]), color=style.BLUE, lw=0.8, label=names[0])
    label = f"difference, RMS {difference.std():.3f} px"
    ax.plot(times, difference, color=style.ACCEPTED, lw=0.8, label=label)
    ax.margins(x=0.005)
    style.add_legend(ax, ncols=2, handlelength=1.0, handletextpad=0.5, columnspacing=1.0)
    return figure


def step_times(
    seconds: tuple[Mapping[str, float], Mapping[str, float]],
    memory_gb: tuple[float, float],
    names: Names,
    *,
    ax: Axes | None = None,
) -> Figure:
    """Wall time of each step of two engines, and their peak memory.

    Args:
        seconds: of both engines, by the same steps.
        memory_gb: peak memory of both engines in GB; NaN where it is unknown.
        names: of the engines.
        ax: axes to draw on; None for a new figure.

    Returns:
        The figure.
    """
    figure, ax = style.get_axes(ax, 4.6, 4)
    steps = list(seconds[0])
    positions = np.arange(len(steps))
    for side, color in enumerate(_COLORS[1:]):
        values = [seconds[side][step] for step in steps]
        memory = "" if np.isnan(memory_gb[side]) else f", {style.digits(memory_gb[side])} GB"
        label = f"{names[side]}: {style.digits(sum(values))} s{memory}"
        places = positions + 0.2 * (2 * side - 1)
        bars = ax.barh(places, np.maximum(values, 1e-2), height=0.38, color=color, label=label)
        ax.bar_label(bars, [style.digits(value) for value in values], padding=3, fontsize=8)
    style.label_axes(ax, title="Wall time; total and peak memory below", x="time (s)")
    ax.set_yticks(positions, [step.replace("_", " ") for step in steps])
    ax.set_xscale("log")
    ax.set_xmargin(0.1)  # for the times beside the bars
    ax.invert_yaxis()
    ax.legend(fontsize=8, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2)
    return figure


def agreement_figure(
    image: NDArray,
    footprints: tuple[sp.csc_array, sp.csc_array],
    matched: NDArray[np.int64],
    *,
    iou: NDArray,
    trace_correlation: NDArray,
    dff_correlation: NDArray,
    shifts: tuple[NDArray, NDArray],
    seconds: tuple[Mapping[str, float], Mapping[str, float]],
    memory_gb: tuple[float, float],
    names: Names,
    frame_rate_hz: float,
    pixel_size_um: style.PixelSize = None,
    title: str = "",
) -> Figure:
    """Components, matches, shifts, times and memory of two engines in one figure.

    Args:
        image: (H, W), usually the correlation image.
        footprints: of both engines, CSC (H*W, N), rows in C order, in one frame of reference.
        matched: (M, 2) indices of the components that match.
        iou: (M,) intersection over union of the matching footprints.
        trace_correlation: (M,) of the denoised traces.
        dff_correlation: (M,) of dF/F.
        shifts: of both engines, (T, 2) as (dy, dx) in px.
        seconds: wall time of both engines, by the same steps.
        memory_gb: peak memory of both engines in GB; NaN where it is unknown.
        names: of the engines.
        frame_rate_hz: frames per second.
        pixel_size_um: (y, x), for the scale bar.
        title: of the figure.

    Returns:
        The figure, with five panels.
    """
    figure = style.new_figure(15, 8.2)
    figure.suptitle(title, fontsize=style.TITLE + 1, fontweight="bold")
    grid = figure.add_gridspec(2, 3, width_ratios=(1.5, 1, 1))
    matched_outlines(image, footprints, matched, names, pixel_size_um=pixel_size_um, ax=figure.add_subplot(grid[:, 0]))
    match_quality(iou, trace_correlation, dff_correlation, ax=figure.add_subplot(grid[0, 1]))
    step_times(seconds, memory_gb, names, ax=figure.add_subplot(grid[1, 1]))
    for axis in (0, 1):
        panel = figure.add_subplot(grid[axis, 2])
        shift_difference(*shifts, names=names, frame_rate_hz=frame_rate_hz, axis=axis, ax=panel)
    return figure
