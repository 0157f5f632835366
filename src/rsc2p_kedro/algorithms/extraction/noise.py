"""First pass over a movie: noise and mean of each pixel, and a shorter copy of the movie that initialization works on.

The noise sd of a pixel is the root of its mean power between a quarter and half of the frame rate, where calcium has
none (Pnevmatikakis et al. 2016, doi 10.1016/j.neuron.2015.11.037). The short copy D holds means of bins of frames,
without the pixel's mean, in units of the noise of such a mean: the noise of D has variance 1 in every pixel, so least
squares on D weigh each pixel as its noise deserves.
"""

import shutil
import weakref
from dataclasses import dataclass
from math import ceil, prod
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from rsc2p_kedro.algorithms import blocks
from rsc2p_kedro.algorithms.extraction import patches
from rsc2p_kedro.core.parameters import Compute

MOST_BINS = 3000
"""Longer recordings are binned more coarsely for initialization, so that its time and memory stay bounded."""
_MOST_SPECTRA = 8
_ROWS_AT_ONCE = 16


@dataclass(frozen=True, eq=False)
class ShortMovie:
    """What the first pass over a movie (T, H, W) leaves.

    Attributes:
        movie: D, (n, H, W) float32, bin means less the pixel's mean, in units of their noise; 0 outside the mask.
        bin_frames: frames in a bin; a last bin that would hold fewer is left out.
        mean: (H, W) float32, mean of each pixel; 0 outside the valid mask.
        noise: sn, (H, W) float32, noise sd of a single frame, > 0.
        mask: (H, W) bool, pixels that are used: valid ones that have any noise.
    """

    movie: NDArray[np.float32]
    bin_frames: int
    mean: NDArray[np.float32]
    noise: NDArray[np.float32]
    mask: NDArray[np.bool_]

    @property
    def shape(self) -> tuple[int, int]:
        return self.mean.shape[0], self.mean.shape[1]

    @property
    def scale(self) -> NDArray[np.float32]:
        """(H, W), what one unit of D is in units of the movie."""
        return self.noise / np.float32(np.sqrt(self.bin_frames))


