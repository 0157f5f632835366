"""First pass over a movie: mean and noise of each pixel, and the temporally binned movie that detection works on.

The noise sd of a pixel is the square root of its mean power between a quarter and half of the frame rate, where calcium
signals have none (Pnevmatikakis et al. 2016, doi 10.1016/j.neuron.2015.11.037). The binned movie D holds means of bins
of frames, minus the mean of the pixel, in units of the noise of such a mean. The noise of D has variance 1 in every
pixel, so that plain least squares on D weight each pixel by the inverse variance of its noise.
"""

import shutil
import weakref
from dataclasses import dataclass, replace
from math import ceil, prod
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from rsc2p_kedro.algorithms import blocks
from rsc2p_kedro.algorithms.extraction import censoring, partition
from rsc2p_kedro.algorithms.extraction.censoring import CensoredValues
from rsc2p_kedro.core.parameters import Compute

MAX_BINS = 3000
"""Maximum number of bins of the binned movie: longer recordings get longer bins, so that time and memory of detection
stay bounded. Chosen for its cost (0.8 GB at 256 x 256 px); not tuned for accuracy."""
MIN_FRAMES = 8
"""Minimum number of frames of a movie, and of bins of the binned movie. Not tuned."""
_MAX_NOISE_SEGMENTS = 8
"""Segments (of about 256 frames) whose spectra are averaged for the noise, spread over the recording. Each has 64
frequencies in the band, so that the relative error of the sd is 1 / (2 sqrt(8 x 64)) = 2 %; not tuned."""
_MIN_RELATIVE_NOISE = 0.05
"""Lower bound of the noise of a pixel, as a fraction of the median over pixels: limits the weight of pixels that hardly
vary. Not tuned."""
_ROWS_PER_FFT = 16
"""Rows that are transformed at once, for the CPU's cache; changes no result."""


