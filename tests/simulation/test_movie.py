"""The simulated movie agrees with its ground truth."""

import hashlib

import dask
import numpy as np
import pytest
import scipy.ndimage as ndi
from numpy.typing import NDArray

from rsc2p_kedro.core.parameters import Acquisition
from rsc2p_kedro.simulation.activity import calcium_response
from rsc2p_kedro.simulation.movie import SimulatedRecording, compress, simulate
from rsc2p_kedro.simulation.settings import SimulationSettings

ACQUISITION = Acquisition(frame_rate_hz=15, decay_time_s=0.5)
SMALL = {"n_frames": 90, "height_px": 64, "width_px": 80, "n_neurons": 8}
BRIGHT = {"photons": 5000.0, "gain": 1.0, "read_noise": 0.0, "offset": 0.0}
STEADY = {"neuropil_strength": 0.0, "bleaching": 0.0, "vignetting": 0.0}


def make(**settings: object) -> SimulatedRecording:
    return simulate(SimulationSettings(**{**SMALL, **settings}), ACQUISITION)


def fluorescence(recording: SimulatedRecording) -> NDArray[np.float64]:
    return recording.movie.compute() / BRIGHT["photons"]


def test_the_same_seed_gives_the_same_movie_for_any_blocks_and_order() -> None:
    settings = SimulationSettings(**SMALL)
    whole = simulate(settings, ACQUISITION).movie.compute()
    assert whole.dtype == np.uint16
    parts = simulate(settings, ACQUISITION, block_frames=7).movie
    with dask.config.set(scheduler="threads", num_workers=3):
        np.testing.assert_array_equal(parts[40:].compute(), whole[40:])
    np.testing.assert_array_equal(parts[:40].compute(scheduler="synchronous"), whole[:40])


@pytest.mark.parametrize(
    ("motion", "digest"), [("none", "9e885f1fbec8675f"), ("jerks", "d0d70e34ec095390"), ("shear", "fb16610b3d6cddc4")]
)
def test_smooth_movies_are_those_of_the_first_simulator(motion: str, digest: str) -> None:
    """Digests of the movies of commit 08cbce6, before there was `tissue`, with the versions of constraints.txt."""
    settings = {"n_frames": 40, "height_px": 48, "width_px": 56, "n_neurons": 5, "motion": motion, "seed": 9}
    for others in ({}, {"tissue": "smooth", "quiet_share": 0.9, "axial_amplitude": 2.0, "process_density": 9.0}):
        movie = simulate(SimulationSettings(**settings, **others), Acquisition(frame_rate_hz=15)).movie.compute()
        assert hashlib.sha256(movie.tobytes()).hexdigest()[:16] == digest


def test_another_seed_gives_another_recording() -> None:
    first, second = make(seed=1), make(seed=2)
    assert (first.movie[0].compute() != second.movie[0].compute()).mean() > 0.9
    assert not np.array_equal(first.truth.spikes, second.truth.spikes)


def test_photons_and_motion_do_not_change_the_neurons() -> None:
    first, second = make(), make(photons=3.0, motion="drift", rigid_amplitude_px=2.0)
    np.testing.assert_array_equal(first.truth.traces, second.truth.traces)
    np.testing.assert_array_equal(first.truth.footprints.toarray(), second.truth.footprints.toarray())


def test_without_motion_the_movie_is_background_and_footprints_times_traces() -> None:
    recording = make(motion="none", **BRIGHT, **STEADY)
    truth, movie = recording.truth, fluorescence(recording)
    changes = (movie - np.median(movie, axis=0)).reshape(len(movie), -1)
    expected = (truth.footprints @ (truth.traces - np.median(truth.traces, axis=1, keepdims=True))).T
    assert np.abs(changes - expected).std() < 0.03
    empty = np.asarray(truth.footprints.sum(axis=1)).reshape(truth.shape) == 0
    np.testing.assert_allclose(movie.mean(axis=0)[empty], truth.background[empty], rtol=0.01)


@pytest.mark.parametrize("kind", ["drift", "walk", "jerks", "shear"])
def test_content_is_displaced_by_the_true_motion(kind: str) -> None:
    """A frame is the still image, displaced by the true displacement."""
    recording = make(motion=kind, rigid_amplitude_px=3.0, **BRIGHT, **STEADY, n_neurons=0)
    movie, truth = fluorescence(recording), recording.truth
    still = fluorescence(make(motion="none", rigid_amplitude_px=3.0, **BRIGHT, **STEADY, n_neurons=0))[0]
    y, x = np.mgrid[8:56, 8:72].astype(float)
    for frame in (0, 45, 89):
        d = truth.displacement_field(frame)
        moved = ndi.map_coordinates(still, [y - d[8:56, 8:72, 0], x - d[8:56, 8:72, 1]], order=3)
        assert np.corrcoef(moved.ravel(), movie[frame, 8:56, 8:72].ravel())[0, 1] > 0.97
    assert np.abs(truth.rigid_motion).max() <= 3.0 + 1e-5
    assert np.abs(truth.rigid_motion).max() > 1


def test_no_motion_has_no_displacement() -> None:
    truth = make(motion="none").truth
    assert not truth.displacement(np.array([[3.0, 5.0]])).any()


