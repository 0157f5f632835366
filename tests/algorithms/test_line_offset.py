"""The offset of odd rows: exact where it was planted, 0 and the same movie where there is none."""

from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import tifffile

from rsc2p_kedro.algorithms.line_offset import correct_line_offset, estimate_line_offset
from rsc2p_kedro.core.parameters import Acquisition, Compute
from rsc2p_kedro.simulation.movie import simulate
from rsc2p_kedro.simulation.settings import SimulationSettings

QUIET = Compute(threads=1, show_progress=False)
ACQUISITION = Acquisition(frame_rate_hz=15)
CROP = Path(__file__).parents[3] / "shared" / "data" / "neurofinder_crop" / "movie.tif"


def simulated(**settings):
    settings = {"n_frames": 120, "height_px": 80, "width_px": 96, "n_neurons": 12, "photons": 10, **settings}
    return simulate(SimulationSettings.model_validate(settings), ACQUISITION).movie.compute(scheduler="synchronous")


@pytest.fixture(scope="module", params=["smooth", "processes"])
def still(request):
    return simulated(tissue=request.param, seed=3)


@pytest.mark.parametrize("planted", [-3, -2, -1, 0, 1, 2, 3])
def test_planted_offset_is_found_exactly(still, planted):
    movie = still.copy()
    movie[:, 1::2] = np.roll(still[:, 1::2], planted, axis=2)  # content of odd rows moves to the right
    found = estimate_line_offset(da.from_array(movie, chunks=(32, 40, 48)), compute=QUIET)
    assert found.offset_px == planted
    corrected = correct_line_offset(da.from_array(movie, chunks=(32, 40, 48)), found.offset_px).compute()
    inside = slice(3, -3)
    np.testing.assert_array_equal(corrected[..., inside], still[..., inside])
    np.testing.assert_array_equal(corrected[:, ::2], still[:, ::2])
    assert corrected.dtype == still.dtype


def test_edges_take_the_nearest_pixel_of_their_row():
    movie = np.arange(12.0).reshape(1, 3, 4)
    np.testing.assert_array_equal(
        correct_line_offset(da.from_array(movie), 2)[0], [[0, 1, 2, 3], [6, 7, 7, 7], [8, 9, 10, 11]]
    )
    np.testing.assert_array_equal(correct_line_offset(da.from_array(movie), -1)[0, 1], [4, 4, 5, 6])


def test_movie_without_offset_is_the_same_array(still):
    movie = da.from_array(still, chunks=(32, 40, 48))
    assert correct_line_offset(movie, 0) is movie


@pytest.mark.slow
@pytest.mark.parametrize("tissue", ["smooth", "processes"])
@pytest.mark.parametrize("photons", [0.5, 3, 30])
def test_no_offset_is_found_where_there_is_none(tissue, photons):
    for seed in range(6):
        movie = simulated(tissue=tissue, photons=photons, seed=seed, n_frames=40 + 30 * seed)
        assert estimate_line_offset(movie, compute=QUIET).offset_px == 0


@pytest.mark.parametrize("shape", [(16, 2, 40), (16, 40, 7), (1, 40, 40), (16, 9, 9)])
def test_noise_and_tiny_frames_have_no_offset(shape):
    movie = np.random.default_rng(0).poisson(20, shape).astype(np.uint16)
    assert estimate_line_offset(movie, compute=QUIET).offset_px == 0
    assert estimate_line_offset(np.full(shape, 7, np.uint16), compute=QUIET).offset_px == 0


def test_blank_and_saturated_frames_do_not_hide_the_offset(still):
    movie = still.copy()
    movie[:, 1::2] = np.roll(still[:, 1::2], 2, axis=2)
    movie[10:14], movie[50:54], movie[90, 20:40] = 0, 65535, 65535
    assert estimate_line_offset(movie, compute=QUIET).offset_px == 2


def test_result_does_not_depend_on_threads(still):
    one = estimate_line_offset(still, compute=QUIET)
    several = estimate_line_offset(still, compute=Compute(threads=4, show_progress=False))
    np.testing.assert_array_equal(one.mismatch, several.mismatch)


def test_offset_not_smaller_than_the_frame_is_refused():
    with pytest.raises(ValueError, match=r"width of the frame \(5 px\), is -5"):
        correct_line_offset(da.zeros((2, 4, 5)), -5)


@pytest.mark.skipif(not CROP.exists(), reason="the real recordings are not here")
@pytest.mark.parametrize("planted", [-3, -1, 0, 1, 2, 3])
def test_planted_offset_in_a_real_recording(planted):
    movie = tifffile.imread(CROP)
    movie[:, 1::2] = np.roll(movie[:, 1::2], planted, axis=2)
    assert estimate_line_offset(movie, compute=QUIET).offset_px == planted
