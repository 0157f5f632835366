"""Shapes, duplicates and coverage of made-up components are those that were drawn."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.typing import NDArray

from rsc2p_kedro.algorithms.evaluation.measures import measure_components
from rsc2p_kedro.algorithms.evaluation.shape_measures import find_repeats, measure_shapes, solidities
from rsc2p_kedro.algorithms.evaluation.unexplained import find_unexplained, high_correlation
from rsc2p_kedro.algorithms.extraction.footprints import footprint_masks
from rsc2p_kedro.core.results import Components, DetectorSaturation, SummaryImages

H, W, T = 80, 100, 200
EMPTY = np.zeros(0)
LINEAR = DetectorSaturation(None, 0.0, EMPTY, EMPTY, EMPTY)


def disc(y: float, x: float, r: float) -> NDArray[np.bool_]:
    yy, xx = np.mgrid[:H, :W]
    return (yy - y) ** 2 + (xx - x) ** 2 <= r**2


def make(parts: list[NDArray], traces: NDArray | None = None, half_width: float | None = 5) -> Components:
    n = len(parts)
    traces = np.random.default_rng(0).random((n, T)) if traces is None else traces
    one = np.ones(n, np.float32)
    dense = np.reshape(parts, (n, H * W)).astype(np.float32) if n else np.zeros((0, H * W), np.float32)
    return Components(
        shape=(H, W), ids=np.arange(n), footprints=sp.csc_array(dense.T), traces=traces.astype(np.float32),
        spikes=np.zeros((n, T), np.float32), residual_traces=np.zeros((n, T), np.float32),
        background_footprints=sp.csc_array((H * W, 0), dtype=np.float32),
        background_traces=np.zeros((0, T), np.float32), baseline=one, noise=one,
        ar_coefficients=np.ones((n, 1), np.float32), lam=one, pixel_noise=np.ones((H, W), np.float32),
        neuron_half_width_px=half_width,
    )  # fmt: skip


def everything(components: Components) -> NDArray[np.bool_]:
    return np.ones(components.n_components, bool)


def test_solidity_is_area_over_that_of_the_convex_hull() -> None:
    square, cross, faint = np.zeros((3, H, W))
    square[10:20, 10:30] = 1
    cross[40:55, 47] = cross[47, 40:55] = 1
    faint[10:20, 60:70], faint[10, 90] = 1, 0.19
    columns = footprint_masks(make([square, cross, faint]).footprints)
    hull = 15**2 - 4 * 7 * 7 / 2
    np.testing.assert_allclose(solidities(columns, (H, W)), [1, 29 / hull, 1])


def test_each_fault_is_found_where_it_was_drawn() -> None:
    star = np.zeros((H, W), bool)
    star[60:75, 67:69] = star[67:69, 60:75] = True
    strip = np.zeros((H, W), bool)
    strip[20:50, 90:93] = True
    parts = [disc(20, 20, 6), disc(20, 22, 3), disc(20, 50, 6), disc(20, 56, 6), disc(60, 20, 6), disc(60, 21, 6)]
    traces = np.random.default_rng(1).random((8, T))
    found = measure_shapes(make([*parts, star, strip], traces), np.ones(8, bool))
    assert np.flatnonzero(found.nested).tolist() == [1, 5]
    assert np.flatnonzero(found.duplicate).tolist() == [5]
    assert np.flatnonzero(found.ragged).tolist() == [6]
    assert np.flatnonzero(found.thin).tolist() == [7]
    assert found.minor_half_axis_px[0] == pytest.approx(6, rel=0.05)
    traces[3] = 2 * traces[2] + 0.01 * traces[3]
    same = measure_shapes(make([*parts, star, strip], traces), np.ones(8, bool))
    assert np.flatnonzero(same.duplicate).tolist() == [3, 5], "touching discs of the same trace"


def test_thin_is_relative_to_the_median_where_the_half_width_is_unknown() -> None:
    parts = [disc(20, 20, 6), disc(20, 50, 6), disc(60, 20, 6), disc(60, 50, 2.5)]
    for half_width, expected in ((None, [3]), (4, []), (12, [0, 1, 2, 3])):
        components = make(parts, half_width=half_width)
        assert np.flatnonzero(measure_shapes(components, everything(components)).thin).tolist() == expected


def test_rejected_components_do_not_count() -> None:
    components = make([disc(20, 20, 6), disc(20, 21, 6)])
    found = measure_shapes(components, np.array([True, False]))
    assert found.duplicate.tolist() == [False]


def noisy_image(sources: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Noise around a level that rises across the frame, and sources far above it."""
    level = 0.1 + 0.1 * np.linspace(0, 1, W)
    return (level + np.random.default_rng(3).normal(0, 0.02, (H, W)) + 0.4 * sources).astype(np.float32)


