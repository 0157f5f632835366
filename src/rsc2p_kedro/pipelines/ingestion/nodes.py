"""Nodes of the stage ingestion: they convert raw frames to a movie and describe them."""

import dask.array as da
import numpy as np
import pandas as pd

from rsc2p_kedro.algorithms import saturation
from rsc2p_kedro.algorithms.summary_images import frame_statistics, summarize
from rsc2p_kedro.core.parameters import Compute, IngestionParameters
from rsc2p_kedro.core.results import DetectorSaturation, SummaryImages
from rsc2p_kedro.datasets.raw import RawFrames, RawRecording, without_nan
from rsc2p_kedro.manifest.recordings import Recording


def ingest_frames(raw_frames: RawRecording, recording: Recording, parameters: IngestionParameters) -> da.Array:
    """Converts raw frames to the movie of the functional channel.

    Args:
        raw_frames: all images on disk.
        recording: the recording, whose own parameters take precedence.
        parameters: size of the chunks that the movie is stored in.

    Returns:
        (T, H, W) in the dtype of the files, lazy, in the chunks that it will be stored in.

    Raises:
        RecordingError: the recording is incomplete. Pixels are NaN or infinite; raised when the movie is computed.
    """
    return _ingested(recording.select(raw_frames), recording.override(parameters))


def ingest_structural_frames(
    raw_frames: RawRecording, recording: Recording, parameters: IngestionParameters
) -> da.Array:
    """Converts raw frames to the movie of the structural channel.

    Args:
        raw_frames: all images on disk.
        recording: the recording, which names a structural channel.
        parameters: size of the chunks that the movie is stored in.

    Returns:
        As :func:`ingest_frames`.

    Raises:
        RecordingError: as :func:`ingest_frames`.
    """
    return _ingested(recording.select(raw_frames, structural=True), recording.override(parameters))


def _ingested(frames: RawFrames, parameters: IngestionParameters) -> da.Array:
    return without_nan(frames).rechunk((parameters.chunk_frames, parameters.chunk_px, parameters.chunk_px))


def tabulate_files(raw_frames: RawRecording, recording: Recording) -> pd.DataFrame:
    """Tabulates the files of a recording and the number of images in each.

    Args:
        raw_frames: all images on disk.
        recording: the recording.

    Returns:
        A :class:`~rsc2p_kedro.core.schemas.FileTable`, one row per file, in reading order.
    """
    return pd.DataFrame(recording.select(raw_frames).frames_per_file.items(), columns=["file", "n_frames"])


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
            "minimum": statistics.minimum,
            "mean": statistics.mean,
            "maximum": statistics.maximum,
            "saturated_share": statistics.saturated_share,
            **({} if frames.times_s is None else {"time_s": frames.times_s}),
        }
    )


def summarize_movie(movie: da.Array, compute: Compute) -> SummaryImages:
    """Computes summary images of the raw movie.

    Args:
        movie: raw movie (T, H, W).
        compute: resources of the machine.

    Returns:
        Mean, maximum, standard deviation and local correlation over time, (H, W) each.
    """
    return summarize(movie, compute=compute)


def find_saturation(movie: da.Array, compute: Compute) -> DetectorSaturation:
    """Finds the level from which the detector saturates, from the noise of the pixels.

    Args:
        movie: raw movie (T, H, W).
        compute: resources of the machine.

    Returns:
        The level in counts or None, the fraction of the values above it, and the photon transfer curve.
    """
    return saturation.find_saturation(movie, compute=compute)
