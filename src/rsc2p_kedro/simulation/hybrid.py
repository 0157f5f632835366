"""Hybrid truth: simulated neurons with known traces, planted into a real movie.

The light of the planted neurons is added to the movie's counts, with the shot noise that the movie itself has: its gain
is the slope of the line of variance over mean of its pixels, and the added counts are gain * Poisson(signal / gain).
Planted neurons move with the content of the movie.
"""

from dataclasses import dataclass
from typing import NamedTuple

import dask
import dask.array as da
import numpy as np
import scipy.ndimage as ndi
import scipy.sparse as sp
from numpy.typing import NDArray

from rsc2p_kedro.algorithms.blocks import frame_blocks
from rsc2p_kedro.core.parameters import Acquisition
from rsc2p_kedro.core.results import MotionCorrection
from rsc2p_kedro.simulation import tissue_activity
from rsc2p_kedro.simulation.anatomy import Canvas
from rsc2p_kedro.simulation.objects import ObjectTruth, matched_filter_snr
from rsc2p_kedro.simulation.outlines import Mask
from rsc2p_kedro.simulation.settings import SimulationSettings
from rsc2p_kedro.simulation.tissue import draw_somata
from rsc2p_kedro.simulation.truth import SimulatedTruth

Float = NDArray[np.float32]

_MAX_SAMPLE_FRAMES = 600
"""Number of frames from which noise is measured; chosen, not tuned."""
_N_BINS = 20
"""Number of brightness bins through whose medians the line of variance over mean is fitted; chosen, not tuned."""


class NoiseLine(NamedTuple):
    """Line of variance over mean of a movie: variance = gain * (mean - zero).

    Attributes:
        gain: Counts per photon.
        zero: Counts at which the variance would vanish: the offset of the detector, less the read noise's share.
        mean: (H, W) float32, mean over time in counts.
        variance: (H, W) float32, variance of the noise in counts^2, from the differences of successive frames.
    """

    gain: float
    zero: float
    mean: Float
    variance: Float


class PlantedNeurons(NamedTuple):
    """N neurons to plant into a movie of T frames of (H, W) px.

    Fluorescence is in units of the movie's mean brightness.

    Attributes:
        footprints: CSC (H*W, N) float32, pixels in C order, each with a maximum of 1.
        rest: (N,) float32, fluorescence at rest.
        traces: (N, T) float32, fluorescence above rest.
        spikes: (N, T) float32, number of spikes in each frame.
        transient: (K,) float64, response of the indicator to one spike, frame by frame.
    """

    footprints: sp.csc_array
    rest: Float
    traces: Float
    spikes: Float
    transient: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class HybridRecording:
    """A real movie with planted neurons, and the truth about these.

    Attributes:
        movie: (T, H, W), lazy, of the data type of the real movie.
        truth: Footprints, traces and spikes of the planted neurons, and the motion they were given; its background is
            the mean of the real movie.
        objects: The planted neurons with their SNR.
        noise: Noise of the real movie.
    """

    movie: da.Array
    truth: SimulatedTruth
    objects: ObjectTruth
    noise: NoiseLine


def measure_noise(movie: da.Array | NDArray) -> NoiseLine:
    """Measures the gain and the noise of a movie by the line of variance over mean of its pixels.

    Args:
        movie: (T, H, W) in counts; at most the first 600 frames are read.

    Returns:
        Gain, zero, and the images of mean and variance. The gain is at least 1e-6 counts.
    """
    sample = np.asarray(movie[:_MAX_SAMPLE_FRAMES]).astype(np.float32)
    mean, variance = sample.mean(axis=0), (np.diff(sample, axis=0) ** 2).mean(axis=0) / 2
    bins = np.array_split(np.argsort(mean, axis=None), _N_BINS)
    points = np.array([(np.median(mean.ravel()[b]), np.median(variance.ravel()[b])) for b in bins if len(b)])
    gain, intercept = np.polyfit(points[:, 0], points[:, 1], 1)
    gain = max(float(gain), 1e-6)
    return NoiseLine(gain, -float(intercept) / gain, mean, variance)


