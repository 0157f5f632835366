"""Figures of the same neurons over sessions."""

from collections.abc import Mapping, Sequence

import numpy as np
import scipy.sparse as sp
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray

from rsc2p_kedro.plots import style
from rsc2p_kedro.plots.components import add_contours, outlines

_PER_ROW = 3
_SNIPPET_IN = 1.15
"""Width of a snippet in inches."""


def aligned_sessions(
    images: Mapping[str, NDArray],
    before: Mapping[str, NDArray],
    footprints: sp.csc_array,
    session: NDArray,
    shared: NDArray[np.bool_],
) -> Figure:
    """Aligned mean images of the sessions, with the outlines of neurons found again and of those found once.

    Args:
        images: for each session, its aligned image (H, W), NaN outside of its field of view.
        before: the same images where they lay before the alignment.
        footprints: CSC (H*W, N), aligned.
        session: (N,), session of each footprint.
        shared: (N,) whether its neuron was found in another session as well.

    Returns:
        The figure; its first two panels overlay the first session (magenta) and the mean of the others (green), before
        and after the alignment.
    """
    names = list(images)
    shape = images[names[0]].shape
    rows = -(-(len(names) + 2) // _PER_ROW)
    width = 3.6
    figure = style.new_figure(_PER_ROW * width, rows * (width * shape[0] / shape[1] + 0.35))
    axes = figure.subplots(rows, _PER_ROW, squeeze=False).ravel()
    titles = ("as recorded", f"aligned ({names[0]} magenta, others green)")
    for ax, shown, title in zip(axes, (before, images), titles, strict=False):
        ax.imshow(_overlay(shown))
        ax.set_title(title, fontsize=style.SMALL, loc="left")
    for ax, name in zip(axes[2:], names, strict=False):
        ax.imshow(images[name], cmap="gray", vmin=-2, vmax=3)
        for again, color in ((True, style.BLUE), (False, style.ORANGE)):
            chosen = np.flatnonzero((session == name) & (shared == again))
            add_contours(ax, footprints[:, chosen], (shape[0], shape[1]), color, width=0.8)
        n = int(((session == name) & shared).sum())
        ax.set_title(f"{name}: {n} of {int((session == name).sum())} found again", fontsize=style.SMALL, loc="left")
    for ax in axes:
        ax.set_axis_off()
    return figure


def _overlay(images: Mapping[str, NDArray]) -> NDArray[np.float64]:
    """First image in magenta and the mean of the others in green, (H, W, 3)."""
    first, *others = images.values()
    count = np.maximum(np.sum([np.isfinite(image) for image in others], axis=0), 1)
    mean = np.sum([np.nan_to_num(image) for image in others], axis=0) / count if others else np.zeros(first.shape)
    red, green = (np.clip((np.nan_to_num(image) + 1.5) / 4, 0, 1) for image in (first, mean))
    return np.stack([red, green, red], axis=-1)


def found_in_sessions(counts: NDArray[np.int64], n_sessions: int, ax: Axes | None = None) -> Figure:
    """Number of neurons that were found in 1, 2, ... sessions.

    Args:
        counts: for each neuron, the number of sessions in which it was found.
        n_sessions: number of sessions.
        ax: axes to draw on; None makes a figure.

    Returns:
        The figure.
    """
    figure, ax = style.get_axes(ax, 5.0, 3.0)
    k = np.arange(1, n_sessions + 1)
    heights = np.bincount(counts, minlength=n_sessions + 1)[1 : n_sessions + 1]
    bars = ax.bar(k, heights, color=style.BLUE, width=0.7)
    ax.bar_label(bars, fontsize=style.SMALL)
    ax.set_xticks(k)
    style.label_axes(
        ax, title="Neurons by the number of sessions", x=f"found in k of {n_sessions} sessions", y="neurons"
    )
    return figure


def pairs_of_footprints(distance: NDArray, similarity: NDArray, probability: NDArray, ax: Axes | None = None) -> Figure:
    """Distance and similarity of neighbouring footprints of different sessions, coloured by their probability.

    Args:
        distance: (M,), of the centroids in radii of a neuron.
        similarity: (M,), cosine similarity of the shapes.
        probability: (M,), that the pair is one neuron.
        ax: axes to draw on; None makes a figure.

    Returns:
        The figure.
    """
    figure, ax = style.get_axes(ax, 5.4, 3.0)
    order = np.argsort(np.abs(probability - 0.5))[::-1]  # doubtful pairs on top
    points = ax.scatter(
        distance[order], similarity[order], c=probability[order], s=5, cmap="viridis", vmin=0, vmax=1, linewidths=0
    )
    style.add_colorbar(figure, points, ax, "probability")  # type: ignore[arg-type]
    style.label_axes(
        ax, title="Neighbouring footprints of two sessions", x="distance (radii of a neuron)", y="similarity of shapes"
    )
    return figure


def neurons_over_sessions(
    images: Mapping[str, NDArray],
    rows: Sequence[tuple[str, Mapping[str, tuple[NDArray, NDArray]]]],
    centres: NDArray,
    *,
    half_px: int,
) -> Figure:
    """Snippets of neurons at the same aligned place in all sessions, with outline and trace where they were found.

    Args:
        images: for each session, its aligned image (H, W).
        rows: for each neuron a label, and by the session its footprint (H*W,) and its trace (K,).
        centres: (n, 2) as (y, x), where the snippets are cut out.
        half_px: half-width of a snippet.

    Returns:
        The figure, one row for each neuron.
    """
    names = list(images)
    height = len(rows) * (_SNIPPET_IN * 1.55 + 0.18) + 0.4
    figure = Figure(figsize=(len(names) * (_SNIPPET_IN + 0.12) + 0.3, height), facecolor="white")
    grid = figure.add_gridspec(
        2 * len(rows), len(names), height_ratios=[1, 0.42] * len(rows), left=0.02, right=0.98,
        top=1 - 0.42 / height, bottom=0.1 / height, hspace=0.14, wspace=0.08,
    )  # fmt: skip
    for i, (label, found) in enumerate(rows):
        for j, name in enumerate(names):
            ax, trace_ax = figure.add_subplot(grid[2 * i, j]), figure.add_subplot(grid[2 * i + 1, j])
            _draw_snippet(ax, images[name], found.get(name), centres[i], half_px)
            trace_ax.set_axis_off()
            if name in found and found[name][1].size:
                trace_ax.plot(found[name][1], color=style.BLUE, lw=0.5)
                trace_ax.margins(x=0)
            if j == 0:
                ax.set_title(label, fontsize=style.SMALL, loc="left", pad=2)
            if i == 0:
                ax.annotate(
                    name, (0.5, 1.2), xycoords="axes fraction", ha="center", fontsize=style.SMALL, fontweight="bold"
                )
    return figure


def _draw_snippet(
    ax: Axes, image: NDArray, found: tuple[NDArray, NDArray] | None, centre: NDArray, half_px: int
) -> None:
    """One snippet, with the outline of the footprint if there is one."""
    y, x = np.rint(centre).astype(int)
    ax.imshow(image, cmap="gray", vmin=-2, vmax=3, interpolation="nearest")
    ax.set_xlim(x - half_px - 0.5, x + half_px + 0.5)
    ax.set_ylim(y + half_px + 0.5, y - half_px - 0.5)
    ax.set_facecolor("#d9dde2")
    ax.set_xticks([])
    ax.set_yticks([])
    if found is None:
        ax.plot(x, y, "+", color=style.ORANGE, ms=5, mew=0.8)
        return
    column = sp.csc_array(found[0].reshape(-1, 1))
    lines = outlines(column, (image.shape[0], image.shape[1]))[0]
    ax.add_collection(LineCollection(lines, colors=style.ORANGE, linewidths=1.0), autolim=False)
