"""Traces of components with their deconvolved spikes."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from rsc2p_kedro.plots import style


def choose_components(
    snr: NDArray, accepted: NDArray[np.bool_], *, min_snr: float, n_best: int = 8, n_borderline: int = 8
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Indices of the accepted components of highest SNR, and of the others whose SNR is nearest to the threshold.

    Args:
        snr: (N,).
        accepted: (N,).
        min_snr: SNR that is enough to be accepted; distance from it counts as a ratio.
        n_best: at most so many of the first kind.
        n_borderline: at most so many of the second kind.

    Returns:
        Two arrays of indices without a common member, each by falling SNR.
    """
    snr = np.asarray(snr, dtype=np.float64)
    falling = np.argsort(-snr, kind="stable")
    best = falling[np.asarray(accepted, dtype=bool)[falling]][:n_best]
    distance = np.abs(np.log(np.maximum(snr, 1e-3) / max(min_snr, 1e-3)))
    others = np.setdiff1d(np.arange(len(snr)), best)
    nearest = others[np.argsort(distance[others], kind="stable")][:n_borderline]
    return best, nearest[np.argsort(-snr[nearest], kind="stable")]


def busiest_window(traces: NDArray, n_frames: int) -> slice:
    """The run of at most `n_frames` frames in which the traces (N, T), each scaled to its maximum, sum to the most."""
    T = traces.shape[1]
    if n_frames >= T or len(traces) == 0:
        return slice(0, T)
    top = np.maximum(traces.max(axis=1, keepdims=True), 1e-12)
    total = np.concatenate([[0.0], np.cumsum((traces / top).sum(axis=0, dtype=np.float64))])
    start = int(np.argmax(total[n_frames:] - total[:-n_frames]))
    return slice(start, start + n_frames)


def traces_with_spikes(
    dff: NDArray,
    spikes: NDArray,
    *,
    frame_rate_hz: float,
    ids: Sequence[int] | NDArray,
    snr: NDArray,
    accepted: NDArray[np.bool_],
    min_snr: float,
    n_best: int = 8,
    n_borderline: int = 8,
    longest_s: float = 180.0,
    title: str = "",
) -> Figure:
    """dF/F (blue) over deconvolved spikes (orange) of the best components and of those at the edge of acceptance.

    Each row has its own scale and says it by a bar of dF/F. Of a long recording the busiest part is shown.

    Args:
        dff: (N, T) dF/F, 1 is 100 %.
        spikes: (N, T) deconvolved, any unit; drawn to each row's maximum.
        frame_rate_hz: frames per second.
        ids: (N,).
        snr: (N,).
        accepted: (N,).
        min_snr: SNR that is enough to be accepted.
        n_best: rows of the first kind, at most.
        n_borderline: rows of the second kind, at most.
        longest_s: seconds shown at most.
        title: what stands above.
    """
    best, borderline = choose_components(snr, accepted, min_snr=min_snr, n_best=n_best, n_borderline=n_borderline)
    n_rows = [max(len(best), 1), max(len(borderline), 1)]
    figure = style.new_figure(12, 0.55 * sum(n_rows) + 2.0)
    figure.suptitle(title, fontsize=style.TITLE + 1, fontweight="bold")
    if len(dff) == 0:
        style.say(figure.add_subplot(), "There are no components, so there are no traces to show.")
        return figure
    window = busiest_window(spikes, round(longest_s * frame_rate_hz))
    times = np.arange(window.start, window.stop) / frame_rate_hz
    names = [f"{i}{'' if keep else ' (rejected)'}\nSNR {s:.1f}" for i, s, keep in zip(ids, snr, accepted, strict=True)]
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=n_rows)
    part = f"{times[0]:.0f} to {times[-1]:.0f} s of {dff.shape[1] / frame_rate_hz:.0f} s" if len(times) else ""
    for ax, chosen, name in (
        (upper, best, f"Accepted, highest SNR: dF/F (blue) over deconvolved spikes (orange), {part}"),
        (lower, borderline, f"Nearest to the threshold, SNR {min_snr:g}"),
    ):
        rows = [(names[i], dff[i, window], spikes[i, window]) for i in chosen]
        draw_rows(ax, times, rows, title=name)
    lower.set_xlabel("time (s)", fontsize=style.LABEL)
    return figure


