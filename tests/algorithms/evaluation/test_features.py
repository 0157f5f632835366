"""Features of the classifier."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
from tests.reference import classifier as reference

from rsc2p_kedro.algorithms.evaluation import component_features
from rsc2p_kedro.algorithms.evaluation.features import (
    footprint_shape,
    max_overlaps,
    ring_statistics,
    trace_statistics,
    transient_edges,
)
from rsc2p_kedro.core.parameters import Acquisition, Compute

COMPUTE = Compute(threads=1, show_progress=False)


def _disc(radius: float, stretch: float = 1.0) -> np.ndarray:
    y, x = np.mgrid[-20:21, -20:21]
    return np.flatnonzero(np.hypot(y / stretch, x * stretch) <= radius)


def test_ring_statistics_agree_with_the_reference() -> None:
    rng = np.random.default_rng(2)
    distances, image = rng.uniform(0, 1.4, 60), rng.normal(size=60)
    means, deviations = ring_statistics(distances, image[None])
    slow = reference.ring_statistics(distances, image)
    np.testing.assert_allclose(means[0], slow[0], atol=1e-12)
    np.testing.assert_allclose(deviations[0], slow[1], atol=1e-7)
    assert means[0, -1] == 0  # no pixel is that far away


def test_a_disc_is_compact_and_a_band_is_elongated() -> None:
    disc, band = (footprint_shape(p, np.ones(len(p)), 41) for p in (_disc(6), _disc(6, 1.8)))
    assert disc["elongation"] == pytest.approx(0, abs=0.01)
    assert disc["log_radius_ratio"] == pytest.approx(0, abs=0.02)
    assert band["elongation"] == pytest.approx(1 - 1 / 1.8**2, abs=0.03)
    assert band["log_radius_ratio"] > 0.2
    two = np.concatenate([[0, 1, 2], [400]])
    assert footprint_shape(two, np.ones(4), 41)["largest_part_fraction"] == 0.75
    assert footprint_shape(np.array([5]), np.ones(1), 41)["elongation"] == 0


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
    assert len(first) == 45
    for name, values in first.items():
        assert np.isfinite(values).all()
        np.testing.assert_allclose(second[name], values, atol=2e-5, err_msg=name)
