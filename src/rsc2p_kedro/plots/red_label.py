"""The structural channel: which components are labelled, and how much of their red signal is crosstalk."""

import numpy as np
import scipy.sparse as sp
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from rsc2p_kedro.plots import style
from rsc2p_kedro.plots.components import add_contours
from rsc2p_kedro.plots.style import PixelSize

LABELLED, UNLABELLED = style.VERMILION, style.SKY
PROBABLE = 0.5
"""Probability from which a component is drawn as labelled."""


def structural_channel(
    image: NDArray,
    footprints: sp.csc_array,
    probability: NDArray,
    red_contrast: NDArray,
    functional_contrast: NDArray,
    *,
    crosstalk: float,
    crosstalk_error: float,
    title: str = "",
    pixel_size_um: PixelSize = None,
) -> Figure:
    """The mean structural image with the components, and their contrast in both channels.

    Args:
        image: (H, W), mean image of the structural channel.
        footprints: CSC (H*W, N).
        probability: (N,), probability of being labelled.
        red_contrast: (N,), contrast in the structural channel, crosstalk included, in counts.
        functional_contrast: (N,), contrast in the functional channel in counts.
        crosstalk: part of the functional fluorescence that the structural channel detects.
        crosstalk_error: its standard error.
        title: of the figure.
        pixel_size_um: (y, x), for the scale bar.

    Returns:
        The figure, with two panels.
    """
    shape = (image.shape[0], image.shape[1])
    figure = style.new_figure(13.0, style.panel_height(shape, 5.6, pixel_size_um) + 1.2)
    figure.suptitle(title, fontsize=style.TITLE + 1, fontweight="bold")
    left, right = figure.subplots(1, 2, width_ratios=(6, 6))
    labelled = probability >= PROBABLE
    low, high = style.percentile_limits(image, percentiles=(2.0, 99.7))
    heading = f"Mean of the structural channel: {labelled.sum()} of {style.count(len(labelled), 'component')} labelled"
    style.show_image(left, image, title=heading, limits=(low, high), pixel_size_um=pixel_size_um, cmap="gray")
    add_contours(left, footprints[:, np.flatnonzero(~labelled)], shape, UNLABELLED, linestyle="dashed", width=0.8)
    add_contours(left, footprints[:, np.flatnonzero(labelled)], shape, LABELLED)
    handles = [
        Line2D([], [], color=LABELLED, label=f"probability of the label at least {PROBABLE:g}"),
        Line2D([], [], color=UNLABELLED, ls="dashed", label="below"),
    ]
    style.add_legend(left, handles=handles, loc="upper right", bbox_to_anchor=(1.0, -0.01), ncols=2)
    shown = draw_contrasts(right, red_contrast, functional_contrast, probability, crosstalk, crosstalk_error)
    bar = figure.colorbar(shown, ax=right, fraction=0.046, pad=0.02)
    bar.set_label("probability of the label", fontsize=style.SMALL)
    bar.ax.tick_params(labelsize=style.SMALL)
    return figure


def draw_contrasts(
    ax: Axes,
    red_contrast: NDArray,
    functional_contrast: NDArray,
    probability: NDArray,
    crosstalk: float,
    crosstalk_error: float,
) -> PathCollection:
    """Draws the contrast of components in both channels, and the line on which crosstalk alone would place them.

    Args:
        ax: axes to draw on.
        red_contrast: (N,), in counts.
        functional_contrast: (N,), in counts.
        probability: (N,), probability of being labelled.
        crosstalk: slope of the line.
        crosstalk_error: its standard error.

    Returns:
        The points.
    """
    points = ax.scatter(
        functional_contrast, red_contrast, c=probability, cmap="coolwarm", vmin=0, vmax=1, s=26,
        edgecolors=style.DARK, linewidths=0.5, zorder=3,
    )  # fmt: skip
    ends = np.array([functional_contrast.min(initial=0.0), functional_contrast.max(initial=1.0)])
    ax.plot(ends, crosstalk * ends, color=style.DARK, lw=1.2, label="crosstalk alone")
    label = f"Crosstalk {100 * crosstalk:.1f} ± {100 * crosstalk_error:.1f} % of the functional channel"
    x, y = "Contrast in the functional channel (counts)", "Contrast in the structural channel (counts)"
    style.label_axes(ax, title=label, x=x, y=y)
    style.add_legend(ax, loc="upper left", bbox_to_anchor=(0.0, 1.0), ncols=1)
    return points
