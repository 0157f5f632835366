"""Components of a recording: contours, spatial footprints and quality measures.

Footprints are CSC (H*W, N), rows in C order, as everywhere in the project.
"""

import math
from collections.abc import Sequence

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
"""Components beyond which contours are drawn thinner, and on a larger figure where they are labelled with ids."""
MIN_PART = 0.1
"""Smallest part of a footprint that is outlined, as a fraction of the area of its largest part."""

Shape = tuple[int, int]
Outlines = list[list[NDArray]]


def energy_level(values: NDArray, energy_share: float) -> float:
    """Threshold above which the pixels of a footprint hold a share of its energy (sum of squares).

    Args:
        values: of the footprint's pixels.
        energy_share: of the sum of squares, 0..1.

    Returns:
        Value of the faintest pixel that is needed, besides all brighter ones.
    """
    ordered = np.sort(values.astype(np.float64))[::-1]
    energy = np.cumsum(ordered**2)
    return float(ordered[min(np.searchsorted(energy, energy_share * energy[-1]), len(ordered) - 1)])


def _column(footprints: sp.csc_array, index: int) -> tuple[NDArray, NDArray]:
    """Flat pixel indices and positive values of one footprint."""
    part = slice(footprints.indptr[index], footprints.indptr[index + 1])
    pixels, values = footprints.indices[part], footprints.data[part]
    return pixels[values > 0], values[values > 0]


def outlines(footprints: sp.csc_array, shape: Shape, *, energy_share: float = 0.9) -> Outlines:
    """Contours of the pixels that hold a share of each footprint's energy.

    Args:
        footprints: CSC (H*W, N), rows in C order.
        shape: (H, W).
        energy_share: of the sum of squares; a larger one draws wider contours.

    Returns:
        For each component its closed lines, each (K, 2) as (x, y) in px; none for an empty footprint. Of a footprint
        in several parts, those of less than a tenth of the largest one's area are omitted.
    """
    result: Outlines = []
    for index in range(footprints.shape[1]):
        pixels, values = _column(footprints, index)
        result.append(_outline(pixels, values, shape, energy_share) if len(pixels) else [])
    return result


def _outline(pixels: NDArray, values: NDArray, shape: Shape, energy_share: float) -> list[NDArray]:
    """Lines around one footprint, computed in its bounding box with a border of one empty pixel; holes are filled."""
    rows, columns = np.divmod(pixels, shape[1])
    top, left = rows.min() - 1, columns.min() - 1
    box = np.zeros((rows.max() - top + 2, columns.max() - left + 2))
    box[rows - top, columns - left] = values
    level = 0.999 * energy_level(values, energy_share)  # just below, so that the faintest pixel is inside
    box[binary_fill_holes(box >= level)] = values.max()
    y, x = np.arange(box.shape[0]) + top, np.arange(box.shape[1]) + left
    lines = [np.asarray(line) for line in contour_generator(x, y, box).lines(level)]
    areas = [_area(line) for line in lines]
    return [line for line, area in zip(lines, areas, strict=True) if area >= MIN_PART * max(areas)]


def _area(line: NDArray) -> float:
    """Area within a closed line (K, 2) (shoelace formula)."""
    (x, y), (x_next, y_next) = line[:-1].T, line[1:].T
    return float(abs((x * y_next - x_next * y).sum()) / 2)


def add_contours(
    ax: Axes,
    footprints: sp.csc_array,
    shape: Shape,
    color: str,
    *,
    linestyle: str = "solid",
    width: float = 1.1,
    energy_share: float = 0.9,
) -> LineCollection:
    """Adds contours of components to axes, whose limits stay as they are.

    Args:
        ax: axes that show an image of the given shape.
        footprints: CSC (H*W, N), rows in C order.
        shape: (H, W).
        color: of the lines.
        linestyle: of the lines.
        width: of the lines, in points.
        energy_share: of each footprint within its contour.

    Returns:
        The lines.
    """
    lines = [line for component in outlines(footprints, shape, energy_share=energy_share) for line in component]
    collection = LineCollection(lines, colors=color, linestyles=linestyle, linewidths=width)
    ax.add_collection(collection, autolim=False)
    return collection


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
    """Contours of components over an image: accepted ones solid orange, rejected ones dashed blue.

    Args:
        image: (H, W), usually the correlation image.
        footprints: CSC (H*W, N), rows in C order.
        accepted: (N,). None (before the evaluation) draws all contours in purple.
        ids: (N,) labels of the accepted components, or of all if `accepted` is None. None draws no labels.
        title: above the axes.
        energy_share: of each footprint within its contour.
        pixel_size_um: (y, x), for the scale bar.
        ax: axes to draw on; None makes a new figure.

    Returns:
        The figure.
    """
    n, shape = footprints.shape[1], (image.shape[0], image.shape[1])
    many = n > MANY
    across = 12.0 if many and ids is not None else 8.4
    figure, ax = style.get_axes(ax, across, style.panel_height(shape, across - 0.2, pixel_size_um) + 0.7)
    low, high = style.percentile_limits(image, percentiles=(2.0, 99.5))
    limits = (low, high + 0.35 * (high - low))  # the brightest parts stay grey, for contrast with the lines
    style.show_image(ax, image, limits=limits, pixel_size_um=pixel_size_um, cmap="gray")
    ax.set_title(title, fontsize=style.TITLE, loc="left", wrap=True)
    if n == 0:
        ax.text(
            0.5, 0.5, "no components", color="white", fontsize=style.TITLE, ha="center", va="center",
            transform=ax.transAxes, bbox={"facecolor": style.DARK, "edgecolor": "none", "alpha": 0.8},
        )  # fmt: skip
        return figure
    keep = np.ones(n, dtype=bool) if accepted is None else np.asarray(accepted, dtype=bool)
    width, color = 0.7 if many else 1.1, style.UNCLASSIFIED if accepted is None else style.ACCEPTED
    for chosen, line_color, linestyle, line_width in (
        (~keep, style.REJECTED, "dashed", 0.8 * width),
        (keep, color, "solid", width),
    ):
        add_contours(ax, footprints[:, np.flatnonzero(chosen)], shape, line_color, linestyle=linestyle,
                     width=line_width, energy_share=energy_share)  # fmt: skip
    if ids is not None:
        _add_ids(ax, centres(footprints, shape)[keep], np.asarray(ids)[keep])
    return figure


