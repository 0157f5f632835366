"""Artefacts are found one by one; what tissue does is none."""

from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import tifffile
from scipy.ndimage import gaussian_filter

from rsc2p_kedro.algorithms.bad_frames import find_artefacts, find_lost_focus
from rsc2p_kedro.algorithms.registration import apply_motion, estimate_motion
from rsc2p_kedro.core.parameters import Acquisition, Compute, MotionCorrectionParameters
from rsc2p_kedro.simulation.movie import simulate
from rsc2p_kedro.simulation.settings import SimulationSettings

QUIET = Compute(threads=2, show_progress=False)
SHARED = Path(__file__).parents[3] / "shared" / "data"
REAL = ["neurofinder_crop/movie.tif", "fissa_trials/AVG_A01.tif", "fissa_trials/AVG_A02.tif"]


def simulated(**settings):
    settings = {"n_frames": 250, "height_px": 80, "width_px": 96, "n_neurons": 12, "photons": 10, **settings}
    made = simulate(SimulationSettings.model_validate(settings), Acquisition(frame_rate_hz=15))
    return made.movie.compute(scheduler="synchronous")


def found(movie):
    reasons = find_artefacts(movie, compute=QUIET)
    return {int(t): str(reasons[t]) for t in np.flatnonzero(reasons != "")}


def focus(movie):
    parameters = MotionCorrectionParameters(piecewise=False)
    lazy = da.from_array(movie, chunks=(64, -1, -1))
    motion = estimate_motion(lazy, parameters, compute=QUIET)
    corrected = apply_motion(lazy, motion, parameters)
    return find_lost_focus(corrected, motion, max_shift_px=parameters.max_shift_px, compute=QUIET), motion


@pytest.fixture(scope="module")
def movie():
    return simulated(tissue="processes", seed=5)


@pytest.mark.slow
@pytest.mark.parametrize("tissue", ["smooth", "processes"])
@pytest.mark.parametrize("photons", [1, 5, 40])
def test_good_frames_are_never_bad(tissue, photons):
    for seed in (1, 2):
        good = simulated(tissue=tissue, photons=photons, seed=seed)
        assert found(good) == {}
        assert (focus(good)[0] == "").all()


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_good_frames_of_real_recordings_are_never_bad(name):
    if not (SHARED / name).exists():
        pytest.skip("the real recordings are not here")
    real = tifffile.imread(SHARED / name)
    assert found(real) == {}
    assert (focus(real)[0] == "").all()


def test_each_artefact_is_named(movie):
    spoiled, dark = movie.copy(), int(np.percentile(movie, 0.05))
    spoiled[20] = 0
    spoiled[40] = 65535
    spoiled[60, 30:40] = np.minimum(movie[60, 30:40] * 5.0, 65000)
    spoiled[80, 10:30] = dark
    spoiled[100] = np.minimum(movie[100] * 3.0, 65000)
    spoiled[120, :, ::3] = 65535
    assert found(spoiled) == {
        20: "blank", 40: "saturated", 60: "bright band", 80: "dark band", 100: "flash", 120: "saturated",
    }  # fmt: skip


def test_change_of_gain_and_bleaching_are_no_artefacts(movie):
    dark = float(np.percentile(movie, 0.05))
    gain = np.where(np.arange(len(movie)) < 137, 1.0, 2.5) * np.exp(-np.arange(len(movie)) / 300)
    changed = dark + (movie - dark) * gain[:, None, None]
    assert found(np.clip(changed, 0, 65535).astype(np.uint16)) == {}


def test_movie_without_background_has_no_artefacts_of_light(movie):
    subtracted = movie.astype(np.float32) - movie.mean(0)
    assert found(subtracted) == {}
    subtracted[60, 30:40] += 20 * subtracted.std()
    assert found(subtracted) == {60: "bright band"}


def test_bright_cells_and_single_rows_are_no_bands(movie):
    active = movie.copy()
    active[50:60, 20:40, 30:50] = np.minimum(movie[50:60, 20:40, 30:50] * 6.0, 65000)
    active[90, 33] = 0
    assert found(active) == {}


def test_result_does_not_depend_on_blocks(movie):
    spoiled = movie.copy()
    spoiled[60:64, 30:40] = 60000
    one = find_artefacts(spoiled, compute=Compute(threads=1, block_frames=7, show_progress=False))
    np.testing.assert_array_equal(one, find_artefacts(spoiled, compute=QUIET))


@pytest.mark.parametrize("n_frames", [1, 2, 16])
def test_short_movies_are_looked_at(movie, n_frames):
    assert found(movie[:n_frames]) == {}
    assert found(np.full((n_frames, 8, 9), 5, np.uint16)) == dict.fromkeys(range(n_frames), "blank")


def test_lost_focus_and_shifts_at_the_limit_are_found(movie):
    spoiled = movie.astype(np.float32)
    spoiled[70] = gaussian_filter(movie[70].astype(float), 3) + np.random.default_rng(0).normal(0, 30, movie[70].shape)
    spoiled[150] = np.roll(movie[150], 9, axis=1)
    reasons, motion = focus(spoiled)
    assert reasons[70] == "lost focus" or not motion.registered[70]
    assert reasons[150] == "beyond max_shift_px" or not motion.registered[150]
    others = np.delete(np.arange(len(movie)), [70, 150])
    assert (reasons[others] == "").all()