@dataclass(frozen=True, eq=False)
class BinnedMovie:
    """Result of the first pass over a movie (T, H, W).

    Attributes:
        movie: D, (n, H, W) float32, means of bins minus the mean of the pixel, in units of their noise; 0 outside the
            mask.
        bin_frames: frames in a bin; frames at the end that do not fill one are left out.
        mean: (H, W) float32, mean of each pixel; 0 outside the valid mask.
        noise: sn, (H, W) float32, noise sd of a single frame, > 0.
        mask: (H, W) bool, pixels that are used: valid ones that have any noise.
        censored: values of D at which the detector saturates; None where there are none.
        saturation_level: from which on the detector saturates, in units of the movie; None for never.
    """

    movie: NDArray[np.float32]
    bin_frames: int
    mean: NDArray[np.float32]
    noise: NDArray[np.float32]
    mask: NDArray[np.bool_]
    censored: CensoredValues | None = None
    saturation_level: float | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W)."""
        return self.mean.shape[0], self.mean.shape[1]

    @property
    def scale(self) -> NDArray[np.float32]:
        """(H, W), the size of one unit of D in units of the movie."""
        return self.noise / np.float32(np.sqrt(self.bin_frames))

    @property
    def restored_mean(self) -> NDArray[np.float32]:
        """(H, W), the mean of each pixel with censored values replaced by those that were expected there."""
        if self.censored is None:
            return self.mean
        mean, pixels = self.mean.copy(), self.censored.pixels
        mean.ravel()[pixels] += (self.censored.shift * self.scale.ravel()[pixels]).astype(np.float32)
        return mean


def choose_bin_frames(n_frames: int, decay_frames: float, temporal_downsampling: int) -> int:
    """The length of a bin: half a decay time, or more where the user or the length of the recording demands it.

    Args:
        n_frames: length of the movie in frames.
        decay_frames: decay time of the indicator in frames.
        temporal_downsampling: frames in a bin, at least.

    Returns:
        Frames in a bin, so that there are from `MIN_FRAMES` to `MAX_BINS` bins.
    """
    wanted = max(temporal_downsampling, round(decay_frames / 2), ceil(n_frames / MAX_BINS))
    return max(1, min(wanted, n_frames // MIN_FRAMES))


def _high_frequency_power(frames: NDArray) -> NDArray[np.float64]:
    """Mean power (H, W) of frames (n, H, W) between a quarter and half of the frame rate."""
    n = len(frames)
    frequencies = np.fft.rfftfreq(n)
    high = (frequencies > 0.25) & (frequencies < 0.5)
    power = np.empty(frames.shape[1:], np.float64)
    for top in range(0, frames.shape[1], _ROWS_PER_FFT):
        rows = slice(top, top + _ROWS_PER_FFT)
        spectrum = scipy.fft.rfft(frames[:, rows], axis=0)[high]
        power[rows] = (spectrum.real**2 + spectrum.imag**2).mean(axis=0, dtype=np.float64) / n
    return power


def bin_movie(
    movie: blocks.Movie,
    bin_frames: int,
    *,
    compute: Compute,
    valid_mask: NDArray[np.bool_] | None = None,
    known_noise: NDArray | None = None,
    saturation_level: float | None = None,
) -> BinnedMovie:
    """Reads a movie once; bins it in time, and estimates mean and noise of its pixels.

    Args:
        movie: (T, H, W), lazy or not, any real dtype, finite inside the mask.
        bin_frames: frames in a bin, see :func:`choose_bin_frames`.
        compute: resources of the machine. A binned movie larger than half of `memory_gb` is kept in a temporary file.
        valid_mask: (H, W), pixels to use. None uses all.
        known_noise: (H, W), noise sd of each pixel from an earlier pass over this movie. None estimates it.
        saturation_level: from which on the detector saturates, in units of the movie. None for never.

    Returns:
        The binned movie, with mean, noise and mask of its pixels.

    Raises:
        ValueError: the movie is too short, or holds NaN or infinity inside the mask.
    """
    n_frames, height, width = movie.shape
    if n_frames < MIN_FRAMES:
        raise ValueError(f"The movie should have at least {MIN_FRAMES} frames for source extraction, has {n_frames}.")
    binned = _allocate((n_frames // bin_frames, height, width), compute)
    segments = partition.time_segments(n_frames, bin_frames)
    n_spectra = 0 if known_noise is not None else min(len(segments), max(2, len(segments) // 2), _MAX_NOISE_SEGMENTS)
    spectra = set(np.linspace(0, max(len(segments) - 2, 0), n_spectra).round().astype(int).tolist())
    items = [(k, span, rows) for k, span in enumerate(segments) for rows in blocks.frame_blocks(height, 128)]

    def process(item: tuple[int, slice, slice]) -> tuple[NDArray, NDArray | None]:
        k, span, rows = item
        frames = np.ascontiguousarray(blocks.read(movie, span, rows), dtype=np.float32)
        first, n_bins = span.start // bin_frames, len(frames) // bin_frames
        groups = frames[: n_bins * bin_frames].reshape(n_bins, bin_frames, *frames.shape[1:])
        binned[first : first + n_bins, rows] = groups.mean(axis=1, dtype=np.float32)
        return frames.sum(axis=0, dtype=np.float64), _high_frequency_power(frames) if k in spectra else None

    results = blocks.run(process, items, compute=compute, description="binning and pixel noise")
    total, power = np.zeros((height, width)), np.zeros((height, width))
    for (_, _, rows), (part, spectrum) in zip(items, results, strict=True):
        total[rows] += part
        if spectrum is not None:
            power[rows] += spectrum / len(spectra)
    noise = np.sqrt(power) if known_noise is None else np.asarray(known_noise, np.float64)
    censored = None if saturation_level is None else censoring.find_censored(binned, saturation_level)
    result = _normalize(binned, bin_frames, total / n_frames, noise, valid_mask, compute)
    if censored is None:
        return result
    values = censoring.collect_values(censoring.record_values(result.movie, censored), result.mask)
    return replace(result, censored=values, saturation_level=saturation_level)


def _allocate(shape: tuple[int, ...], compute: Compute) -> NDArray[np.float32]:
    """An array for the binned movie, in a temporary file if it would take more than half of the memory for pixels.

    The file is removed with the array.
    """
    if prod(shape) * 4 <= compute.memory_gb * 0.5e9:
        return np.empty(shape, np.float32)
    folder = mkdtemp(prefix="binned_movie_")
    array = np.memmap(Path(folder) / "binned_movie.dat", np.float32, "w+", shape=shape)
    weakref.finalize(array, shutil.rmtree, folder, ignore_errors=True)
    return array


def _normalize(
    binned: NDArray,
    bin_frames: int,
    mean: NDArray,
    noise: NDArray,
    valid_mask: NDArray[np.bool_] | None,
    compute: Compute,
) -> BinnedMovie:
    """Subtracts the mean of each pixel from the binned movie and divides by its noise, in place."""
    mask = np.ones(mean.shape, bool) if valid_mask is None else np.array(valid_mask, bool)
    if not np.isfinite(mean[mask]).all():
        raise ValueError(
            "The movie should be finite in all valid pixels, but holds NaN or infinity. Exclude these pixels by "
            "valid_mask."
        )
    mean, noise = np.where(mask, mean, 0), np.where(mask, noise, 0)
    rounding = 1e-6 * (np.abs(mean).max(initial=0) + np.median(noise[mask]) if mask.any() else 1) + 1e-30
    centre = mean.astype(np.float32)
    mask &= noise > rounding
    typical = np.median(noise[mask]) if mask.any() else 1.0
    noise = np.where(mask, np.maximum(noise, _MIN_RELATIVE_NOISE * typical), typical)
    weights = np.where(mask, np.sqrt(bin_frames) / noise, 0).astype(np.float32)
    outside = ~mask

    def normalize(rows: slice) -> None:
        block = binned[:, rows]
        block[:, outside[rows]] = 0
        block -= centre[rows]
        block *= weights[rows]
        block -= block.mean(axis=0, dtype=np.float64).astype(np.float32)

    blocks.run(normalize, blocks.frame_blocks(len(mean), 32), compute=compute, description="normalizing pixels")
    return BinnedMovie(binned, bin_frames, centre, noise.astype(np.float32), mask)