def displacements_at(motion: MotionCorrection, points: NDArray) -> Float:
    """Displacement of the content of a movie at some points, as its motion correction found it.

    Args:
        motion: Result of motion correction; its shifts are applied to the frames and have the opposite sign.
        points: (N, 2), (y, x) in px.

    Returns:
        (T, N, 2) float32, (dy, dx) in px: minus the shift of the nearest patch, or of the frame if it was rigid.
    """
    if not motion.piecewise:
        return -np.repeat(motion.shifts[:, None], len(points), axis=1)
    distance = ((np.asarray(points)[:, None] - motion.patch_centres[None]) ** 2).sum(axis=2)
    return -motion.patch_shifts[:, distance.argmin(axis=1)]


def draw_planted(masks: Mask, settings: SimulationSettings, acquisition: Acquisition) -> PlantedNeurons:
    """Draws brightness and activity of neurons to plant.

    Args:
        masks: (N, H, W), their places in the movie, each with at least one pixel.
        settings: Seed, number of frames, and rates, amplitude and time constants of the activity.
        acquisition: Frame rate, and the decay time where the settings have none.

    Returns:
        The neurons, with a resting fluorescence of 0.1 to 0.8.
    """
    n, canvas = len(masks), Canvas(masks.shape[1], masks.shape[2], 0)
    rng = np.random.default_rng([settings.seed, 200])
    footprints = draw_somata(rng, masks, canvas)
    traces, spikes = tissue_activity.draw_soma_activity(rng, n, settings, acquisition)
    rest = rng.uniform(0.1, 0.8, n).astype(np.float32)
    transient = tissue_activity.transient(settings, acquisition)
    return PlantedNeurons(footprints, rest, traces, spikes.astype(np.float32), transient)


def _windows(footprints: sp.csc_array, shape: tuple[int, int], pad: int) -> list[tuple[Float, NDArray[np.int64]]]:
    """Image (h, w) of each footprint with a border of `pad` px, and the place (y, x) of its corner in the frame."""
    windows = []
    for i in range(footprints.shape[1]):
        image = footprints[:, [i]].toarray().reshape(shape)
        pixels = np.argwhere(image)
        low, high = (pixels.min(axis=0), pixels.max(axis=0) + 1) if len(pixels) else (np.zeros(2, int), np.ones(2, int))
        windows.append((np.pad(image[low[0] : high[0], low[1] : high[1]], pad), low - pad))
    return windows


def _add_window(frame: Float, window: Float, corner: NDArray) -> None:
    """Adds an image to the part of a frame (H, W) that it covers, its first pixel at the corner (y, x)."""
    low, high = np.maximum(corner, 0), np.minimum(corner + window.shape, frame.shape)
    if (high > low).all():
        inside = tuple(slice(a, b) for a, b in zip(low - corner, high - corner, strict=True))
        frame[low[0] : high[0], low[1] : high[1]] += window[inside]


def add_light(
    block: NDArray, first: int, windows: list, levels: Float, displacements: Float, gain: float, seed: int
) -> NDArray:
    """Adds the light of planted neurons, with its shot noise, to consecutive frames.

    Args:
        block: (n, H, W), frames of the movie.
        first: Index of the first of them.
        windows: Image and corner of each neuron.
        levels: (N, T), fluorescence of each neuron in counts.
        displacements: (T, N, 2), displacement (dy, dx) of each neuron in px.
        gain: Counts per photon.
        seed: Seed of the shot noise; each frame has its own generator.

    Returns:
        (n, H, W) of the data type of the block; integers are rounded and clipped to its range.
    """
    result = np.empty_like(block)
    for i, frame in enumerate(block):
        light, t = np.zeros(frame.shape, np.float32), first + i
        for (window, corner), level, moved in zip(windows, levels[:, t], displacements[t], strict=True):
            whole = np.rint(moved).astype(int)
            part = moved - whole
            image = ndi.shift(window, part, order=3, mode="constant").clip(0) if part.any() else window
            _add_window(light, level * image, corner + whole)
        photons = np.random.default_rng([seed, 201, t]).poisson(light.clip(0) / gain)
        counts = frame + gain * photons
        if np.issubdtype(block.dtype, np.integer):
            limits = np.iinfo(block.dtype)
            counts = np.clip(np.rint(counts), limits.min, limits.max)
        result[i] = counts
    return result


