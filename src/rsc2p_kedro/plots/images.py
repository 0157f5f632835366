"""Images of a recording: summary images, their change by motion correction, and the template."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from rsc2p_kedro.plots import style
from rsc2p_kedro.plots.style import PixelSize

LOWER_HALF_DARK = (50.0, 99.5)
"""Percentiles shown darkest and brightest for maximum and correlation, as in the original notebook."""
ALMOST_ALL = (1.0, 99.5)
"""Percentiles shown darkest and brightest for images whose dark parts matter too."""


def summary_images(
    maximum: NDArray,
    correlation: NDArray,
    mean: NDArray,
    sd: NDArray,
    *,
    title: str = "",
    pixel_size_um: PixelSize = None,
) -> Figure:
    """Maximum projection, correlation image, mean and standard deviation of a movie, with colour bars.

    Args:
        maximum: (H, W), in counts.
        correlation: (H, W), correlation of each pixel with its neighbours.
        mean: (H, W), in counts.
        sd: (H, W), standard deviation over time, in counts.
        title: of the figure.
        pixel_size_um: (y, x), for the scale bars.

    Returns:
        The figure, with four panels.
    """
    figure = style.new_figure(9.6, 2 * style.panel_height(maximum.shape, 4.2, pixel_size_um) + 1.1)
    figure.suptitle(title, fontsize=style.TITLE + 1, fontweight="bold")
    panels = [
        (maximum, "Maximum projection", "counts", LOWER_HALF_DARK),
        (correlation, "Local correlation image", "correlation", LOWER_HALF_DARK),
        (mean, "Mean image", "counts", ALMOST_ALL),
        (sd, "Standard deviation", "counts", ALMOST_ALL),
    ]
    for index, (image, name, unit, percentiles) in enumerate(panels):
        ax = figure.add_subplot(2, 2, index + 1)
        limits = style.percentile_limits(image, percentiles=percentiles)
        shown = style.show_image(ax, image, title=name, limits=limits, pixel_size_um=pixel_size_um)
        style.add_colorbar(figure, shown, ax, unit)
    return figure


def original_and_corrected(
    original_maximum: NDArray,
    corrected_maximum: NDArray,
    original_correlation: NDArray,
    corrected_correlation: NDArray,
    *,
    title: str = "",
    pixel_size_um: PixelSize = None,
) -> Figure:
    """Maximum projection and correlation image before and after motion correction.

    The two images of a pair share their limits (the lower of the 50th, the higher of the 99.5th percentiles), so that
    their brightness can be compared.

    Args:
        original_maximum: (H, W), in counts.
        corrected_maximum: (H, W), in counts.
        original_correlation: (H, W), correlation of each pixel with its neighbours.
        corrected_correlation: (H, W), likewise.
        title: of the figure.
        pixel_size_um: (y, x), for the scale bars.

    Returns:
        The figure, with four panels.
    """
    maximum = style.percentile_limits(original_maximum, corrected_maximum)
    correlation = style.percentile_limits(original_correlation, corrected_correlation)
    panels = [
        (original_maximum, "Original: maximum", maximum),
        (corrected_maximum, "Corrected: maximum", maximum),
        (original_correlation, "Original: correlation", correlation),
        (corrected_correlation, "Corrected: correlation", correlation),
    ]
    figure = style.new_figure(14.4, style.panel_height(original_maximum.shape, 3.2, pixel_size_um) + 0.9)
    figure.suptitle(title, fontsize=style.TITLE + 1, fontweight="bold")
    axes = [figure.add_subplot(1, 4, index + 1) for index in range(4)]
    shown = [
        style.show_image(ax, image, title=name, limits=limits, pixel_size_um=pixel_size_um)
        for ax, (image, name, limits) in zip(axes, panels, strict=True)
    ]
    style.add_colorbar(figure, shown[1], axes[:2], "counts")
    style.add_colorbar(figure, shown[3], axes[2:], "correlation")
    return figure


def template(
    image: NDArray,
    valid_mask: NDArray[np.bool_],
    *,
    title: str = "",
    pixel_size_um: PixelSize = None,
    ax: Axes | None = None,
) -> Figure:
    """The template of a registration; pixels that were not visible in every frame are drawn pale.

    Args:
        image: (H, W), the template.
        valid_mask: (H, W), pixels visible in every frame.
        title: above the axes.
        pixel_size_um: (y, x), for the scale bar.
        ax: axes to draw on; None makes a new figure.

    Returns:
        The figure.
    """
    figure, ax = style.get_axes(ax, 5.6, style.panel_height(image.shape, 5.0, pixel_size_um) + 0.9)
    limits = style.percentile_limits(image, percentiles=ALMOST_ALL)
    shown = style.show_image(ax, image, limits=limits, pixel_size_um=pixel_size_um)
    style.add_colorbar(figure, shown, ax, "counts")
    veil = np.zeros((*image.shape, 4))
    veil[~valid_mask] = (1.0, 1.0, 1.0, 0.65)
    ax.imshow(veil, interpolation="nearest", aspect=style.pixel_aspect(pixel_size_um))
    share = valid_mask.mean() if valid_mask.size else 0.0
    visible = f"Template: {share:.1%} visible in every frame" + ("" if share == 1 else ", the rest is pale")
    ax.set_title("\n".join(filter(None, (title, visible))), fontsize=style.TITLE, loc="left", wrap=True)
    return figure
