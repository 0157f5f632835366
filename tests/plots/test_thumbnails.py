"""Thumbnails of recordings."""

import io

import numpy as np
import pytest
import scipy.sparse as sp
from matplotlib.image import imread

from rsc2p_kedro.plots.thumbnails import DPI, thumbnail


def _footprint(shape: tuple[int, int]) -> sp.csc_array:
    """A square in the lower right quarter."""
    dense = np.zeros(shape, np.float32)
    dense[-12:-6, -12:-6] = 1.0
    return sp.csc_array(dense.reshape(-1, 1))


@pytest.mark.parametrize(
    ("shape", "pixel_size_um", "size"),
    [
        ((64, 64), None, (160, 324)),
        ((512, 256), None, (160, 164)),
        ((100, 200), (1.0, 1.0), (80, 324)),
        ((100, 200), (2.0, 1.0), (160, 324)),
    ],
)
def test_panels_are_160_px_along_their_longer_side(shape, pixel_size_um, size) -> None:
    image = np.random.default_rng(0).random(shape)
    figure = thumbnail(image, image, _footprint(shape), pixel_size_um=pixel_size_um)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    buffer.seek(0)
    assert imread(buffer).shape[:2] == size


def test_the_maximum_is_on_the_left_and_contours_are_on_the_correlation_image() -> None:
    rng, shape = np.random.default_rng(0), (40, 60)
    maximum, correlation = rng.random(shape), rng.random(shape)
    left, right = thumbnail(maximum, correlation, _footprint(shape)).axes
    np.testing.assert_array_equal(left.images[0].get_array(), maximum)
    np.testing.assert_array_equal(right.images[0].get_array(), correlation)
    assert [len(ax.collections) for ax in (left, right)] == [0, 1]
    (outline,) = right.collections[0].get_segments()
    np.testing.assert_allclose(outline.min(0), [47.5, 27.5], atol=0.6)
    np.testing.assert_allclose(outline.max(0), [53.5, 33.5], atol=0.6)
    assert right.get_xlim() == (-0.5, 59.5)


def test_a_thumbnail_as_the_catalog_saves_it_takes_less_than_ten_kilobytes() -> None:
    rng = np.random.default_rng(0)
    noisy = rng.gamma(20.0, size=(512, 512))
    buffer = io.BytesIO()
    figure = thumbnail(noisy, noisy, _footprint((512, 512)))
    figure.savefig(buffer, format="webp", dpi=DPI, pil_kwargs={"quality": 60, "method": 6})
    assert buffer.getvalue().startswith(b"RIFF")
    assert len(buffer.getvalue()) < 10_000
