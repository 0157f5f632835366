"""Adapters of motion correction: the catalog on one side, an engine on the other."""

import dask.array as da
import numpy as np
import pandas as pd

from rsc2p_kedro.algorithms import registration
from rsc2p_kedro.algorithms.summary_images import summarize
from rsc2p_kedro.engines import get_engine
from rsc2p_kedro.engines.results import MotionCorrection, SummaryImages
from rsc2p_kedro.parameters import Compute, MotionCorrectionParameters
from rsc2p_kedro.recordings import Recording


def estimate_motion(
    movie: da.Array, recording: Recording, parameters: MotionCorrectionParameters, compute: Compute
) -> MotionCorrection:
    """Template and shifts of a recording."""
    parameters = recording.override(parameters)
    return get_engine(parameters.engine).correct_motion(movie, parameters, compute=compute)


def apply_motion(
    movie: da.Array, motion: MotionCorrection, recording: Recording, parameters: MotionCorrectionParameters
) -> da.Array:
    """The corrected movie, computed as it is stored."""
    parameters = recording.override(parameters)
    return get_engine(parameters.engine).apply_motion(movie, motion, parameters)


def summarize_corrected_movie(corrected_movie: da.Array, motion: MotionCorrection, compute: Compute) -> SummaryImages:
    """Summary images of the corrected movie, to be set beside those of the raw one."""
    return summarize(corrected_movie, compute=compute, valid_mask=motion.valid_mask)


def tabulate_motion(motion: MotionCorrection) -> pd.DataFrame:
    """One row a frame: shifts, and what correction did for it."""
    deviations = motion.patch_shifts - motion.shifts[:, None]
    largest = np.linalg.norm(deviations, axis=2).max(axis=1) if motion.piecewise else np.zeros(motion.n_frames)
    return pd.DataFrame(
        {
            "frame": np.arange(motion.n_frames),
            "shift_y_px": motion.shifts[:, 0],
            "shift_x_px": motion.shifts[:, 1],
            "largest_deviation_px": largest,
            "peak_quality": motion.peak_quality,
            "correlation_before": motion.correlation_before,
            "correlation_after": motion.correlation_after,
            "registered": motion.registered,
        }
    ).astype({"shift_y_px": float, "shift_x_px": float})


def assess_motion(
    movie: da.Array, corrected_movie: da.Array, motion: MotionCorrection, compute: Compute
) -> pd.DataFrame:
    """One row a measure of the whole recording, before and after correction."""
    quality = registration.motion_quality(movie, corrected_movie, motion, compute=compute)
    return pd.DataFrame(quality.rows(), columns=["measure", "before", "after", "improved"])
