"""Traces of components with their deconvolved and their inferred spikes."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from rsc2p_kedro.plots import style

KINDS = {"dF/F": style.BLUE, "deconvolved spikes": style.VERMILION, "inferred spikes": style.GREEN}
"""What a row shows, from its top to its bottom, and in which colour: those of the interactive view."""
ROW_INCHES = 0.62


class Row(NamedTuple):
    """What is drawn of one component.

    Attributes:
        name: what stands beside it.
        dff: (T,) dF/F, 1 is 100 %.
        spikes: (T,) deconvolved, any unit.
        inferred: (T,) expected spikes a frame, in units of the component's typical transient amplitude.
    """

    name: str
    dff: NDArray
    spikes: NDArray
    inferred: NDArray


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
    inferred: NDArray,
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
    """dF/F over deconvolved and inferred spikes of the best components and of those at the edge of acceptance.

    Each row has its own scale (see :func:`draw_rows`). Of a long recording the busiest part is shown.

    Args:
        dff: (N, T) dF/F, 1 is 100 %.
        spikes: (N, T) deconvolved, any unit.
        inferred: (N, T) expected spikes a frame, in units of each component's typical transient amplitude.
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
    figure = style.new_figure(12, ROW_INCHES * sum(n_rows) + 2.0)
    figure.suptitle(title, fontsize=style.TITLE + 1, fontweight="bold")
    if len(dff) == 0:
        style.say(figure.add_subplot(), "There are no components, so there are no traces to show.")
        return figure
    window = busiest_window(spikes, round(longest_s * frame_rate_hz))
    times = np.arange(window.start, window.stop) / frame_rate_hz
    names = [f"{i}{'' if keep else ' (rejected)'}\nSNR {s:.1f}" for i, s, keep in zip(ids, snr, accepted, strict=True)]
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=n_rows)
    part = f" ({times[0]:.0f} to {times[-1]:.0f} s of {dff.shape[1] / frame_rate_hz:.0f} s)" if len(times) else ""
    for ax, chosen, name in (
        (upper, best, f"Accepted, highest SNR{part}"),
        (lower, borderline, f"Nearest to the threshold, SNR {min_snr:g}"),
    ):
        draw_rows(
            ax, times, [Row(names[i], dff[i, window], spikes[i, window], inferred[i, window]) for i in chosen],
            title=name,
        )  # fmt: skip
    _add_key(upper)
    lower.set_xlabel("time (s)", fontsize=style.LABEL)
    return figure


class Clearest(NamedTuple):
    """Traces of the clearest cells of one recording.

    Attributes:
        dff: (K, T) dF/F, 1 is 100 %.
        spikes: (K, T) deconvolved, any unit.
        inferred: (K, T) expected spikes a frame, in units of each component's typical transient amplitude.
        names: (K,), what stands beside each.
        frame_rate_hz: frames per second.
    """

    dff: NDArray
    spikes: NDArray
    inferred: NDArray
    names: Sequence[str]
    frame_rate_hz: float


def recordings_traces(names: Sequence[str], rows: Sequence[Clearest], *, longest_s: float = 180.0) -> Figure:
    """One panel a recording: dF/F over deconvolved and inferred spikes of its clearest cells.

    Args:
        names: of the recordings, R of them.
        rows: R times the traces to show.
        longest_s: seconds shown at most; of a longer recording the busiest part is shown.
    """
    heights = [ROW_INCHES * max(len(row.names), 1) + 0.55 for row in rows]
    figure = style.new_figure(11.4, sum(heights) + 0.6)
    if not names:
        style.say(figure.add_subplot(), "No recordings to show.")
        return figure
    axes = figure.subplots(len(names), 1, height_ratios=heights, squeeze=False)[:, 0]
    for ax, name, row in zip(axes, names, rows, strict=True):
        window = busiest_window(row.spikes, round(longest_s * row.frame_rate_hz))
        times = np.arange(window.start, window.stop) / row.frame_rate_hz
        parts = (part[:, window] for part in (row.dff, row.spikes, row.inferred))
        draw_rows(ax, times, [Row(*one) for one in zip(row.names, *parts, strict=True)], title=name)
    _add_key(axes[0])
    axes[-1].set_xlabel("time (s)", fontsize=style.LABEL)
    return figure


def _add_key(ax: Axes) -> None:
    """Says above axes which colour is what."""
    lines = [Line2D([], [], color=color, lw=2.5, label=name) for name, color in KINDS.items()]
    style.add_legend(ax, handles=lines, handlelength=1.2)


def draw_rows(ax: Axes, times: NDArray, rows: Sequence[Row], *, title: str = "") -> None:
    """Rows, the first at the top, each with its own scale and a bar that says how large dF/F is.

    Deconvolved spikes reach to the row's largest. So do inferred ones, but where none of them reaches 1, a typical
    rise, they stay as small as they are: a row without spikes looks like one.
    """
    style.tidy(ax, title=title)
    ax.spines["left"].set_visible(False)
    if not rows:
        style.say(ax, "none", title=title)
        return
    for place, row in enumerate(rows):
        _draw_row(ax, times, -float(place), row)
    ax.set_yticks(-np.arange(len(rows)) + 0.45, [row.name for row in rows])
    ax.tick_params(axis="y", length=0, labelsize=style.SMALL)
    ax.set_ylim(-len(rows) + 0.9, 1.05)
    ax.margins(x=0.005)


def _draw_row(ax: Axes, times: NDArray, bottom: float, row: Row) -> None:
    """Inferred spikes in 0..0.18 above `bottom`, deconvolved ones in 0.22..0.4, dF/F in 0.44..0.96, and its bar."""
    most = max(float(np.max(row.inferred)), 1.0)
    lane, top = np.full(len(times), bottom), bottom + 0.18 * row.inferred / most
    ax.fill_between(times, lane, top, step="mid", color=style.GREEN, lw=0.6)
    tall = float(np.max(row.spikes))
    if tall > 0:
        fired = row.spikes > 0
        floor = bottom + 0.22
        ax.vlines(times[fired], floor, floor + 0.18 * row.spikes[fired] / tall, color=style.VERMILION, lw=0.9)
    _draw_trace(ax, times, row.dff, floor=bottom + 0.44, height=0.52)


def _draw_trace(ax: Axes, times: NDArray, trace: NDArray, *, floor: float, height: float) -> None:
    """A trace from `floor` on, as high as asked for, and a bar of a round dF/F at its right."""
    low, span = float(np.min(trace)), max(float(np.ptp(trace)), 1e-6)
    ax.plot(times, floor + height * (trace - low) / span, color=style.BLUE, lw=0.8)
    bar = style.nice_length(0.6 * span)
    step = max(float(times[-1] - times[0]), 1e-6)
    x, middle = times[-1] + 0.012 * step, floor + 0.5 * height * bar / span
    ax.plot([x, x], [floor, floor + height * bar / span], color=style.DARK, lw=1.6, clip_on=False)
    label = f"{bar:.0%}" if bar >= 0.01 else f"{bar:.1e}"
    ax.text(x + 0.006 * step, middle, label, fontsize=style.SMALL, va="center")
