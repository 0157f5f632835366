"""Nodes of the stage ingestion: they convert raw frames to a movie and describe them."""

import dask.array as da
import numpy as np
import pandas as pd

from rsc2p_kedro.algorithms import bad_frames, line_offset, saturation
from rsc2p_kedro.algorithms.kept_frames import take_frames
from rsc2p_kedro.algorithms.registration.frames import size_problem
from rsc2p_kedro.algorithms.summary_images import frame_statistics, summarize
from rsc2p_kedro.core.fingerprints import uses
from rsc2p_kedro.core.parameters import Compute, IngestionParameters
from rsc2p_kedro.core.results import DetectorSaturation, LineOffset, SummaryImages
from rsc2p_kedro.datasets.raw import RawFrames, RecordingError, without_nan
from rsc2p_kedro.manifest.recordings import Recording
from rsc2p_kedro.pipelines import exclusion


@uses(recording="", ingestion="line_offset")
def find_line_offset(
    raw_frames: RawFrames, recording: Recording, parameters: IngestionParameters, compute: Compute
) -> LineOffset:
    """Finds the offset of odd rows of bidirectional scanning, as `line_offset` asks.

    Args:
        raw_frames: frames on disk.
        recording: the recording, whose own parameters take precedence.
        parameters: whether the offset is estimated, given or none.
        compute: resources of the machine.

    Returns:
        The offset that the movie is corrected for; 0 changes nothing.

    Raises:
        RecordingError: frames are too small, or pixels are NaN or infinite.
    """
    too_small = size_problem(raw_frames.movie.shape[1:])
    if too_small:  # at the first node of the run, and not in motion correction, after all frames are read
        raise RecordingError(raw_frames.path, [too_small])
    wanted = recording.override(parameters).line_offset
    if wanted == "auto":
        return line_offset.estimate_line_offset(without_nan(raw_frames), compute=compute)
    return LineOffset.not_estimated(0 if wanted == "none" else wanted)


@uses(recording="", ingestion="chunk_*")
def ingest_frames(
    raw_frames: RawFrames, found_offset: LineOffset, recording: Recording, parameters: IngestionParameters
) -> da.Array:
    """Converts raw frames to the movie of a recording, with odd rows in line with even ones.

    Args:
        raw_frames: frames on disk.
        found_offset: offset of the odd rows, which is corrected.
        recording: the recording, whose own parameters take precedence.
        parameters: size of the chunks that the movie is stored in.

    Returns:
        (T, H, W) in the dtype of the files, lazy, in the chunks that it will be stored in.

    Raises:
        RecordingError: pixels are NaN or infinite; raised when the movie is computed.
    """
    parameters = recording.override(parameters)
    movie = line_offset.correct_line_offset(without_nan(raw_frames), found_offset.offset_px)
    return movie.rechunk((parameters.chunk_frames, parameters.chunk_px, parameters.chunk_px))


def tabulate_files(raw_frames: RawFrames) -> pd.DataFrame:
    """Tabulates the files of a recording and the number of frames in each.

    Args:
        raw_frames: frames on disk.

    Returns:
        A :class:`~rsc2p_kedro.core.schemas.FileTable`, one row per file, in reading order.
    """
    return pd.DataFrame(raw_frames.frames_per_file.items(), columns=["file", "n_frames"])


def tabulate_frames(raw_frames: RawFrames, movie: da.Array, compute: Compute) -> pd.DataFrame:
    """Tabulates the origin and the brightness of each frame.

    Args:
        raw_frames: frames on disk.
        movie: the same frames, (T, H, W), as they were stored.
        compute: resources of the machine.

    Returns:
        A :class:`~rsc2p_kedro.core.schemas.FrameTable`, one row per frame.
    """
    statistics = frame_statistics(movie, compute=compute)
    return pd.DataFrame(
        {
            "frame": np.arange(len(raw_frames.files)),
            "file": raw_frames.files,
            "page": raw_frames.pages,
            "minimum": statistics.minimum,
            "mean": statistics.mean,
            "maximum": statistics.maximum,
            "saturated_share": statistics.saturated_share,
        }
    )


@uses(recording="exclude_frames", ingestion="exclude_frames")
def find_bad_frames(
    movie: da.Array,
    recording: Recording,
    parameters: IngestionParameters,
    compute: Compute,
    exclusion_table: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Finds blank, saturated and flashed frames and bands of photostimulation, and adds the frames that the user names.

    Args:
        movie: raw movie (T, H, W).
        recording: the recording, whose `exclude_frames` takes precedence.
        parameters: whether bad frames are left out or only told of.
        compute: resources of the machine.
        exclusion_table: the user's table of frames.

    Returns:
        An :class:`~rsc2p_kedro.core.schemas.ExclusionTable`, one row per frame.

    Raises:
        ValueError: the user names frames beyond the end of the movie, or too few frames are left.
    """
    found = bad_frames.find_artefacts(movie, compute=compute)
    return exclusion.exclusion_table(recording, parameters, found, exclusion_table)


def summarize_movie(movie: da.Array, excluded: pd.DataFrame, compute: Compute) -> SummaryImages:
    """Computes summary images of the raw movie.

    Args:
        movie: raw movie (T, H, W).
        excluded: frames that are left out.
        compute: resources of the machine.

    Returns:
        Mean, maximum, standard deviation and local correlation over time, (H, W) each.
    """
    return summarize(take_frames(movie, exclusion.kept_frames(excluded)), compute=compute)


def find_saturation(movie: da.Array, excluded: pd.DataFrame, compute: Compute) -> DetectorSaturation:
    """Finds the level from which the detector saturates, from the noise of the pixels.

    Args:
        movie: raw movie (T, H, W).
        excluded: frames that are left out.
        compute: resources of the machine.

    Returns:
        The level in counts or None, the fraction of the values above it, and the photon transfer curve.
    """
    return saturation.find_saturation(take_frames(movie, exclusion.kept_frames(excluded)), compute=compute)
