"""Turns raw frames into a movie, and describes them."""

import dask.array as da
import numpy as np
import pandas as pd

from rsc2p_kedro.algorithms.summary_images import frame_statistics, summarize
from rsc2p_kedro.core.parameters import Compute, IngestionParameters
from rsc2p_kedro.core.results import SummaryImages
from rsc2p_kedro.datasets.tiff_frames import RawFrames, without_nan
from rsc2p_kedro.manifest.recordings import Recording


def ingest_frames(raw_frames: RawFrames, recording: Recording, parameters: IngestionParameters) -> da.Array:
    """The movie of a recording.

    Args:
        raw_frames: frames as they lie on disk.
        recording: the recording, whose own parameters have precedence.
        parameters: size of the chunks that the movie is stored in.

    Returns:
        (T, H, W) in the dtype of the files, lazy, chunked as it is to be stored.

    Raises:
        RecordingError: pixels are NaN or infinite; raised when the movie is computed.
    """
    parameters = recording.override(parameters)
    return without_nan(raw_frames).rechunk((parameters.chunk_frames, parameters.chunk_px, parameters.chunk_px))


def tabulate_files(raw_frames: RawFrames) -> pd.DataFrame:
    """The files of a recording and how many frames each holds on disk.

    Args:
        raw_frames: frames as they lie on disk.

    Returns:
        A :class:`~rsc2p_kedro.core.schemas.FileTable`, one row a file, in reading order.
    """
    return pd.DataFrame(raw_frames.frames_per_file.items(), columns=["file", "n_frames"])


def tabulate_frames(raw_frames: RawFrames, movie: da.Array, compute: Compute) -> pd.DataFrame:
    """Where each frame came from and how bright it is.

    Args:
        raw_frames: frames as they lie on disk.
        movie: the same frames, (T, H, W), as they were stored.
        compute: what the machine may use.

    Returns:
        A :class:`~rsc2p_kedro.core.schemas.FrameTable`, one row a frame.
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


def summarize_movie(movie: da.Array, compute: Compute) -> SummaryImages:
    """Summary images of the raw movie.

    Args:
        movie: raw movie (T, H, W).
        compute: what the machine may use.

    Returns:
        Mean, maximum, standard deviation and local correlation over time, (H, W) each.
    """
    return summarize(movie, compute=compute)
