"""Results of a small recording are those of the stored versions of the stages: who changes them raises the version.

If results change on purpose: raise the version of the stage in `core/versions.py`, then run
`python -m tests.core.test_versions`, which stores the results of the new version.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rsc2p_kedro.algorithms.deconvolution import infer_spikes_of_all
from rsc2p_kedro.algorithms.detector import measure_detector
from rsc2p_kedro.algorithms.summary_images import summarize
from rsc2p_kedro.core.parameters import (
    Acquisition,
    Compute,
    EvaluationParameters,
    ExtractionParameters,
    MotionCorrectionParameters,
)
from rsc2p_kedro.core.versions import STAGE_VERSIONS
from rsc2p_kedro.engines.embedded import EmbeddedEngine
from rsc2p_kedro.simulation.movie import simulate
from rsc2p_kedro.simulation.settings import SimulationSettings

STORED = Path(__file__).with_name("results_by_version.json")


def small_results() -> dict[str, dict[str, float]]:
    """Some numbers of the results of each stage, on a small simulated recording."""
    acquisition, compute = Acquisition(frame_rate_hz=14.7), Compute(threads=1, show_progress=False)
    settings = SimulationSettings(n_frames=150, height_px=64, width_px=80, n_neurons=5, photons=20)
    movie = simulate(settings, acquisition).movie.persist()
    engine, motion_parameters = EmbeddedEngine(), MotionCorrectionParameters()
    motion = engine.correct_motion(movie, motion_parameters, compute=compute)
    corrected = engine.apply_motion(movie, motion, motion_parameters).persist()
    how = {"compute": compute, "valid_mask": motion.valid_mask}
    fitted = engine.extract_sources(corrected, acquisition, ExtractionParameters(), **how)
    components = engine.extract_sources(corrected, acquisition, ExtractionParameters(), **how, earlier=fitted)
    evaluation = EvaluationParameters()
    quality = engine.evaluate(corrected, components, acquisition, evaluation, compute=compute)
    dff = engine.compute_dff(components, acquisition, evaluation)
    spikes = infer_spikes_of_all(
        components.traces + components.residual_traces, acquisition, delay=0.045, supralinearity=1.33, compute=compute
    )
    images = summarize(movie, compute=compute)
    return {
        "simulation": _numbers(movie=movie),
        "ingestion": _numbers(
            correlation=images.correlation,
            deviation=images.standard_deviation,
            noise=measure_detector(movie, compute=compute).saturation.noise_variance,
        ),
        "motion_correction": _numbers(template=motion.template, patches=motion.patch_shifts, corrected=corrected),
        "source_extraction": _numbers(
            fit=fitted.traces, footprints=components.footprints.data, traces=components.traces, spikes=components.spikes
        ),
        "evaluation": _numbers(snr=quality.snr, r_value=quality.r_value, dff=dff.dff, spikes=spikes.rates),
    }


def _numbers(**arrays: Any) -> dict[str, float]:
    """Size, mean and root mean square of each array."""
    numbers: dict[str, float] = {}
    for name, array in arrays.items():
        values = np.asarray(array, dtype=np.float64)
        numbers[f"{name}: size"] = values.size
        numbers[f"{name}: mean"] = float(values.mean())
        numbers[f"{name}: rms"] = float(np.sqrt((values**2).mean()))
    return numbers


@pytest.mark.slow
def test_results_that_change_have_another_version() -> None:
    stored = json.loads(STORED.read_text(encoding="utf-8"))
    for stage, numbers in small_results().items():
        assert stored[stage]["version"] == STAGE_VERSIONS[stage], "store the results of the new version, see above"
        expected = stored[stage]["numbers"]
        assert numbers == pytest.approx(expected, rel=1e-5, abs=1e-7), f"raise the version of {stage}, see above"


def main() -> None:
    """Stores the results of the present versions."""
    results = {stage: {"version": STAGE_VERSIONS[stage], "numbers": n} for stage, n in small_results().items()}
    STORED.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
