"""Detection of a detector that saturates, softly or at a hard ceiling, from the noise of the pixels.

The variance of photon noise is proportional to the photon count: var = r^2 + g (level - o), with read noise r, gain g
in counts per photon and detector offset o (photon transfer curve, Janesick 2007, doi 10.1117/3.725073). Where a
detector or digitizer compresses high counts, the noise is compressed with them: the variance falls below this line, and
close to the limit to the read noise.

For two successive values x, x' of a pixel with Poisson noise, the variance of the difference x' - x given the sum
x + x' is proportional to the sum, whatever the distribution of brightness over pixels and frames (given their sum, one
of two Poisson counts of the same rate is binomial). The level is therefore taken as (x + x') / 2, and the curve of an
unsaturated movie is a line up to its brightest values, without selection effects.

Transients and motion add to the differences. They extend over neighbouring pixels, while photon noise does not: the
mean difference of the four neighbours is subtracted, and the variance is taken from the median of the absolute values.
What remains of them raises the variance and can hide saturation, but does not resemble it. Compression within a range
that is narrower than the noise (few photons at the level at which it begins) may not be found.

The values of a sample of frames are counted in histograms of integers, so that the result does not depend on threads.
"""

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from rsc2p_kedro.core.results import DetectorSaturation

Values = NDArray[np.float64]

N_LEVELS, N_NOISE = 1024, 1024
"""Bins of the histogram along the level (even) and along the absolute difference (even in its square root)."""
MIN_COUNT = 400
"""Number of differences in one point of the curve. The standard error of a variance from the median of 400 absolute
differences is about 12 %."""
N_POINTS = 48
"""Points of the curve above the median level, at most; chosen, not tuned."""
START_RATIO = 0.8
"""Variance over the expected one at which saturation is said to begin: two standard errors of a point of the fewest
differences below 1. Chosen, not tuned."""
DEEP_RATIO = 0.5
"""Variance over the expected one that the brightest values have to fall below. Chosen, not tuned."""
FALL = 0.75
"""The variance at the brightest levels has to be below this fraction of the largest variance at lower levels: it
falls, and does not only grow more slowly. Chosen, not tuned."""
_MIN_POINTS = 6
"""Points of the curve that are needed to fit the line and to judge deviations from it."""
_MIN_BELOW = 3
"""Points below `START_RATIO` that are needed: at least 1200 differences at the brightest levels. With one, a false
alarm was raised on 1 of 88 simulated movies without saturation."""
_SYSTEMATIC = 0.05
"""Relative error of each point besides its standard error, so that the darkest levels, which have nearly all of the
differences, do not determine the line alone. Chosen, not tuned."""
_NEIGHBOUR_FACTOR = 1.25
"""Variance of a difference less the mean of four independent ones, relative to its own."""


@dataclass(frozen=True)
class ValueRange:
    """Lowest and highest value of a sample."""

    low: float
    high: float


@numba.njit(nogil=True, cache=True)
def count_differences(frames: NDArray, low: float, high: float, counts: NDArray) -> None:
    """Adds levels and absolute differences of successive frames to a histogram, in place.

    Args:
        frames: (n, H, W) float32.
        low: lowest value of the sample.
        high: highest value.
        counts: (N_LEVELS, N_NOISE) int64.
    """
    n, H, W = frames.shape
    n_levels, n_noise = counts.shape
    per_level, per_noise = n_levels / (high - low), n_noise / np.sqrt(2 * (high - low))
    for y in range(1, H - 1):
        for x in range(1, W - 1):
            constant = True
            for t in range(1, n):
                constant &= frames[t, y, x] == frames[0, y, x]
            if constant:  # such as text burnt into the frames
                continue
            for t in range(n - 1):
                a, b = frames[t], frames[t + 1]
                around = (b[y - 1, x] - a[y - 1, x]) + (b[y + 1, x] - a[y + 1, x])
                around += (b[y, x - 1] - a[y, x - 1]) + (b[y, x + 1] - a[y, x + 1])
                noise = np.sqrt(abs(b[y, x] - a[y, x] - around / 4)) * per_noise
                level = ((a[y, x] + b[y, x]) / 2 - low) * per_level
                counts[min(int(level), n_levels - 1), min(int(noise), n_noise - 1)] += 1


def _median_difference(counts: NDArray[np.int64], values: ValueRange) -> float:
    """Median absolute difference of a histogram (N_NOISE,), interpolated within its bin."""
    total = np.cumsum(counts)
    half = total[-1] / 2
    k = int(np.searchsorted(total, half))
    inside = (half - (total[k] - counts[k])) / counts[k]
    return float(((k + inside) / N_NOISE) ** 2 * 2 * (values.high - values.low))


