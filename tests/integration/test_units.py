"""No result depends on the unit of the pixels: counts, volts or photons give the same motion, cells and classes."""

from dataclasses import dataclass

import dask.array as da
import numpy as np
import pytest
from numpy.typing import NDArray

from rsc2p_kedro.algorithms import registration
from rsc2p_kedro.algorithms.deconvolution import infer_spikes_of_all
from rsc2p_kedro.algorithms.summary_images import summarize
from rsc2p_kedro.core.parameters import (
    Acquisition,
    Compute,
    EvaluationParameters,
    ExtractionParameters,
    MotionCorrectionParameters,
)
from rsc2p_kedro.core.results import (
    ComponentQuality,
    Components,
    DeltaFOverF,
    MotionCorrection,
    MotionQuality,
    SpikeInference,
    SummaryImages,
)
from rsc2p_kedro.engines.embedded import EmbeddedEngine
from rsc2p_kedro.simulation.movie import simulate
from rsc2p_kedro.simulation.settings import SimulationSettings

ACQUISITION = Acquisition(frame_rate_hz=10.0)
COMPUTE = Compute(threads=1, show_progress=False)


@dataclass(frozen=True, eq=False)
class Results:
    """Everything that is computed from a movie."""

    images: SummaryImages
    motion: MotionCorrection
    corrected: NDArray
    motion_quality: MotionQuality
    fit: Components
    components: Components
    quality: ComponentQuality
    dff: DeltaFOverF
    spikes: SpikeInference


def whole_chain(pixels: NDArray) -> Results:
    engine, movie = EmbeddedEngine(), da.from_array(pixels, chunks=(64, *pixels.shape[1:]))
    parameters, evaluation = ExtractionParameters(), EvaluationParameters()
    motion = engine.correct_motion(movie, MotionCorrectionParameters(), compute=COMPUTE)
    moved = engine.apply_motion(movie, motion, MotionCorrectionParameters()).compute()
    corrected = da.from_array(moved, chunks=(64, *pixels.shape[1:]))
    options = {"compute": COMPUTE, "valid_mask": motion.valid_mask}
    fit = engine.extract_sources(corrected, ACQUISITION, parameters, **options)
    components = engine.extract_sources(corrected, ACQUISITION, parameters, **options, earlier=fit)
    noisy = components.traces + components.residual_traces
    return Results(
        summarize(movie, compute=COMPUTE),
        motion,
        moved,
        registration.motion_quality(movie, corrected, motion, compute=COMPUTE, neuron_half_width_px=4.0),
        fit,
        components,
        engine.evaluate(corrected, components, ACQUISITION, evaluation, compute=COMPUTE),
        engine.compute_dff(components, ACQUISITION, evaluation),
        infer_spikes_of_all(noisy, ACQUISITION, delay=0.045, supralinearity=1.33, compute=COMPUTE),
    )


@pytest.fixture(scope="module")
def counts() -> NDArray:
    settings = SimulationSettings(
        n_frames=300, height_px=72, width_px=72, n_neurons=14, tissue="processes", process_density=10
    )
    return simulate(settings, ACQUISITION).movie.compute()


@pytest.fixture(scope="module")
def reference(counts) -> Results:
    return whole_chain(counts.astype(np.float32))


def same(actual, expected, tolerance=1e-4):
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * np.abs(expected).max())


