"""What components cover: pixels of high correlation that none explains, and components found in both halves."""

import numpy as np
import scipy.sparse as sp
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from rsc2p_kedro.plots import style
from rsc2p_kedro.plots.components import add_contours
from rsc2p_kedro.plots.style import PixelSize

AGAIN, ONCE = style.ORANGE, style.SKY
"""Colours of components found in both halves, and in one only."""
MISSED = style.SKY
"""Colour of pixels that no component explains, beside the orange outlines of accepted ones."""


def _grey_image(ax: Axes, image: NDArray, title: str, pixel_size_um: PixelSize) -> None:
    """Shows an image in grey, with room for bright lines above it."""
    low, high = style.percentile_limits(image, percentiles=(2.0, 99.5))
    limits = (low, high + 0.35 * (high - low))
    style.show_image(ax, image, title=title, limits=limits, pixel_size_um=pixel_size_um, cmap="gray")


def unexplained_correlation(
    correlation: NDArray,
    footprints: sp.csc_array,
    high: NDArray[np.bool_],
    unexplained: NDArray[np.bool_],
    *,
    title: str = "",
    pixel_size_um: PixelSize = None,
) -> Figure:
    """The correlation image, alone and with the accepted components and the pixels that none of them explains.

    Args:
        correlation: (H, W), local correlation image.
        footprints: CSC (H*W, n) of the accepted components.
        high: (H, W), pixels of high local correlation.
        unexplained: (H, W), those that no component covers.
        title: of the figure.
        pixel_size_um: (y, x), for the scale bars.

    Returns:
        The figure, with two panels.
    """
    shape = (correlation.shape[0], correlation.shape[1])
    figure = style.new_figure(13.0, style.panel_height(shape, 6.1, pixel_size_um) + 1.3)
    figure.suptitle(title, fontsize=style.TITLE + 1, fontweight="bold")
    left, right = figure.subplots(1, 2)
    shown = style.show_image(left, correlation, title="Local correlation image", pixel_size_um=pixel_size_um)
    style.add_colorbar(figure, shown, left, "correlation")
    n, n_high = int(unexplained.sum()), int(high.sum())
    share = f" ({n / n_high:.0%})" if n_high else ""
    _grey_image(right, correlation, f"{n} of {n_high} px of high correlation unexplained{share}", pixel_size_um)
    veil = np.zeros((*shape, 4))
    veil[unexplained] = (*to_rgb(MISSED), 0.75)
    right.imshow(veil, aspect=style.pixel_aspect(pixel_size_um), interpolation="nearest")
    add_contours(right, footprints, shape, style.ACCEPTED)
    handles = [
        Line2D([], [], color=style.ACCEPTED, label=f"accepted ({footprints.shape[1]})"),
        Patch(color=MISSED, alpha=0.75, label="high correlation, in no component"),
    ]
    style.add_legend(right, handles=handles, loc="upper right", bbox_to_anchor=(1.0, -0.01), ncols=2)
    return figure


def halves_figure(
    image: NDArray,
    footprints: tuple[sp.csc_array, sp.csc_array],
    matched: tuple[NDArray[np.intp], NDArray[np.intp]],
    *,
    title: str = "",
    pixel_size_um: PixelSize = None,
) -> Figure:
    """Contours of the components accepted in each half of the frames.

    Args:
        image: (H, W), usually the correlation image of the whole movie.
        footprints: of the first and of the second half, CSC (H*W, n) and (H*W, m).
        matched: indices of the components of both that match.
        title: of the figure.
        pixel_size_um: (y, x), for the scale bars.

    Returns:
        The figure, with two panels; components found in both halves are solid orange, others dashed blue.
    """
    shape = (image.shape[0], image.shape[1])
    figure = style.new_figure(12.4, style.panel_height(shape, 6.0, pixel_size_um) + 1.0)
    figure.suptitle(title, fontsize=style.TITLE + 1, fontweight="bold")
    panels = zip(figure.subplots(1, 2), ("First", "Second"), footprints, matched, strict=True)
    for ax, name, columns, indices in panels:
        again = np.isin(np.arange(columns.shape[1]), indices)
        heading = f"{name} half: {len(again)} accepted, {again.sum()} also in the other (orange)"
        _grey_image(ax, image, heading, pixel_size_um)
        add_contours(ax, columns[:, np.flatnonzero(~again)], shape, ONCE, linestyle="dashed", width=0.9)
        add_contours(ax, columns[:, np.flatnonzero(again)], shape, AGAIN)
    return figure