def _add_ids(ax: Axes, positions: NDArray, ids: NDArray) -> None:
    """Writes ids at positions (N, 2) as (y, x)."""
    outline = [withStroke(linewidth=2, foreground=style.DARK)]
    for (y, x), name in zip(positions, ids, strict=True):
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
    """Contours of the first fit, of the refit, and of the refit after its evaluation.

    Args:
        image: (H, W), usually the correlation image.
        fit: footprints of the first fit, CSC (H*W, M).
        refit: footprints of the refit, CSC (H*W, N).
        accepted: (N,).
        title: of the figure.
        energy_share: of each footprint within its contour.
        pixel_size_um: (y, x), for the scale bars.

    Returns:
        The figure, with three panels.
    """
    figure = style.new_figure(15.6, style.panel_height(image.shape, 4.9, pixel_size_um) + 0.9)
    figure.suptitle(title, fontsize=style.TITLE + 1, fontweight="bold")
    n_accepted, n = int(np.sum(accepted)), refit.shape[1]
    panels = (
        (fit, None, f"First fit: {fit.shape[1]}"),
        (refit, None, f"Refit: {n}"),
        (refit, accepted, f"{n_accepted} accepted (orange), {n - n_accepted} rejected (dashed)"),
    )
    for ax, (footprints, keep, name) in zip(figure.subplots(1, 3), panels, strict=True):
        contours(
            image, footprints, accepted=keep, title=name, energy_share=energy_share, pixel_size_um=pixel_size_um, ax=ax
        )
    return figure


