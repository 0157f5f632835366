"""Simulated tissue: planted outlines, named objects, the same bits for any order of frames."""

from dataclasses import replace

import dask
import numpy as np
import pytest
import scipy.ndimage as ndi
import scipy.sparse as sp
from numpy.typing import NDArray

from rsc2p_kedro.algorithms.extraction.footprints import footprint_masks
from rsc2p_kedro.core.parameters import Acquisition
from rsc2p_kedro.simulation.activity import ornstein_uhlenbeck
from rsc2p_kedro.simulation.movie import SimulatedRecording, draw_canvas, simulate
from rsc2p_kedro.simulation.objects import ObjectTruth, matched_filter_snr
from rsc2p_kedro.simulation.outlines import draw_outlines, masks_in_frame, outline_statistics, place_outlines
from rsc2p_kedro.simulation.processes import draw_process, draw_spot
from rsc2p_kedro.simulation.settings import SimulationSettings
from rsc2p_kedro.simulation.somata import draw_soma_brightness
from rsc2p_kedro.simulation.tissue import draw_tissue_scene
from rsc2p_kedro.simulation.tissue_activity import draw_depth, draw_diffuse, draw_soma_activity, transient
from rsc2p_kedro.simulation.tissue_background import draw_vessel
from rsc2p_kedro.simulation.varied import draw_tissue_settings

ACQUISITION = Acquisition(frame_rate_hz=15, decay_time_s=0.5)
SMALL = {"tissue": "processes", "n_frames": 90, "height_px": 72, "width_px": 80, "n_neurons": 8}


def make(**settings: object) -> SimulatedRecording:
    return simulate(SimulationSettings(**{**SMALL, **settings}), ACQUISITION)


def disc(shape: tuple[int, int], centre: tuple[int, int], radius: float) -> NDArray[np.bool_]:
    y, x = np.indices(shape)
    return np.hypot(y - centre[0], x - centre[1]) < radius


@pytest.fixture(scope="module")
def recording() -> SimulatedRecording:
    return make()


def test_the_same_seed_gives_the_same_movie_for_any_blocks_and_order(recording: SimulatedRecording) -> None:
    whole = recording.movie.compute()
    assert whole.dtype == np.uint16
    parts = simulate(SimulationSettings(**SMALL), ACQUISITION, block_frames=7).movie
    with dask.config.set(scheduler="threads", num_workers=3):
        np.testing.assert_array_equal(parts[40:].compute(), whole[40:])
    np.testing.assert_array_equal(parts[:40].compute(scheduler="synchronous"), whole[:40])
    assert (make(seed=2).movie[0].compute() != whole[0]).mean() > 0.8


def test_smooth_tissue_names_no_objects() -> None:
    assert make(tissue="smooth").objects is None


def test_every_object_is_named_and_somata_come_first(recording: SimulatedRecording) -> None:
    objects, truth = recording.objects, recording.truth
    assert objects is not None
    assert set(objects.kinds) == {"soma", "process", "spot", "out_of_focus"}
    assert objects.n_somata == truth.n_neurons == 8
    np.testing.assert_array_equal(objects.footprints[:, :8].toarray(), truth.footprints.toarray())
    np.testing.assert_array_equal(objects.traces[:8], truth.traces)
    area = SMALL["height_px"] * SMALL["width_px"] / 1e4
    own = (objects.kinds == "process") & (objects.owners < 0)
    margin = draw_canvas(SimulationSettings(**SMALL)).shape
    assert own.sum() == round(40 * margin[0] * margin[1] / 1e4) > 40 * area
    assert (objects.kinds == "out_of_focus").sum() == 4


