"""dF/F: a known F0 is recovered."""

import numpy as np
import pytest
import scipy.sparse as sp
from tests.reference import evaluation as reference

from rsc2p_kedro.algorithms.dff import (
    background_under_footprints,
    component_dff,
    dark_level,
    delta_f_over_f,
    estimate_dark_level,
    noise_of_differences,
    running_percentile,
)
from rsc2p_kedro.algorithms.extraction import fit
from rsc2p_kedro.core.parameters import Acquisition, Compute, EvaluationParameters, ExtractionParameters
from rsc2p_kedro.core.results import Components
from rsc2p_kedro.simulation.movie import draw_scene, simulate
from rsc2p_kedro.simulation.settings import SimulationSettings
from rsc2p_kedro.simulation.truth import intersection_over_union, match_footprints

RATE, T = 10.0, 1200
WINDOW = {"frame_rate_hz": RATE, "window_s": 30.0}


def transients(amplitude: float = 100.0) -> np.ndarray:
    """Transients (T,) of a known height, 10 s apart, that decay in 1 s."""
    return amplitude * np.exp(-(np.arange(T) % 100) / 10)


def nothing(n: int = 1) -> np.ndarray:
    return np.zeros((n, T))


@pytest.mark.parametrize(("percentile", "half_width"), [(8, 10), (50, 3), (0, 0), (100, 400), (37.5, 149)])
def test_running_percentile_agrees_with_the_reference(percentile: float, half_width: int) -> None:
    rng = np.random.default_rng(0)
    traces = np.stack([rng.normal(size=300), rng.integers(0, 4, 300)])
    fast = running_percentile(traces, percentile=percentile, half_width=half_width)
    slow = [reference.running_percentile(trace, percentile, half_width) for trace in traces]
    np.testing.assert_allclose(fast, slow, atol=1e-12)


def test_an_invalid_percentile_is_refused() -> None:
    with pytest.raises(ValueError, match=r"percentile in 0\.\.100, got 3 and 101"):
        running_percentile(nothing(), percentile=101, half_width=3)


def test_known_f0_and_amplitude_are_recovered() -> None:
    result = delta_f_over_f(transients()[None], nothing(), np.array([40.0]), nothing() + 160, percentile=0, **WINDOW)
    np.testing.assert_allclose(result.f0, 200, rtol=1e-3)
    assert result.dff.max() == pytest.approx(0.5, rel=1e-3)
    assert not result.guarded.any()


def test_noise_of_the_residual_is_part_of_the_ratio() -> None:
    noise = np.random.default_rng(1).normal(0, 10, (1, T))
    result = delta_f_over_f(nothing(), noise, np.array([500.0]), nothing(), percentile=50, **WINDOW)
    assert result.dff.std() == pytest.approx(10 / 500, rel=0.05)
    np.testing.assert_allclose(result.f0, 500, rtol=0.01)


def test_f0_follows_bleaching_of_cell_and_background() -> None:
    bleaching = 1 - 0.1 * np.arange(T) / T
    F, background = (300 + transients()) * bleaching, 200 * bleaching[None]
    result = delta_f_over_f(F[None], nothing(), np.zeros(1), background, percentile=8, **WINDOW)
    np.testing.assert_allclose(result.f0[0], 500 * bleaching, rtol=0.015)
    peaks = result.dff[0, ::100]
    np.testing.assert_allclose(peaks[2:-2], 0.2, rtol=0.1)


def test_f0_does_not_follow_fast_fluctuations_of_the_neuropil() -> None:
    fluctuations = 200 + 50 * np.sin(np.arange(T) * 2 * np.pi / 10)
    result = delta_f_over_f(transients()[None], nothing(), np.zeros(1), fluctuations[None], percentile=0, **WINDOW)
    assert np.ptp(result.f0) < 5


@pytest.mark.parametrize("background", [0.0, -500.0])
def test_a_denominator_below_the_noise_is_raised_to_it_and_reported(background: float) -> None:
    noise = np.random.default_rng(2).normal(0, 10, (2, T))
    backgrounds = np.stack([nothing()[0] + background, nothing()[0] + 1000])
    result = delta_f_over_f(nothing(2), noise, np.zeros(2), backgrounds, percentile=50, **WINDOW)
    assert result.guarded.tolist() == [True, False]
    assert result.f0[0].min() == pytest.approx(noise_of_differences(noise)[0], rel=1e-5)
    assert np.isfinite(result.dff).all()


def test_traces_of_zeros_give_zeros() -> None:
    result = delta_f_over_f(nothing(), nothing(), np.zeros(1), nothing(), percentile=8, **WINDOW)
    assert not result.dff.any()
    assert result.guarded.all()


def test_no_components_give_no_rows() -> None:
    result = delta_f_over_f(nothing(0), nothing(0), np.zeros(0), nothing(0), percentile=8, **WINDOW)
    assert result.dff.shape == result.f0.shape == (0, T)


