"""Components of a recording: where they lie, what they look like, and how far they can be trusted.

Footprints are CSC (H*W, N), rows in C order, as everywhere in the project.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from contourpy import contour_generator
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray
from scipy.ndimage import binary_fill_holes

from rsc2p_kedro.algorithms.evaluation.description import centres
from rsc2p_kedro.plots import style
from rsc2p_kedro.plots.style import PixelSize

MANY = 150
"""Components beyond which their outlines are drawn thinner, and on more paper where they bear their ids."""

Shape = tuple[int, int]
Outlines = list[list[NDArray]]


def energy_level(values: NDArray, energy_share: float) -> float:
    """Value of the faintest pixel that is needed, beside all brighter ones, to hold a share of the sum of squares."""
    ordered = np.sort(values.astype(np.float64))[::-1]
    energy = np.cumsum(ordered**2)
    return float(ordered[min(np.searchsorted(energy, energy_share * energy[-1]), len(ordered) - 1)])


def _column(footprints: sp.csc_array, index: int) -> tuple[NDArray, NDArray]:
    """Flat pixel indices and positive values of one footprint."""
    part = slice(footprints.indptr[index], footprints.indptr[index + 1])
    pixels, values = footprints.indices[part], footprints.data[part]
    return pixels[values > 0], values[values > 0]


def outlines(footprints: sp.csc_array, shape: Shape, *, energy_share: float = 0.9) -> Outlines:
    """Closed lines around the pixels that hold a share of each footprint's energy.

    Args:
        footprints: CSC (H*W, N), rows in C order.
        shape: (H, W).
        energy_share: of the sum of squares; larger draws wider outlines.

    Returns:
        For each component its lines, each (K, 2) as (x, y) in px; none for an empty footprint. Of a footprint in
        several parts, those of less than a tenth of the largest one's area are left out.
    """
    result: Outlines = []
    for index in range(footprints.shape[1]):
        pixels, values = _column(footprints, index)
        result.append(_outline(pixels, values, shape, energy_share) if len(pixels) else [])
    return result


def _outline(pixels: NDArray, values: NDArray, shape: Shape, energy_share: float) -> list[NDArray]:
    """Lines around one footprint, found in its bounding box with a border of one empty pixel; holes are filled."""
    rows, columns = np.divmod(pixels, shape[1])
    top, left = rows.min() - 1, columns.min() - 1
    box = np.zeros((rows.max() - top + 2, columns.max() - left + 2))
    box[rows - top, columns - left] = values
    level = 0.999 * energy_level(values, energy_share)  # just below, so that the faintest pixel lies within
    box[binary_fill_holes(box >= level)] = values.max()
    y, x = np.arange(box.shape[0]) + top, np.arange(box.shape[1]) + left
    lines = [np.asarray(line) for line in contour_generator(x, y, box).lines(level)]
    areas = [_area(line) for line in lines]
    return [line for line, area in zip(lines, areas, strict=True) if area >= 0.1 * max(areas)]


def _area(line: NDArray) -> float:
    """Within a closed line (K, 2) (Gauss's formula)."""
    (x, y), (x_next, y_next) = line[:-1].T, line[1:].T
    return float(abs((x * y_next - x_next * y).sum()) / 2)


def _add_lines(ax: Axes, lines: Outlines, color: str, *, linestyle: str = "solid", width: float = 1.1) -> None:
    flat = [line for component in lines for line in component]
    ax.add_collection(LineCollection(flat, colors=color, linestyles=linestyle, linewidths=width), autolim=False)


def _draw_background(ax: Axes, image: NDArray, pixel_size_um: PixelSize) -> None:
    """The image in grey, its brightest parts kept below white so that lines stand out."""
    low, high = style.percentile_limits(image, percentiles=(2.0, 99.5))
    limits = (low, high + 0.35 * (high - low))
    style.show_image(ax, image, limits=limits, pixel_size_um=pixel_size_um, cmap="gray")


def contours(
    image: NDArray,
    footprints: sp.csc_array,
    *,
    accepted: NDArray[np.bool_] | None = None,
    ids: Sequence[int] | NDArray | None = None,
    title: str = "",
    energy_share: float = 0.9,
    pixel_size_um: PixelSize = None,
    ax: Axes | None = None,
) -> Figure:
    """Outlines of components over an image, the accepted ones orange and the rejected ones blue and dashed.

    Where nobody has judged them yet, all are purple.

    Args:
        image: (H, W), the correlation image as a rule.
        footprints: CSC (H*W, N), rows in C order.
        accepted: (N,); none: nobody has judged them.
        ids: (N,) to write at the accepted components, or at all where `accepted` is none; none: write nothing.
        title: what stands above.
        energy_share: of each footprint within its outline.
        pixel_size_um: (y, x), for the scale bar.
        ax: where to draw; none: on a new figure.
    """
    many = footprints.shape[1] > MANY
    across = 12.0 if many and ids is not None else 8.4
    figure, ax = style.get_axes(ax, across, style.panel_height(image.shape, across - 0.2, pixel_size_um) + 0.7)
    _draw_background(ax, image, pixel_size_um)
    ax.set_title(title, fontsize=style.TITLE, loc="left", wrap=True)
    if footprints.shape[1] == 0:
        ax.text(
            0.5, 0.5, "no components", color="white", fontsize=style.TITLE, ha="center", va="center",
            transform=ax.transAxes, bbox={"facecolor": style.DARK, "edgecolor": "none", "alpha": 0.8},
        )  # fmt: skip
        return figure
    shape = (image.shape[0], image.shape[1])
    lines = outlines(footprints, shape, energy_share=energy_share)
    keep = np.ones(len(lines), dtype=bool) if accepted is None else np.asarray(accepted, dtype=bool)
    width, color = 0.7 if many else 1.1, style.FOUND if accepted is None else style.ACCEPTED
    _add_lines(ax, [lines[i] for i in np.flatnonzero(~keep)], style.REJECTED, linestyle="dashed", width=0.8 * width)
    _add_lines(ax, [lines[i] for i in np.flatnonzero(keep)], color, width=width)
    if ids is not None:
        _write_ids(ax, centres(footprints, shape)[keep], np.asarray(ids)[keep])
    return figure


def _write_ids(ax: Axes, places: NDArray, ids: NDArray) -> None:
    outline = [withStroke(linewidth=2, foreground=style.DARK)]
    for (y, x), name in zip(places, ids, strict=True):
        ax.text(x, y, str(name), color="white", fontsize=8, ha="center", va="center", path_effects=outline)


def fit_and_refit(
    image: NDArray,
    fit: sp.csc_array,
    refit: sp.csc_array,
    accepted: NDArray[np.bool_],
    *,
    title: str = "",
    energy_share: float = 0.9,
    pixel_size_um: PixelSize = None,
) -> Figure:
    """Outlines over the correlation image (H, W): of the first fit, of the refit, and of what was accepted of it."""
    figure = style.new_figure(15.6, style.panel_height(image.shape, 4.9, pixel_size_um) + 0.9)
    figure.suptitle(title, fontsize=style.TITLE + 1, fontweight="bold")
    _draw_history(figure.subplots(1, 3), Found(image, fit, refit, accepted), energy_share, pixel_size_um)
    return figure


class Found(NamedTuple):
    """What was found in one recording.

    Attributes:
        image: (H, W), the correlation image as a rule.
        fit: footprints of the first fit, CSC (H*W, M).
        refit: footprints of the refit, CSC (H*W, N).
        accepted: (N,).
    """

    image: NDArray
    fit: sp.csc_array
    refit: sp.csc_array
    accepted: NDArray[np.bool_]


def _draw_history(axes: Sequence[Axes], found: Found, energy_share: float, pixel_size_um: PixelSize) -> None:
    n_accepted, n = int(np.sum(found.accepted)), found.refit.shape[1]
    panels = (
        (found.fit, None, f"First fit: {found.fit.shape[1]}"),
        (found.refit, None, f"Refit: {n}"),
        (found.refit, found.accepted, f"{n_accepted} accepted (orange), {n - n_accepted} rejected (dashed)"),
    )
    for ax, (footprints, keep, name) in zip(axes, panels, strict=True):
        contours(
            found.image, footprints, accepted=keep, title=name, energy_share=energy_share,
            pixel_size_um=pixel_size_um, ax=ax,
        )  # fmt: skip


def recordings_contours(
    names: Sequence[str],
    rows: Sequence[Found],
    *,
    energy_share: float = 0.9,
    pixel_sizes_um: Sequence[PixelSize] | None = None,
) -> Figure:
    """One row a recording: outlines of the first fit, of the refit, and of what was accepted of it.

    Args:
        names: of the recordings, R of them.
        rows: R times what was found.
        energy_share: of each footprint within its outline.
        pixel_sizes_um: R times (y, x), or none where unknown.
    """
    sizes = list(pixel_sizes_um) if pixel_sizes_um is not None else [None] * len(names)
    figure, axes = style.grid_of_recordings(names, [row.image.shape for row in rows], 3, sizes)
    for of_one, found, size in zip(axes, rows, sizes, strict=True):
        _draw_history(of_one, found, energy_share, size)
    return figure


def crop(footprints: sp.csc_array, shape: Shape, index: int, centre: NDArray, half_width: int) -> NDArray:
    """(2h + 1, 2h + 1) part of one footprint around a centre (y, x), 0 outside the frame."""
    pixels, values = _column(footprints, index)
    rows, columns = np.divmod(pixels, shape[1])
    rows, columns = rows - round(centre[0]) + half_width, columns - round(centre[1]) + half_width
    size = 2 * half_width + 1
    inside = (rows >= 0) & (rows < size) & (columns >= 0) & (columns < size)
    tile = np.zeros((size, size))
    tile[rows[inside], columns[inside]] = values[inside]
    return tile


def footprint_montage(
    footprints: sp.csc_array,
    shape: Shape,
    *,
    ids: Sequence[int] | NDArray,
    snr: NDArray,
    accepted: NDArray[np.bool_],
    half_width_px: int = 10,
    at_most: int = 96,
    title: str = "",
    ax: Axes | None = None,
) -> Figure:
    """Footprints one by one, by falling SNR, each scaled to its own maximum, framed by what became of it.

    Args:
        footprints: CSC (H*W, N), rows in C order.
        shape: (H, W).
        ids: (N,), written above each.
        snr: (N,), written beside the id.
        accepted: (N,), orange frames; the rest have blue dashed ones.
        half_width_px: of the part shown around each centre.
        at_most: components shown; of more, the clearest and the faintest ones, half of each, as those in between are
            the least worth a look. The title says how many are left out.
        title: what stands above.
        ax: where to draw; none: on a new figure.
    """
    falling = np.argsort(-np.asarray(snr, dtype=np.float64), kind="stable")
    faint = max(len(falling) - at_most // 2, at_most - at_most // 2)
    order = np.concatenate([falling[: at_most - at_most // 2], falling[faint:]])
    n, columns = len(order), min(max(len(order), 8), 12)
    rows = max(math.ceil(n / columns), 1)
    figure, ax = style.get_axes(ax, 0.98 * columns + 0.2, 1.15 * rows + 0.65)
    more = footprints.shape[1] - n
    middle = f", {more} in the middle not shown" if more else ""
    heading = f"{style.count(n, 'component')} by falling SNR{middle}, in tiles of {2 * half_width_px + 1} px: id (SNR)"
    if n == 0:
        style.say(ax, "There are no components to show.", title=title)
        return figure
    cell, step_y = 2 * half_width_px + 1, 2 * half_width_px + 1 + 6
    mosaic = np.full((rows * step_y, columns * (cell + 2)), np.nan)
    places = centres(footprints, shape)
    for position, index in enumerate(order):
        y, x = position // columns * step_y + 5, position % columns * (cell + 2) + 1
        tile = crop(footprints, shape, index, places[index], half_width_px)
        mosaic[y : y + cell, x : x + cell] = tile / max(tile.max(), 1e-12)
        ax.text(
            x - 0.5, y - 1.2, f"{ids[index]} ({snr[index]:.1f})", fontsize=8, va="bottom", ha="left", color=style.DARK
        )
    style.show_image(ax, mosaic, limits=(0.0, 1.0), scale_bar=False)
    _frame_tiles(ax, np.asarray(accepted)[order], columns, cell, step_y)
    ax.set_title("\n".join(filter(None, (title, heading))), fontsize=style.TITLE, loc="left")
    return figure


def _frame_tiles(ax: Axes, accepted: NDArray[np.bool_], columns: int, cell: int, step_y: int) -> None:
    tiles = [
        Rectangle((i % columns * (cell + 2) + 0.5, i // columns * step_y + 4.5), cell, cell)
        for i in range(len(accepted))
    ]
    for keep, color, linestyle in ((True, style.ACCEPTED, "solid"), (False, style.REJECTED, "dashed")):
        chosen = [tile for tile, is_accepted in zip(tiles, accepted, strict=True) if bool(is_accepted) is keep]
        ax.add_collection(
            PatchCollection(chosen, facecolors="none", edgecolors=color, linestyles=linestyle, linewidths=1.6)
        )


def snr_against_r_value(
    snr: NDArray,
    r_value: NDArray,
    accepted: NDArray[np.bool_],
    *,
    min_snr: float,
    min_r_value: float,
    lowest_snr: float,
    lowest_r_value: float,
    title: str = "",
    ax: Axes | None = None,
) -> Figure:
    """Quality of the components (N,) with the thresholds: full lines are enough to accept, dotted ones must be passed.

    The axis of SNR is logarithmic; values below 0.1 are drawn at 0.1.
    """
    figure, ax = style.get_axes(ax, 6.6, 5.2)
    n_accepted, n = int(np.sum(accepted)), len(snr)
    style.tidy(ax, x="SNR (log scale)", y="r_value: footprint against its transients")
    ax.set_title(
        "\n".join(filter(None, (title, f"{n_accepted} of {style.count(n, 'component')} accepted"))),
        fontsize=style.TITLE,
        loc="left",
    )
    if n == 0:
        style.say(ax, "There are no components to show.", title=title)
        return figure
    shown = np.maximum(np.asarray(snr, dtype=np.float64), 0.1)
    ax.set_xscale("log")
    for keep, color, marker, name in (
        (~np.asarray(accepted, dtype=bool), style.BLUE, "x", "rejected"),
        (np.asarray(accepted, dtype=bool), style.ORANGE, "o", "accepted"),
    ):
        outline = {"edgecolors": style.DARK, "linewidths": 0.4} if marker == "o" else {"linewidths": 1.2}
        ax.scatter(shown[keep], r_value[keep], s=24, marker=marker, color=color, label=name, zorder=3, **outline)
    _draw_thresholds(ax, min_snr, min_r_value, lowest_snr, lowest_r_value)
    style.add_legend(ax)
    return figure


def _draw_thresholds(ax: Axes, min_snr: float, min_r_value: float, lowest_snr: float, lowest_r_value: float) -> None:
    """Lines at the thresholds, a tint where components are accepted, and plain tick labels on the logarithmic axis."""
    low, high = ax.get_xlim()
    low, high = min(low, 0.8 * max(lowest_snr, 0.1)), max(high, 1.3 * min_snr)
    ax.set_xlim(low, high)
    ticks = [v for v in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if low <= v <= high]
    ax.set_xticks(ticks, [f"{v:g}" for v in ticks])
    ax.minorticks_off()
    ax.set_ylim(min(ax.get_ylim()[0], min_r_value - 0.1), 1.03)
    bottom, top = ax.get_ylim()
    floor = max(lowest_r_value, bottom)
    tint: dict = {"facecolor": style.ACCEPTED, "alpha": 0.09, "edgecolor": "none", "zorder": 0}
    left, middle = max(lowest_snr, low), max(min_snr, low)
    ax.add_patch(Rectangle((middle, floor), high - middle, top - floor, **tint))
    ax.add_patch(Rectangle((left, min_r_value), middle - left, top - min_r_value, **tint))
    for value, linestyle in ((min_snr, "solid"), (lowest_snr, "dotted")):
        if value > 0:
            ax.axvline(value, color=style.DARK, lw=0.9, ls=linestyle)
    for value, linestyle in ((min_r_value, "solid"), (lowest_r_value, "dotted")):
        if value > bottom:
            ax.axhline(value, color=style.DARK, lw=0.9, ls=linestyle)
