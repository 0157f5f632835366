"""What all figures share: colours, sizes of type, images with a scale bar, and how a figure says that nothing is there.

Figures are made as objects and never through ``pyplot``: nothing global is touched, so that nodes can draw in parallel.
The colours are those of Okabe and Ito, which colour-blind readers can tell apart.
"""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colorbar import Colorbar
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.transforms import ScaledTranslation
from numpy.typing import ArrayLike, NDArray

ORANGE, SKY, GREEN, BLUE, VERMILION, PURPLE = "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7"
GREY, DARK = "#8A8F98", "#22262B"
BEFORE, AFTER = GREY, BLUE
ACCEPTED, REJECTED, FOUND = ORANGE, SKY, PURPLE
TITLE, LABEL, SMALL = 11.0, 9.5, 8.5

PixelSize = tuple[float, float] | None
Limits = tuple[float, float]


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of the given size in inches that keeps its labels apart."""
    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def get_axes(ax: Axes | None, width: float, height: float) -> tuple[Figure, Axes]:
    """The axes to draw on with their figure: those given, or new ones of the given size in inches."""
    if ax is None:
        figure = new_figure(width, height)
        return figure, figure.add_subplot()
    return figure_of(ax), ax


def figure_of(ax: Axes) -> Figure:
    """The whole figure that axes belong to."""
    figure = ax.get_figure(root=True)
    if figure is None:
        raise ValueError("The axes belong to no figure: make them with figure.add_subplot().")
    return figure


def tidy(ax: Axes, *, title: str = "", x: str = "", y: str = "") -> None:
    """Takes the upper and right spine away and sets title, labels and the size of type."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_title(title, fontsize=TITLE, loc="left")
    ax.set_xlabel(x, fontsize=LABEL)
    ax.set_ylabel(y, fontsize=LABEL)
    ax.tick_params(labelsize=SMALL)


def add_legend(ax: Axes, **options: object) -> None:
    """A legend of small type above the data at the right, clear of the title at the left."""
    settings: dict = {"loc": "lower right", "bbox_to_anchor": (1.0, 1.0), "ncols": 3, "borderaxespad": 0.2}
    ax.legend(fontsize=SMALL, frameon=False, **{**settings, **options})


def say(ax: Axes, message: str, *, title: str = "") -> None:
    """Writes into empty axes why there is nothing to see."""
    ax.set_axis_off()
    ax.set_title(title, fontsize=TITLE, loc="left")
    ax.text(0.5, 0.5, message, ha="center", va="center", fontsize=TITLE, color=DARK, transform=ax.transAxes, wrap=True)


def percentile_limits(*images: ArrayLike, percentiles: Limits = (50.0, 99.5)) -> Limits:
    """Limits of display that all given images share: the lowest lower and the highest upper percentile of any of them.

    Only finite values count, and the upper limit always lies above the lower one.
    """
    finite = [values[np.isfinite(values)] for values in (np.asarray(image, dtype=np.float64) for image in images)]
    found = [np.percentile(values, percentiles) for values in finite if values.size]
    if not found:
        return 0.0, 1.0
    low, high = float(min(pair[0] for pair in found)), float(max(pair[1] for pair in found))
    return low, high if high > low else low + 1.0


def grid_of_recordings(
    names: Sequence[str], shapes: Sequence[tuple[int, ...]], columns: int, pixel_sizes_um: Sequence[PixelSize]
) -> tuple[Figure, list[list[Axes]]]:
    """Axes for one row of images a recording, R rows, as high as their images need, with the names at the left.

    Args:
        names: of the recordings, R of them.
        shapes: R times (H, W).
        columns: images in a row.
        pixel_sizes_um: R times (y, x), or none where unknown.

    Raises:
        ValueError: there are more or fewer names than rows.
    """
    if len(names) != len(shapes):
        raise ValueError(f"Expected one row of images a recording, got {len(shapes)} rows for {len(names)} recordings.")
    if not names:
        figure = new_figure(8, 2)
        say(figure.add_subplot(), "No recordings to show.")
        return figure, []
    width = (10.4 if len(names) <= 12 else 6.4) / columns
    heights = [panel_height(shape, width, size) + 0.35 for shape, size in zip(shapes, pixel_sizes_um, strict=True)]
    figure = new_figure(columns * width + 1.0, sum(heights) + 0.4)
    grid = figure.add_gridspec(len(names), columns, height_ratios=heights)
    axes = [[figure.add_subplot(grid[row, column]) for column in range(columns)] for row in range(len(names))]
    for name, (first, *_) in zip(names, axes, strict=True):
        name_row(first, name)
    return figure, axes


def name_row(ax: Axes, name: str) -> None:
    """Writes the name of a row upwards at the left of its first axes."""
    ax.text(
        -0.04, 0.5, name, rotation=90, ha="right", va="center", fontsize=LABEL, fontweight="bold",
        transform=ax.transAxes,
    )  # fmt: skip


def digits(value: float, n: int = 3) -> str:
    """A number in n digits, without an exponent where it is between a thousandth and a million."""
    return f"{float(f'{value:.{n}g}'):.7g}"


def count(n: int, noun: str) -> str:
    """`1 cell`, `2 cells`."""
    return f"{n} {noun}" + ("" if n == 1 else "s")


def nice_length(length: float) -> float:
    """The largest of 1, 2 and 5 times a power of ten that does not exceed a positive length."""
    power = 10.0 ** math.floor(math.log10(length))
    return max(step * power for step in (1, 2, 5) if step * power <= length * (1 + 1e-9))


def pixel_aspect(pixel_size_um: PixelSize) -> float:
    """Height over width of a pixel, 1 where it is unknown."""
    return 1.0 if pixel_size_um is None else pixel_size_um[0] / pixel_size_um[1]


def panel_height(shape: Sequence[int], width: float, pixel_size_um: PixelSize = None) -> float:
    """Height in inches of a panel that shows an image (H, W) at the given width, between a third and twice of it."""
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
    """Draws an image (H, W), row 0 at the top, with a scale bar below it.

    Args:
        ax: where to draw.
        image: values to show; what is not finite stays white.
        title: what is seen.
        limits: values shown darkest and brightest; none: the 50th and the 99.5th percentile.
        pixel_size_um: (y, x); sets the aspect and the unit of the scale bar, which is px where it is unknown.
        scale_bar: whether to draw one.
        cmap: name of a colour map.
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
    """Draws a bar of about a quarter of the width below an image (H, W), where it hides nothing.

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
    """A slim colour bar beside the axes it belongs to."""
    bar = figure.colorbar(shown, ax=axes, fraction=0.046, pad=0.02, shrink=0.9, aspect=28)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=SMALL)
    bar.set_label(label, fontsize=SMALL)
    return bar


def in_micrometres(pixels: float, pixel_size_um: PixelSize) -> str:
    """` (3.4 µm)` for a length in px, by the mean size of a pixel; empty where that is unknown."""
    return "" if pixel_size_um is None else f" ({pixels * sum(pixel_size_um) / 2:.1f} µm)"
