"""Nodes of the stage motion correction: they pass datasets of the catalog to an engine."""

import dask.array as da
import numpy as np
import pandas as pd

from rsc2p_kedro.algorithms import registration
from rsc2p_kedro.algorithms.bad_frames import NOT_REGISTERED, find_lost_focus
from rsc2p_kedro.algorithms.kept_frames import extend_motion, take_frames
from rsc2p_kedro.algorithms.summary_images import summarize
from rsc2p_kedro.core.fingerprints import uses
from rsc2p_kedro.core.parameters import (
    DEFAULT_HALF_WIDTH_PX,
    CaimanSettings,
    Compute,
    ExtractionParameters,
    IngestionParameters,
    MotionCorrectionParameters,
)
from rsc2p_kedro.core.results import MotionCorrection, MotionQuality, SummaryImages
from rsc2p_kedro.engines import get_engine
from rsc2p_kedro.manifest.checks import NO_STRUCTURAL_CHANNEL
from rsc2p_kedro.manifest.recordings import Recording
from rsc2p_kedro.pipelines import exclusion


@uses(recording="", motion_correction="!corrected_dtype", source_extraction="neuron_half_width_px")
def estimate_motion(
    movie: da.Array,
    bad_frames: pd.DataFrame,
    recording: Recording,
    parameters: MotionCorrectionParameters,
    extraction: ExtractionParameters,
    compute: Compute,
    caiman: CaimanSettings,
    structural_movie: da.Array | None = None,
) -> MotionCorrection:
    """Estimates the motion of a recording.

    Args:
        movie: raw movie (T, H, W) of the functional channel.
        bad_frames: frames that are left out; their shifts are interpolated.
        recording: the recording, whose own parameters take precedence.
        parameters: parameters of motion correction, including the engine.
        extraction: gives the half-width of a neuron, which lengths within the tissue scale with.
        compute: resources of the machine.
        caiman: location of the user's CaImAn.
        structural_movie: raw movie (T, H, W) of the structural channel, if there is one.

    Returns:
        Template and shifts, of the channel that `parameters.channel` names.

    Raises:
        ValueError: that channel is structural and the recording has none.
    """
    parameters, extraction = recording.override(parameters), recording.override(extraction)
    engine, kept = get_engine(parameters.engine, caiman), exclusion.kept_frames(bad_frames)
    half_width = extraction.given_half_width_px or DEFAULT_HALF_WIDTH_PX
    registered = _registered_channel(movie, structural_movie, parameters)
    motion = engine.correct_motion(
        take_frames(registered, kept), parameters, compute=compute, neuron_half_width_px=half_width
    )
    return extend_motion(motion, kept)


def _registered_channel(
    movie: da.Array, structural_movie: da.Array | None, parameters: MotionCorrectionParameters
) -> da.Array:
    """The movie that motion is estimated from."""
    if parameters.channel == "functional":
        return movie
    if structural_movie is None:
        raise ValueError(NO_STRUCTURAL_CHANNEL)
    return structural_movie


@uses(recording="")
def apply_motion(
    movie: da.Array,
    motion: MotionCorrection,
    recording: Recording,
    parameters: MotionCorrectionParameters,
    caiman: CaimanSettings,
) -> da.Array:
    """Corrects the motion of a movie.

    Args:
        movie: raw movie (T, H, W).
        motion: its motion, estimated by the same engine.
        recording: the recording, whose own parameters take precedence.
        parameters: engine that applies the shifts, and dtype of the result.
        caiman: location of the user's CaImAn.

    Returns:
        (T, H, W), lazy: it is computed as it is stored.
    """
    parameters = recording.override(parameters)
    return get_engine(parameters.engine, caiman).apply_motion(movie, motion, parameters)


@uses(recording="exclude_frames", ingestion="exclude_frames", motion_correction="max_shift_px")
def find_excluded_frames(
    corrected_movie: da.Array,
    motion: MotionCorrection,
    bad_frames: pd.DataFrame,
    recording: Recording,
    ingestion: IngestionParameters,
    parameters: MotionCorrectionParameters,
    compute: Compute,
) -> pd.DataFrame:
    """Adds to the bad frames of the raw movie those that could not be registered, or lost focus.

    Args:
        corrected_movie: corrected movie (T, H, W).
        motion: its motion.
        bad_frames: given or found in the raw movie.
        recording: the recording, whose `exclude_frames` takes precedence.
        ingestion: whether bad frames are left out or only told of.
        parameters: largest shift.
        compute: resources of the machine.

    Returns:
        An :class:`~rsc2p_kedro.core.schemas.ExclusionTable`, one row per frame.

    Raises:
        ValueError: too few frames are left.
    """
    largest = recording.override(parameters).max_shift_px
    lost = find_lost_focus(corrected_movie, motion, max_shift_px=largest, compute=compute).astype(object)
    lost[~motion.registered] = NOT_REGISTERED
    reasons, excluded = bad_frames["reason"].to_numpy(dtype=object), bad_frames["excluded"].to_numpy(dtype=bool)
    reasons = np.where(reasons == "", lost, reasons)
    if not exclusion.uses_all_frames(recording, ingestion):
        excluded = excluded | ~motion.registered
    if exclusion.finds_frames(recording, ingestion):
        excluded = excluded | (lost != "")
    return exclusion.checked_table(recording, excluded, reasons)


