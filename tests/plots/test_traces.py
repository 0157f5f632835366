"""Traces and spikes, drawn."""

from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.collections import FillBetweenPolyCollection, LineCollection
from matplotlib.figure import Figure

from rsc2p_kedro.plots import style, traces

Render = Callable[[Figure], Figure]
T = 200


def test_the_best_are_accepted_and_the_borderline_are_near_the_threshold() -> None:
    snr = np.array([9.0, 0.1, 2.1, 8.0, 1.9, 20.0])
    accepted = np.array([True, False, True, True, False, False])
    best, borderline = traces.choose_components(snr, accepted, min_snr=2.0, n_best=2, n_borderline=2)
    assert best.tolist() == [0, 3]
    assert borderline.tolist() == [2, 4]


def test_no_component_is_chosen_twice() -> None:
    best, borderline = traces.choose_components(np.full(5, 2.0), np.ones(5, dtype=bool), min_snr=2.0, n_best=3)
    assert sorted([*best, *borderline]) == [0, 1, 2, 3, 4]


def test_the_busiest_window_holds_the_activity() -> None:
    spikes = np.zeros((2, T))
    spikes[:, 120:130] = [[1.0], [50.0]]
    window = traces.busiest_window(spikes, 20)
    assert window.stop - window.start == 20
    assert window.start <= 120
    assert window.stop >= 130
    assert traces.busiest_window(spikes, 5 * T) == slice(0, T)


def _draw(n: int, **options: float) -> Figure:
    rng = np.random.default_rng(0)
    return traces.traces_with_spikes(
        rng.normal(size=(n, T)),
        rng.random((n, T)) > 0.9,
        2 * rng.random((n, T)) ** 8,
        frame_rate_hz=10,
        ids=range(n),
        snr=np.arange(n) + 1.0,
        accepted=np.arange(n) > 1,
        min_snr=2.0,
        title="a.b",
        **options,
    )


@pytest.mark.parametrize("n", [0, 1, 2, 12])
def test_traces_of_any_number(n: int, render: Render) -> None:
    figure = render(_draw(n))
    rows = sum(len(ax.get_yticks()) for ax in figure.axes if ax.axison)
    assert rows == n
    if n == 0:
        assert "There are no components." in figure.axes[0].texts[0].get_text()


def test_a_row_keeps_the_shape_of_its_trace_and_its_bar_is_true() -> None:
    ax = Figure().add_subplot()
    trace = np.sin(np.linspace(0, 20, T)) * 3
    traces.draw_rows(ax, np.arange(T) / 10, [traces.Row("x", trace, np.zeros(T), np.zeros(T))])
    drawn, bar = ax.lines[0].get_ydata(), ax.lines[1].get_ydata()
    scale = np.ptp(drawn) / np.ptp(trace)
    np.testing.assert_allclose((drawn - drawn[0]) / scale, trace - trace[0], atol=1e-9)
    assert (bar[1] - bar[0]) / scale == pytest.approx(2.0)
    assert ax.texts[0].get_text() == "200%"


def _drawn_lanes(*inferred: np.ndarray) -> list[np.ndarray]:
    """Heights above the bottom of its row of what was drawn of the inferred spikes (T,) of each."""
    ax = Figure().add_subplot()
    silent = np.zeros(T)
    traces.draw_rows(ax, np.arange(T) / 10, [traces.Row("x", silent, silent, one) for one in inferred])
    lanes = [one.get_paths()[0].vertices for one in ax.collections if isinstance(one, FillBetweenPolyCollection)]
    return [lane[:, 1] + place for place, lane in enumerate(lanes)]


def test_inferred_spikes_are_drawn_where_they_were_and_small_ones_stay_small() -> None:
    rates = np.zeros((3, T))
    rates[0, 30], rates[1, 30], rates[2, 30] = 4.0, 0.25, 1.0
    many, few, one = _drawn_lanes(*rates)
    np.testing.assert_allclose([many.max(), few.max(), one.max()], [0.18, 0.25 * 0.18, 0.18])
    assert few.min() == 0


def test_spikes_of_both_kinds_and_the_trace_do_not_touch(render: Render) -> None:
    ax = traces.style.new_figure(8, 3).add_subplot()
    rng = np.random.default_rng(0)
    row = traces.Row("x", rng.random(T), rng.random(T), 3 * rng.random(T))
    traces.draw_rows(ax, np.arange(T) / 10, [row, row])
    render(traces.style.figure_of(ax))
    lanes = [lane for lane in ax.collections if isinstance(lane, FillBetweenPolyCollection)]
    stems = [lane for lane in ax.collections if isinstance(lane, LineCollection)]
    for place in range(2):
        inferred, spikes = lanes[place].get_paths()[0].vertices[:, 1], np.array(stems[place].get_segments())[..., 1]
        trace = ax.lines[2 * place].get_ydata()
        assert -place <= inferred.min() < inferred.max() < spikes.min() < spikes.max() < trace.min()
        assert trace.max() < 1 - place


def test_a_key_names_the_colours_once() -> None:
    legends = [ax.get_legend() for ax in _draw(12).axes]
    assert [text.get_text() for text in legends[0].get_texts()] == list(traces.KINDS)
    assert legends[1] is None


def test_only_the_longest_time_asked_for_is_drawn() -> None:
    figure = _draw(6, longest_s=5.0)
    assert len(figure.axes[0].lines[0].get_xdata()) == 50


def test_silent_and_flat_rows_draw_without_a_warning(render: Render) -> None:
    flat = np.zeros((1, T))
    figure = render(
        traces.traces_with_spikes(
            flat, flat, flat, frame_rate_hz=10, ids=[0], snr=np.zeros(1), accepted=np.ones(1, bool), min_snr=2.0
        )
    )
    assert np.ptp(figure.axes[0].lines[0].get_ydata()) == 0


def test_excluded_frames_get_a_grey_band() -> None:
    excluded = np.zeros(40, bool)
    excluded[[5, 6, 30]] = True
    ax = Figure().add_subplot()
    bands = style.mark_excluded((ax,), np.arange(40) / 10, excluded)
    extents = [path.get_extents() for path in bands[0].get_paths()]
    np.testing.assert_allclose([(e.x0, e.x1) for e in extents], [(0.45, 0.65), (2.95, 3.05)])
    assert bands[0].get_label() == "excluded frames (3)"
    assert style.mark_excluded((ax,), np.arange(40) / 10, np.zeros(40, bool)) == []
