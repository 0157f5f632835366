"""Compiles the kernels of the embedded engine into numba's cache by running every step on a small movie.

``python -m rsc2p_kedro.engines.warm_up`` can be run at any time. `make demo` runs it in parallel with the first stages,
which leave a core idle.
"""

import warnings

import dask.array as da

from rsc2p_kedro.algorithms.deconvolution import infer_spikes
from rsc2p_kedro.algorithms.dff import component_dff
from rsc2p_kedro.algorithms.registration import motion_quality
from rsc2p_kedro.algorithms.summary_images import frame_statistics, summarize
from rsc2p_kedro.core.parameters import (
    Acquisition,
    Compute,
    EvaluationParameters,
    ExtractionParameters,
    MotionCorrectionParameters,
)
from rsc2p_kedro.engines.embedded import EmbeddedEngine
from rsc2p_kedro.simulation.movie import simulate
from rsc2p_kedro.simulation.settings import SimulationSettings


def warm_up() -> int:
    """Runs every step of the embedded engine once on a small simulated movie, so that all its kernels are compiled.

    Returns:
        Number of components extracted from the movie. It is above 0, so evaluation and dF/F were compiled as well.
    """
    acquisition = Acquisition.model_validate({"frame_rate_hz": 14.7})
    compute = Compute.model_validate({"threads": 1, "show_progress": False})
    settings = SimulationSettings.model_validate(
        {"n_frames": 256, "height_px": 96, "width_px": 96, "n_neurons": 9, "photons": 60}
    )
    movie = da.from_array(simulate(settings, acquisition).movie.compute(scheduler="synchronous"), chunks=(64, 96, 96))
    engine, evaluation = EmbeddedEngine(), EvaluationParameters.model_validate({})
    # Extraction comes first: its kernels take longest to compile, and a pipeline that starts now needs them last.
    extraction = ExtractionParameters.model_validate({})
    fit = engine.extract_sources(movie, acquisition, extraction, compute=compute)
    refit = engine.extract_sources(movie, acquisition, extraction, compute=compute, earlier=fit)
    engine.evaluate(movie, refit, acquisition, evaluation, compute=compute)
    component_dff(refit, acquisition, evaluation)
    infer_spikes(refit.traces + refit.residual_traces, acquisition)
    motion_parameters = MotionCorrectionParameters.model_validate({})
    motion = engine.correct_motion(movie, motion_parameters, compute=compute)
    corrected = engine.apply_motion(movie, motion, motion_parameters).persist(scheduler="synchronous")
    motion_quality(movie, corrected, motion, compute=compute)
    frame_statistics(movie, compute=compute)
    summarize(corrected, compute=compute, valid_mask=motion.valid_mask)
    return refit.n_components


if __name__ == "__main__":
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warm_up()