def _photon_transfer(histogram: NDArray[np.int64], values: ValueRange) -> tuple[Values, Values, NDArray[np.int64]]:
    """Level, variance and number of differences at each point of the curve, brightest last.

    Points are made from the top: each has at least `MIN_COUNT` differences and a minimum width.
    """
    per_level = histogram.sum(axis=1)
    centres = values.low + (np.arange(N_LEVELS) + 0.5) * (values.high - values.low) / N_LEVELS
    reached = np.cumsum(per_level)
    bottom = int(np.searchsorted(reached, reached[-1] / 2))
    top = int(np.searchsorted(reached, reached[-1] - MIN_COUNT))
    width = max((top - bottom) // N_POINTS, 1)
    points, stop, start = [], N_LEVELS, N_LEVELS
    while start > 0:
        start -= 1
        n = int(per_level[start:stop].sum())
        if n >= MIN_COUNT and stop - start >= width:
            level = float(centres[start:stop] @ per_level[start:stop]) / n
            sd = _median_difference(histogram[start:stop].sum(axis=0), values) / 0.6745
            points.append((level, sd**2 / 2 / _NEIGHBOUR_FACTOR, n))
            stop = start
    levels, variances, numbers = np.array(points[::-1], np.float64).reshape(-1, 3).T
    return levels, variances, numbers.astype(np.int64)


def _fit_line(levels: Values, variances: Values, numbers: NDArray) -> Values:
    """Slope and intercept of the variance over the level, by least squares weighted by the error of each point."""
    expected, line = variances, np.zeros(2)
    for _ in range(5):
        error = np.maximum(expected, 1e-3 * variances.max()) * np.sqrt(_SYSTEMATIC**2 + 5.5 / numbers)
        line = np.polyfit(levels, variances, 1, w=1 / error).astype(np.float64)
        expected = line[0] * levels + line[1]
    return line


def _first_below(ratio: Values) -> int:
    """First point from which on all ratios are below `START_RATIO`; their number if there is none."""
    above = np.flatnonzero(ratio >= START_RATIO)
    return int(above[-1]) + 1 if len(above) else 0


def _find_level(levels: Values, variances: Values, numbers: NDArray) -> tuple[float | None, Values]:
    """Level at which saturation begins, None if there is none, and the expected variance at each point."""
    used, smallest = len(levels), 1e-9 * float(variances.max(initial=0)) or 1.0
    expected = variances
    for _ in range(10):  # the line is fitted to the points below saturation, which depend on the line
        slope, intercept = _fit_line(levels[:used], variances[:used], numbers[:used])
        expected = slope * levels + intercept
        start = _first_below(variances / np.maximum(expected, smallest))
        if start >= used or start < _MIN_POINTS:
            break
        used = start
    ratio = variances / np.maximum(expected, smallest)
    start = _first_below(ratio)
    if not _MIN_POINTS <= start <= len(levels) - _MIN_BELOW:
        return None, expected
    falls = variances[-1] < FALL * variances[:start].max() and ratio[-1] < DEEP_RATIO
    if not falls or expected[start] <= expected[0]:
        return None, expected
    part = (ratio[start - 1] - START_RATIO) / (ratio[start - 1] - ratio[start])
    return float(levels[start - 1] + part * (levels[start] - levels[start - 1])), expected


def from_histogram(histogram: NDArray[np.int64], values: ValueRange) -> DetectorSaturation:
    """Finds the level from which the noise of the pixels falls below that of photons.

    Args:
        histogram: (N_LEVELS, N_NOISE), levels and absolute differences, see :func:`count_differences`.
        values: their range.

    Returns:
        The level in counts, None where nothing of the kind was found or the movie has too few values to tell; the
        fraction of values above it; and the photon transfer curve.
    """
    if histogram.sum() < 2 * MIN_COUNT:
        return nothing_found()
    levels, variances, numbers = _photon_transfer(histogram, values)
    if len(levels) <= _MIN_POINTS:
        return DetectorSaturation(None, 0.0, levels, variances, variances)
    level, expected = _find_level(levels, variances, numbers)
    per_level = histogram.sum(axis=1)
    edges = values.low + np.arange(N_LEVELS) * (values.high - values.low) / N_LEVELS
    share = 0.0 if level is None else float(per_level[edges >= level].sum() / per_level.sum())
    return DetectorSaturation(level, share, levels, variances, expected)


def nothing_found() -> DetectorSaturation:
    """The result for a movie with too few values.

    Returns:
        No saturation, and an empty curve.
    """
    return DetectorSaturation(None, 0.0, np.zeros(0), np.zeros(0), np.zeros(0))
