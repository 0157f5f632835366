"""Renders figures and checks their texts; a warning of matplotlib is an error."""

from collections.abc import Callable

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

_SLACK_PX = 2.0


def _texts(figure: Figure) -> list[Text]:
    """All visible texts, without tick labels, some of which lie beyond the limits of their axes."""
    ticks = {text for ax in figure.axes for axis in (ax.xaxis, ax.yaxis) for text in axis.findobj(Text)}
    return [text for text in set(figure.findobj(Text)) - ticks if text.get_visible() and text.get_text()]


def _check(figure: Figure) -> Figure:
    figure.set_dpi(50)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    whole = figure.bbox.padded(_SLACK_PX)
    for text in _texts(figure):
        box = text.get_window_extent(canvas.get_renderer())
        assert text.get_fontsize() >= 8, text
        assert whole.contains(box.x0, box.y0), (text, box)
        assert whole.contains(box.x1, box.y1), (text, box)
    return figure


@pytest.fixture
def render() -> Callable[[Figure], Figure]:
    """Renders a figure, and checks that its texts are at least 8 pt and none is cut off; returns the figure."""
    return _check
