"""Frames as the estimation wants them: float32, of mean 0, a few at a time."""

import numpy as np
from numpy.typing import NDArray

from rsc2p_kedro.algorithms.blocks import Movie, read

Float = NDArray[np.float32]


def centred(frames: NDArray) -> Float:
    """Frames (T, H, W) as float32, each less its mean; NaN and infinity become the mean."""
    out = frames.astype(np.float32)
    if frames.dtype.kind == "f" and not np.isfinite(out).all():
        out = np.where(np.isfinite(out), out, np.nan)
        blank = np.isnan(out).all((1, 2))
        out[blank] = 0
        means = np.nanmean(out, axis=(1, 2), keepdims=True, dtype=np.float64).astype(np.float32)
        return np.nan_to_num(out - means)
    out -= out.mean((1, 2), keepdims=True, dtype=np.float64).astype(np.float32)
    return out


def read_centred(movie: Movie, index: slice | NDArray[np.int64]) -> Float:
    """Frames of a movie as float32, each less its mean, read by the calling thread alone."""
    return centred(read(movie, index))


def halved(frames: Float) -> Float:
    """Frames (..., H // 2, W // 2) binned 2 x 2; an odd last row or column is left out."""
    H, W = (size // 2 * 2 for size in frames.shape[-2:])
    rows = frames[..., 0:H:2, :W] + frames[..., 1:H:2, :W]
    return (rows[..., 0::2] + rows[..., 1::2]) * np.float32(0.25)


def check_movie(movie: Movie) -> None:
    """Raises ValueError if a movie cannot be registered because of its shape or dtype."""
    problems = []
    if movie.ndim != 3:
        problems.append(f"a movie should be (T, H, W), this one has shape {movie.shape}")
    elif movie.shape[0] < 1 or min(movie.shape[1:]) < 32:
        problems.append(f"frames should be at least 32 px high and wide and at least one, the movie is {movie.shape}")
    if movie.dtype.kind not in "iuf":
        problems.append(f"pixels should be integers or floats, they are {movie.dtype}; convert the movie first")
    if problems:
        raise ValueError("The movie cannot be registered: " + "; ".join(problems) + ".")