def bin_length(n_frames: int, decay_frames: float, temporal_downsampling: int) -> int:
    """Frames in a bin: half a decay, or more where the user or the length of the recording asks for more."""
    return max(1, min(max(temporal_downsampling, round(decay_frames / 2), ceil(n_frames / MOST_BINS)), n_frames // 8))


def upper_half_power(frames: NDArray) -> NDArray[np.float64]:
    """Mean power (H, W) of frames (n, H, W) between a quarter and half of the frame rate."""
    n = len(frames)
    frequencies = np.fft.rfftfreq(n)
    upper = (frequencies > 0.25) & (frequencies < 0.5)
    power = np.empty(frames.shape[1:], np.float64)
    for top in range(0, frames.shape[1], _ROWS_AT_ONCE):
        rows = slice(top, top + _ROWS_AT_ONCE)
        spectrum = scipy.fft.rfft(frames[:, rows], axis=0)[upper]
        power[rows] = (spectrum.real**2 + spectrum.imag**2).mean(axis=0, dtype=np.float64) / n
    return power


def shorten(
    movie: blocks.Movie,
    bin_frames: int,
    *,
    compute: Compute,
    valid_mask: NDArray[np.bool_] | None = None,
    known_noise: NDArray | None = None,
) -> ShortMovie:
    """Reads a movie (T, H, W) once and returns what is needed of it for initialization.

    Args:
        movie: lazy or not, any real dtype, finite.
        bin_frames: see :func:`bin_length`.
        compute: where the copy is larger than half of `memory_gb`, it is kept in a temporary file.
        valid_mask: (H, W), pixels to use; none: all.
        known_noise: (H, W), noise sd of each pixel from an earlier look at this movie; none: estimated.

    Raises:
        ValueError: the movie is too short, or holds NaN or infinity inside the mask.
    """
    n_frames, height, width = movie.shape
    if n_frames < 8:
        raise ValueError(f"The movie should have 8 frames or more to find sources in it, has {n_frames}.")
    short = _allocate((n_frames // bin_frames, height, width), compute)
    spans = patches.segments(n_frames, bin_frames)
    n_spectra = 0 if known_noise is not None else min(len(spans), max(2, len(spans) // 2), _MOST_SPECTRA)
    spectra = set(np.linspace(0, max(len(spans) - 2, 0), n_spectra).round().astype(int).tolist())
    items = [(k, span, rows) for k, span in enumerate(spans) for rows in blocks.frame_blocks(height, 128)]

    def summarize(item: tuple[int, slice, slice]) -> tuple[NDArray, NDArray | None]:
        k, span, rows = item
        frames = np.ascontiguousarray(blocks.read(movie, span, rows), dtype=np.float32)
        first, n_bins = span.start // bin_frames, len(frames) // bin_frames
        binned = frames[: n_bins * bin_frames].reshape(n_bins, bin_frames, *frames.shape[1:])
        short[first : first + n_bins, rows] = binned.mean(axis=1, dtype=np.float32)
        return frames.sum(axis=0, dtype=np.float64), upper_half_power(frames) if k in spectra else None

    results = blocks.run(summarize, items, compute=compute, description="noise of pixels")
    total, power = np.zeros((height, width)), np.zeros((height, width))
    for (_, _, rows), (part, spectrum) in zip(items, results, strict=True):
        total[rows] += part
        if spectrum is not None:
            power[rows] += spectrum / len(spectra)
    noise = np.sqrt(power) if known_noise is None else np.asarray(known_noise, np.float64)
    return _normalize(short, bin_frames, total / n_frames, noise, valid_mask, compute)


def _allocate(shape: tuple[int, ...], compute: Compute) -> NDArray[np.float32]:
    """Room for the short copy, in a temporary file where it would take more than half of the memory allowed for pixels.

    The file goes when the array does.
    """
    if prod(shape) * 4 <= compute.memory_gb * 0.5e9:
        return np.empty(shape, np.float32)
    folder = mkdtemp(prefix="short_movie_")
    array = np.memmap(Path(folder) / "short_movie.dat", np.float32, "w+", shape=shape)
    weakref.finalize(array, shutil.rmtree, folder, ignore_errors=True)
    return array


def _normalize(
    short: NDArray,
    bin_frames: int,
    mean: NDArray,
    noise: NDArray,
    valid_mask: NDArray[np.bool_] | None,
    compute: Compute,
) -> ShortMovie:
    """Takes the mean out of the short copy and divides by its noise, in place."""
    mask = np.ones(mean.shape, bool) if valid_mask is None else np.array(valid_mask, bool)
    if not np.isfinite(mean[mask]).all():
        raise ValueError(
            "The movie holds NaN or infinity in pixels that should be valid. Give a valid_mask without them."
        )
    mean, noise = np.where(mask, mean, 0), np.where(mask, noise, 0)
    floor = 1e-6 * (np.abs(mean).max(initial=0) + np.median(noise[mask]) if mask.any() else 1) + 1e-30
    centre = mean.astype(np.float32)
    mask &= noise > floor
    typical = np.median(noise[mask]) if mask.any() else 1.0
    noise = np.where(mask, np.maximum(noise, 0.05 * typical), typical)
    weights = np.where(mask, np.sqrt(bin_frames) / noise, 0).astype(np.float32)
    outside = ~mask

    def scale(rows: slice) -> None:
        block = short[:, rows]
        block[:, outside[rows]] = 0
        block -= centre[rows]
        block *= weights[rows]
        block -= block.mean(axis=0, dtype=np.float64).astype(np.float32)

    blocks.run(scale, blocks.frame_blocks(len(mean), 32), compute=compute, description="scaling pixels")
    return ShortMovie(short, bin_frames, centre, noise.astype(np.float32), mask)
