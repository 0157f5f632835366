"""Common elements of all figures: colours, font sizes, images with a scale bar, and messages in empty axes.

Figures are created as objects, never through ``pyplot``: no global state is touched, so that nodes can draw in
parallel. The colours are those of Okabe and Ito, which colour-blind readers can distinguish.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colorbar import Colorbar
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.transforms import ScaledTranslation
from numpy.typing import ArrayLike, NDArray

ORANGE, SKY, GREEN, BLUE, VERMILION, PURPLE = "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7"
GREY, DARK = "#8A8F98", "#22262B"
BEFORE, AFTER = GREY, BLUE
ACCEPTED, REJECTED, UNCLASSIFIED = ORANGE, SKY, PURPLE
TITLE, LABEL, SMALL = 11.0, 9.5, 8.5
"""Font sizes in points."""

PixelSize = tuple[float, float] | None
"""(y, x) in µm, None where it is unknown."""
Limits = tuple[float, float]


def new_figure(width: float, height: float) -> Figure:
    """Creates an empty figure with a constrained layout.

    Args:
        width: in inches.
        height: in inches.

    Returns:
        The figure.
    """
    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def get_axes(ax: Axes | None, width: float, height: float) -> tuple[Figure, Axes]:
    """The axes to draw on.

    Args:
        ax: given axes; None for new ones.
        width: of a new figure, in inches.
        height: of a new figure, in inches.

    Returns:
        The figure, and the axes.
    """
    if ax is None:
        figure = new_figure(width, height)
        return figure, figure.add_subplot()
    return figure_of(ax), ax


def figure_of(ax: Axes) -> Figure:
    """The figure that axes belong to.

    Args:
        ax: axes, possibly of a subfigure.

    Returns:
        The outermost figure.

    Raises:
        ValueError: the axes belong to no figure.
    """
    figure = ax.get_figure(root=True)
    if figure is None:
        raise ValueError("The axes belong to no figure. Create them with figure.add_subplot().")
    return figure


def label_axes(ax: Axes, *, title: str = "", x: str = "", y: str = "") -> None:
    """Sets title, labels and font sizes, and removes the upper and the right spine.

    Args:
        ax: axes to label.
        title: above the axes, aligned to the left.
        x: label of the x axis.
        y: label of the y axis.
    """
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_title(title, fontsize=TITLE, loc="left")
    ax.set_xlabel(x, fontsize=LABEL)
    ax.set_ylabel(y, fontsize=LABEL)
    ax.tick_params(labelsize=SMALL)


def add_legend(ax: Axes, **options: object) -> None:
    """Adds a legend above the axes on the right, clear of the title on the left.

    Args:
        ax: axes whose labelled artists it lists.
        **options: passed to :meth:`matplotlib.axes.Axes.legend`.
    """
    settings: dict = {"loc": "lower right", "bbox_to_anchor": (1.0, 1.0), "ncols": 3, "borderaxespad": 0.2}
    ax.legend(fontsize=SMALL, frameon=False, **{**settings, **options})


def runs(marked: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Finds the runs of marked frames.

    Args:
        marked: (T,).

    Returns:
        The first frame of each run and the one after its last.
    """
    steps = np.diff(np.r_[False, marked, False].astype(int))
    return list(zip(np.flatnonzero(steps == 1).tolist(), np.flatnonzero(steps == -1).tolist(), strict=True))


def mark_excluded(
    axes: Sequence[Axes], times: NDArray, excluded: NDArray[np.bool_] | None, *, name: str = "excluded frames"
) -> list[Artist]:
    """Draws a grey band over each run of excluded frames.

    Args:
        axes: to draw on.
        times: (T,) in s, evenly spaced.
        excluded: (T,); None if there are none.
        name: what they are, for the legend.

    Returns:
        The bands of each axes as one artist, with a label for the legend.
    """
    if excluded is None or not excluded.any() or len(times) < 2:
        return []
    half = (times[1] - times[0]) / 2
    label = f"{name} ({int(excluded.sum())})"
    spans = [(times[first] - half, times[stop - 1] - times[first] + 2 * half) for first, stop in runs(excluded)]
    # With an outline, or a single frame among thousands would be too narrow to be seen.
    options: dict[str, Any] = {"color": GREY, "alpha": 0.35, "lw": 0.6, "zorder": 0, "label": label}
    return [ax.broken_barh(spans, (0, 1), transform=ax.get_xaxis_transform(), **options) for ax in axes]


def show_message(ax: Axes, message: str, *, title: str = "") -> None:
    """Writes a message into empty axes, in place of data.

    Args:
        ax: axes to write in; their frame is hidden.
        message: reason that there are no data to show.
        title: above the axes.
    """
    ax.set_axis_off()
    ax.set_title(title, fontsize=TITLE, loc="left")
    ax.text(0.5, 0.5, message, ha="center", va="center", fontsize=TITLE, color=DARK, transform=ax.transAxes, wrap=True)


