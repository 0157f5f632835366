"""Soft saturation is found where it is simulated, at its level, and nowhere else."""

from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from rsc2p_kedro.algorithms.detector import measure_detector
from rsc2p_kedro.core.parameters import Acquisition, Compute
from rsc2p_kedro.core.results import DetectorSaturation
from rsc2p_kedro.simulation.movie import compress, simulate
from rsc2p_kedro.simulation.settings import SimulationSettings

QUIET = Compute(threads=1, show_progress=False)
SHARED = Path(__file__).parents[2].parent / "shared" / "data"
KINDS = {
    "smooth": {"seed": 3},
    "large motion": {"seed": 4, "rigid_amplitude_px": 10.0, "motion": "shear"},
    "few bright pixels": {"seed": 5, "n_neurons": 4},
    "few photons": {"seed": 6, "photons": 5.0},
    "tissue": {"seed": 7, "tissue": "processes", "gain": 120.0, "n_neurons": 20},
    "moving tissue": {"seed": 8, "tissue": "processes", "photons": 30.0, "axial_amplitude": 2.0, "n_neurons": 20},
}


def find(movie: NDArray | da.Array) -> DetectorSaturation:
    return measure_detector(movie, compute=QUIET).saturation


def make(**settings: object) -> NDArray[np.uint16]:
    size = {"n_frames": 300, "height_px": 96, "width_px": 112}
    simulated = simulate(SimulationSettings.model_validate(size | settings), Acquisition(frame_rate_hz=15))
    return simulated.movie.compute(scheduler="synchronous")


def photon_movie(seed: int, *, gain: float = 30.0) -> NDArray[np.float64]:
    """Counts of a movie whose brightness changes slowly, with a tenth of its pixels up to 12 times as bright."""
    rng = np.random.default_rng(seed)
    rate = np.full((60, 64), 10.0)
    rate[20:40, 10:30] *= np.linspace(1, 12, 400).reshape(20, 20)
    photons = rng.poisson(rate * (1 + 0.5 * np.sin(np.arange(400) / 24))[:, None, None])
    return gain * photons + 200.0


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_soft_saturation_is_found_at_its_level_and_only_where_there_is_some(kind: str) -> None:
    clean = make(**KINDS[kind])
    assert find(clean).level is None
    level = float(np.percentile(clean, 99.9))
    found = find(make(**KINDS[kind], soft_saturation=level))
    assert found.level == pytest.approx(level, rel=0.1)
    assert 1e-4 < found.share < 3e-3


@pytest.mark.parametrize("seed", range(5))
def test_the_curve_of_photon_noise_is_a_line_up_to_its_brightest_values(seed: int) -> None:
    movie = photon_movie(seed)
    found = find(movie)
    assert found.level is None
    bright = found.levels > 500
    expected = 30 * (found.levels[bright] - 200)
    assert np.median(found.noise_variance[bright] / expected) == pytest.approx(1, abs=0.05)
    np.testing.assert_allclose(found.noise_variance[bright] / expected, 1, atol=0.35)


@pytest.mark.parametrize("level", [1500.0, 3000.0])
def test_the_level_of_compressed_counts_is_found(level: float) -> None:
    rng = np.random.default_rng(0)
    counts = compress(photon_movie(1), level) + rng.normal(0, 10, (400, 60, 64))
    found = find(counts)
    assert found.level == pytest.approx(level, rel=0.08)
    assert found.share == pytest.approx((counts > found.level).mean(), rel=0.3)


def test_a_hard_ceiling_is_found_too() -> None:
    found = find(np.minimum(photon_movie(2), 3000.0))
    assert found.level == pytest.approx(3000, rel=0.15)


def test_text_burnt_into_the_frames_is_no_saturation() -> None:
    movie = photon_movie(3)
    movie[:, 2:8, 2:40] = movie.max()
    assert find(movie).level is None


def test_movies_that_say_nothing_have_no_level() -> None:
    for shape in ((1, 30, 30), (50, 2, 40), (5, 4, 4)):
        assert find(np.random.default_rng(0).poisson(9.0, shape)).level is None
    assert find(np.full((40, 20, 20), 7, np.uint16)).level is None
    with pytest.raises(ValueError, match=r"should be \(T, H, W\)"):
        find(np.zeros((4, 4)))


def test_neither_threads_nor_chunks_change_a_bit() -> None:
    movie = compress(photon_movie(4), 2000.0).astype(np.float32)
    lazy = da.from_array(movie, chunks=(30, 20, -1))
    whole = find(movie)
    parts = measure_detector(lazy, compute=Compute(threads=3, show_progress=False)).saturation
    assert whole.level == parts.level
    np.testing.assert_array_equal(whole.noise_variance, parts.noise_variance)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real recordings are not at hand (../shared/data)")
@pytest.mark.parametrize(
    ("name", "saturates"),
    [("neurofinder_crop/movie.tif", True), ("fissa_trials/AVG_A01.tif", False), ("fissa_trials/AVG_A02.tif", False)],
)
def test_real_recordings(name: str, saturates: bool) -> None:
    """In the crop the variance falls to a sixth of the line; in the FISSA trials it follows the line to the top."""
    found = find(tifffile.imread(SHARED / name))
    assert (found.level is not None) is saturates
    if found.level is not None:
        assert 1500 < found.level < 2600


@pytest.mark.parametrize("unit", [1e-9, 1e-6, 1e3, 1e6])
def test_the_level_does_not_depend_on_the_unit_of_the_pixels(unit: float) -> None:
    counts = compress(photon_movie(1), 2000.0) + np.random.default_rng(0).normal(0, 10, (400, 60, 64))
    found, other = find(counts.astype(np.float32)), find((counts * unit).astype(np.float32))
    assert found.level is not None
    assert other.level is not None
    assert other.level / unit == pytest.approx(found.level, rel=0.01)
    assert other.share == pytest.approx(found.share, rel=0.02)