def test_high_correlation_is_that_of_the_sources() -> None:
    sources = disc(20, 20, 6) | disc(50, 80, 6)
    valid = np.ones((H, W), bool)
    high = high_correlation(noisy_image(sources), valid)
    assert high[sources].all()
    assert (high & ~sources).mean() < 1e-3
    valid[:30] = False
    assert not high_correlation(noisy_image(sources), valid)[:30].any()
    assert not high_correlation(np.zeros((H, W)), valid).any()


def test_pixels_of_a_missed_source_are_unexplained() -> None:
    found, missed = disc(20, 20, 6), disc(50, 80, 6)
    result = find_unexplained(noisy_image(found | missed), make([found]).footprints, np.ones((H, W), bool))
    assert (result.unexplained & disc(20, 20, 7)).sum() == 0
    assert result.unexplained[missed].all()
    assert result.share == pytest.approx(missed.sum() / (found | missed).sum(), abs=0.03)


def test_the_table_counts_what_was_drawn() -> None:
    traces = np.zeros((3, T))
    traces[0, 5], traces[1, 5], traces[2, 5] = 1000, 300, 1000
    components = make([disc(20, 20, 6), disc(20, 21, 6), disc(50, 80, 6)], traces)
    image = noisy_image(disc(20, 20, 6) | disc(50, 80, 6))
    images = SummaryImages(np.full((H, W), 300, np.float32), image, image, image)
    saturation = replace(LINEAR, level=800.0)
    rows = measure_components(components, np.array([True, True, False]), images, np.ones((H, W), bool), saturation)
    counts = {row.measure: (row.count, row.total) for row in rows}
    assert {name: counts[name] for name in ("ragged", "thin", "nested", "duplicate", "saturated")} == {
        "ragged": (0, 2), "thin": (0, 2), "nested": (1, 2), "duplicate": (1, 2), "saturated": (1, 2),
    }  # fmt: skip
    assert counts["unexplained"][0] == pytest.approx(disc(50, 80, 6).sum(), abs=6)


def test_without_components_shares_are_unknown() -> None:
    image = np.zeros((H, W), np.float32)
    rows = measure_components(make([]), np.zeros(0, bool), SummaryImages(*[image] * 4), np.ones((H, W), bool), LINEAR)
    assert all(row.count == row.total == 0 and np.isnan(row.share) for row in rows)


def test_of_components_on_one_neuron_the_best_stays() -> None:
    parts = [disc(20, 20, 6), disc(20, 22, 3), disc(20, 50, 6), disc(20, 58, 6), disc(60, 20, 6), disc(60, 21, 6)]
    components, rank = make(parts), np.array([0.5, 0.9, 0.8, 0.7, 0.6, 0.6])
    assert find_repeats(components, everything(components), rank) == {0: 1, 5: 4}
    rejected = np.array([True, False, True, True, False, True])
    assert find_repeats(components, rejected, rank) == {}
    assert find_repeats(make([]), np.zeros(0, bool), np.zeros(0)) == {}
