"""Dark level, gain and read noise of a detector, from the noise of the pixels over their level (photon transfer).

A pixel of level x has light x - o, with the dark level o (the counts without light). With the gain g (counts per
photon) and the read noise r, the variance and the third central moment of its noise are lines over the level::

    v = r^2 + a (x - o),    s = b (x - o)

with a = g, b = g^2 for Poisson noise; photomultipliers, whose single photons differ in size, have a larger a and b and
the same o (photon transfer curve: Janesick 2007, doi 10.1117/3.725073). The line of v is exact but meets 0 at
o - r^2 / a, below the dark level; that of s is less exact but meets 0 at the dark level itself, because Gaussian read
noise is symmetric. Both together give r^2 / a, which is known not to be negative and, for photomultipliers, to be of
the order of a photon or less.

The noise of frame t is d = y(t) - [y(t - 1) + y(t + 1)] / 2, less the mean of d of the four neighbours: slow changes
cancel, and so do transients and motion, which extend over neighbouring pixels. Pixels are grouped by the mean of the
other frames of a run of consecutive ones; their noise is independent of d, so that the group means of x, v and s lie on
the lines above whatever the pixels' true levels are (the grouping is an instrument). All values are taken relative to
one of the movie: a constant added to all pixels moves the dark level by this constant and changes nothing else.

Left out are: pixels that do not change, and those joined to an edge of the frame by equal values (the border of a movie
that was registered before); groups with clipped or saturated values; and parts of the frame whose variance exceeds that
of the others (transients, motion). Sums are taken run by run and added in order, so that they do not depend on threads.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numba
import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.ndimage import binary_dilation, convolve1d

from rsc2p_kedro.core.results import BLANK_FRAMES, NOISE, UNKNOWN, DetectorResponse

Values = NDArray[np.float64]

N_GROUPS, N_REGIONS = 32, 4
"""Groups of pixels of similar brightness in a run, and regions of the frame along each axis, from whose spread errors
are estimated. Chosen for some hundred pixels in each group of a frame of 128 x 128 px; not tuned."""
MIN_FRAMES = 6
"""Frames of a run that are needed: three for a difference, and three others to group the pixels by."""
MOST_CLIPPED = 0.01
"""Fraction of a group's values at the lowest or highest value of the movie from which the group is left out. A normal
distribution that is cut at 1 % of its values has lost 3 % of its variance."""
COUNTED = 0.2
"""Relative difference of the gain from one step of the digitizer below which the values are taken for counted photons:
some are lost when two arrive at once. Chosen, not tuned."""
OUTLIER_MADS = 4.0
"""Excess of the variance of a region, in median absolute deviations of all, from which it is left out; not tuned."""
GAIN_CHANGE = 0.05
"""Relative change of the slope between runs (gain, laser power of one trial or another) above which each run has its
own slope through the common dark level; chosen, not tuned."""
READ_NOISE_PHOTONS = 0.5
"""Median of r^2 / a in photons a priori: electronics of photomultipliers add less than the size of one photon (r = 0.7
photons). Chosen, not tuned; it decides only where the third moment does not."""
LEAST_ERROR = 0.01
"""Error of the dark level in units of the light of the typical pixel that is stated at least: what activity, motion and
the detector's non-linearity left in simulated movies. Measured by benchmarks/dff.py."""
RESIDUAL_SIGNAL = 0.03
"""Cube root of the third moment of what transients and motion leave in d, in units of the light: at many photons it
exceeds that of the photons. Measured on one simulated movie of 41 photons per pixel; used as an error only."""
TILE_PX = 32
"""Least side of a tile, in px, in which the frames may move and change their brightness each in its own way: local
motion is smooth over larger distances, and three patterns take 0.3 % of the variance of 1024 pixels. Not tuned."""
WHITE = 0.03
"""Correlation of the noise of neighbouring pixels that is taken for none; not tuned."""
MOST_CORRELATED = 0.4
"""Correlation of the noise of neighbouring pixels above which a movie is taken for smoothed, and has no gain: linear
interpolation half way between two pixels makes 0.5, and 0.25 on average over all positions."""
AGREEMENT = 4.0
"""Difference of the level of blank frames from the estimated dark level, in errors, up to which they agree."""
_FEWEST_PIXELS, _N_QUICK_GROUPS, _LEAST_CORRELATION, _LEAST_RANGE = 3000, 30, 0.9, 0.3
"""Pixels, groups, correlation of variance and level, and range of the levels relative to the light of the brightest
group, that :func:`zero_of_variance` needs. With 10 or 100 groups, a correlation of 0.8 or 0.95, and a range of 0.1
amplitudes of dF/F changed by less than 2 % on six simulated movies."""
_LEAST_LIGHT = 0.1
"""Light of the darkest group that :func:`zero_of_variance` assumes at least, relative to the range of the levels."""
_SUMS = 6
"""Sums of a group: number, x weighted as in v, x weighted as in s, v, s, clipped values."""
_V, _S = 1.5 * 1.25, 0.75 * 0.9375
"""Sums of the squares and of the cubes of the weights of d less its neighbours."""
_GAIN_STEPS = 30
"""Repetitions of scaling runs to a common slope, at most; each leaves less than half of the error of the last."""
_N_GRID = 4000
"""Points of the posterior of the read noise."""
_MIN_GROUPS = 4
"""Points that a line is fitted to, at least."""


