"""Planted neurons come back from the movie with their traces, their motion and the noise of the movie."""

import dask
import dask.array as da
import numpy as np
import pytest
import scipy.sparse as sp
from numpy.typing import NDArray

from rsc2p_kedro.core.parameters import Acquisition
from rsc2p_kedro.core.results import MotionCorrection
from rsc2p_kedro.simulation.hybrid import PlantedNeurons, displacements_at, draw_planted, measure_noise, plant
from rsc2p_kedro.simulation.settings import SimulationSettings

T, H, W, GAIN, OFFSET = 300, 50, 60, 30.0, 200.0


@pytest.fixture(scope="module")
def movie() -> NDArray[np.uint16]:
    """Counts of a detector of gain 30 and offset 200 over an uneven, steady background of 4 to 14 photons."""
    rng = np.random.default_rng(0)
    photons = rng.poisson(np.broadcast_to(np.linspace(4, 14, W), (T, H, W)))
    return np.rint(GAIN * photons + OFFSET + rng.normal(0, 5, (T, H, W))).clip(0, 65535).astype(np.uint16)


def neurons(level: float = 0.5, rest: float = 0.0) -> PlantedNeurons:
    """Two square neurons of steady brightness; the second one has a step in the middle of the recording."""
    A = np.zeros((2, H, W), np.float32)
    A[0, 20:28, 10:18] = A[1, 20:28, 40:48] = 1
    traces = np.full((2, T), level, np.float32)
    traces[1, : T // 2] = 0
    footprints = sp.csc_array(A.reshape(2, -1).T)
    return PlantedNeurons(footprints, np.full(2, rest, np.float32), traces, 0 * traces, np.exp(-np.arange(10) / 3))


def test_the_gain_is_the_slope_of_variance_over_mean(movie: NDArray) -> None:
    noise = measure_noise(movie)
    assert noise.gain == pytest.approx(GAIN, rel=0.05)
    assert noise.zero == pytest.approx(OFFSET - 25 / GAIN, abs=25)
    np.testing.assert_allclose(noise.mean, movie.mean(axis=0), rtol=1e-4)


def test_planted_light_has_its_trace_and_the_shot_noise_of_the_movie(movie: NDArray) -> None:
    hybrid = plant(movie, neurons())
    added = hybrid.movie.compute().astype(float) - movie
    unit = movie.mean() - hybrid.noise.zero
    steady = added[:, 20:28, 10:18]
    assert hybrid.movie.dtype == np.uint16
    assert steady.mean() == pytest.approx(0.5 * unit, rel=0.01)
    assert steady.var() == pytest.approx(hybrid.noise.gain * 0.5 * unit, rel=0.05)
    assert not added[: T // 2, 20:28, 40:48].any()
    assert added[T // 2 :, 20:28, 40:48].mean() == pytest.approx(0.5 * unit, rel=0.02)
    assert not added[:, :15].any()
    after = measure_noise(hybrid.movie.compute())
    assert after.gain == pytest.approx(hybrid.noise.gain, rel=0.05)


def test_rest_adds_light_without_a_transient(movie: NDArray) -> None:
    hybrid = plant(movie, neurons(level=0.0, rest=0.8))
    added = hybrid.movie.compute().astype(float) - movie
    assert added[:, 20:28, 10:18].mean() == pytest.approx(0.8 * (movie.mean() - hybrid.noise.zero), rel=0.01)
    assert (hybrid.objects.snr == 0).all()


def test_planted_neurons_move_as_they_are_told(movie: NDArray) -> None:
    moved = np.zeros((T, 2, 2))
    moved[:, 0] = (3.0, -4.0)
    moved[:, 1, 1] = 0.5
    added = plant(movie, neurons(), displacements=moved).movie[T // 2 :].compute().astype(float) - movie[T // 2 :]
    image = added.mean(axis=0)
    first, second = image[:, :30], image[:, 30:]
    y, x = np.indices(first.shape)
    assert [(first * y).sum() / first.sum(), (first * x).sum() / first.sum()] == pytest.approx([26.5, 9.5], abs=0.1)
    assert (second * x).sum() / second.sum() + 30 == pytest.approx(44.0, abs=0.1)
    assert image[23:31, 6:14].sum() == pytest.approx(first.sum())


def test_displacements_are_minus_the_shifts_of_the_nearest_patch() -> None:
    shifts = np.random.default_rng(0).normal(size=(T, 2)).astype(np.float32)
    patches = np.stack([shifts - 1, shifts + 1], axis=1)
    arguments = {
        "template": np.zeros((H, W), np.float32), "shifts": shifts, "valid_mask": np.ones((H, W), bool),
        "peak_quality": np.zeros(T, np.float32), "registered": np.ones(T, bool),
    }  # fmt: skip
    centres = np.array([[25, 15], [25, 45]], np.float32)
    piecewise = MotionCorrection(patch_shifts=patches, patch_centres=centres, **arguments)
    found = displacements_at(piecewise, np.array([[20, 50], [30, 10]]))
    np.testing.assert_array_equal(found, -patches[:, [1, 0]])
    none = np.zeros((T, 0, 2), np.float32)
    rigid = MotionCorrection(patch_shifts=none, patch_centres=np.zeros((0, 2), np.float32), **arguments)
    np.testing.assert_array_equal(displacements_at(rigid, np.zeros((3, 2)))[:, 2], -shifts)


def test_the_same_seed_gives_the_same_movie_for_any_blocks(movie: NDArray) -> None:
    whole = plant(movie, neurons(), seed=3).movie.compute()
    chunked = plant(da.from_array(movie, chunks=(50, H, W)), neurons(), seed=3, block_frames=17).movie
    with dask.config.set(scheduler="threads", num_workers=3):
        np.testing.assert_array_equal(chunked[100:].compute(), whole[100:])
    assert (plant(movie, neurons(), seed=4).movie.compute() != whole).any()


def test_drawn_neurons_have_known_traces_and_masks(movie: NDArray) -> None:
    masks = np.zeros((3, H, W), bool)
    masks[0, 5:15, 5:15] = masks[1, 30:40, 10:20] = masks[2, 30:42, 40:50] = True
    settings = SimulationSettings(n_frames=T, quiet_share=0.0, burst_rate_hz=0.3)
    planted = draw_planted(masks, settings, Acquisition(frame_rate_hz=15))
    hybrid = plant(movie, planted)
    np.testing.assert_array_equal(hybrid.truth.traces, planted.traces)
    assert hybrid.objects.n_somata == hybrid.truth.n_neurons == 3
    added = hybrid.movie.compute().astype(float) - movie
    for i, mask in enumerate(masks):
        assert np.corrcoef(added[:, mask].mean(axis=1), planted.traces[i])[0, 1] > 0.9
    assert (hybrid.objects.snr > 8).all()


def test_neurons_that_do_not_fit_the_movie_are_refused(movie: NDArray) -> None:
    with pytest.raises(ValueError, match="should have 299 frames"):
        plant(movie[1:], neurons())
    with pytest.raises(ValueError, match=r"displacements should have the shape \(300, 2\)"):
        plant(movie, neurons(), displacements=np.zeros((T, 3, 2)))
