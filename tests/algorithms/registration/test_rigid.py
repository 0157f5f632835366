import numpy as np
import pytest
from tests.reference import registration as reference

from rsc2p_kedro.algorithms.registration import cross_correlation
from rsc2p_kedro.algorithms.registration.rigid import peak_quality, peaks, rigid_displacement


def texture(shape, seed=0):
    y, x = np.mgrid[: shape[0], : shape[1]].astype(float)
    image = reference.CosineScene(seed)(y, x).astype(np.float32)
    return image - image.mean()


@pytest.mark.parametrize("shape", [(32, 40), (45, 50)])
def test_correlation_agrees_with_the_plain_version(shape):
    frame, kernel = texture(shape, 1), texture(shape, 2)
    correlator = cross_correlation.make_correlator(kernel, kernel, 5)
    plain = reference.correlation_surface(frame, kernel, (5, 5)) / (kernel.astype(float) ** 2).sum()
    np.testing.assert_allclose(cross_correlation.correlation_surfaces(frame[None], correlator)[0], plain, atol=1e-5)


def test_a_frame_like_the_template_peaks_at_one():
    image = texture((64, 50))
    correlator = cross_correlation.make_correlator(image, image * cross_correlation.edge_taper(image.shape, 6), 6)
    surface = cross_correlation.correlation_surfaces(image[None], correlator)
    assert surface[0, 6, 6] == pytest.approx(1, abs=1e-5)
    assert correlator.template_correlation[12, 12] == pytest.approx(1, abs=1e-5)
    assert np.unravel_index(surface[0].argmax(), surface[0].shape) == (6, 6)


@pytest.mark.parametrize("shift", [(4, -4), (-4, 4), (0, 4), (3, -2)])
def test_whole_pixel_shifts_come_back_up_to_the_largest_one_included(shift):
    image = texture((64, 64))
    correlator = cross_correlation.make_correlator(image, image * cross_correlation.edge_taper(image.shape, 6), 8)
    frames = np.roll(image, shift, (0, 1))[None]
    shifts, quality = rigid_displacement(
        cross_correlation.correlation_surfaces(frames, correlator), correlator, max_shift=4
    )
    np.testing.assert_allclose(shifts[0], shift, atol=0.25)
    assert np.abs(shifts).max() <= 4
    assert quality[0] > 20


def test_peaks_never_leave_the_window():
    surface = np.zeros((1, 9, 9), np.float32)
    surface[0, 0, 8] = 2
    surface[0, 2, 6] = 1
    np.testing.assert_array_equal(peaks(surface, max_shift=2)[0], [[-2, 2]])
    np.testing.assert_array_equal(peaks(surface, max_shift=4)[0], [[-4, 4]])


def test_blank_frames_have_no_quality():
    own = np.ones((17, 17), np.float32)
    assert peak_quality(np.zeros((1, 9, 9), np.float32), np.zeros((1, 2), np.int64), own) == 0


def test_the_taper_is_1_inside_and_falls_to_0_as_a_cosine():
    window = cross_correlation.edge_taper((64, 80), 8)
    np.testing.assert_array_equal(window[8:-8, 8:-8], 1)
    np.testing.assert_allclose(window[:8, 40], 0.5 - 0.5 * np.cos(np.pi * (np.arange(8) + 0.5) / 8), rtol=1e-6)
    np.testing.assert_array_equal(window, window[::-1, ::-1])