class Clearest(NamedTuple):
    """Traces of the clearest cells of one recording.

    Attributes:
        dff: (K, T) dF/F, 1 is 100 %.
        spikes: (K, T) deconvolved, any unit.
        names: (K,), what stands beside each.
        frame_rate_hz: frames per second.
    """

    dff: NDArray
    spikes: NDArray
    names: Sequence[str]
    frame_rate_hz: float


def recordings_traces(names: Sequence[str], rows: Sequence[Clearest], *, longest_s: float = 180.0) -> Figure:
    """One panel a recording: dF/F (blue) over deconvolved spikes (orange) of its clearest cells.

    Args:
        names: of the recordings, R of them.
        rows: R times the traces to show.
        longest_s: seconds shown at most; of a longer recording the busiest part is shown.
    """
    heights = [0.5 * max(len(row.names), 1) + 0.55 for row in rows]
    figure = style.new_figure(11.4, sum(heights) + 0.6)
    if not names:
        style.say(figure.add_subplot(), "No recordings to show.")
        return figure
    axes = figure.subplots(len(names), 1, height_ratios=heights, squeeze=False)[:, 0]
    for ax, name, row in zip(axes, names, rows, strict=True):
        window = busiest_window(row.spikes, round(longest_s * row.frame_rate_hz))
        times = np.arange(window.start, window.stop) / row.frame_rate_hz
        draw_rows(ax, times, list(zip(row.names, row.dff[:, window], row.spikes[:, window], strict=True)), title=name)
    axes[-1].set_xlabel("time (s)", fontsize=style.LABEL)
    return figure


def draw_rows(ax: Axes, times: NDArray, rows: Sequence[tuple[str, NDArray, NDArray]], *, title: str = "") -> None:
    """Rows of (name, dF/F, spikes), the first at the top, each with its own scale and a bar that says it."""
    style.tidy(ax, title=title)
    ax.spines["left"].set_visible(False)
    if not rows:
        style.say(ax, "none", title=title)
        return
    for place, (_, trace, spikes) in enumerate(rows):
        _draw_row(ax, times, -float(place), trace, spikes)
    ax.set_yticks(-np.arange(len(rows)) + 0.35, [name for name, _, _ in rows])
    ax.tick_params(axis="y", length=0, labelsize=style.SMALL)
    ax.set_ylim(-len(rows) + 0.85, 1.0)
    ax.margins(x=0.005)


def _draw_row(ax: Axes, times: NDArray, bottom: float, trace: NDArray, spikes: NDArray) -> None:
    """One trace in 0.28..0.94 above `bottom`, its spikes in 0..0.26, and a bar of a round dF/F at the right."""
    low, high = float(np.min(trace)), float(np.max(trace))
    span = max(high - low, 1e-6)
    tall = float(np.max(spikes))
    if tall > 0:
        fired = spikes > 0
        ax.vlines(times[fired], bottom, bottom + 0.26 * spikes[fired] / tall, color=style.VERMILION, lw=0.9)
    ax.plot(times, bottom + 0.28 + 0.66 * (trace - low) / span, color=style.BLUE, lw=0.8)
    bar = style.nice_length(0.6 * span)
    x = times[-1] + 0.012 * max(times[-1] - times[0], 1e-6)
    ax.plot([x, x], [bottom + 0.28, bottom + 0.28 + 0.66 * bar / span], color=style.DARK, lw=1.6, clip_on=False)
    label_x = x + 0.006 * max(times[-1] - times[0], 1e-6)
    ax.text(
        label_x,
        bottom + 0.28 + 0.33 * bar / span,
        f"{bar:.0%}" if bar >= 0.01 else f"{bar:.1e}",
        fontsize=style.SMALL,
        va="center",
    )