def test_dendrites_have_the_trace_of_their_soma_and_lie_outside_all_somata() -> None:
    objects = make(n_neurons=12).objects
    assert objects is not None
    dendrites = np.flatnonzero(objects.owners >= 0)
    assert len(dendrites) > 0
    assert (objects.kinds[dendrites] == "process").all()
    somata = footprint_masks(objects.footprints[:, : objects.n_somata]).toarray().any(axis=1)
    for i in dendrites:
        assert not objects.footprints[:, [i]].toarray().ravel()[somata].any()
        own, of_soma = objects.traces[i], objects.traces[objects.owners[i]]
        if of_soma.max() > 0:
            np.testing.assert_allclose(own / own.max(), of_soma / of_soma.max(), atol=1e-5)
            assert own.max() < of_soma.max()


def test_planted_masks_come_back_as_the_masks_of_the_truth() -> None:
    rng, shape = np.random.default_rng(5), (96, 96)
    outlines = draw_outlines(rng, 14, 5.5)
    masks = masks_in_frame(outlines, place_outlines(rng, outlines, np.ones(shape, bool), 0.3), shape)
    settings = SimulationSettings(**{**SMALL, "height_px": 96, "width_px": 96, "n_frames": 16})
    truth = simulate(settings, ACQUISITION, masks=masks).truth
    found = footprint_masks(truth.footprints).toarray().T.reshape(masks.shape) > 0
    np.testing.assert_array_equal(found, masks)


def test_drawn_somata_have_the_outlines_of_marked_neurons() -> None:
    recording = make(n_frames=16, height_px=256, width_px=256, n_neurons=90, neuron_radius_px=7.0, overlap_share=0.4)
    masks = footprint_masks(recording.truth.footprints).toarray().T.reshape(90, 256, 256) > 0
    found = outline_statistics(masks)
    assert np.median(found.radius) == pytest.approx(7.0, rel=0.05)
    assert np.median(found.solidity) == pytest.approx(0.917, rel=0.03)
    assert np.median(found.axis_ratio) == pytest.approx(0.815, rel=0.05)


