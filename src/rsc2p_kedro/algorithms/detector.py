"""What the noise of the pixels tells of the detector: dark level, gain, read noise and saturation, in one pass.

All of it is measured on the same runs of consecutive frames, spread evenly over the raw movie; each is read once, after
the range of values. See :mod:`.photon_response` and :mod:`.saturation`.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rsc2p_kedro.algorithms import blocks, photon_response, saturation
from rsc2p_kedro.core.parameters import Compute
from rsc2p_kedro.core.results import DetectorResponse, DetectorSaturation

N_RUNS, RUN_FRAMES = 32, 17
"""Runs of consecutive frames in the sample, and frames in each. Chosen for a few seconds of work at 512 x 512 px."""


class Detector(NamedTuple):
    """What was found out about a detector."""

    response: DetectorResponse
    saturation: DetectorSaturation


def measure_detector(movie: blocks.Movie, *, compute: Compute) -> Detector:
    """Measures dark level, gain, read noise and saturation of a detector.

    Best applied to the raw movie, whose values are those of the digitizer.

    Args:
        movie: (T, H, W), lazy or not, without NaN.
        compute: resources of the machine; the result does not depend on them.

    Returns:
        The response, without dark level and gain where the movie does not tell them, and the saturation.

    Raises:
        ValueError: the movie is not (T, H, W).
    """
    if movie.ndim != 3:
        raise ValueError(f"A movie should be (T, H, W); this one has shape {movie.shape}.")
    if len(movie) < 2 or min(movie.shape[1:]) < 3:
        return Detector(photon_response.fit_response([], low=0.0), saturation.nothing_found())
    runs = sample_runs(len(movie))
    values, step = _value_range(movie, runs, compute)
    if values.high <= values.low:
        return Detector(photon_response.fit_response([], low=values.low), saturation.nothing_found())
    histogram, moments = _measure(movie, runs, values, compute)
    saturated = saturation.from_histogram(histogram, values)
    response = photon_response.fit_response(moments, low=values.low, step=step, ceiling=saturated.level)
    return Detector(response, saturated)


def sample_runs(n_frames: int) -> list[slice]:
    """Runs of consecutive frames, spread over a movie; the whole movie if it is not longer than all of them.

    Args:
        n_frames: of the movie.

    Returns:
        The runs in order.
    """
    if n_frames <= N_RUNS * RUN_FRAMES:
        return blocks.frame_blocks(n_frames, RUN_FRAMES)
    starts = np.linspace(0, n_frames - RUN_FRAMES, N_RUNS).astype(int)
    return [slice(int(start), int(start) + RUN_FRAMES) for start in starts]


def _value_range(movie: blocks.Movie, runs: list[slice], compute: Compute) -> tuple[saturation.ValueRange, float]:
    """Lowest and highest value of the frames of the sample, and the smallest difference between values of a frame."""

    def extremes(run: slice) -> tuple[float, float]:
        frames = blocks.read(movie, run)
        return float(frames.min()), float(frames.max())

    found = blocks.run(extremes, runs, compute=compute, description="Range of values", unit="run")
    lows, highs = zip(*found, strict=True)
    steps = np.diff(np.unique(blocks.read(movie, runs[0].start)).astype(np.float64))
    return saturation.ValueRange(min(lows), max(highs)), float(steps.min(initial=np.inf))


def _measure(
    movie: blocks.Movie, runs: list[slice], values: saturation.ValueRange, compute: Compute
) -> tuple[NDArray[np.int64], list[photon_response.RunMoments]]:
    """Histogram of levels and differences, and the moments of the noise of each run."""

    def measure(group: list[slice]) -> tuple[NDArray[np.int64], list[photon_response.RunMoments]]:
        counts, moments = np.zeros((saturation.N_LEVELS, saturation.N_NOISE), np.int64), []
        for run in group:
            frames = blocks.read(movie, run)
            single = np.ascontiguousarray(frames, np.float32)
            saturation.count_differences(single, values.low, values.high, counts)
            moments.append(photon_response.run_moments(frames, low=values.low, high=values.high))
        return counts, moments

    groups = [runs[i : i + 4] for i in range(0, len(runs), 4)]
    parts = blocks.run(measure, groups, compute=compute, description="Detector noise", unit="run")
    return np.sum([counts for counts, _ in parts], axis=0), [run for _, moments in parts for run in moments]