def summarize_corrected_movie(
    corrected_movie: da.Array, motion: MotionCorrection, excluded: pd.DataFrame, compute: Compute
) -> SummaryImages:
    """Computes summary images of the corrected movie.

    Args:
        corrected_movie: corrected movie (T, H, W).
        motion: its motion; the correlation image is restricted to its valid mask.
        excluded: frames that are left out.
        compute: resources of the machine.

    Returns:
        Mean, maximum, standard deviation and local correlation over time, (H, W) each.
    """
    kept = exclusion.kept_frames(excluded)
    return summarize(take_frames(corrected_movie, kept), compute=compute, valid_mask=motion.valid_mask)


def summarize_structural_movie(
    structural_movie: da.Array,
    motion: MotionCorrection,
    excluded: pd.DataFrame,
    recording: Recording,
    parameters: MotionCorrectionParameters,
    compute: Compute,
    caiman: CaimanSettings,
) -> SummaryImages:
    """Computes summary images of the structural channel, corrected by the same shifts as the functional one.

    The corrected structural movie itself is not stored, as nothing but these images and the crosstalk depends on it.

    Args:
        structural_movie: raw movie (T, H, W) of the structural channel.
        motion: motion of the recording.
        excluded: frames that are left out.
        recording: the recording, whose own parameters take precedence.
        parameters: engine that applies the shifts, and dtype of the corrected frames.
        compute: resources of the machine.
        caiman: location of the user's CaImAn.

    Returns:
        Mean, maximum, standard deviation and local correlation over time, (H, W) each.
    """
    corrected = apply_motion(structural_movie, motion, recording, parameters, caiman)
    kept = exclusion.kept_frames(excluded)
    return summarize(take_frames(corrected, kept), compute=compute, valid_mask=motion.valid_mask)


@uses(recording="", source_extraction="neuron_half_width_px")
def assess_motion(
    movie: da.Array,
    corrected_movie: da.Array,
    motion: MotionCorrection,
    recording: Recording,
    parameters: MotionCorrectionParameters,
    extraction: ExtractionParameters,
    compute: Compute,
    caiman: CaimanSettings,
    structural_movie: da.Array | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Measures the registration quality before and after motion correction.

    Args:
        movie: raw movie (T, H, W).
        corrected_movie: corrected movie (T, H, W).
        motion: template and shifts.
        recording: the recording, whose own parameters take precedence.
        parameters: names the channel that was registered, which is the one that is measured.
        extraction: gives the half-width of a neuron, which the windows of residual motion scale with.
        compute: resources of the machine.
        caiman: location of the user's CaImAn.
        structural_movie: raw movie (T, H, W) of the structural channel, if there is one.

    Returns:
        A :class:`~rsc2p_kedro.core.schemas.MotionTable`, one row per frame, and a
        :class:`~rsc2p_kedro.core.schemas.MotionQualityTable`, one row per measure of the whole recording.
    """
    own = recording.override(parameters)
    if own.channel == "structural":
        movie = _registered_channel(movie, structural_movie, own)
        corrected_movie = apply_motion(movie, motion, recording, parameters, caiman)
    half_width = recording.override(extraction).given_half_width_px or DEFAULT_HALF_WIDTH_PX
    quality = registration.motion_quality(
        movie, corrected_movie, motion, compute=compute, neuron_half_width_px=half_width
    )
    measures = pd.DataFrame(quality.rows(), columns=["measure", "before", "after", "standard_error", "improved"])
    return tabulate_motion(motion, quality), measures


def tabulate_motion(motion: MotionCorrection, quality: MotionQuality) -> pd.DataFrame:
    """Tabulates the shifts of each frame, and its correlation with the template before and after correction.

    Args:
        motion: template and shifts.
        quality: correlations of the frames with the template.

    Returns:
        A :class:`~rsc2p_kedro.core.schemas.MotionTable`, one row per frame.
    """
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
