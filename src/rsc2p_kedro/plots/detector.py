"""The detector: noise of the pixels as a function of their level."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from rsc2p_kedro.core.results import DetectorResponse
from rsc2p_kedro.plots import style


def photon_transfer_curve(
    levels: NDArray,
    noise_variance: NDArray,
    expected_variance: NDArray,
    level: float | None,
    *,
    response: DetectorResponse | None = None,
    title: str = "",
    ax: Axes | None = None,
) -> Figure:
    """Variance of the noise over the level of the pixels, with the line expected of photon noise.

    Args:
        levels: (K,), counts.
        noise_variance: (K,), counts squared.
        expected_variance: (K,), counts squared, of a detector that does not saturate.
        level: count from which the detector saturates; None if it does not.
        response: dark level, which is marked, and gain; None marks nothing.
        title: above the axes.
        ax: axes to draw on; None makes a new figure.

    Returns:
        The figure.
    """
    figure, ax = style.get_axes(ax, 7.2, 4.2)
    heading = "no saturation" if level is None else f"saturates from {style.digits(level)} counts"
    heading = f"{title}: {heading}" if title else heading[0].upper() + heading[1:]
    if not len(levels):
        style.show_message(ax, "too few pixel values", title=title)
        return figure
    style.label_axes(ax, title=heading, x="level of the pixel (counts)", y="variance of the noise (counts²)")
    ax.plot(levels, np.maximum(expected_variance, 0), color=style.GREY, lw=1.2, label="photon noise (fitted line)")
    ax.plot(levels, noise_variance, ".", color=style.BLUE, ms=5, label="measured")
    if level is not None:
        ax.axvline(level, color=style.VERMILION, lw=1.2, ls="dashed", label="saturation begins")
    if response is not None and response.dark_level is not None:
        label = f"dark level {style.digits(response.dark_level)} ± {style.digits(response.dark_level_error)} counts"
        if response.gain is not None:
            label += f"; gain {style.digits(response.gain)} ± {style.digits(response.gain_error)} counts per photon"
        error, variance = 2 * response.dark_level_error, response.read_noise**2
        ax.errorbar(response.dark_level, variance, xerr=error, fmt="D", color=style.DARK, ms=4, capsize=3, label=label)
    ax.set_ylim(bottom=0)
    style.add_legend(ax, loc="upper left", bbox_to_anchor=(0.01, 0.99), ncols=1)
    return figure
