"""Traces of components with their deconvolved and inferred spikes."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from rsc2p_kedro.plots import style

KINDS = {"dF/F": style.BLUE, "deconvolved spikes": style.VERMILION, "inferred spikes": style.GREEN}
"""Contents of a row, from top to bottom, and their colours, which are those of the curation page."""
ROW_INCHES = 0.62
"""Height of a row."""


class Row(NamedTuple):
    """Traces of one component.

    Attributes:
        name: label of the row.
        dff: (T,) dF/F, 1 is 100 %.
        spikes: (T,) deconvolved, any unit.
        inferred: (T,) expected spikes per frame, in units of the component's typical transient amplitude.
    """

    name: str
    dff: NDArray
    spikes: NDArray
    inferred: NDArray


def choose_components(
    snr: NDArray, accepted: NDArray[np.bool_], *, min_snr: float, n_best: int = 8, n_borderline: int = 8
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Chooses the accepted components of highest SNR, and those of the others whose SNR is closest to the threshold.

    Args:
        snr: (N,).
        accepted: (N,).
        min_snr: SNR from which on a component is accepted; the distance from it is measured as a ratio.
        n_best: maximum number of accepted components.
        n_borderline: maximum number of components close to the threshold.

    Returns:
        Two arrays of indices without a common member, each by decreasing SNR.
    """
    snr = np.asarray(snr, dtype=np.float64)
    falling = np.argsort(-snr, kind="stable")
    best = falling[np.asarray(accepted, dtype=bool)[falling]][:n_best]
    distance = np.abs(np.log(np.maximum(snr, 1e-3) / max(min_snr, 1e-3)))
    others = np.setdiff1d(np.arange(len(snr)), best)
    nearest = others[np.argsort(distance[others], kind="stable")][:n_borderline]
    return best, nearest[np.argsort(-snr[nearest], kind="stable")]


def busiest_window(traces: NDArray, n_frames: int) -> slice:
    """The part of a recording with the most activity.

    Args:
        traces: (N, T), each of which is scaled to its maximum before they are summed.
        n_frames: maximum length of the part.

    Returns:
        Frames of the part; all frames of a shorter recording.
    """
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
    excluded: NDArray[np.bool_] | None = None,
    title: str = "",
) -> Figure:
    """dF/F, deconvolved and inferred spikes of the components of highest SNR and of those closest to the threshold.

    Each row has its own scale (see :func:`draw_rows`). Of a long recording, the part with the most activity is shown.

    Args:
        dff: (N, T) dF/F, 1 is 100 %.
        spikes: (N, T) deconvolved, any unit.
        inferred: (N, T) expected spikes per frame, in units of each component's typical transient amplitude.
        frame_rate_hz: frames per second.
        ids: (N,).
        snr: (N,).
        accepted: (N,).
        min_snr: SNR from which on a component is accepted.
        n_best: maximum number of accepted components.
        n_borderline: maximum number of components close to the threshold.
        longest_s: maximum duration shown in s.
        excluded: (T,), frames that were left out, which get a grey band; None if there are none.
        title: of the figure.

    Returns:
        The figure, with two panels.
    """
    best, borderline = choose_components(snr, accepted, min_snr=min_snr, n_best=n_best, n_borderline=n_borderline)
    n_rows = [max(len(best), 1), max(len(borderline), 1)]
    figure = style.new_figure(12, ROW_INCHES * sum(n_rows) + 2.0)
    figure.suptitle(title, fontsize=style.TITLE + 1, fontweight="bold")
    if len(dff) == 0:
        style.show_message(figure.add_subplot(), "There are no components.")
        return figure
    window = busiest_window(spikes, round(longest_s * frame_rate_hz))
    times = np.arange(window.start, window.stop) / frame_rate_hz
    names = [f"{i}{'' if keep else ' (rejected)'}\nSNR {s:.1f}" for i, s, keep in zip(ids, snr, accepted, strict=True)]
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=n_rows)
    part = f" ({times[0]:.0f} to {times[-1]:.0f} s of {dff.shape[1] / frame_rate_hz:.0f} s)" if len(times) else ""
    for ax, chosen, name in (
        (upper, best, f"Accepted components of highest SNR{part}"),
        (lower, borderline, f"Components closest to the acceptance threshold (SNR {min_snr:g})"),
    ):
        draw_rows(
            ax, times, [Row(names[i], dff[i, window], spikes[i, window], inferred[i, window]) for i in chosen],
            title=name,
        )  # fmt: skip
    bands = style.mark_excluded((upper, lower), times, excluded[window] if excluded is not None else None)
    key = [Line2D([], [], color=color, lw=2.5, label=name) for name, color in KINDS.items()] + bands[:1]
    style.add_legend(upper, handles=key, handlelength=1.2)
    lower.set_xlabel("time (s)", fontsize=style.LABEL)
    return figure


def draw_rows(ax: Axes, times: NDArray, rows: Sequence[Row], *, title: str = "") -> list[Line2D]:
    """Draws rows of traces, the first at the top, each with its own scale and a scale bar of dF/F.

    Deconvolved spikes are scaled to the largest of the row, and so are inferred spikes, unless none of them reaches 1
    (a typical transient amplitude): they are then not scaled up, so that a row without spikes appears empty.

    Args:
        ax: axes to draw on.
        times: (T,) in s.
        rows: one a component.
        title: above the axes.

    Returns:
        The drawn dF/F trace of each row.
    """
    style.label_axes(ax, title=title)
    ax.spines["left"].set_visible(False)
    if not rows:
        style.show_message(ax, "None", title=title)
        return []
    drawn = [_draw_row(ax, times, -float(place), row) for place, row in enumerate(rows)]
    ax.set_yticks(-np.arange(len(rows)) + 0.45, [row.name for row in rows])
    ax.tick_params(axis="y", length=0, labelsize=style.SMALL)
    ax.set_ylim(-len(rows) + 0.9, 1.05)
    ax.margins(x=0.005)
    return drawn


def _draw_row(ax: Axes, times: NDArray, bottom: float, row: Row) -> Line2D:
    """Inferred spikes at 0..0.18 above `bottom`, deconvolved spikes at 0.22..0.4, dF/F at 0.44..0.96 with its bar."""
    lane, top = np.full(len(times), bottom), bottom + 0.18 * row.inferred / max(float(np.max(row.inferred)), 1.0)
    ax.fill_between(times, lane, top, step="mid", color=style.GREEN, lw=0.6)
    largest = float(np.max(row.spikes))
    if largest > 0:
        active, floor = row.spikes > 0, bottom + 0.22
        ax.vlines(times[active], floor, floor + 0.18 * row.spikes[active] / largest, color=style.VERMILION, lw=0.9)
    floor, height = bottom + 0.44, 0.52
    low, span = float(np.min(row.dff)), max(float(np.ptp(row.dff)), 1e-6)
    (trace,) = ax.plot(times, floor + height * (row.dff - low) / span, color=style.BLUE, lw=0.8)
    bar = style.nice_length(0.6 * span)
    duration = max(float(times[-1] - times[0]), 1e-6)
    x, end = times[-1] + 0.012 * duration, floor + height * bar / span
    ax.plot([x, x], [floor, end], color=style.DARK, lw=1.6, clip_on=False)
    label = f"{bar:.0%}" if bar >= 0.01 else f"{bar:.1e}"
    ax.text(x + 0.006 * duration, (floor + end) / 2, label, fontsize=style.SMALL, va="center")
    return trace
