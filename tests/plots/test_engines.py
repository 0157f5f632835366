import numpy as np
import pytest
import scipy.sparse as sp
from matplotlib.colors import to_hex

from rsc2p_kedro.plots import engines, style

H, W = 20, 30


def squares(*places: tuple[int, int]) -> sp.csc_array:
    images = np.zeros((len(places), H, W), np.float32)
    for image, (y, x) in zip(images, places, strict=True):
        image[y : y + 4, x : x + 4] = 0.25
    return sp.csc_array(images.reshape(len(places), H * W).T)


@pytest.fixture
def arguments() -> dict:
    rng = np.random.default_rng(0)
    shifts = rng.normal(size=(50, 2))
    seconds = {"correct_motion": 1.0, "fit": 2.0}
    return {
        "image": rng.random((H, W)),
        "footprints": (squares((2, 2), (10, 20)), squares((10, 20), (14, 3), (3, 22))),
        "matched": np.array([[1, 0]]),
        "iou": np.array([0.8]),
        "trace_correlation": np.array([0.9]),
        "dff_correlation": np.array([0.7]),
        "shifts": (shifts, shifts + np.array([0.5, 0])),
        "seconds": (seconds, {"correct_motion": 10.0, "fit": 30.0}),
        "memory_gb": (0.5, float("nan")),
        "names": ("embedded", "caiman"),
        "frame_rate_hz": 10.0,
        "pixel_size_um": (1.5, 1.5),
        "title": "two engines",
    }


def test_matching_components_and_those_of_one_engine_differ_in_colour(render, arguments):
    figure = render(engines.agreement_figure(**arguments))
    ax = figure.axes[0]
    colors = [to_hex(lines.get_color()[0]) for lines in ax.collections for _ in lines.get_segments()]
    assert colors.count(to_hex("white")) == 2
    assert colors.count(to_hex(style.ORANGE)) == 1
    assert colors.count(to_hex(style.SKY)) == 2
    assert any(text.get_text().endswith("µm") for text in ax.texts)
    assert [t.get_text() for t in ax.get_legend().get_texts()] == [
        "both: 1 (caiman dotted)",
        "embedded only: 1",
        "caiman only: 2",
    ]
    steps = next(ax for ax in figure.axes if ax.get_title(loc="left").startswith("Wall time"))
    assert [t.get_text() for t in steps.get_legend().get_texts()] == ["embedded: 3 s, 0.5 GB", "caiman: 40 s"]
    assert [text.get_text() for text in steps.texts] == ["1", "2", "10", "30"]


def test_a_constant_offset_between_templates_is_no_difference(render, arguments):
    figure = render(engines.agreement_figure(**arguments))
    y = next(ax for ax in figure.axes if ax.get_title(loc="left").startswith("y shift"))
    np.testing.assert_allclose(y.lines[1].get_ydata(), 0, atol=1e-6)
    assert [t.get_text() for t in y.get_legend().get_texts()] == [
        "embedded",
        "difference, RMS 0.000 px",
    ]


def test_no_match_is_stated(render, arguments):
    none = {"iou": np.zeros(0), "trace_correlation": np.zeros(0), "dff_correlation": np.zeros(0)}
    nothing = {"footprints": (squares(), squares((1, 1))), "matched": np.zeros((0, 2), int)}
    figure = render(engines.agreement_figure(**(arguments | none | nothing)))
    assert "No components match." in [text.get_text() for text in figure.axes[1].texts]
