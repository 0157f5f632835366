"""Adapters of motion correction: the catalog on one side, an engine on the other."""

import dask.array as da
import numpy as np
import pandas as pd

from rsc2p_kedro.algorithms import registration
from rsc2p_kedro.algorithms.summary_images import summarize
from rsc2p_kedro.core.parameters import CaimanSettings, Compute, MotionCorrectionParameters
from rsc2p_kedro.core.results import MotionCorrection, MotionQuality, SummaryImages
from rsc2p_kedro.engines import get_engine
from rsc2p_kedro.manifest.recordings import Recording


def estimate_motion(
    movie: da.Array,
    recording: Recording,
    parameters: MotionCorrectionParameters,
    compute: Compute,
    caiman: CaimanSettings,
) -> MotionCorrection:
    """Template and shifts of a recording."""
    parameters = recording.override(parameters)
    return get_engine(parameters.engine, caiman).correct_motion(movie, parameters, compute=compute)


def apply_motion(
    movie: da.Array,
    motion: MotionCorrection,
    recording: Recording,
    parameters: MotionCorrectionParameters,
    caiman: CaimanSettings,
) -> da.Array:
    """The corrected movie, computed as it is stored."""
    parameters = recording.override(parameters)
    return get_engine(parameters.engine, caiman).apply_motion(movie, motion, parameters)


def summarize_corrected_movie(corrected_movie: da.Array, motion: MotionCorrection, compute: Compute) -> SummaryImages:
    """Summary images of the corrected movie, to be set beside those of the raw one."""
    return summarize(corrected_movie, compute=compute, valid_mask=motion.valid_mask)


def assess_motion(
    movie: da.Array, corrected_movie: da.Array, motion: MotionCorrection, compute: Compute
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What correction did: for each frame, and (one row a measure) for the whole recording."""
    quality = registration.motion_quality(movie, corrected_movie, motion, compute=compute)
    measures = pd.DataFrame(quality.rows(), columns=["measure", "before", "after", "improved"])
    return tabulate_motion(motion, quality), measures


def tabulate_motion(motion: MotionCorrection, quality: MotionQuality) -> pd.DataFrame:
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
            "correlation_before": quality.frame_correlation_before,
            "correlation_after": quality.frame_correlation_after,
            "registered": motion.registered,
        }
    ).astype({"shift_y_px": float, "shift_x_px": float})