@numba.njit(nogil=True, cache=True)
def _less_neighbours(image, out):  # type: ignore[no-untyped-def]
    """Image (H, W) less the mean of the four neighbours of each pixel, into `out`; 0 at the edge."""
    H, W = image.shape
    out[:] = 0
    for y in range(1, H - 1):
        for x in range(1, W - 1):
            around = image[y - 1, x] + image[y + 1, x] + image[y, x - 1] + image[y, x + 1]
            out[y, x] = image[y, x] - around / np.float32(4)


@numba.njit(nogil=True, cache=True)
def _subtract_fit(noise, patterns, usable, rows, columns):  # type: ignore[no-untyped-def]
    """Subtracts the best fit of some patterns from one tile of an image, in place.

    Args:
        noise: (H, W) float32.
        patterns: (P, H, W) float32.
        usable: (H, W) bool, pixels that the fit and the subtraction are restricted to.
        rows: first row of the tile and the one after its last.
        columns: first column and the one after the last.
    """
    P = len(patterns)
    a, b = np.zeros((P, P)), np.zeros(P)
    for y in range(rows[0], rows[1]):
        for x in range(columns[0], columns[1]):
            if usable[y, x]:
                for i in range(P):
                    b[i] += patterns[i, y, x] * noise[y, x]
                    for j in range(i + 1):
                        a[i, j] += patterns[i, y, x] * patterns[j, y, x]
    for i in range(P):  # Gaussian elimination of the lower triangle; a pattern without a part of its own is left out
        for j in range(i):
            a[j, i] = a[i, j]
    size = np.diag(a).copy()
    for i in range(P):
        if a[i, i] <= 1e-6 * size[i] or size[i] == 0:
            a[i, :], a[:, i], b[i], a[i, i] = 0, 0, 0, 1
        for k in range(i + 1, P):
            part = a[k, i] / a[i, i]
            a[k] -= part * a[i]
            b[k] -= part * b[i]
    for i in range(P - 1, -1, -1):
        b[i] = (b[i] - (a[i, i + 1 :] * b[i + 1 :]).sum()) / a[i, i]
    for y in range(rows[0], rows[1]):
        for x in range(columns[0], columns[1]):
            if usable[y, x]:
                for i in range(P):
                    noise[y, x] -= np.float32(b[i]) * patterns[i, y, x]


