"""Contact sheets show each component where it is."""

from collections.abc import Callable

import numpy as np
import scipy.sparse as sp
from matplotlib.figure import Figure

from rsc2p_kedro.plots.contact_sheet import contact_sheet, transient_images, windows

H, W, T = 30, 40, 50


def test_windows_are_centred_and_unknown_beyond_the_image() -> None:
    image = np.arange(H * W, dtype=float).reshape(H, W)
    first, second = windows(image, np.array([[10.2, 20.4], [0, 39]]), 3)
    np.testing.assert_array_equal(first, image[7:14, 17:24])
    np.testing.assert_array_equal(second[3:, :4], image[:4, 36:])
    assert np.isnan(second[:3]).all()
    assert np.isnan(second[:, 4:]).all()


def test_the_transient_image_shows_what_brightens_with_the_trace() -> None:
    movie = np.full((T, H, W), 100.0)
    movie[20:25, 10:13, 2:5] += 7
    trace = np.zeros((1, T))
    trace[0, 20:25] = 1
    (image,) = transient_images(movie, trace, np.array([[11.0, 3.0]]), 5, n_frames=5)
    expected = np.zeros((11, 11))
    expected[4:7, 4:7] = 7
    expected[:, :2] = np.nan
    np.testing.assert_array_equal(image, expected)


def test_the_outline_surrounds_the_component(render: Callable[[Figure], Figure]) -> None:
    footprint = np.zeros((H, W), np.float32)
    footprint[8:15, 18:23] = 1
    footprint[11, 30] = 0.1
    centres = np.array([[11.0, 20.0]] * 3)
    image = np.random.default_rng(0).random((H, W))
    kinds = [windows(image, centres, 8)] * 3
    columns = sp.csc_array(np.repeat(footprint.reshape(-1, 1), 3, axis=1))
    labels = ["1   r 0.50", "2   r 0.70", "3   r 0.90"]
    traces = np.random.default_rng(1).random((3, T))
    names = ("mean", "correlation", "transients")
    sheet = contact_sheet(
        kinds, columns, (H, W), centres, traces, labels, frame_rate_hz=10.0, names=names, title="a.b, sheet 1"
    )
    figure = render(sheet)
    assert len(figure.axes) == 6
    strip, trace = figure.axes[:2]
    assert trace.get_title(loc="left") == labels[0]
    assert trace.lines[0].get_xdata()[-1] == (T - 1) / 10
    assert strip.images[0].get_array().shape == (17, 3 * 17 + 2)
    (line,) = strip.collections[0].get_segments()
    np.testing.assert_allclose((line.min(axis=0) + line.max(axis=0)) / 2, [2 * 18 + 8, 8])
    np.testing.assert_allclose(np.ptp(line, axis=0), [4, 6], atol=1)
