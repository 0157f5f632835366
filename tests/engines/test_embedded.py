"""The engine `embedded` passes its arguments on and completes the records of the algorithms."""

import dask.array as da
import numpy as np
import pytest
from tests.reference import registration as reference

from rsc2p_kedro.algorithms.extraction.neuron_size import FALLBACK_HALF_WIDTH_PX
from rsc2p_kedro.algorithms.registration import estimate_motion
from rsc2p_kedro.core.parameters import (
    Acquisition,
    Compute,
    ExtractionParameters,
    MotionCorrectionParameters,
)
from rsc2p_kedro.core.results import Components
from rsc2p_kedro.engines.embedded import EmbeddedEngine
from rsc2p_kedro.simulation.movie import simulate
from rsc2p_kedro.simulation.settings import SimulationSettings

COMPUTE = Compute(threads=2, show_progress=False)
ACQUISITION = Acquisition(frame_rate_hz=10)


def test_motion_correction_scales_with_the_neurons():
    shifts = 2 * np.sin(np.arange(80) / [[7], [11]]).T
    movie = reference.moving_movie(80, (96, 96), reference.rigid(shifts), photons=20)
    parameters = MotionCorrectionParameters(patch_stride_px=32, patch_overlap_px=16)
    expected = estimate_motion(movie, parameters, compute=COMPUTE, neuron_half_width_px=12)
    motion = EmbeddedEngine().correct_motion(movie, parameters, compute=COMPUTE, neuron_half_width_px=12)
    default = EmbeddedEngine().correct_motion(movie, parameters, compute=COMPUTE)
    np.testing.assert_array_equal(motion.patch_shifts, expected.patch_shifts)
    assert (default.patch_shifts != expected.patch_shifts).any()
    assert (motion.patch_stride_px, motion.patch_overlap_px) == (32, 16)


def test_rigid_motion_has_no_stride_and_overlap():
    movie = reference.moving_movie(40, (48, 48), reference.rigid(np.zeros((40, 2))), photons=20)
    motion = EmbeddedEngine().correct_motion(movie, MotionCorrectionParameters(piecewise=False), compute=COMPUTE)
    assert (motion.patch_stride_px, motion.patch_overlap_px) == (None, None)


@pytest.fixture(scope="module")
def movie() -> da.Array:
    settings = {"n_frames": 256, "height_px": 64, "width_px": 64, "n_neurons": 6, "photons": 60}
    frames = simulate(SimulationSettings.model_validate(settings), ACQUISITION).movie
    return da.from_array(frames.compute(scheduler="synchronous"), chunks=(64, 64, 64))


def extract(movie: da.Array, parameters: ExtractionParameters) -> tuple[Components, Components]:
    engine = EmbeddedEngine()
    fit = engine.extract_sources(movie, ACQUISITION, parameters, compute=COMPUTE)
    refit = engine.extract_sources(movie, ACQUISITION, parameters, compute=COMPUTE, earlier=fit)
    return fit, refit


def test_components_have_the_size_of_neurons_and_the_number_of_fitted_background_components(movie):
    parameters = ExtractionParameters(neuron_half_width_px=5, initialization="greedy_roi")
    for components in extract(movie, parameters):
        assert components.n_components > 0
        assert components.neuron_half_width_px == 5
        assert components.n_fitted_background == len(components.background_traces) > 0
        assert components.provenance["engine"] == "embedded"
        assert ExtractionParameters.model_validate_json(components.provenance["parameters"]) == parameters


def test_components_of_an_empty_movie_have_the_size_of_neurons(movie):
    noise = np.random.default_rng(0).normal(100, 5, movie.shape).astype(np.float32)
    for components in extract(da.from_array(noise, chunks=(64, 64, 64)), ExtractionParameters()):
        assert components.n_components == 0
        assert components.neuron_half_width_px == FALLBACK_HALF_WIDTH_PX
        assert components.n_fitted_background == len(components.background_traces)
