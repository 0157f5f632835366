"""Two engines side by side on one recording."""

from collections.abc import Mapping

import numpy as np
import scipy.sparse as sp
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from rsc2p_kedro.plots import style
from rsc2p_kedro.plots.components import outlines

Names = tuple[str, str]
_BOTH = ("white", style.ORANGE, style.SKY)


def matched_outlines(
    ax: Axes,
    image: NDArray,
    footprints: tuple[sp.csc_array, sp.csc_array],
    matched: NDArray[np.int64],
    names: Names,
    *,
    pixel_size_um: style.PixelSize = None,
) -> None:
    """Outlines of the accepted components of two engines: white where they match, else in the colour of the engine.

    Of a match both outlines are there, that of the second engine dotted.

    Args:
        ax: where to draw.
        image: (H, W), the correlation image as a rule.
        footprints: of both, CSC (H*W, N), rows in C order, in one frame.
        matched: (M, 2) indices of those that match.
        names: of the engines.
        pixel_size_um: (y, x), where it is known.
    """
    style.show_image(ax, image, pixel_size_um=pixel_size_um)
    shape, counts = (image.shape[0], image.shape[1]), []
    for side, color in zip((0, 1), _BOTH[1:], strict=True):
        alone = np.setdiff1d(np.arange(footprints[side].shape[1]), matched[:, side])
        counts.append(len(alone))
        for index, lines in enumerate(outlines(footprints[side], shape)):
            for line in lines:
                own = index in alone
                dashes = "solid" if own or side == 0 else "dotted"
                ax.plot(line[:, 0], line[:, 1], color=color if own else "white", lw=1.1, ls=dashes)
    labels = (
        f"both: {len(matched)} ({names[1]} dotted)",
        *(f"{name} only: {n}" for name, n in zip(names, counts, strict=True)),
    )
    for color, label in zip(_BOTH, labels, strict=True):
        ax.plot([], [], color=color, label=label)
    ax.legend(
        fontsize=9, facecolor=style.DARK, labelcolor="white", borderaxespad=0.2,
        loc="upper right", bbox_to_anchor=(1.0, -0.045), ncols=3,
    )  # fmt: skip
    ax.set_title("Accepted components", fontsize=style.TITLE, loc="left")


def match_quality(ax: Axes, iou: NDArray, trace_correlation: NDArray, dff_correlation: NDArray) -> None:
    """How well matches agree: correlation of their traces over the IoU of their footprints, (M,) each."""
    style.tidy(ax, title="Matches", x="IoU of footprints", y="correlation of traces")
    if len(iou) == 0:
        style.say(ax, "no matches", title="Matches")
        return
    for values, color, label in ((dff_correlation, style.GREY, "dF/F"), (trace_correlation, style.BLUE, "denoised")):
        ax.scatter(iou, values, s=14, color=color, label=f"{label}: median {np.median(values):.2f}")
    ax.set_xlim(0.48, 1.01)
    ax.set_ylim(min(0.0, float(dff_correlation.min()), float(trace_correlation.min())) - 0.02, 1.02)
    ax.legend(fontsize=8, loc="lower right", frameon=False)


def shift_difference(ax: Axes, first: NDArray, second: NDArray, *, name: str, frame_rate_hz: float, axis: int) -> None:
    """Rigid shifts (T, 2) of the first of two engines, of that name, along one axis, and how the other's differ.

    Both without their medians: where a template lies is free.
    """
    times, direction = np.arange(len(first)) / frame_rate_hz, "yx"[axis]
    difference = first[:, axis].astype(float) - second[:, axis]
    difference -= np.median(difference)
    level = first[:, axis] - np.median(first[:, axis])
    style.tidy(ax, title=f"{direction} shift by {name}", x="time (s)", y="px")
    ax.plot(times, level, color=style.BLUE, lw=0.8)
    ax.plot(times, difference, color=style.ACCEPTED, lw=0.8, label=f"difference, RMS {difference.std():.3f} px")
    ax.margins(x=0.005)
    style.add_legend(ax)


def times_of_steps(
    ax: Axes, seconds: tuple[Mapping[str, float], Mapping[str, float]], memory_gb: tuple[float, float], names: Names
) -> None:
    """Wall time of each step of two engines, and their peak memory."""
    steps = list(seconds[0])
    places = np.arange(len(steps))
    for side, color in zip((0, 1), _BOTH[1:], strict=True):
        values = [seconds[side][step] for step in steps]
        memory = "" if np.isnan(memory_gb[side]) else f", {memory_gb[side]:.1f} GB"
        label = f"{names[side]}: {sum(values):.0f} s{memory}"
        ax.barh(places + 0.2 * (2 * side - 1), np.maximum(values, 1e-2), height=0.38, color=color, label=label)
    style.tidy(ax, title="Time and peak memory", x="s")
    ax.set_yticks(places, [step.replace("_", " ") for step in steps])
    ax.set_xscale("log")
    ax.invert_yaxis()
    ax.legend(fontsize=8, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2)


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
    """All of the above on one page."""
    figure = style.new_figure(15, 8.2)
    figure.suptitle(title, fontsize=style.TITLE + 1, fontweight="bold")
    grid = figure.add_gridspec(2, 3, width_ratios=(1.5, 1, 1))
    matched_outlines(figure.add_subplot(grid[:, 0]), image, footprints, matched, names, pixel_size_um=pixel_size_um)
    match_quality(figure.add_subplot(grid[0, 1]), iou, trace_correlation, dff_correlation)
    times_of_steps(figure.add_subplot(grid[1, 1]), seconds, memory_gb, names)
    for axis in (0, 1):
        shift_difference(
            figure.add_subplot(grid[axis, 2]), *shifts, name=names[0], frame_rate_hz=frame_rate_hz, axis=axis
        )
    return figure