def plant(
    movie: da.Array | NDArray,
    neurons: PlantedNeurons,
    *,
    displacements: NDArray | None = None,
    seed: int = 1,
    block_frames: int = 64,
) -> HybridRecording:
    """Plants simulated neurons into a real movie.

    Args:
        movie: (T, H, W) in counts.
        neurons: Neurons with as many frames as the movie.
        displacements: (T, 2) or (T, N, 2), displacement (dy, dx) in px of the content of the movie at each neuron, as
            :func:`displacements_at` gives it; None for a movie that is registered already.
        seed: Seed of the shot noise of the added light; the same seed gives the same movie, bit for bit.
        block_frames: Number of frames in one chunk of the lazy movie, which does not change the movie.

    Returns:
        The movie with the neurons in it, and their truth. SNR is that over the measured noise of the real movie, and
        the unit of fluorescence is the movie's mean brightness above its zero.

    Raises:
        ValueError: The neurons do not fit the movie in frames or pixels, or the displacements have another shape.
    """
    (T, H, W), N = movie.shape, len(neurons.traces)
    if neurons.traces.shape[1] != T or neurons.footprints.shape[0] != H * W:
        raise ValueError(
            f"Neurons should have {T} frames and {H * W} pixels, as the movie, have {neurons.traces.shape[1]} and "
            f"{neurons.footprints.shape[0]}."
        )
    moved = np.zeros((T, N, 2)) if displacements is None else np.asarray(displacements, float)
    moved = np.repeat(moved[:, None], N, axis=1) if moved.ndim == 2 else moved
    if moved.shape != (T, N, 2):
        raise ValueError(f"displacements should have the shape ({T}, 2) or ({T}, {N}, 2), has {moved.shape}.")
    noise = measure_noise(movie)
    unit = max(float(noise.mean.mean()) - noise.zero, 1e-6)
    levels = (unit * (neurons.rest[:, None] + neurons.traces)).astype(np.float32)
    chunked = movie if isinstance(movie, da.Array) else da.from_array(movie, chunks=(block_frames, H, W))
    shared = dask.delayed((_windows(neurons.footprints, (H, W), 3), levels, moved), traverse=False)
    blocks = [
        da.from_delayed(
            dask.delayed(add_light)(chunked[s], s.start, *[shared[i] for i in range(3)], noise.gain, seed),
            (s.stop - s.start, H, W),
            dtype=movie.dtype,
        )
        for s in frame_blocks(T, block_frames)
    ]
    light = neurons.footprints @ levels.mean(axis=1)
    variance = noise.variance.ravel() + noise.gain * light
    signal = np.full(H * W, unit)
    snr = matched_filter_snr(neurons.footprints, neurons.traces, neurons.transient, signal, variance.clip(1e-9))
    rigid = moved.mean(axis=1) if N else np.zeros((T, 2))
    truth = SimulatedTruth(
        footprints=neurons.footprints,
        traces=neurons.traces,
        spikes=neurons.spikes,
        rigid_motion=rigid.astype(np.float32),
        shear=np.zeros((T, 2), np.float32),
        warp=np.zeros((T, 2, 2, 2), np.float32),
        background=((noise.mean - noise.zero) / unit).astype(np.float32),
    )
    owners = np.full(N, -1, np.int64)
    objects = ObjectTruth((H, W), neurons.footprints, neurons.traces, np.full(N, "soma"), owners, snr)
    return HybridRecording(da.concatenate(blocks), truth, objects, noise)