def test_shapes_and_windows_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"the baseline \(1,\); they are .* \(3,\)"):
        delta_f_over_f(nothing(), nothing(), np.zeros(3), nothing(), percentile=8, **WINDOW)
    with pytest.raises(ValueError, match=r"0\.01 s is below 3 frames at 10\.0 Hz"):
        delta_f_over_f(nothing(), nothing(), np.zeros(1), nothing(), percentile=8, frame_rate_hz=RATE, window_s=0.01)


def test_all_fluorescence_under_a_footprint_is_counted_once() -> None:
    """A cell of baseline 30, which is part of its background of 130: F0 is 130 in all."""
    footprint = sp.csc_array(np.full((16, 1), 0.25, np.float32))
    cell = transients()[None].astype(np.float32)
    background = np.full((1, T), 130 * 0.25, np.float32)
    zeros = np.zeros(1, np.float32)
    components = Components(
        shape=(4, 4), ids=np.array([0]), footprints=footprint, traces=cell, spikes=0 * cell, residual_traces=0 * cell,
        background_footprints=sp.csc_array(np.ones((16, 1), np.float32)), background_traces=background,
        baseline=np.array([30], np.float32), noise=zeros, ar_coefficients=zeros[:, None], lam=zeros,
        pixel_noise=np.zeros((4, 4), np.float32),
    )  # fmt: skip
    np.testing.assert_allclose(background_under_footprints(components), 100, rtol=1e-5)
    parameters = EvaluationParameters(dff_percentile=0)
    result = component_dff(components, Acquisition(frame_rate_hz=RATE), parameters)
    np.testing.assert_allclose(result.f0, 130, rtol=1e-3)


@pytest.mark.parametrize(("offset", "read"), [(0.0, 0.0), (100.0, 0.0), (100.0, 12.0), (-30.0, 0.0)])
def test_the_dark_level_is_where_photon_noise_vanishes(offset: float, read: float) -> None:
    """Pixels of 2 to 12 photons, 20 counts each: variance 20 x (mean - offset) + read^2."""
    rng = np.random.default_rng(3)
    mean = offset + 20 * rng.uniform(2, 12, 8000)
    variance = 20 * (mean - offset) + read**2
    noise = np.sqrt(variance) * rng.normal(1, 0.02, 8000)
    assert dark_level(mean, noise) == pytest.approx(max(offset - read**2 / 20, 0), abs=3)


@pytest.mark.parametrize("case", ["few pixels", "one brightness", "noise that does not grow"])
def test_a_dark_level_that_cannot_be_estimated_is_0(case: str) -> None:
    rng = np.random.default_rng(4)
    mean, noise = 100 + rng.uniform(0, 300, 8000), rng.normal(10, 0.1, 8000)
    if case == "few pixels":
        mean, noise = mean[:500], np.sqrt(mean[:500])
    elif case == "one brightness":
        mean = rng.uniform(100, 120, 8000)
        noise = np.sqrt(mean)
    assert dark_level(mean, noise) == 0


@pytest.mark.parametrize(
    "settings", [{"seed": 2, "neuropil_strength": 2.0, "bleaching": 0.3}, {"seed": 3, "photons": 5}]
)
def test_cells_under_neuropil_have_their_true_amplitude(settings: dict[str, float]) -> None:
    """Extraction and dF/F with defaults; F0 is all fluorescence under the footprint without the detector offset."""
    acquisition, compute = Acquisition(frame_rate_hz=14.7), Compute(threads=2, show_progress=False)
    size = {"n_frames": 600, "height_px": 80, "width_px": 80, "n_neurons": 11, "motion": "none", "warp_amplitude_px": 0}
    made = SimulationSettings.model_validate(size | settings)
    recording = simulate(made, acquisition)
    components = fit(recording.movie.compute(scheduler="threads"), acquisition, ExtractionParameters(), compute=compute)
    result = component_dff(components, acquisition, EvaluationParameters())
    assert result.dark_level == estimate_dark_level(components)
    assert result.dark_level == pytest.approx(made.offset, abs=25)
    truth, rest = recording.truth, draw_scene(made, acquisition)[0].rest
    true, own = match_footprints(intersection_over_union(truth.footprints, components.footprints))
    active = truth.traces[true].std(axis=1) > 0  # a soma that never fires has no amplitude
    true, own = true[active], own[active]
    A = truth.footprints.toarray()[:, true]
    fluorescence = (A * (truth.background.ravel()[:, None] + A * rest[true])).sum(axis=0)
    expected = truth.traces[true] * ((A * A).sum(axis=0) / fluorescence)[:, None]
    centred = [x - x.mean(axis=1, keepdims=True) for x in (result.dff[own].astype(float), expected)]
    amplitude = (centred[0] * centred[1]).sum(axis=1) / (centred[1] ** 2).sum(axis=1)
    assert len(amplitude) >= 6
    assert np.median(amplitude) == pytest.approx(1, abs=0.1)
