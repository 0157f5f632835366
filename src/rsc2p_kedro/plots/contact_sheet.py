"""Contact sheets of components: snippets around each one beside its trace, to be judged by eye."""

from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray

from rsc2p_kedro.plots import style
from rsc2p_kedro.plots.components import outlines

PER_ROW = 2
"""Components side by side."""
GAP_PX = 1
"""Pixels between two snippets."""


def windows(image: NDArray, centres: NDArray, half_px: int) -> NDArray[np.float64]:
    """Square parts of an image around positions.

    Args:
        image: (H, W).
        centres: (n, 2) as (y, x) in px.
        half_px: pixels on each side of the centre.

    Returns:
        (n, 2 half_px + 1, 2 half_px + 1); NaN beyond the image.
    """
    padded = np.pad(image.astype(np.float64), half_px, constant_values=np.nan)
    corners = np.rint(centres).astype(int)
    side = 2 * half_px + 1
    return np.array([padded[y : y + side, x : x + side] for y, x in corners]).reshape(-1, side, side)


def transient_images(movie: NDArray, traces: NDArray, centres: NDArray, half_px: int, *, n_frames: int) -> NDArray:
    """Mean of the frames in which a trace is highest, less that of the frames in which it is below its median.

    Args:
        movie: (T, H, W), in memory.
        traces: (n, T), noisy traces.
        centres: (n, 2) as (y, x) in px.
        half_px: pixels on each side of the centre.
        n_frames: number of highest frames to average.

    Returns:
        (n, 2 half_px + 1, 2 half_px + 1) in the units of the movie; NaN beyond the frame.
    """
    images = []
    for trace, centre in zip(traces, centres, strict=True):
        y, x = (max(int(np.rint(c)) - half_px, 0) for c in centre)
        part = (slice(y, int(np.rint(centre[0])) + half_px + 1), slice(x, int(np.rint(centre[1])) + half_px + 1))
        high, low = np.argsort(trace)[-n_frames:], trace <= np.median(trace)
        image = np.full(movie.shape[1:], np.nan)
        image[part] = movie[high][:, *part].mean(axis=0) - movie[low][:, *part].mean(axis=0)
        images.append(windows(image, centre[None], half_px)[0])
    return np.array(images).reshape(-1, 2 * half_px + 1, 2 * half_px + 1)


def contact_sheet(
    snippets: Sequence[NDArray],
    footprints: sp.csc_array,
    shape: tuple[int, int],
    centres: NDArray,
    traces: NDArray,
    labels: Sequence[str],
    *,
    frame_rate_hz: float,
    names: Sequence[str],
    title: str = "",
) -> Figure:
    """Snippets and trace of each component, with the outline at a fifth of the footprint's maximum on the last one.

    Args:
        snippets: for each kind of image, (n, s, s) around the centres of n components; s is odd.
        footprints: CSC (H*W, n).
        shape: (H, W).
        centres: (n, 2) as (y, x) in px, the centres of the snippets.
        traces: (n, T).
        labels: n texts, above the traces.
        frame_rate_hz: frames per second.
        names: of the kinds of images.
        title: of the figure.

    Returns:
        The figure, with two components in each row.
    """
    n, rows = len(labels), max(-(-len(labels) // PER_ROW), 1)
    height = 1.28 * rows + 0.9
    figure = Figure(figsize=(7.4 * PER_ROW, height), facecolor="white")
    heading = f"{title}: {', '.join(names)} (with outline), trace over time (s)"
    figure.suptitle(heading, fontsize=style.TITLE, x=0.01, y=0.99, ha="left", va="top")
    grid = figure.add_gridspec(
        rows, 2 * PER_ROW, width_ratios=[len(snippets), 4] * PER_ROW, left=0.01, right=0.99,
        top=1 - 0.55 / height, bottom=0.35 / height, hspace=0.3, wspace=0.03,
    )  # fmt: skip
    lines = _outlines(footprints, shape)
    for i in range(n):
        row, column = divmod(i, PER_ROW)
        ax = figure.add_subplot(grid[row, 2 * column])
        _draw_snippets(ax, [kind[i] for kind in snippets], lines[i], centres[i])
        trace_ax = figure.add_subplot(grid[row, 2 * column + 1])
        _draw_trace(trace_ax, traces[i], labels[i], frame_rate_hz)
        trace_ax.tick_params(labelbottom=i >= n - PER_ROW)
    return figure


def _outlines(footprints: sp.csc_array, shape: tuple[int, int]) -> list[list[NDArray]]:
    """Lines around the pixels above a fifth of each footprint's maximum, as (x, y)."""
    columns = sp.csc_array(footprints, copy=True)
    for j in range(columns.shape[1]):
        part = slice(columns.indptr[j], columns.indptr[j + 1])
        values = columns.data[part]
        columns.data[part] = values > 0.2 * values.max(initial=0)
    return outlines(columns, shape, energy_share=1.0)


def _draw_snippets(ax: Axes, images: list[NDArray], lines: list[NDArray], centre: NDArray) -> None:
    """Snippets of one component side by side, each scaled to its inner half, the outline on the last one."""
    side = images[0].shape[0]
    inner = slice(side // 4, side - side // 4)  # bright neighbours would make the component itself dark
    strip = np.full((side, len(images) * (side + GAP_PX) - GAP_PX), np.nan)
    for k, image in enumerate(images):
        low, high = style.percentile_limits(image[inner, inner], percentiles=(1.0, 99.5))
        strip[:, k * (side + GAP_PX) : k * (side + GAP_PX) + side] = np.clip((image - low) / (high - low), 0, 1)
    ax.imshow(strip, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    ax.set_axis_off()
    y, x = np.rint(centre) - side // 2
    start = (len(images) - 1) * (side + GAP_PX)
    moved = [line - np.array([x - start, y]) for line in lines]
    ax.add_collection(LineCollection(moved, colors=style.ORANGE, linewidths=0.9), autolim=False)


def _draw_trace(ax: Axes, trace: NDArray, label: str, frame_rate_hz: float) -> None:
    """Trace of one component over time, scaled to its own range."""
    ax.plot(np.arange(len(trace)) / frame_rate_hz, trace, color=style.BLUE, lw=0.6)
    ax.margins(x=0)
    ax.set_yticks([])
    ax.tick_params(labelsize=style.SMALL - 0.5, length=2)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.set_title(label, fontsize=style.SMALL, loc="left", pad=1)