def percentile_limits(*images: ArrayLike, percentiles: Limits = (50.0, 99.5)) -> Limits:
    """Display limits shared by all given images.

    Args:
        *images: arrays of any shape; only finite values count.
        percentiles: lower and upper percentile.

    Returns:
        The lowest lower and the highest upper percentile of any image; the upper limit is always above the lower one.
    """
    finite = [values[np.isfinite(values)] for values in (np.asarray(image, dtype=np.float64) for image in images)]
    limits = [np.percentile(values, percentiles) for values in finite if values.size]
    if not limits:
        return 0.0, 1.0
    low, high = float(min(pair[0] for pair in limits)), float(max(pair[1] for pair in limits))
    return low, high if high > low else low + 1.0


def digits(value: float, n: int = 3) -> str:
    """Formats a number in a few digits.

    Args:
        value: the number.
        n: significant digits.

    Returns:
        The number, without an exponent between a thousandth and a million.
    """
    return f"{float(f'{value:.{n}g}'):.7g}"


def count(n: int, noun: str) -> str:
    """A number with its noun.

    Args:
        n: the number.
        noun: in the singular.

    Returns:
        Such as `1 cell` or `2 cells`.
    """
    return f"{n} {noun}" + ("" if n == 1 else "s")


def nice_length(length: float) -> float:
    """Rounds a length down to 1, 2 or 5 times a power of ten.

    Args:
        length: positive.

    Returns:
        The rounded length.
    """
    power = 10.0 ** math.floor(math.log10(length))
    return max(step * power for step in (1, 2, 5) if step * power <= length * (1 + 1e-9))


def pixel_aspect(pixel_size_um: PixelSize) -> float:
    """Height of a pixel over its width.

    Args:
        pixel_size_um: (y, x).

    Returns:
        The ratio, 1 where the size is unknown.
    """
    return 1.0 if pixel_size_um is None else pixel_size_um[0] / pixel_size_um[1]


def panel_height(shape: Sequence[int], width: float, pixel_size_um: PixelSize = None) -> float:
    """Height of a panel that shows an image at a given width.

    Args:
        shape: (H, W) of the image.
        width: of the panel, in inches.
        pixel_size_um: (y, x).

    Returns:
        The height in inches, between a third and twice of the width.
    """
    height = width * shape[0] / shape[1] * pixel_aspect(pixel_size_um)
    return min(max(height, width / 3), width * 2)


def show_image(
    ax: Axes,
    image: NDArray,
    *,
    title: str = "",
    limits: Limits | None = None,
    pixel_size_um: PixelSize = None,
    scale_bar: bool = True,
    cmap: str = "viridis",
) -> AxesImage:
    """Draws an image, row 0 at the top, with a scale bar below it.

    Args:
        ax: axes to draw on.
        image: (H, W); values that are not finite stay white.
        title: above the axes.
        limits: values shown darkest and brightest; None for the 50th and the 99.5th percentile.
        pixel_size_um: (y, x); sets the aspect and the unit of the scale bar, which is px where it is unknown.
        scale_bar: whether to draw one.
        cmap: name of a colour map.

    Returns:
        The drawn image.
    """
    low, high = limits if limits is not None else percentile_limits(image)
    shown = ax.imshow(
        image, cmap=cmap, vmin=low, vmax=high, aspect=pixel_aspect(pixel_size_um), interpolation="nearest"
    )
    ax.set_axis_off()
    ax.set_title(title, fontsize=TITLE, loc="left", wrap=True)
    if scale_bar:
        draw_scale_bar(ax, image.shape, pixel_size_um)
    return shown


def draw_scale_bar(ax: Axes, shape: Sequence[int], pixel_size_um: PixelSize = None) -> float:
    """Draws a bar of about a quarter of an image's width below the image.

    Args:
        ax: axes that show the image.
        shape: (H, W) of the image.
        pixel_size_um: (y, x); the bar is labelled in px where it is unknown.

    Returns:
        The length of the bar in px.
    """
    unit, size = ("px", 1.0) if pixel_size_um is None else ("µm", pixel_size_um[1])
    length = nice_length(shape[1] * size / 3.5)
    below = ax.get_xaxis_transform() + ScaledTranslation(0, -8 / 72, figure_of(ax).dpi_scale_trans)
    ends = (-0.5, length / size - 0.5)
    ax.plot(ends, (0, 0), color=DARK, lw=2.5, clip_on=False, transform=below, solid_capstyle="butt")
    ax.text(ends[1], 0, f"  {length:g} {unit}", va="center", fontsize=SMALL, color=DARK, transform=below)
    return length / size


def add_colorbar(figure: Figure, shown: AxesImage, axes: Axes | Sequence[Axes], label: str = "") -> Colorbar:
    """Adds a narrow colour bar beside axes.

    Args:
        figure: the axes' figure.
        shown: image whose values it explains.
        axes: axes that share it.
        label: quantity and unit.

    Returns:
        The colour bar.
    """
    bar = figure.colorbar(shown, ax=axes, fraction=0.046, pad=0.02, shrink=0.9, aspect=28)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=SMALL)
    bar.set_label(label, fontsize=SMALL)
    return bar


def in_micrometres(pixels: float, pixel_size_um: PixelSize) -> str:
    """A length in µm, to follow the same length in px.

    Args:
        pixels: the length in px.
        pixel_size_um: (y, x), of which the mean is used.

    Returns:
        Such as ` (3.4 µm)`; empty where the pixel size is unknown.
    """
    return "" if pixel_size_um is None else f" ({pixels * sum(pixel_size_um) / 2:.1f} µm)"
