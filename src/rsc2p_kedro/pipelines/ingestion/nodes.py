"""Nodes of the stage ingestion: they convert raw frames to a movie and describe them."""

import dask.array as da
import numpy as np
import pandas as pd

from rsc2p_kedro.algorithms import bad_frames, detector, line_offset
from rsc2p_kedro.algorithms.bad_frames import BLANK
from rsc2p_kedro.algorithms.kept_frames import take_frames
from rsc2p_kedro.algorithms.photon_response import with_blank_frames
from rsc2p_kedro.algorithms.registration.frames import size_problem
from rsc2p_kedro.algorithms.summary_images import frame_statistics, summarize
from rsc2p_kedro.core.fingerprints import uses
from rsc2p_kedro.core.parameters import Compute, IngestionParameters
from rsc2p_kedro.core.results import DetectorResponse, DetectorSaturation, LineOffset, SummaryImages
from rsc2p_kedro.datasets.raw import RawFrames, RawRecording, RecordingError, without_nan
from rsc2p_kedro.datasets.raw.frames import MINIMUM_FRAMES
from rsc2p_kedro.manifest.recordings import Recording
from rsc2p_kedro.pipelines import exclusion

SELECTION = "frames channels"
"""Fields of a recording that say which images are the frames of a movie. What says how images are to be read, such as
`planes`, belongs to the dataset `raw_frames`."""


@uses(recording=SELECTION, ingestion="line_offset")
def find_line_offset(
    raw_frames: RawRecording, recording: Recording, parameters: IngestionParameters, compute: Compute
) -> LineOffset:
    """Finds the offset of odd rows of bidirectional scanning, as `line_offset` asks.

    Args:
        raw_frames: all images on disk.
        recording: the recording, whose own parameters take precedence.
        parameters: whether the offset is estimated, given or none.
        compute: resources of the machine.

    Returns:
        The offset that the movie is corrected for; 0 changes nothing.

    Raises:
        RecordingError: frames are too small, or pixels are NaN or infinite.
    """
    frames = recording.select(raw_frames)
    too_small = size_problem(frames.movie.shape[1:])
    if too_small:  # at the first node of the run, and not in motion correction, after all frames are read
        raise RecordingError(frames.path, [too_small])
    wanted = recording.override(parameters).line_offset
    if wanted == "auto":
        return line_offset.estimate_line_offset(without_nan(frames), compute=compute)
    return LineOffset.not_estimated(0 if wanted == "none" else wanted)


@uses(recording=SELECTION, ingestion="chunk_*")
def ingest_frames(
    raw_frames: RawRecording, found_offset: LineOffset, recording: Recording, parameters: IngestionParameters
) -> da.Array:
    """Converts raw frames to the movie of the functional channel, with odd rows in line with even ones.

    Args:
        raw_frames: all images on disk.
        found_offset: offset of the odd rows, which is corrected.
        recording: the recording, whose own parameters take precedence.
        parameters: size of the chunks that the movie is stored in.

    Returns:
        (T, H, W) in the dtype of the files, lazy, in the chunks that it will be stored in.

    Raises:
        RecordingError: the recording is incomplete. Pixels are NaN or infinite; raised when the movie is computed.
    """
    return _ingested(recording.select(raw_frames), found_offset, recording.override(parameters))


@uses(recording=SELECTION, ingestion="chunk_*")
def ingest_structural_frames(
    raw_frames: RawRecording, found_offset: LineOffset, recording: Recording, parameters: IngestionParameters
) -> da.Array:
    """Converts raw frames to the movie of the structural channel.

    Args:
        raw_frames: all images on disk.
        found_offset: offset of the odd rows in the functional channel, which is scanned together with this one.
        recording: the recording, which names a structural channel.
        parameters: size of the chunks that the movie is stored in.

    Returns:
        As :func:`ingest_frames`.

    Raises:
        RecordingError: as :func:`ingest_frames`.
    """
    return _ingested(recording.select(raw_frames, structural=True), found_offset, recording.override(parameters))


def _ingested(frames: RawFrames, found_offset: LineOffset, parameters: IngestionParameters) -> da.Array:
    movie = line_offset.correct_line_offset(without_nan(frames), found_offset.offset_px)
    return movie.rechunk((parameters.chunk_frames, parameters.chunk_px, parameters.chunk_px))


@uses(recording=SELECTION)
def tabulate_files(raw_frames: RawRecording, recording: Recording) -> pd.DataFrame:
    """Tabulates the files of a recording and the number of images in each.

    Args:
        raw_frames: all images on disk.
        recording: the recording.

    Returns:
        A :class:`~rsc2p_kedro.core.schemas.FileTable`, one row per file, in reading order.
    """
    return pd.DataFrame(recording.select(raw_frames).frames_per_file.items(), columns=["file", "n_frames"])


@uses(recording=SELECTION)
def tabulate_frames(raw_frames: RawRecording, movie: da.Array, recording: Recording, compute: Compute) -> pd.DataFrame:
    """Tabulates the origin and the brightness of each frame, and its time where the files tell it.

    Args:
        raw_frames: all images on disk.
        movie: frames of the functional channel, (T, H, W), as they were stored.
        recording: the recording.
        compute: resources of the machine.

    Returns:
        A :class:`~rsc2p_kedro.core.schemas.FrameTable`, one row per frame.
    """
    frames = recording.select(raw_frames)
    statistics = frame_statistics(movie, compute=compute)
    return pd.DataFrame(
        {
            "frame": np.arange(len(frames.files)),
            "file": frames.files,
            "page": frames.pages,
            "trial": frames.first_files,
            "minimum": statistics.minimum,
            "mean": statistics.mean,
            "maximum": statistics.maximum,
            "saturated_share": statistics.saturated_share,
            **({} if frames.times_s is None else {"time_s": frames.times_s}),
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


def measure_detector(
    movie: da.Array, excluded: pd.DataFrame, frame_table: pd.DataFrame, compute: Compute
) -> tuple[DetectorResponse, DetectorSaturation]:
    """Measures dark level, gain, read noise and saturation of the detector from the noise of the pixels.

    Args:
        movie: raw movie (T, H, W).
        excluded: which frames are bad, and why; they do not count even if they are used. Frames without light tell the
            dark level.
        frame_table: gives the mean of each frame.
        compute: resources of the machine.

    Returns:
        Dark level, gain and read noise with their errors; and the level from which the detector saturates.
    """
    reasons = excluded["reason"].to_numpy()
    good = reasons == ""
    if good.sum() < MINIMUM_FRAMES:
        good = exclusion.kept_frames(excluded)
    found = detector.measure_detector(take_frames(movie, good), compute=compute)
    # A frame of one value was not recorded: its value is no dark level.
    blank = (reasons == BLANK) & (frame_table["minimum"] < frame_table["maximum"]).to_numpy()
    return with_blank_frames(found.response, frame_table["mean"].to_numpy()[blank]), found.saturation