@numba.njit(nogil=True, cache=True)
def _add_frames(frames, groups, patterns, sums, products):  # type: ignore[no-untyped-def]
    """Adds the moments of the noise of frames to sums (regions, N_GROUPS, _SUMS) and products (regions, 4), in place.

    Args:
        frames: (n, H, W) float32, consecutive, relative to the lowest value of the movie; the first and the last only
            serve the differences of the others.
        groups: (H, W) int64, group of each pixel; -1 leaves it out. Pixels at the edge of the frame are left out.
        patterns: (P, H, W) float32, what motion and changes of brightness add to the noise.
        sums: is added to.
        products: is added to.
    """
    n, H, W = frames.shape
    n_regions = int(np.sqrt(len(sums)))
    n_y, n_x = max(H // TILE_PX, 1), max(W // TILE_PX, 1)
    d, noise, usable = np.empty((H, W), np.float32), np.empty((H, W), np.float32), groups >= 0
    for t in range(1, n - 1):
        before, frame, after = frames[t - 1], frames[t], frames[t + 1]
        for y in range(H):
            for x in range(W):
                d[y, x] = frame[y, x] - (before[y, x] + after[y, x]) / np.float32(2)
        _less_neighbours(d, noise)
        for i in range(n_y):
            for j in range(n_x):
                rows, columns = (i * H // n_y, (i + 1) * H // n_y), (j * W // n_x, (j + 1) * W // n_x)
                _subtract_fit(noise, patterns, usable, rows, columns)
        for y in range(1, H - 1):
            for x in range(1, W - 1):
                if not usable[y, x]:
                    continue
                region = (y * n_regions // H) * n_regions + x * n_regions // W
                part, e = sums[region, groups[y, x]], np.float64(noise[y, x])
                nearby = frame[y - 1, x] + frame[y + 1, x] + frame[y, x - 1] + frame[y, x + 1]
                level = (frame[y, x] + (before[y, x] + after[y, x]) / 4) / 1.5
                part[0] += 1
                part[1] += (level + nearby / 16) / 1.25
                part[2] += (level - nearby / 64) / 0.9375
                part[3] += e * e
                part[4] += e * e * e
                if x + 2 < W and y + 2 < H:
                    here = d[y, x] - (d[y - 1, x] + d[y + 1, x]) / 2
                    right = d[y, x + 1] - (d[y - 1, x + 1] + d[y + 1, x + 1]) / 2
                    products[region, 0] += here * here
                    products[region, 1] += here * right
                    here = d[y, x] - (d[y, x - 1] + d[y, x + 1]) / 2
                    below = d[y + 1, x] - (d[y + 1, x - 1] + d[y + 1, x + 1]) / 2
                    products[region, 2] += here * here
                    products[region, 3] += here * below


def _patterns(image: Values) -> NDArray[np.float32]:
    """What a change of brightness and small shifts along y and x add to the noise of a frame: (3, H, W).

    The image may be the mean of the same frames: d has no covariance with the mean of frames of the same noise.
    """
    smooth = image
    for axis in (0, 1):
        smooth = convolve1d(smooth, [0.125, 0.75, 0.125], axis=axis, mode="nearest")
    patterns = np.empty((3, *image.shape), np.float32)
    for pattern, change in zip(patterns, (smooth, *np.gradient(smooth)), strict=True):
        _less_neighbours(change.astype(np.float32), pattern)
    return patterns


@dataclass(frozen=True)
class RunMoments:
    """Sums of one run of frames.

    Attributes:
        sums: (regions, N_GROUPS, _SUMS).
        products: (regions, 4), of d, high-passed along y, with itself and with that of the pixel to the right; and
            high-passed along x, with itself and that of the pixel below.
    """

    sums: Values
    products: Values


def run_moments(frames: NDArray, *, low: float, high: float) -> RunMoments:
    """Moments of the noise in a run of consecutive frames.

    The pixels of one half of the run are grouped by their mean in the other.

    Args:
        frames: (n, H, W), any real dtype.
        low: lowest value of the movie, to which levels are relative.
        high: highest value of the movie.

    Returns:
        The sums; zeros where the run is too short or no pixel can be used.
    """
    n, (H, W) = len(frames), frames.shape[1:]
    sums, products = np.zeros((N_REGIONS**2, N_GROUPS, _SUMS)), np.zeros((N_REGIONS**2, 4))
    usable = _usable(frames)
    if n < MIN_FRAMES or usable.sum() < N_GROUPS:
        return RunMoments(sums, products)
    relative = (frames.astype(np.float64) - low).astype(np.float32)
    clipped = ((frames <= low) | (frames >= high)).mean(axis=0)
    y, x = np.nonzero(usable)
    region = (y * N_REGIONS // H) * N_REGIONS + x * N_REGIONS // W
    for half, other in ((relative[: n // 2], relative[n // 2 :]), (relative[n // 2 :], relative[: n // 2])):
        groups = np.full((H, W), -1)
        groups[usable] = _groups_of(other.mean(axis=0, dtype=np.float64)[usable])
        _add_frames(half, groups, _patterns(half.mean(axis=0, dtype=np.float64)), sums, products)
        np.add.at(sums[..., 5], (region, groups[usable]), clipped[usable] * max(len(half) - 2, 0))
    sums[..., 3] /= _V
    sums[..., 4] /= _S
    return RunMoments(sums, products)


def _groups_of(levels: Values) -> NDArray[np.int64]:
    """Group of each of some pixels (P,) by their levels; as many pixels in each as levels that are equal allow."""
    edges = np.quantile(levels, np.arange(1, N_GROUPS) / N_GROUPS)
    return np.searchsorted(edges, levels, side="right")


def _usable(frames: NDArray) -> NDArray[np.bool_]:
    """Pixels (H, W) that change, and are not joined to an edge of a frame by equal values; nor are their neighbours."""
    filled = (frames == frames[:1]).all(axis=0)
    for turn in range(4):
        turned = np.rot90(frames, turn, axes=(1, 2))
        joined = np.logical_and.accumulate(turned == turned[:, :1], axis=1)
        joined &= joined[:, 1:2]  # two equal pixels at the edge at least
        filled |= np.rot90(joined.any(axis=0), -turn)
    filled = binary_dilation(filled, iterations=2)
    filled[[0, -1]], filled[:, [0, -1]] = True, True
    return np.logical_not(filled)


@dataclass(frozen=True)
class _Lines:
    """Both lines of the module, of one set of group means.

    Attributes:
        slope: a, counts.
        variance_zero: level at which the line of the variance is 0, o - r^2 / a.
        third_slope: b, counts squared.
        third_zero: level at which the line of the third moment is 0, o.
    """

    slope: float
    variance_zero: float
    third_slope: float
    third_zero: float

    def __array__(self, dtype: object = None, copy: object = None) -> Values:
        return np.array([self.slope, self.variance_zero, self.third_slope, self.third_zero])


def fit_response(
    runs: Sequence[RunMoments], *, low: float, step: float = 1.0, ceiling: float | None = None
) -> DetectorResponse:
    """Fits dark level, gain and read noise to the moments of some runs.

    Args:
        runs: of a movie, in any order that is always the same.
        low: the value that levels are relative to.
        step: smallest difference between two values of the movie, by which counted photons are told from clipped
            values: both have many values at the lowest one.
        ceiling: count from which the detector saturates; None if it does not.

    Returns:
        The response; without dark level and gain where the noise does not tell them.
    """
    if not runs:
        return _unknown(low, np.zeros((1, 1, 1, _SUMS)), (0.0, 0.0), 0.0)
    everything = np.stack([run.sums for run in runs])
    sums, clipped = _without_clipped(everything, None if ceiling is None else ceiling - low)
    few = (sums.sum(axis=1)[..., 0] > 0).sum() < _MIN_GROUPS * max(len(sums) // 4, 1)
    sums = _without_outliers(everything if few else sums)
    correlation = _correlation(np.sum([run.products for run in runs], axis=0))
    unknown = _unknown(low, sums, correlation, clipped)
    fitted = _fit(sums)
    if fitted is None:
        return unknown
    dark = fitted.lines.variance_zero + fitted.excess
    light = float(np.median(_curve(sums)[0])) - dark  # relative to the lowest value, as exact as all before
    counted = low == 0 and abs(fitted.lines.slope / step - 1) < COUNTED
    if light <= 0 or (few and not counted):
        return unknown
    parts = (fitted.errors[1], fitted.excess_error, fitted.bend, LEAST_ERROR * light)
    known = replace(unknown, dark_level=low + dark, dark_level_error=float(np.linalg.norm(parts)), source=NOISE)
    if max(correlation) > MOST_CORRELATED:
        return known
    factor = _gain_factor(correlation)
    return replace(
        known,
        gain=factor * fitted.lines.slope,
        gain_error=factor * float(np.hypot(fitted.errors[0], fitted.lines.slope * LEAST_ERROR)),
        read_noise=float(np.sqrt(fitted.lines.slope * fitted.excess)),
    )


def _unknown(low: float, sums: Values, correlation: tuple[float, float], clipped: float) -> DetectorResponse:
    """A response without dark level and gain, with what is known without them."""
    levels, variances, thirds = _curve(sums)
    return DetectorResponse(
        dark_level=None,
        dark_level_error=0.0,
        source=UNKNOWN,
        gain=None,
        gain_error=0.0,
        read_noise=0.0,
        typical_level=low + float(np.median(levels)) if len(levels) else low,
        lowest_level=low + float(levels.min(initial=np.inf)) if len(levels) else low,
        noise_correlation=correlation,
        clipped_share=clipped,
        levels=low + levels,
        noise_variance=variances,
        third_moment=thirds,
    )


def with_blank_frames(response: DetectorResponse, means: NDArray) -> DetectorResponse:
    """Takes the dark level from frames without light, where it agrees with the noise of the pixels or that is unknown.

    A shutter may leave some light, and frames may be dark for other reasons: a level more than `AGREEMENT` errors from
    that of the noise is not used.

    Args:
        response: from the noise of the pixels.
        means: (n,), mean of each frame that seems to have no light, in counts.

    Returns:
        The response with the median of these means as its dark level, or as it is.
    """
    if not len(means):
        return response
    level, known = float(np.median(means)), response.dark_level
    disagree = known is not None and abs(level - known) > AGREEMENT * response.dark_level_error
    if level >= response.typical_level or disagree:
        return response
    error = max(1.4826 * float(np.median(np.abs(means - level))), LEAST_ERROR * (response.typical_level - level) / 2)
    return replace(response, dark_level=level, dark_level_error=error, source=BLANK_FRAMES)


def zero_of_variance(levels: NDArray, variances: NDArray) -> float | None:
    """Level at which the variance of the noise extrapolates to 0, from the levels and variances of single pixels.

    A quick estimate that needs no movie: below the dark level by the read noise's r^2 / a. A straight line is fitted by
    the Theil-Sen estimator (Sen 1968, doi 10.1080/01621459.1968.10480934) to the medians of 30 groups of pixels.

    Args:
        levels: (P,), mean of each pixel in counts.
        variances: (P,), of the noise of these pixels; pixels without noise do not count.

    Returns:
        Counts. None with fewer than 3000 pixels, of similar brightness, or with variances that do not lie on a line.
    """
    levels, variances = levels[variances > 0].astype(np.float64), variances[variances > 0].astype(np.float64)
    if len(levels) < _FEWEST_PIXELS:
        return None
    groups = np.array_split(np.argsort(levels, kind="stable"), _N_QUICK_GROUPS)
    x = np.array([np.median(levels[group]) for group in groups])
    v = np.array([np.median(variances[group]) for group in groups])
    slope = stats.theilslopes(v, x).slope if np.ptp(x) > 0 and np.ptp(v) > 0 else 0.0
    if slope <= 0 or np.corrcoef(x, v)[0, 1] < _LEAST_CORRELATION:
        return None
    zero = min(float(np.median(x - v / slope)), float(x[0] - _LEAST_LIGHT * np.ptp(x)))
    return zero if np.ptp(x) > _LEAST_RANGE * (x[-1] - zero) else None


def _without_clipped(sums: Values, ceiling: float | None) -> tuple[Values, float]:
    """Sums (runs, regions, groups, _SUMS) with zeros in groups of clipped values, and the share of such groups."""
    number, level, _, variance, _, clipped = np.moveaxis(sums.sum(axis=1), -1, 0)
    seen = np.maximum(number, 1)
    bad = clipped > MOST_CLIPPED * seen
    if ceiling is not None:
        bad |= level / seen + 3 * np.sqrt(variance / seen) > ceiling
    share = float(number[bad].sum() / max(number.sum(), 1))
    return sums * ~bad[:, None, :, None], share


def _without_outliers(sums: Values) -> Values:
    """Sums with zeros in the regions of runs whose variance exceeds the line by far."""
    for _ in range(2):
        lines = _lines(_points(sums.sum(axis=1)))
        if lines is None:
            return sums
        parts = sums.sum(axis=2)
        expected = lines.slope * (parts[:, :, 1] - lines.variance_zero * parts[:, :, 0])
        ratio = np.where(expected > 0, parts[:, :, 3] / np.where(expected > 0, expected, 1), np.nan)
        if not np.isfinite(ratio).any():
            return sums
        middle = np.nanmedian(ratio)
        spread = 1.4826 * np.nanmedian(np.abs(ratio - middle))
        sums = sums * ~(ratio > middle + OUTLIER_MADS * spread)[:, :, None, None]
    return sums


def _points(pooled: Values) -> Values:
    """Points (5, K): number, level of v, level of s, v and s of the groups (runs, groups, _SUMS) that are not empty."""
    flat = pooled[..., :5].reshape(-1, 5).T
    flat = flat[:, flat[0] > 0]
    flat[1:] /= flat[0]
    return flat


def _curve(sums: Values) -> tuple[Values, Values, Values]:
    """Level, variance and third moment of the groups over all runs, for a figure."""
    points = _points(sums.sum(axis=(0, 1))[None])
    return points[1], points[3], points[4]


def _line(x: Values, y: Values, weights: Values) -> tuple[float, float] | None:
    """Slope, and the x at which the line fitted by weighted least squares is 0; None where it has no slope."""
    weights = weights / weights.sum()
    x_mean, y_mean = float(weights @ x), float(weights @ y)
    spread = float(weights @ (x - x_mean) ** 2)
    slope = float(weights @ ((x - x_mean) * (y - y_mean))) / spread if spread > 0 else 0.0
    return (slope, x_mean - y_mean / slope) if slope > 0 else None


def _lines(points: Values) -> _Lines | None:
    """Both lines, weighted by the errors that their own variance predicts; None where one of them does not rise."""
    number, level, level_of_third, variance, third = points
    if len(number) < _MIN_GROUPS or variance.max() <= 0:
        return None
    expected = np.full(len(number), float(variance.mean()))
    line = None
    for _ in range(4):
        line = _line(level, variance, number / expected**2)
        if line is None:
            return None
        expected = np.maximum(line[0] * (level - line[1]), 1e-3 * variance.max())
    of_third = _line(level_of_third, third, number / expected**3)
    if line is None:
        return None
    return _Lines(*line, *(of_third or (0.0, np.nan)))


def _same_gain(sums: Values, lines: _Lines) -> Values:
    """Sums with the variance and third moment of each run scaled to a common slope, if slopes change between runs."""
    parts = sums.sum(axis=(1, 2))
    light = parts[:, 1] - lines.variance_zero * parts[:, 0]
    slopes = np.where(light > 0, parts[:, 3] / np.where(light > 0, light, 1), np.nan)
    usual = np.nanmedian(slopes) if np.isfinite(slopes).any() else np.nan
    ratio = np.nan_to_num(slopes / usual, nan=1.0)
    if not np.isfinite(usual) or np.abs(ratio - 1).max() <= GAIN_CHANGE:
        return sums
    scaled = sums.copy()
    scaled[..., 3] /= ratio[:, None, None]
    scaled[..., 4] /= ratio[:, None, None] ** 2
    return scaled


@dataclass(frozen=True)
class _Fit:
    """Lines of a movie, standard errors of their numbers in the same order, and r^2 / a in counts with its error."""

    lines: _Lines
    errors: Values
    excess: float
    excess_error: float
    bend: float


def _fit(sums: Values) -> _Fit | None:
    """Fits both lines; None where the variance of the noise shows none."""
    scaled, lines = sums, _lines(_points(sums.sum(axis=1)))
    for _ in range(_GAIN_STEPS):
        if lines is None:
            return None
        scaled, before = _same_gain(sums, lines), lines.variance_zero
        lines = _lines(_points(scaled.sum(axis=1)))
        if lines is not None and lines.variance_zero == before:
            break
    samples = _jackknife(scaled)
    if lines is None or samples is None:
        return None
    errors = np.max([_jackknife_error(part) for part in samples], axis=0)
    if lines.slope <= 3 * errors[0]:
        return None
    sampling = max(float(_jackknife_error(part[:, 3] - part[:, 1])) for part in samples)
    light = float(np.median(_curve(scaled)[0])) - lines.variance_zero
    difference = float(np.hypot(sampling, RESIDUAL_SIGNAL**3 * light**3 / lines.slope**2))
    return _Fit(lines, errors, *_read_noise(lines, difference), _bend(scaled, lines))


def _jackknife(sums: Values) -> list[Values] | None:
    """Numbers (n, 4) of the lines without each region, and without each eighth of the runs."""
    regions, runs = sums.sum(axis=1), sums
    without_region = [regions - runs[:, region] for region in range(sums.shape[1])]
    parts = np.array_split(np.arange(len(sums)), min(8, len(sums)))
    without_runs = [np.delete(regions, part, axis=0) for part in parts] if len(parts) > 1 else []
    samples = []
    for group in (without_region, without_runs):
        fitted = [_lines(_points(pooled)) for pooled in group]
        if any(lines is None for lines in fitted):
            return None
        if fitted:
            samples.append(np.stack([np.asarray(lines) for lines in fitted]))
    return samples


def _jackknife_error(values: Values) -> Values:
    """Standard error of what was computed without each of n parts, (n, ...)."""
    return np.sqrt((len(values) - 1) / len(values) * ((values - values.mean(axis=0)) ** 2).sum(axis=0))


def _read_noise(lines: _Lines, error: float) -> tuple[float, float]:
    """Posterior median of r^2 / a in counts and its error (half of 16 % to 84 %), from the difference of the two zeros.

    The difference is normally distributed around r^2 / a, of which u = rho / (rho + m) is uniform in 0..1 a priori:
    its median is m, and large values are not unlikely.
    """
    median = READ_NOISE_PHOTONS * lines.slope
    u = (np.arange(_N_GRID) + 0.5) / _N_GRID
    excess = median * u / (1 - u)
    if not np.isfinite([lines.third_zero, error]).all():
        lines, error = replace(lines, third_zero=lines.variance_zero), np.inf
    deviation = (excess - (lines.third_zero - lines.variance_zero)) / max(error, 1e-3 * median)
    reached = np.cumsum(np.exp(-(deviation**2 - (deviation**2).min()) / 2))
    low, middle, high = np.interp([0.16, 0.5, 0.84], reached / reached[-1], excess)
    return float(middle), float(high - low) / 2


def _bend(sums: Values, lines: _Lines) -> float:
    """How much the zero of the variance moves if only the darker half of the groups counts, beyond its own error."""
    half = sums.copy()
    number = sums[..., 0].sum(axis=(0, 1)).cumsum()
    half[:, :, number > number[-1] / 2] = 0
    darker = _lines(_points(half.sum(axis=1)))
    samples = _jackknife(half)
    if darker is None or samples is None:
        return 0.0
    error = max(float(_jackknife_error(part[:, 1])) for part in samples)
    return max(abs(darker.variance_zero - lines.variance_zero) - 2 * error, 0.0)


def _correlation(products: Values) -> tuple[float, float]:
    """Correlation of the noise with that of the next pixel along y and x: the median over the regions."""
    seen = products[(products[:, 0] > 0) & (products[:, 2] > 0)]
    if not len(seen):
        return 0.0, 0.0
    along_y, along_x = np.median(seen[:, [3, 1]] / seen[:, [2, 0]], axis=0)
    return float(along_y), float(along_x)


def _gain_factor(correlation: tuple[float, float]) -> float:
    """Gain over the slope a, which is too small where neighbouring pixels share their noise (interpolated movies).

    The difference from four neighbours has the variance 1 + 1/4 - rho_y - rho_x of white noise, and the sum over all
    pixels, which smoothing does not change, (1 + 2 rho_y) (1 + 2 rho_x).
    """
    y, x = (0.0 if abs(rho) < WHITE else float(np.clip(rho, -0.4, 0.5)) for rho in correlation)
    return 1.25 / (1.25 - y - x) * (1 + 2 * y) * (1 + 2 * x)