def crop(footprints: sp.csc_array, shape: Shape, index: int, centre: NDArray, half_width: int) -> NDArray:
    """Square part of one footprint around a position.

    Args:
        footprints: CSC (H*W, N), rows in C order.
        shape: (H, W).
        index: of the footprint.
        centre: (y, x) in px.
        half_width: h of the square, in px.

    Returns:
        (2h + 1, 2h + 1) values, 0 outside the field of view.
    """
    pixels, values = _column(footprints, index)
    rows, columns = np.divmod(pixels, shape[1])
    rows, columns = rows - round(centre[0]) + half_width, columns - round(centre[1]) + half_width
    size = 2 * half_width + 1
    inside = (rows >= 0) & (rows < size) & (columns >= 0) & (columns < size)
    cropped = np.zeros((size, size))
    cropped[rows[inside], columns[inside]] = values[inside]
    return cropped


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
    """Spatial footprints by decreasing SNR, each scaled to its own maximum, with a frame that shows its acceptance.

    Args:
        footprints: CSC (H*W, N), rows in C order.
        shape: (H, W).
        ids: (N,), written above each footprint.
        snr: (N,), written after the id.
        accepted: (N,), solid orange frames; the others have dashed blue ones.
        half_width_px: of the part shown around each centre.
        at_most: maximum number of components shown. If there are more, half of them are those of highest and half
            those of lowest SNR, and the title gives the number omitted.
        title: above the axes.
        ax: axes to draw on; None makes a new figure.

    Returns:
        The figure.
    """
    falling = np.argsort(-np.asarray(snr, dtype=np.float64), kind="stable")
    last = max(len(falling) - at_most // 2, at_most - at_most // 2)
    order = np.concatenate([falling[: at_most - at_most // 2], falling[last:]])
    n, columns = len(order), min(max(len(order), 8), 12)
    rows = max(math.ceil(n / columns), 1)
    figure, ax = style.get_axes(ax, 0.98 * columns + 0.2, 1.15 * rows + 0.65)
    if n == 0:
        style.show_message(ax, "There are no components.", title=title)
        return figure
    size = 2 * half_width_px + 1
    step_y, step_x = size + 6, size + 2
    mosaic, positions = np.full((rows * step_y, columns * step_x), np.nan), centres(footprints, shape)
    corners = [(i // columns * step_y + 5, i % columns * step_x + 1) for i in range(n)]
    for (y, x), index in zip(corners, order, strict=True):
        cropped = crop(footprints, shape, index, positions[index], half_width_px)
        mosaic[y : y + size, x : x + size] = cropped / max(cropped.max(), 1e-12)
        ax.text(x - 0.5, y - 1.2, f"{ids[index]} ({snr[index]:.1f})", fontsize=8, va="bottom", color=style.DARK)
    style.show_image(ax, mosaic, limits=(0.0, 1.0), scale_bar=False)
    frames = np.array([Rectangle((x - 0.5, y - 0.5), size, size) for y, x in corners])
    keep = np.asarray(accepted, dtype=bool)[order]
    for chosen, color, linestyle in ((keep, style.ACCEPTED, "solid"), (~keep, style.REJECTED, "dashed")):
        ax.add_collection(PatchCollection(
            frames[chosen], facecolors="none", edgecolors=color, linestyles=linestyle, linewidths=1.6
        ))  # fmt: skip
    omitted = f", {footprints.shape[1] - n} of intermediate SNR omitted" if footprints.shape[1] > n else ""
    heading = f"{style.count(n, 'component')} by decreasing SNR{omitted}; {size} × {size} px each: id (SNR)"
    ax.set_title("\n".join(filter(None, (title, heading))), fontsize=style.TITLE, loc="left")
    return figure


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
    """Quality of the components with the thresholds: solid for acceptance, dotted for rejection.

    Args:
        snr: (N,), on a logarithmic axis; values below 0.1 are drawn at 0.1.
        r_value: (N,), spatial correlation of each footprint with the movie during its transients.
        accepted: (N,).
        min_snr: a component of at least this SNR is accepted.
        min_r_value: likewise for the spatial correlation.
        lowest_snr: a component below this SNR is rejected.
        lowest_r_value: likewise for the spatial correlation.
        title: above the axes.
        ax: axes to draw on; None makes a new figure.

    Returns:
        The figure.
    """
    figure, ax = style.get_axes(ax, 6.6, 5.2)
    keep, n = np.asarray(accepted, dtype=bool), len(snr)
    if n == 0:
        style.show_message(ax, "There are no components.", title=title)
        return figure
    heading = f"{keep.sum()} of {style.count(n, 'component')} accepted"
    style.label_axes(
        ax, title="\n".join(filter(None, (title, heading))), x="SNR (log scale)", y="r value (spatial correlation)"
    )
    shown = np.maximum(np.asarray(snr, dtype=np.float64), 0.1)
    ax.set_xscale("log")
    ax.scatter(shown[~keep], r_value[~keep], s=24, marker="x", color=style.BLUE, label="rejected", zorder=3, lw=1.2)
    ax.scatter(
        shown[keep], r_value[keep], s=24, marker="o", color=style.ORANGE, label="accepted", zorder=3,
        edgecolors=style.DARK, linewidths=0.4,
    )  # fmt: skip
    _draw_thresholds(ax, min_snr, min_r_value, lowest_snr, lowest_r_value)
    style.add_legend(ax)
    return figure


def _draw_thresholds(ax: Axes, min_snr: float, min_r_value: float, lowest_snr: float, lowest_r_value: float) -> None:
    """Lines at the thresholds, a shade over the accepted region, and plain tick labels on the logarithmic axis."""
    low, high = ax.get_xlim()
    low, high = min(low, 0.8 * max(lowest_snr, 0.1)), max(high, 1.3 * min_snr)
    ax.set_xlim(low, high)
    ticks = [v for v in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if low <= v <= high]
    ax.set_xticks(ticks, [f"{v:g}" for v in ticks])
    ax.minorticks_off()
    ax.set_ylim(min(ax.get_ylim()[0], min_r_value - 0.1), 1.03)
    bottom, top = ax.get_ylim()
    floor = max(lowest_r_value, bottom)
    shade: dict = {"facecolor": style.ACCEPTED, "alpha": 0.09, "edgecolor": "none", "zorder": 0}
    left, middle = max(lowest_snr, low), max(min_snr, low)
    ax.add_patch(Rectangle((middle, floor), high - middle, top - floor, **shade))
    ax.add_patch(Rectangle((left, min_r_value), middle - left, top - min_r_value, **shade))
    for value, linestyle in ((min_snr, "solid"), (lowest_snr, "dotted")):
        if value > 0:
            ax.axvline(value, color=style.DARK, lw=0.9, ls=linestyle)
    for value, linestyle in ((min_r_value, "solid"), (lowest_r_value, "dotted")):
        if value > bottom:
            ax.axhline(value, color=style.DARK, lw=0.9, ls=linestyle)
