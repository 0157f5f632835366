"""Traces, drawn."""

from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.figure import Figure

from rsc2p_kedro.plots import traces

Look = Callable[[Figure], Figure]
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
        frame_rate_hz=10,
        ids=range(n),
        snr=np.arange(n) + 1.0,
        accepted=np.arange(n) > 1,
        min_snr=2.0,
        title="a.b",
        **options,
    )


@pytest.mark.parametrize("n", [0, 1, 2, 12])
def test_traces_of_any_number(n: int, look: Look) -> None:
    figure = look(_draw(n))
    rows = sum(len(ax.get_yticks()) for ax in figure.axes if ax.axison)
    assert rows == n
    if n == 0:
        assert "no components" in figure.axes[0].texts[0].get_text()


def test_a_row_keeps_the_shape_of_its_trace_and_its_bar_is_true() -> None:
    ax = Figure().add_subplot()
    trace = np.sin(np.linspace(0, 20, T)) * 3
    traces.draw_rows(ax, np.arange(T) / 10, [("x", trace, np.zeros(T))])
    drawn, bar = ax.lines[0].get_ydata(), ax.lines[1].get_ydata()
    scale = np.ptp(drawn) / np.ptp(trace)
    np.testing.assert_allclose((drawn - drawn[0]) / scale, trace - trace[0], atol=1e-9)
    assert (bar[1] - bar[0]) / scale == pytest.approx(2.0)
    assert ax.texts[0].get_text() == "200%"


def test_only_the_longest_time_asked_for_is_drawn() -> None:
    figure = _draw(6, longest_s=5.0)
    assert len(figure.axes[0].lines[0].get_xdata()) == 50


def test_silent_and_flat_rows_draw_without_a_warning(look: Look) -> None:
    flat = np.zeros((1, T))
    look(
        traces.traces_with_spikes(
            flat, flat, frame_rate_hz=10, ids=[0], snr=np.zeros(1), accepted=np.ones(1, bool), min_snr=2.0
        )
    )


def test_recordings_have_a_panel_each(look) -> None:
    rng = np.random.default_rng(0)
    spikes = (rng.random((2, 300)) > 0.95).astype(float)
    some = traces.Clearest(rng.random((2, 300)), spikes, ["7\nSNR 9.0", "8\nSNR 2.0"], 10.0)
    none = traces.Clearest(np.zeros((0, 300)), np.zeros((0, 300)), [], 10.0)
    figure = look(traces.recordings_traces(["a.1", "b.1"], [some, none], longest_s=10.0))
    first, second = figure.axes
    assert first.get_title(loc="left") == "a.1"
    assert len(first.lines[0].get_xdata()) == 100
    assert second.texts[0].get_text() == "none"