@pytest.mark.slow
@pytest.mark.parametrize("unit", [1e-6, 1e-3, 1e3, 1e6])
def test_results_are_those_of_the_movie_in_counts(counts, reference, unit):
    results = whole_chain((counts * unit).astype(np.float32))
    np.testing.assert_allclose(results.motion.shifts, reference.motion.shifts, atol=1e-3)
    np.testing.assert_allclose(results.motion.patch_shifts, reference.motion.patch_shifts, atol=1e-3)
    np.testing.assert_array_equal(results.motion.registered, reference.motion.registered)
    assert results.components.n_components == reference.components.n_components >= 8
    assert 0 < reference.quality.accepted.sum() < reference.components.n_components
    np.testing.assert_array_equal(results.quality.accepted, reference.quality.accepted)
    assert results.quality.component_class == reference.quality.component_class
    for name, actual, expected in (
        ("mean image", results.images.mean / unit, reference.images.mean),
        ("correlation image", results.images.correlation, reference.images.correlation),
        ("template", results.motion.template / unit, reference.motion.template),
        ("corrected movie", results.corrected / unit, reference.corrected),
        ("frame correlation", *(r.motion_quality.frame_correlation_after for r in (results, reference))),
        ("fitted traces", results.fit.traces / unit, reference.fit.traces),
        ("traces", results.components.traces / unit, reference.components.traces),
        ("noise", results.components.noise / unit, reference.components.noise),
        ("footprints", *(r.components.footprints.toarray() for r in (results, reference))),
        ("SNR", results.quality.snr, reference.quality.snr),
        ("r_value", results.quality.r_value, reference.quality.r_value),
        ("probabilities", results.quality.class_probabilities, reference.quality.class_probabilities),
        ("dF/F", results.dff.dff, reference.dff.dff),
        ("spikes", results.spikes.rates, reference.spikes.rates),
    ):
        deviation = np.abs(actual - expected).max() / np.abs(expected).max()
        assert deviation < 1e-3, f"{name} differs by {deviation:.2g} in units of {unit:g}"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "constant"), [("float32", -340.0), ("float32", 5000.0), ("int16", -340), ("int32", 10_000)]
)
def test_a_constant_added_to_all_pixels_changes_neither_cells_nor_classes(counts, reference, dtype, constant):
    same_type = reference if dtype == "float32" else whole_chain(counts.astype(dtype))
    results = whole_chain((counts + np.array(constant, "float64")).astype(dtype))
    assert results.components.n_components == same_type.components.n_components >= 8
    np.testing.assert_array_equal(results.quality.accepted, same_type.quality.accepted)
    assert results.quality.component_class == same_type.quality.component_class
    np.testing.assert_allclose(results.motion.shifts, same_type.motion.shifts, atol=1e-3)
    for name, actual, expected in (
        ("footprints", *(r.components.footprints.toarray() for r in (results, same_type))),
        ("traces", results.components.traces, same_type.components.traces),
        ("noise", results.components.noise, same_type.components.noise),
        ("SNR", results.quality.snr, same_type.quality.snr),
        ("r_value", results.quality.r_value, same_type.quality.r_value),
        ("probabilities", results.quality.class_probabilities, same_type.quality.class_probabilities),
        ("spikes", results.spikes.rates, same_type.spikes.rates),
    ):
        deviation = np.abs(actual - expected).max() / np.abs(expected).max()
        # Corrected integers are rounded: one in a thousand falls to the other side of a half.
        tolerance = 1e-2 if dtype == "float32" else 0.15
        assert deviation < tolerance, f"{name} differs by {deviation:.2g} with {constant:g} added to {dtype}"


@pytest.mark.slow
def test_double_precision_gives_the_same_and_negative_pixels_pass_the_whole_way(counts, reference):
    doubled = whole_chain(counts.astype(np.float64))
    np.testing.assert_array_equal(doubled.components.traces, reference.components.traces)
    assert doubled.quality.reasons == reference.quality.reasons
    pixels = counts.astype(np.float32) - np.float32(counts.mean())
    results = whole_chain(pixels)
    np.testing.assert_allclose(results.motion.shifts, reference.motion.shifts, atol=1e-3)
    same(results.images.correlation, reference.images.correlation)
    assert results.quality.accepted.any()
    assert np.isfinite(results.dff.dff).all()
    smaller = whole_chain(pixels * np.float32(1e-6))
    assert smaller.quality.component_class == results.quality.component_class
    same(smaller.quality.snr, results.quality.snr, 1e-3)
