"""Images of a recording: its summaries, what motion correction did to them, and all recordings side by side."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from rsc2p_kedro.plots import style
from rsc2p_kedro.plots.style import PixelSize

Images = Sequence[NDArray]

LOWER_HALF_DARK = (50.0, 99.5)
"""Percentiles shown darkest and brightest for maximum and correlation, as in the notebook: structure stands out."""
ALMOST_ALL = (1.0, 99.5)
"""Percentiles for images whose dark parts matter too."""


def summary_images(
    maximum: NDArray,
    correlation: NDArray,
    mean: NDArray,
    sd: NDArray,
    *,
    title: str = "",
    pixel_size_um: PixelSize = None,
) -> Figure:
    """Maximum, local correlation, mean and standard deviation over time, each (H, W), with their values."""
    shape = maximum.shape
    figure = style.new_figure(9.6, 2 * style.panel_height(shape, 4.2, pixel_size_um) + 1.1)
    figure.suptitle(title, fontsize=style.TITLE + 1, fontweight="bold")
    panels = [
        (maximum, "Maximum over time", "counts", LOWER_HALF_DARK),
        (correlation, "Correlation with the neighbouring pixels", "correlation", LOWER_HALF_DARK),
        (mean, "Mean over time", "counts", ALMOST_ALL),
        (sd, "Standard deviation over time", "counts", ALMOST_ALL),
    ]
    for index, (image, name, unit, percentiles) in enumerate(panels):
        ax = figure.add_subplot(2, 2, index + 1)
        limits = style.percentile_limits(image, percentiles=percentiles)
        shown = style.show_image(ax, image, title=name, limits=limits, pixel_size_um=pixel_size_um)
        style.add_colorbar(figure, shown, ax, unit)
    return figure


def _draw_row(axes: Sequence[Axes], images: Images, titles: Sequence[str], pixel_size_um: PixelSize) -> list:
    """Original and corrected maximum, original and corrected correlation; each pair shares its limits."""
    limits = [style.percentile_limits(*images[:2])] * 2 + [style.percentile_limits(*images[2:])] * 2
    return [
        style.show_image(ax, image, title=title, limits=limit, pixel_size_um=pixel_size_um)
        for ax, image, title, limit in zip(axes, images, titles, limits, strict=True)
    ]


COLUMNS = ("Original: maximum", "Corrected: maximum", "Original: correlation", "Corrected: correlation")


def original_and_corrected(
    original_maximum: NDArray,
    corrected_maximum: NDArray,
    original_correlation: NDArray,
    corrected_correlation: NDArray,
    *,
    title: str = "",
    pixel_size_um: PixelSize = None,
) -> Figure:
    """Maximum and local correlation (H, W) before and after motion correction.

    The two images of a pair share their limits (the lower of the 50th, the higher of the 99.5th percentiles), so that
    brighter means more.
    """
    images = (original_maximum, corrected_maximum, original_correlation, corrected_correlation)
    figure = style.new_figure(14.4, style.panel_height(original_maximum.shape, 3.2, pixel_size_um) + 0.9)
    figure.suptitle(title, fontsize=style.TITLE + 1, fontweight="bold")
    axes = [figure.add_subplot(1, 4, index + 1) for index in range(4)]
    shown = _draw_row(axes, images, COLUMNS, pixel_size_um)
    style.add_colorbar(figure, shown[1], axes[:2], "counts")
    style.add_colorbar(figure, shown[3], axes[2:], "correlation")
    return figure


def recordings_grid(
    names: Sequence[str], rows: Sequence[Images], *, pixel_sizes_um: Sequence[PixelSize] | None = None
) -> Figure:
    """One row a recording: original and corrected maximum, original and corrected correlation.

    Args:
        names: of the recordings, R of them.
        rows: R times the four images of :func:`original_and_corrected`, in its order.
        pixel_sizes_um: R times (y, x), or none where unknown.
    """
    sizes = list(pixel_sizes_um) if pixel_sizes_um is not None else [None] * len(names)
    figure, axes = style.grid_of_recordings(names, [row[0].shape for row in rows], 4, sizes)
    for index, (of_one, images, size) in enumerate(zip(axes, rows, sizes, strict=True)):
        _draw_row(of_one, images, COLUMNS if index == 0 else ("",) * 4, size)
    return figure


def template(
    image: NDArray,
    valid_mask: NDArray[np.bool_],
    *,
    title: str = "",
    pixel_size_um: PixelSize = None,
    ax: Axes | None = None,
) -> Figure:
    """The image (H, W) that frames were registered to; pixels that some frame has not seen are pale."""
    figure, ax = style.get_axes(ax, 5.6, style.panel_height(image.shape, 5.0, pixel_size_um) + 0.9)
    limits = style.percentile_limits(image, percentiles=ALMOST_ALL)
    shown = style.show_image(ax, image, limits=limits, pixel_size_um=pixel_size_um)
    style.add_colorbar(figure, shown, ax, "counts")
    veil = np.zeros((*image.shape, 4))
    veil[~valid_mask] = (1.0, 1.0, 1.0, 0.65)
    ax.imshow(veil, interpolation="nearest", aspect=style.pixel_aspect(pixel_size_um))
    share = valid_mask.mean() if valid_mask.size else 0.0
    seen = f"Template: every frame saw {share:.1%} of it" + ("" if share == 1 else ", the rest is pale")
    ax.set_title("\n".join(filter(None, (title, seen))), fontsize=style.TITLE, loc="left", wrap=True)
    return figure
