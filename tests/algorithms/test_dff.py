"""dF/F: a known F0 is recovered."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
from tests.reference import evaluation as reference

from rsc2p_kedro.algorithms.dff import (
    background_under_footprints,
    choose_dark_level,
    component_dff,
    delta_f_over_f,
    describe_noise,
    estimate_dark_level,
    noise_of_differences,
    running_percentile,
)
from rsc2p_kedro.algorithms.extraction import fit
from rsc2p_kedro.algorithms.photon_response import fit_response
from rsc2p_kedro.core.parameters import Acquisition, Compute, EvaluationParameters, ExtractionParameters
from rsc2p_kedro.core.results import Components, DetectorResponse
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


def uniform_cell(*, contaminated: float = 0.0, n: int = T) -> Components:
    """One cell of 7 x 7 px of weight 1 in a frame of 40 x 40 px; background 100 and fluctuating, dark level 20.

    The cell's own light is 50 at rest, which is part of the background under it; the neuropil there is `contaminated`
    times that around.
    """
    rng = np.random.default_rng(5)
    neuropil = 80 + 12 * np.convolve(rng.normal(size=n + 20), np.ones(8) / 8**0.5, mode="same")[:n]
    mask = np.zeros((40, 40), np.float32)
    mask[16:23, 16:23] = 1
    inside = mask.ravel() > 0
    around = np.where(inside, contaminated, 1.0).astype(np.float32)
    constant = np.where(inside, 20.0 + 50.0, 20.0).astype(np.float32)
    zeros = np.zeros(1, np.float32)
    return Components(
        shape=(40, 40), ids=np.array([0]), footprints=sp.csc_array(mask.reshape(-1, 1)),
        traces=transients(25.0)[None, :n].astype(np.float32), spikes=np.zeros((1, n), np.float32),
        residual_traces=np.zeros((1, n), np.float32),
        background_footprints=sp.csc_array(np.stack([around, constant], axis=1)),
        background_traces=np.stack([neuropil, np.ones(n)]).astype(np.float32),
        baseline=zeros, noise=zeros + 0.1, ar_coefficients=zeros[:, None], lam=zeros,
        pixel_noise=np.zeros((40, 40), np.float32),
    )  # fmt: skip


@pytest.mark.parametrize("ratio", [0.3, 0.7, 1.0])
def test_dff_of_the_cell_alone_is_recovered_with_the_known_contamination(ratio: float) -> None:
    """Transients of 25 over 50 are 50 %, whatever neuropil lies in front of the cell."""
    acquisition = Acquisition(frame_rate_hz=RATE)
    for wanted in (ratio, "estimate"):
        parameters = EvaluationParameters(dff_dark_level=20, dff_percentile=0, dff_neuropil=wanted)
        result = component_dff(uniform_cell(contaminated=ratio), acquisition, parameters)
        assert result.neuropil_fraction is not None
        assert result.neuropil_f0 is not None
        assert result.neuropil_fraction[0] == pytest.approx(ratio, abs=0.06)
        assert np.median(result.dff.max(axis=1)) == pytest.approx(0.5, rel=0.1)
        np.testing.assert_allclose(result.neuropil_f0, 80 * ratio, rtol=0.2)
    whole = component_dff(
        uniform_cell(contaminated=ratio), acquisition, EvaluationParameters(dff_dark_level=20, dff_percentile=0)
    )
    assert whole.neuropil_fraction is None
    assert whole.dff.max() == pytest.approx(25 / (50 + 80 * ratio), rel=0.1)


def test_a_negative_dark_level_may_be_given() -> None:
    parameters = EvaluationParameters(dff_dark_level=-200, dff_percentile=0)
    result = component_dff(uniform_cell(contaminated=1.0), Acquisition(frame_rate_hz=RATE), parameters)
    assert (result.dark_level, result.dark_level_source) == (-200, "given")
    np.testing.assert_allclose(result.f0, 50 + 80 + 20 + 200, rtol=0.05)


def test_photons_of_a_cell_give_its_trace_the_shot_noise_it_has() -> None:
    """49 px of 130 counts each at 10 counts per photon: 637 photons a frame; their shot noise is that of the trace."""
    components, acquisition = uniform_cell(contaminated=1.0), Acquisition(frame_rate_hz=RATE, decay_time_s=1.0)
    plain = component_dff(components, acquisition, EvaluationParameters(dff_dark_level=20, dff_percentile=0))
    nothing_measured = np.zeros(0)
    response = DetectorResponse(
        20.0, 2.6, "noise of the pixels", 10.0, 0.1, 0.0, 150.0, 100.0, (0.0, 0.0), 0.0,
        nothing_measured, nothing_measured, nothing_measured,
    )  # fmt: skip
    known = replace(plain, dark_level_error=2.6, dark_level_source="noise of the pixels")
    result = describe_noise(known, components, acquisition, response)
    assert result.photons is not None
    assert result.photons[0] == pytest.approx(637, rel=0.05)
    pixels = np.random.default_rng(0).poisson(13, (4000, 49)) * 10.0
    assert pixels.mean(axis=1).std() / 130 == pytest.approx(result.photons[0] ** -0.5, rel=0.05)
    assert result.d_prime[0] == pytest.approx(0.1 * np.sqrt(6370 / 2), rel=0.05)
    assert result.scale_error[0] == pytest.approx(0.02, rel=0.05)
    rng = np.random.default_rng(1)
    white = replace(known, dff=rng.normal(0, 0.1, known.dff.shape).astype(np.float32))
    expected = 100 * 0.1 * 0.6745 * np.sqrt(2) / np.sqrt(RATE)
    assert describe_noise(white, components, acquisition, response).noise_level[0] == pytest.approx(expected, rel=0.1)


def test_the_dark_level_is_the_given_the_measured_or_a_stated_guess() -> None:
    unknown = fit_response([], low=-300.0)
    measured = replace(unknown, dark_level=-210.0, dark_level_error=3.0, source="noise of the pixels")
    assert choose_dark_level(-5.0, measured) == (-5.0, 0.0, "given")
    assert choose_dark_level(None, measured) == (-210.0, 3.0, "noise of the pixels")
    assert choose_dark_level(None, unknown) == (-300.0, None, "unknown"), "F0 has to stay above 0"


@pytest.mark.slow
def test_dff_does_not_depend_on_the_dark_level_of_the_movie() -> None:
    """The same movie at a dark level of -50, at which its mean is about 0, and of -2000."""
    acquisition, compute = Acquisition(frame_rate_hz=14.7), Compute(threads=2, show_progress=False)
    size = {"n_frames": 400, "height_px": 72, "width_px": 72, "n_neurons": 8, "motion": "none", "warp_amplitude_px": 0}
    made = SimulationSettings.model_validate(size | {"seed": 4, "photons": 4, "offset": 100})
    movie = simulate(made, acquisition).movie.compute(scheduler="threads").astype(np.int16)
    results = []
    for by in (-150, -2100):
        parameters = ExtractionParameters(neuron_half_width_px=5)
        components = fit(movie + np.int16(by), acquisition, parameters, compute=compute)
        assert components.n_fitted_background == components.background_footprints.shape[1] - 1
        total = components.background_footprints @ components.background_traces.mean(axis=1)
        total = total + components.footprints @ components.traces.mean(axis=1)
        np.testing.assert_allclose(total, (movie + by).mean(axis=0).ravel(), atol=20)
        level = EvaluationParameters(dff_dark_level=100 + by)
        results.append(component_dff(components, acquisition, level))
    assert results[0].dff.shape == results[1].dff.shape
    np.testing.assert_allclose(results[0].f0, results[1].f0, rtol=0.02)
    np.testing.assert_allclose(results[0].dff, results[1].dff, atol=0.05)
