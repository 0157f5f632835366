"""Values at which the detector saturates get no weight in the factorization."""

import numpy as np
import pytest
import scipy.sparse as sp

from rsc2p_kedro.algorithms.detector import measure_detector
from rsc2p_kedro.algorithms.extraction import censoring, fit, refit
from rsc2p_kedro.core.parameters import Acquisition, Compute, ExtractionParameters
from rsc2p_kedro.simulation.movie import simulate
from rsc2p_kedro.simulation.settings import SimulationSettings
from rsc2p_kedro.simulation.truth import intersection_over_union, match_footprints

SHAPE, N_FRAMES, LEVEL = (6, 5), 80, 3.0
QUIET = Compute(threads=1, show_progress=False)


@pytest.fixture
def clipped():
    """One neuron without noise whose brightest pixels are clipped: footprint, trace, movie with and without ceiling."""
    footprint = np.linspace(0.2, 2.0, SHAPE[0] * SHAPE[1])
    trace = np.random.default_rng(0).gamma(1.0, 1.0, N_FRAMES)
    movie = np.outer(trace, footprint).reshape(N_FRAMES, *SHAPE)
    return footprint, trace, movie, np.minimum(movie, LEVEL)


def censored(recorded, mask=None):
    """Movie minus the mean of its pixels, and its censored values."""
    mean = recorded.mean(axis=0)
    movie = (recorded - mean).astype(np.float32)
    found = censoring.record_values(movie, censoring.find_censored(recorded, LEVEL))
    return movie, censoring.collect_values(found, np.ones(SHAPE, bool) if mask is None else mask)


def no_splines():
    return sp.csr_array((SHAPE[0] * SHAPE[1], 0)), np.zeros((0, N_FRAMES)), np.ones(SHAPE)


def expected(values, footprint, trace):
    splines, F, gain = no_splines()
    A = sp.csc_array(footprint[:, None])
    return censoring.expected_values(values, A, (trace - trace.mean())[None], splines, F, gain)


def test_values_at_the_level_are_found_in_the_pixels_that_are_used(clipped):
    *_, recorded = clipped
    mask = np.ones(SHAPE, bool)
    mask[-1] = False
    _, values = censored(recorded, mask)
    t, p = np.nonzero((recorded >= LEVEL).reshape(N_FRAMES, -1) & mask.ravel())
    assert set(values.pixels.tolist()) == set(p.tolist())
    assert values.observed.nnz == len(t)
    assert censored(recorded * 0.1)[1] is None


def test_the_right_model_restores_the_movie(clipped):
    footprint, trace, truth, recorded = clipped
    movie, values = censored(recorded)
    for _ in range(60):  # the means of the pixels follow the restored values
        censoring.restore(movie, values, expected(values, footprint, trace))
    np.testing.assert_allclose(movie, truth - truth.mean(axis=0), atol=1e-4)


def test_a_model_below_the_recorded_values_changes_nothing(clipped):
    footprint, trace, _, recorded = clipped
    movie, values = censored(recorded)
    before = movie.copy()
    censoring.restore(movie, values, expected(values, 0 * footprint, trace) - 100)
    np.testing.assert_allclose(movie, before, atol=1e-6)


def test_alternating_with_least_squares_recovers_the_trace(clipped):
    footprint, trace, _, recorded = clipped
    movie, values = censored(recorded)
    a = footprint / np.linalg.norm(footprint)
    flat = movie.reshape(N_FRAMES, -1)
    start = np.corrcoef(flat @ a, trace)[0, 1]
    for _ in range(500):
        c = flat @ a
        a = np.maximum(flat.T @ c, 0) / (c @ c)
        a /= np.linalg.norm(a)
        splines, F, gain = no_splines()
        model = censoring.expected_values(values, sp.csc_array(a[:, None]), (flat @ a)[None], splines, F, gain)
        censoring.restore(movie, values, model)
    assert start < 0.98
    assert np.corrcoef(flat @ a, trace)[0, 1] > 0.999


@pytest.mark.parametrize("seed", [2, 3])
def test_traces_of_bright_neurons_are_closer_to_the_truth_when_saturated_values_get_no_weight(seed):
    acquisition = Acquisition(frame_rate_hz=15, decay_time_s=0.4)
    settings = {"n_frames": 500, "height_px": 96, "width_px": 96, "n_neurons": 12, "photons": 60.0, "amplitude": 1.0}
    settings |= {"rigid_amplitude_px": 0.0, "warp_amplitude_px": 0.0, "seed": seed, "soft_saturation": 2000.0}
    recording = simulate(SimulationSettings.model_validate(settings), acquisition)
    movie = np.asarray(recording.movie)
    level = measure_detector(movie, compute=QUIET).saturation.level
    assert level is not None

    def correlations(saturation_level):
        parameters = ExtractionParameters()
        found = fit(movie, acquisition, parameters, compute=QUIET, saturation_level=saturation_level)
        found = refit(movie, found, acquisition, parameters, compute=QUIET, saturation_level=saturation_level)
        overlap = intersection_over_union(recording.truth.footprints, found.footprints)
        pairs = zip(*match_footprints(overlap), strict=True)
        return {i: np.corrcoef(recording.truth.traces[i], found.traces[j])[0, 1] for i, j in pairs}

    before, after = correlations(None), correlations(level)
    both = sorted(before.keys() & after.keys())
    assert len(both) >= 9
    assert np.median([1 - after[i] for i in both]) < 0.75 * np.median([1 - before[i] for i in both])
