"""Features of the classifier."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
from tests.reference import classifier as reference

from rsc2p_kedro.algorithms.evaluation import component_features
from rsc2p_kedro.algorithms.evaluation.classifier import load_classifier
from rsc2p_kedro.algorithms.evaluation.edge_features import band_means, edge_features, sector_means, signed_distances
from rsc2p_kedro.algorithms.evaluation.features import (
    max_overlaps,
    neighbour_correlations,
    ring_statistics,
    trace_statistics,
    transient_edges,
)
from rsc2p_kedro.algorithms.evaluation.outline_features import mask_image, outline_features, perimeter
from rsc2p_kedro.core.parameters import Acquisition, Compute

COMPUTE = Compute(threads=1, show_progress=False)


def _disc(radius: float, stretch: float = 1.0) -> np.ndarray:
    y, x = np.mgrid[-20:21, -20:21]
    return np.flatnonzero(np.hypot(y / stretch, x * stretch) <= radius)


def _outline(pixels: np.ndarray, half_width_px: float = 4) -> dict[str, float]:
    return outline_features(pixels, np.ones(len(pixels)), width=41, half_width_px=half_width_px)


def test_ring_statistics_agree_with_the_reference() -> None:
    rng = np.random.default_rng(2)
    distances, image = rng.uniform(0, 1.4, 60), rng.normal(size=60)
    means, deviations = ring_statistics(distances, image[None])
    slow = reference.ring_statistics(distances, image)
    np.testing.assert_allclose(means[0], slow[0], atol=1e-12)
    np.testing.assert_allclose(deviations[0], slow[1], atol=1e-7)
    assert means[0, -1] == 0  # no pixel is that far away


def test_a_disc_is_compact_and_a_band_is_elongated() -> None:
    disc, band = (_outline(p, half_width_px=6) for p in (_disc(6), _disc(6, 1.8)))
    assert disc["elongation"] == pytest.approx(0, abs=0.01)
    assert disc["log_radius_ratio"] == pytest.approx(0, abs=0.02)
    assert band["elongation"] == pytest.approx(1 - 1 / 1.8**2, abs=0.03)
    assert band["log_radius_ratio"] > 0.2
    two = np.concatenate([[0, 1, 2], [400]])
    assert _outline(two)["largest_part_fraction"] == 0.75
    assert _outline(np.array([5]))["elongation"] == 0


def test_a_disc_has_the_size_and_the_smoothness_of_a_disc() -> None:
    disc = _outline(_disc(6), half_width_px=4)
    assert disc["solidity"] == pytest.approx(0.9, abs=0.04)  # the hull goes round the corners of the pixels
    assert disc["raggedness"] == pytest.approx(0.1, abs=0.05)
    assert np.exp(disc["log_minor_half_axis"]) == pytest.approx(1.5, rel=0.02)
    assert np.exp(disc["log_major_half_axis"]) == pytest.approx(1.5, rel=0.02)
    assert disc["flatness"] == pytest.approx(0, abs=0.02)
    y, x = np.mgrid[-20:21, -20:21]
    fading = np.exp(-(y**2 + x**2) / 18).ravel()
    kept = np.flatnonzero(fading > 0.01)
    assert outline_features(kept, fading[kept], width=41, half_width_px=4)["flatness"] < -0.2


def test_a_ragged_outline_has_a_long_perimeter_and_a_low_solidity() -> None:
    y, x = np.mgrid[-20:21, -20:21]
    angle = np.arctan2(y, x)
    star = np.flatnonzero(np.hypot(y, x) <= 6 * (1 + 0.5 * np.cos(5 * angle)))
    smooth, ragged = _outline(_disc(6)), _outline(star)
    assert ragged["solidity"] < smooth["solidity"] - 0.2
    assert ragged["raggedness"] > smooth["raggedness"] + 0.5
    mask, _, _ = mask_image(_disc(8), np.ones(len(_disc(8))), 41, margin=1)
    assert perimeter(mask) == pytest.approx(2 * np.pi * 8, rel=0.1)


def test_distances_are_from_the_outline_and_bands_follow_it() -> None:
    pixels, footprint = np.arange(41 * 41), np.zeros(41 * 41)
    footprint[_disc(6)] = 1
    y, x = np.divmod(pixels, 41)
    distance = signed_distances(pixels, footprint, 41)
    assert np.abs(distance - (np.hypot(y - 20, x - 20) - 6.2)).max() < 0.8
    means = band_means(distance / 4, np.stack([footprint, distance / 4]))
    assert means[0, :2].tolist() == [1, 1]
    assert means[0, -2:].tolist() == [0, 0]
    np.testing.assert_allclose(means[1], 0.25 * np.arange(-3, 4), atol=0.05)
    assert band_means(np.array([-0.5]), np.ones((1, 1))).tolist() == [[0] * 7]


def test_sectors_of_two_pixels_or_more_have_means() -> None:
    angles = np.array([0.1, 0.2, 1.6, 1.7, -3.0])
    assert sector_means(angles, np.array([1.0, 3.0, 5.0, 7.0, 100.0])).tolist() == [2, 6]
    assert sector_means(angles[:1], np.ones(1)).tolist() == [0]


def test_a_process_continues_beyond_its_outline_and_a_soma_ends_there() -> None:
    pixels, (y, x) = np.arange(41 * 41), np.mgrid[-20:21, -20:21].reshape(2, -1)
    disc = (np.hypot(y, x) <= 5).astype(float)
    line = (np.abs(y) <= 1).astype(float)
    near = np.hypot(y, x) <= 11

    def features(transient: np.ndarray) -> dict[str, float]:
        return edge_features(pixels[near], np.stack([disc, transient])[:, near], width=41, half_width_px=4)

    soma, process, faded = features(disc), features(line), features(np.exp(-(y**2 + x**2) / 60))
    assert soma["outside_max_sector"] < 0.25 < process["outside_max_sector"]
    assert process["outside_two_fold"] > soma["outside_two_fold"] + 0.1
    assert soma["sharpness"] > faded["sharpness"] + 0.3
    assert soma["outside_energy"] < faded["outside_energy"]
    for name, value in features(1e3 * disc).items():
        assert value == pytest.approx(soma[name], abs=1e-9), name  # the gain of the detector has no influence


def test_neighbours_with_the_same_trace_are_recognized() -> None:
    rng = np.random.default_rng(1)
    first, other = rng.normal(size=(2, 300))
    traces = np.stack([first, first + 0.5 * other, rng.normal(size=300), first])
    positions = np.array([[10, 10], [14, 10], [10, 14], [90, 90]])
    correlation = neighbour_correlations(traces, positions, 10)
    assert correlation[0] == correlation[1] == pytest.approx(1 / np.sqrt(1.25), abs=0.05)
    assert correlation[2] < 0.2
    assert correlation[3] == 0


def test_transients_with_an_immediate_rise_are_0_before_and_decay_after() -> None:
    trace, frames = np.zeros(60), np.zeros(60, bool)
    trace[20:] = np.exp(-np.arange(40) / 5)
    frames[20:25] = True
    edges = transient_edges(trace, frames, 5)
    assert edges["pre_transient"] == 0
    assert edges["post_transient"] == pytest.approx(np.exp(-1))
    assert transient_edges(trace[::-1], frames[::-1], 5)["post_transient"] == 0
    assert transient_edges(trace, np.zeros(60, bool), 5) == {"pre_transient": 1, "post_transient": 1}


def test_a_constant_trace_has_finite_features() -> None:
    values = trace_statistics(np.ones(20), np.ones(20), np.ones(20))
    assert np.isfinite(list(values.values())).all()


def test_overlap_is_the_largest_cosine_with_another_footprint() -> None:
    A = sp.csc_array(np.array([[1.0, 1, 0], [0, 1, 0], [0, 0, 2]], np.float32))
    np.testing.assert_allclose(max_overlaps(A), [np.sqrt(0.5), np.sqrt(0.5), 0])
    np.testing.assert_array_equal(max_overlaps(A[:, [2]]), [0])


def test_features_do_not_depend_on_orientation(scene, acquisition: Acquisition) -> None:
    H, W = scene.components.shape

    def turned(A: sp.csc_array) -> sp.csc_array:
        order = np.arange(H * W).reshape(H, W)[::-1].T.ravel()
        return sp.csc_array(sp.csr_array(A)[order])

    whole = replace(scene.components, neuron_half_width_px=3)
    other = replace(
        whole,
        shape=(W, H),
        footprints=turned(whole.footprints),
        background_footprints=turned(whole.background_footprints),
        pixel_noise=np.ascontiguousarray(whole.pixel_noise[::-1].T),
    )
    turned_movie = np.ascontiguousarray(scene.movie[:, ::-1].transpose(0, 2, 1))
    first = component_features(scene.movie, whole, acquisition, compute=COMPUTE)
    second = component_features(turned_movie, other, acquisition, compute=COMPUTE)
    assert set(load_classifier().features) <= set(first)
    for name, values in first.items():
        assert np.isfinite(values).all()
        np.testing.assert_allclose(second[name], values, atol=2e-5, err_msg=name)
