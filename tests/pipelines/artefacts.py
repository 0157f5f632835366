"""A simulated recording of 500 frames, and the same with twenty frames that do not show the tissue."""

import dask.array as da
import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter

from rsc2p_kedro.algorithms.summary_images import frame_statistics
from rsc2p_kedro.core.parameters import (
    CaimanSettings,
    Compute,
    EvaluationParameters,
    ExtractionParameters,
    IngestionParameters,
    MotionCorrectionParameters,
)
from rsc2p_kedro.manifest.recordings import Recording
from rsc2p_kedro.nwb.metadata import NwbParameters
from rsc2p_kedro.pipelines.evaluation import nodes as evaluation
from rsc2p_kedro.pipelines.ingestion import nodes as ingestion
from rsc2p_kedro.pipelines.motion_correction import nodes as motion_correction
from rsc2p_kedro.pipelines.source_extraction import nodes as source_extraction
from rsc2p_kedro.simulation.movie import simulate
from rsc2p_kedro.simulation.settings import SimulationSettings

QUIET = Compute(threads=2, show_progress=False)
CAIMAN = CaimanSettings()
SETTINGS = SimulationSettings(n_frames=500, height_px=96, width_px=128, n_neurons=16, photons=20, seed=1)
PLANTED = {
    "saturated": [40, 41, 42, 260],
    "blank": [90, 91, 300, 301],
    "bright band": [130, 200, 330, 450],
    "dark band": [150, 151],
    "not registered": [220, 221, 380],
    "lost focus": [270, 410, 411],
}
"""Frames of each kind; those that are `not registered` were displaced beyond `max_shift_px`."""
BAD = sorted(t for frames in PLANTED.values() for t in frames)


def make_recording(**fields: object) -> Recording:
    return Recording(animal="a", session_key="s", path="raw", frame_rate_hz=14.7, **fields)


def clean_movie() -> np.ndarray:
    return simulate(SETTINGS, make_recording().acquisition).movie.compute(scheduler="synchronous")


def with_artefacts(movie: np.ndarray) -> np.ndarray:
    """The movie with the artefacts of `PLANTED`."""
    rng, spoiled = np.random.default_rng(0), movie.copy()
    dark = int(np.percentile(movie, 0.1))
    spoiled[PLANTED["saturated"]] = 65535
    spoiled[PLANTED["blank"]] = dark + rng.integers(0, 3, (4, *movie.shape[1:]))
    for place, frame in enumerate(PLANTED["bright band"]):
        rows = slice(20 * place, 20 * place + 12)
        spoiled[frame, rows] = np.minimum(movie[frame, rows] * 8.0, 65535)
    spoiled[PLANTED["dark band"], 30:50] = dark
    for frame in PLANTED["not registered"]:
        spoiled[frame] = np.roll(movie[frame], (40, 55), axis=(0, 1))
    for frame in PLANTED["lost focus"]:
        scene = gaussian_filter(movie[frame - 8 : frame - 1].astype(float).mean(0), 6)
        spoiled[frame] = dark + rng.poisson(np.maximum(scene - dark, 0) / 20) * 20
    return spoiled


def process(movie: np.ndarray, *, dff_within_files: bool = False, **fields: object) -> dict[str, object]:
    """Runs the nodes of all stages up to dF/F on a movie."""
    recording, lazy = make_recording(**fields), da.from_array(movie, chunks=(64, -1, -1))
    ing, mc = IngestionParameters(), MotionCorrectionParameters()
    ext, ev = ExtractionParameters(), EvaluationParameters(dff_within_files=dff_within_files)
    bad = ingestion.find_bad_frames(lazy, recording, ing, QUIET)
    motion = motion_correction.estimate_motion(lazy, bad, recording, mc, ext, QUIET, CAIMAN)
    corrected = motion_correction.apply_motion(lazy, motion, recording, mc, CAIMAN).persist(scheduler="synchronous")
    excluded = motion_correction.find_excluded_frames(corrected, motion, bad, recording, ing, mc, QUIET)
    statistics = frame_statistics(lazy, compute=QUIET)
    levels = pd.DataFrame({name: getattr(statistics, name) for name in ("minimum", "mean", "maximum")})
    response, saturation = ingestion.measure_detector(lazy, bad, levels, QUIET)
    found = (corrected, motion, excluded, saturation)
    fit = source_extraction.fit_components(*found, recording, ext, QUIET, CAIMAN)
    components = source_extraction.refit_components(*found, fit, recording, ext, QUIET, CAIMAN)
    quality = evaluation.evaluate_components(corrected, components, excluded, recording, ev, QUIET, CAIMAN)
    spikes = evaluation.infer_component_spikes(components, excluded, recording, ev, QUIET, NwbParameters())
    frames = pd.DataFrame({"trial": ["a.tif"] * 250 + ["b.tif"] * (len(movie) - 250)})
    dff = evaluation.compute_dff(components, excluded, frames, response, recording, ev, CAIMAN)
    return {
        "bad": bad, "motion": motion, "excluded": excluded, "components": components, "quality": quality,
        "spikes": spikes, "dff": dff,
    }  # fmt: skip