@pytest.mark.parametrize(
    ("masks", "settings", "message"),
    [
        (np.ones((1, 72, 80), bool), {"tissue": "smooth"}, "`tissue` is `smooth`"),
        (np.ones((1, 80, 72), bool), {}, r"shape \(N, 72, 80\)"),
        (np.zeros((1, 72, 80), bool), {}, "non-empty"),
    ],
)
def test_masks_that_cannot_be_planted_are_refused(masks: NDArray, settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        simulate(SimulationSettings(**{**SMALL, **settings}), ACQUISITION, masks=masks)


def test_the_mask_of_a_soma_is_its_outline_for_any_darkness_of_its_nucleus() -> None:
    outline = disc((31, 31), (15, 15), 7.5)
    for darkness in (-0.15, 0.4, 0.85):
        brightness = draw_soma_brightness(np.random.default_rng(0), outline, darkness)
        np.testing.assert_array_equal(brightness > 0.2, outline)
        assert brightness.max() == pytest.approx(1)
    dark, bright = (
        np.mean([draw_soma_brightness(np.random.default_rng(s), outline, d)[13:18, 13:18].mean() for s in range(9)])
        for d in (0.85, -0.15)
    )
    assert dark < 0.5 < bright


def test_without_noise_the_movie_is_the_sum_of_its_objects() -> None:
    """A movie without motion, bleaching and diffuse neuropil changes by footprints times traces only."""
    still = {"motion": "none", "axial_amplitude": 0.0, "bleaching": 0.0, "vignetting": 0.0, "neuropil_strength": 0.0}
    bright = {"photons": 1e5, "gain": 0.02, "read_noise": 0.0, "offset": 0.0, "saturation": 65535}
    recording = make(**still, **bright)
    objects, movie = recording.objects, recording.movie.compute().reshape(90, -1) / 2000
    assert objects is not None
    expected = (objects.footprints @ objects.traces).T
    changes = (movie - movie.mean(axis=0)) - (expected - expected.mean(axis=0))
    assert np.abs(changes).std() < 0.01
    assert (expected - expected.mean(axis=0)).std() > 0.05


def test_the_mean_brightness_is_the_unit_of_fluorescence() -> None:
    recording = make(height_px=128, width_px=128, motion="none", n_vessels=0)
    assert recording.truth.background.mean() == pytest.approx(1, abs=0.25)


def test_motion_out_of_the_plane_changes_brightness_and_blur() -> None:
    settings = SimulationSettings(
        **{**SMALL, "n_frames": 600, "axial_amplitude": 2.0, "neuropil_strength": 0.0, "bleaching": 0.0}
    )
    scene, _ = draw_tissue_scene(settings, ACQUISITION, draw_canvas(settings))
    scene = replace(scene, object_traces=0 * scene.object_traces)
    far, near = int(np.abs(scene.depth).argmax()), int(np.abs(scene.depth).argmin())
    images = [scene.fluorescence(frame) for frame in (near, far)]
    sharpness = [(ndi.laplace(image) ** 2).mean() / image.mean() ** 2 for image in images]
    assert sharpness[1] < 0.8 * sharpness[0]
    deep = replace(scene, depth=np.full_like(scene.depth, 0.3), depths=np.full_like(scene.depths, 2.0))
    shallow = replace(deep, depths=-deep.depths)
    assert deep.fluorescence(0).sum() > shallow.fluorescence(0).sum()


def test_depth_is_slow_and_has_the_given_amplitude() -> None:
    settings = SimulationSettings(**{**SMALL, "n_frames": 40_000, "axial_amplitude": 1.4})
    depth = draw_depth(np.random.default_rng(0), settings, 15.0)
    assert depth.std() == pytest.approx(1.4, rel=0.1)
    assert np.corrcoef(depth[:-15], depth[15:])[0, 1] > 0.7


def test_quiet_neurons_hardly_spike_and_some_never_rest() -> None:
    settings = SimulationSettings(**{**SMALL, "n_frames": 1500})
    traces, spikes = draw_soma_activity(np.random.default_rng(0), 300, settings, ACQUISITION)
    assert traces.shape == spikes.shape == (300, 1500)
    rate_hz = spikes.sum(axis=1) / 100
    assert (rate_hz < 0.03).mean() == pytest.approx(0.33, abs=0.06)
    assert (rate_hz > 1).mean() > 0.06


def test_a_transient_peaks_near_one_and_decays_with_its_time_constant() -> None:
    slow = transient(SimulationSettings(rise_time_s=0.2), Acquisition(frame_rate_hz=20, decay_time_s=1.5))
    fast = transient(SimulationSettings(), Acquisition(frame_rate_hz=20, decay_time_s=0.2))
    assert 0.85 < slow.max() <= 1
    assert 0.85 < fast.max() <= 1
    assert slow[80] / slow[50] == pytest.approx(np.exp(-1), rel=0.02)
    assert fast[5] / fast[1] == pytest.approx(np.exp(-1), rel=0.02)
    assert fast.argmax() == 0 < slow.argmax()


def test_the_diffuse_neuropil_follows_the_cells_around_it() -> None:
    settings = SimulationSettings(**{**SMALL, "n_frames": 2000})
    rng, nodes = np.random.default_rng(0), np.array([[0.0, 0.0], [0.0, 300.0]])
    traces = np.abs(ornstein_uhlenbeck(rng, 2000, 10, 2)).T.astype(np.float32)
    change = draw_diffuse(rng, nodes, nodes + 5, traces, settings, ACQUISITION)
    assert change.shape == (2, 2000)
    own, other = (np.corrcoef(change[0], np.sqrt(trace))[0, 1] for trace in traces)
    assert own > 0.35 > abs(other) + 0.15


def test_processes_are_thin_and_spots_are_small() -> None:
    rng, shape = np.random.default_rng(3), (90, 90)
    for _ in range(20):
        process = draw_process(rng, shape, 40.0, 0.8, start=np.array([45.0, 45.0])).toarray().reshape(shape)
        assert process.max() == pytest.approx(1)
        assert ndi.distance_transform_edt(process > 0.5).max() <= 4
        spot = draw_spot(rng, shape, np.array([45.0, 45.0])).toarray().reshape(shape)
        assert 1 <= (spot > 0.5).sum() <= 16
        np.testing.assert_allclose(ndi.center_of_mass(spot), 45, atol=0.2)
    assert draw_spot(rng, shape, np.array([-50.0, 20.0])).nnz == 0


def test_vessels_are_dark_with_glowing_walls() -> None:
    transmission, walls = draw_vessel(np.random.default_rng(2), (120, 120))
    inside = transmission < 0.4
    assert inside.sum() > 100
    beside = ndi.binary_dilation(inside, iterations=4) & (transmission > 0.8)
    assert walls[beside].mean() > 5 * walls[inside].mean()
    assert 0 <= walls.min() <= walls.max() <= 0.6


def test_the_response_of_the_matched_filter_to_noise_has_unit_variance() -> None:
    """A transient buried in white noise is seen at the SNR that is computed from the truth."""
    rng, T = np.random.default_rng(0), 4000
    footprint = np.abs(rng.normal(size=(30, 1)))
    signal, variance = rng.uniform(0.5, 2, 30), rng.uniform(1, 4, 30)
    kernel = np.exp(-np.arange(12) / 3)
    trace = np.zeros((1, T))
    trace[0, 1000:1012] = 2.5 * kernel
    snr = matched_filter_snr(sp.csc_array(footprint), trace, kernel, signal, variance)[0]
    a, k = signal * footprint[:, 0], kernel / np.linalg.norm(kernel)
    movie = a[:, None] * trace + rng.normal(size=(30, T)) * np.sqrt(variance)[:, None]
    response = np.correlate((a / variance) @ movie / np.sqrt((a**2 / variance).sum()), k, mode="valid")
    assert np.delete(response, slice(980, 1020)).std() == pytest.approx(1, abs=0.06)
    assert response[1000] == pytest.approx(snr, abs=3.5)
    assert snr > 10


def test_inconsistent_objects_are_rejected(recording: SimulatedRecording) -> None:
    objects = recording.objects
    assert objects is not None
    with pytest.raises(ValueError, match="traces should have"):
        replace(objects, traces=objects.traces[1:])
    with pytest.raises(ValueError, match="kinds should be among"):
        replace(objects, kinds=np.full(len(objects.kinds), "astrocyte"))
    with pytest.raises(ValueError, match="somata should come first"):
        replace(objects, kinds=objects.kinds[::-1])
    with pytest.raises(ValueError, match="footprints should have 9 pixels"):
        replace(objects, shape=(3, 3))


def test_findable_somata_are_those_of_high_snr() -> None:
    kinds = np.array(["soma", "soma", "soma", "spot"])
    footprints, traces = sp.csc_array(np.eye(4, dtype=np.float32)), np.zeros((4, 5), np.float32)
    truth = ObjectTruth((2, 2), footprints, traces, kinds, np.full(4, -1), np.array([7.9, 8.0, 30.0, 50.0]))
    np.testing.assert_array_equal(truth.findable, [1, 2])


def test_a_tissue_without_neurons_or_processes_can_be_made() -> None:
    assert make(n_neurons=0, n_frames=16).truth.n_neurons == 0
    empty = make(n_neurons=0, process_density=0.0, n_frames=16)
    assert empty.objects is not None
    assert len(empty.objects.kinds) == 0
    assert empty.movie[:2].compute().mean() > 100


def test_varied_settings_cover_the_ranges_of_recordings_and_can_be_simulated() -> None:
    drawn = [draw_tissue_settings(seed, n_frames=16, side_px=96) for seed in range(200)]
    decays = [acquisition.decay_time_s for _, acquisition in drawn]
    photons = [settings.photons for settings, _ in drawn]
    assert 0.2 <= min(decays) < 0.25
    assert 1.3 < max(decays) <= 1.5
    assert 2 <= min(photons) < 3
    assert 40 < max(photons) <= 50
    assert all(a.decay_time_frames >= 1 for _, a in drawn)
    for settings, acquisition in drawn[:12]:
        assert simulate(settings, acquisition).movie[0].compute().std() > 0
    assert draw_tissue_settings(3) == draw_tissue_settings(3)
