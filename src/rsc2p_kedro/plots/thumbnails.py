"""A small image of one recording, for the page over all recordings."""

import scipy.sparse as sp
from matplotlib.figure import Figure
from numpy.typing import NDArray

from rsc2p_kedro.plots import style
from rsc2p_kedro.plots.components import add_contours
from rsc2p_kedro.plots.style import PixelSize

PANEL_PX = 160
"""Longer side of a panel in px. A thumbnail of the demo takes 7 kB as WebP of quality 60, and 5 kB at 120 px."""
GAP_PX = 4
DPI = 100
"""Resolution for which the sizes in px hold: save the figure with it."""


def thumbnail(
    maximum: NDArray, correlation: NDArray, footprints: sp.csc_array, *, pixel_size_um: PixelSize = None
) -> Figure:
    """Maximum projection, and correlation image with the contours of components, side by side without a margin.

    Args:
        maximum: (H, W), maximum projection of the corrected movie.
        correlation: (H, W), local correlation image of the corrected movie.
        footprints: of the components to outline, CSC (H*W, N), rows in C order.
        pixel_size_um: (y, x), which sets the aspect of the panels; None for square pixels.

    Returns:
        A figure whose panels are 160 px along their longer side when it is saved at 100 dpi.
    """
    tall = maximum.shape[0] * style.pixel_aspect(pixel_size_um) / maximum.shape[1]
    width, height = (PANEL_PX, round(PANEL_PX * tall)) if tall <= 1 else (round(PANEL_PX / tall), PANEL_PX)
    width, height = max(width, 8), max(height, 8)
    total = 2 * width + GAP_PX
    figure = Figure(figsize=(total / DPI, height / DPI), dpi=DPI, facecolor="white")
    for left, image in ((0, maximum), (width + GAP_PX, correlation)):
        ax = figure.add_axes((left / total, 0, width / total, 1))
        ax.set_axis_off()
        low, high = style.percentile_limits(image, percentiles=(2.0, 99.5))
        ax.imshow(image, cmap="gray", vmin=low, vmax=high, aspect="auto")
    add_contours(ax, footprints, correlation.shape, style.ACCEPTED, width=0.7)
    return figure