def test_displacements_of_points_and_frames_agree_and_average_to_the_rigid_motion() -> None:
    truth = make(motion="shear", warp_amplitude_px=2.0).truth
    points = np.array([[0, 0], [10, 71], [63, 79]])
    field = np.stack([truth.displacement_field(frame) for frame in range(90)])
    np.testing.assert_allclose(truth.displacement(points), field[:, points[:, 0], points[:, 1]], atol=1e-4)
    np.testing.assert_allclose(field.mean(axis=(1, 2)), truth.rigid_motion, atol=0.02)
    local = field - truth.rigid_motion[:, None, None]
    assert 1 < np.abs(local[..., 1]).max() < 6


def test_noise_is_that_of_photons_and_detector() -> None:
    settings = {**STEADY, "motion": "none", "n_neurons": 0, "photons": 20.0, "gain": 10.0, "read_noise": 15.0}
    movie = make(**settings).movie.compute().astype(float)
    photons = (movie.mean(axis=0) - 100) / 10
    expected = 10**2 * photons + 15**2
    assert (movie.var(axis=0, ddof=1) / expected).mean() == pytest.approx(1, rel=0.02)
    assert photons.mean() == pytest.approx(20 * make(**settings).truth.background.mean(), rel=0.02)


def test_bleaching_vignetting_offset_and_saturation_follow_the_settings() -> None:
    plain = {"motion": "none", "n_neurons": 0, "neuropil_strength": 0.0, **BRIGHT}
    bleached = fluorescence(make(**plain, bleaching=0.3, vignetting=0.0))
    assert bleached[-1].mean() / bleached[0].mean() == pytest.approx(0.7, abs=0.01)
    dark = fluorescence(make(**plain, bleaching=0.0, vignetting=0.6))[0] / bleached[0]
    assert dark[:4, :4].mean() == pytest.approx(0.4, abs=0.06)
    assert dark[30:34, 38:42].mean() == pytest.approx(1, abs=0.02)
    cut = make(saturation=250, offset=100.0).movie.compute()
    assert cut.max() == 250
    assert make(offset=900.0).movie.compute().min() > 600


def test_number_size_and_overlap_of_neurons_follow_the_settings() -> None:
    truth = make(n_neurons=12, neuron_radius_px=4.0, overlap_share=0.0, hollow_share=0.0, height_px=128).truth
    masks = truth.footprints.toarray() > 0.2
    assert masks.shape[1] == 12
    assert masks.sum(axis=0).mean() == pytest.approx(np.pi * 4.2**2, rel=0.2)
    assert masks.sum(axis=1).max() <= 2
    crowded = make(n_neurons=60, overlap_share=0.5).truth
    assert crowded.n_neurons == 60


def test_hollow_neurons_are_dark_inside() -> None:
    def inside(share: float) -> float:
        truth = make(hollow_share=share, overlap_share=0.0).truth
        A = truth.footprints.toarray().reshape(*truth.shape, -1)
        centres = [ndi.center_of_mass(A[..., i]) for i in range(A.shape[-1])]
        return float(np.mean([A[round(y), round(x), i] for i, (y, x) in enumerate(centres)]))

    assert inside(1.0) < 0.6 < inside(0.0)


def test_the_response_to_one_spike_peaks_at_one_and_decays_with_its_time_constant() -> None:
    spikes = np.zeros((1, 400))
    spikes[0, 10] = 1
    fast, slow = calcium_response(spikes, 0, 50)[0], calcium_response(spikes, 10, 50)[0]
    assert fast[10] == slow.max() == pytest.approx(1)
    assert fast[60] == pytest.approx(np.exp(-1))
    assert 20 < slow.argmax() < 40
    assert slow[350] / slow[300] == pytest.approx(np.exp(-1), rel=0.01)


def test_traces_follow_the_spikes() -> None:
    truth = make(n_frames=400, burst_rate_hz=0.3).truth
    assert truth.spikes.sum(axis=1).max() > 20
    quiet = truth.spikes[:, 1:] == 0
    falls = np.diff(truth.traces, axis=1)[quiet & (truth.spikes[:, :-1] == 0)]
    assert (falls <= 1e-6).all()


def test_a_movie_without_neurons_has_background_only() -> None:
    recording = make(n_neurons=0)
    assert recording.truth.footprints.shape == (64 * 80, 0)
    assert recording.movie[:2].compute().mean() > 100


def test_soft_saturation_compresses_towards_a_limit_and_is_off_by_default() -> None:
    counts = np.array([10.0, 500.0, 1000.0, 1010.0, 1100.0, 1e6])
    compressed = compress(counts, 1000.0)
    np.testing.assert_array_equal(compressed[:3], counts[:3])
    assert compressed[3] == pytest.approx(1010, abs=1), "the slope begins at 1"
    assert compressed[4] == pytest.approx(1000 + 100 * (1 - np.exp(-1)))
    assert compressed[5] == pytest.approx(1100)
    for tissue in ("smooth", "processes"):
        plain = make(tissue=tissue).movie.compute()
        high, low = (make(tissue=tissue, soft_saturation=level).movie.compute() for level in (60000.0, 400.0))
        np.testing.assert_array_equal(plain, high)
        assert low.max() < 440 + 6 * 12 < plain.max()
