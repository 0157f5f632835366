"""Turns raw frames into a movie, and says what they are like."""

import dask.array as da
import numpy as np
import pandas as pd

from rsc2p_kedro.algorithms.summary_images import frame_statistics, summarize
from rsc2p_kedro.core.parameters import Compute, IngestionParameters
from rsc2p_kedro.core.results import SummaryImages
from rsc2p_kedro.datasets.tiff_frames import RawFrames, without_nan
from rsc2p_kedro.manifest.recordings import Recording


def ingest_frames(raw_frames: RawFrames, recording: Recording, parameters: IngestionParameters) -> da.Array:
    """The movie (T, H, W) of a recording in its own dtype, lazy, cut as it is to be stored.

    Raises:
        RecordingError: when the movie is computed, where pixels are NaN or infinite.
    """
    parameters = recording.override(parameters)
    return without_nan(raw_frames).rechunk((parameters.chunk_frames, parameters.chunk_px, parameters.chunk_px))


def tabulate_frames(raw_frames: RawFrames, movie: da.Array, compute: Compute) -> pd.DataFrame:
    """Where each frame came from and how bright it is, a :class:`~rsc2p_kedro.core.schemas.FrameTable`."""
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
    """Images that show the recording at a glance."""
    return summarize(movie, compute=compute)
