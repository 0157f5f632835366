"""Relative change of fluorescence, dF/F.

With C the denoised trace of a component, R its residual trace, c its baseline, B the background under its footprint,
and D what the detector counts there in the dark:

    F  = C + R + c
    F0 = P(F) + M(B) - D
    dF/F = (F - P(F)) / F0

P is a running low percentile: over a window around each frame that is cut off at the ends of the recording, with linear
interpolation between values, of F smoothed by a Gaussian of 0.25 s, for noise alone would draw a low percentile below
the light at rest. M is the running median over the same window: the denominator is the light at rest, and should follow
bleaching and drift, not the neuropil's every flicker. Where the light falls steadily, a low percentile is that of the
end of the window: half a window's fall too low.

A detector's offset is no light, and left in the denominator it makes every dF/F too small. It is known from the
photons: the variance of a pixel's noise grows in a straight line with its light, and is, but for the read noise, 0 in
the dark.

Where F0 is below the noise of F, noise alone would come out at more than 100 %: there F0 is raised to that noise, and
the component is reported as guarded.
"""

from dataclasses import replace

import numba
import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from rsc2p_kedro.core.parameters import Acquisition, EvaluationParameters
from rsc2p_kedro.core.results import Components, DeltaFOverF

_MAD_TO_SD = 1.4826
_BASELINE_PERCENTILE = 20.0
_BASELINE_DECAYS = 20.0
_SMOOTHING_S = 0.25
_GROUPS, _LEAST_PIXELS = 30, 3000
_LEAST_CORRELATION, _LEAST_RANGE, _MOST_DARK = 0.9, 0.3, 0.9


@numba.njit(nogil=True, cache=True)
def _place(window: NDArray, n: int, value: float) -> int:
    """Index of the first of the n sorted values that is not below `value`."""
    low, high = 0, n
    while low < high:
        middle = (low + high) // 2
        if window[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low


@numba.njit(nogil=True, cache=True)
def _insert(window: NDArray, n: int, value: float) -> None:
    """Adds a value to the n sorted ones."""
    place = _place(window, n, value)
    for i in range(n, place, -1):
        window[i] = window[i - 1]
    window[place] = value


@numba.njit(nogil=True, cache=True)
def _remove(window: NDArray, n: int, value: float) -> None:
    """Takes a value out of the n sorted ones."""
    for i in range(_place(window, n, value), n - 1):
        window[i] = window[i + 1]


@numba.njit(nogil=True, cache=True)
def _replace(window: NDArray, n: int, old: float, new: float) -> None:
    """Puts a new value in the place of an old one among the n sorted ones; only what lies between them moves."""
    place = _place(window, n, old)
    while place > 0 and window[place - 1] > new:
        window[place] = window[place - 1]
        place -= 1
    while place < n - 1 and window[place + 1] < new:
        window[place] = window[place + 1]
        place += 1
    window[place] = new


@numba.njit(nogil=True, cache=True)
def _running_percentile(trace: NDArray, half: int, share: float, result: NDArray) -> None:
    """Percentile of one trace (T,) over frames t - half ... t + half; the window is kept sorted as it moves on."""
    T = len(trace)
    window, n = np.empty(2 * half + 1), 0
    for t in range(-half, T):
        enters, leaves = t + half < T, t - half - 1 >= 0
        if enters and leaves:
            _replace(window, n, trace[t - half - 1], trace[t + half])
        elif enters:
            _insert(window, n, trace[t + half])
            n += 1
        elif leaves:
            _remove(window, n, trace[t - half - 1])
            n -= 1
        if t >= 0:
            rank = share * (n - 1)
            low = int(rank)
            high = min(low + 1, n - 1)
            result[t] = window[low] + (rank - low) * (window[high] - window[low])


@numba.njit(nogil=True, cache=True)
def _running_percentiles(traces: NDArray, half: int, share: float, result: NDArray) -> None:
    for i in range(len(traces)):
        _running_percentile(traces[i], half, share, result[i])


def running_percentile(traces: NDArray, *, percentile: float, half_width: int) -> NDArray[np.float64]:
    """Exact running percentile of each trace.

    The window of frame t holds frames t - `half_width` ... t + `half_width`, as far as there are such frames. It is
    kept sorted: each step costs log w comparisons, and moves the values between the one that enters and the one that
    leaves.

    Args:
        traces: (N, T), finite.
        percentile: 0..100; between two values it is interpolated, as :func:`numpy.percentile` does.
        half_width: frames on each side, 0 or more.

    Returns:
        (N, T).
    """
    if half_width < 0 or not 0 <= percentile <= 100:
        raise ValueError(f"Expected half_width >= 0 and percentile in 0..100, got {half_width} and {percentile}.")
    traces = np.ascontiguousarray(traces, np.float64)
    result = np.empty(traces.shape)
    _running_percentiles(traces, min(half_width, traces.shape[1]), percentile / 100, result)
    return result


def remove_baseline(traces: NDArray, acquisition: Acquisition, *, window_s: float = 30.0) -> NDArray[np.float64]:
    """Traces (N, T) less their 20th percentile over `window_s`, or over 20 decay times if that is longer."""
    window_s = max(window_s, _BASELINE_DECAYS * acquisition.decay_time_s)
    half = int(np.ceil(window_s * acquisition.frame_rate_hz / 2))
    return traces - running_percentile(traces, percentile=_BASELINE_PERCENTILE, half_width=half)


def noise_of_differences(traces: NDArray) -> NDArray[np.float64]:
    """Standard deviation (N,) of white noise in traces (N, T), from the median size of the steps between frames."""
    if traces.shape[1] < 2:
        return np.zeros(len(traces))
    return _MAD_TO_SD / np.sqrt(2) * np.median(np.abs(np.diff(traces, axis=1)), axis=1)


def background_under_footprints(components: Components) -> NDArray[np.float64]:
    """Background (N, T) under each footprint, in the units of its trace: a'b f / a'a.

    The component's own baseline, which the background of :class:`~rsc2p_kedro.core.results.Components` holds too, is
    taken out, so that trace + residual + baseline + this is all the light under the footprint.
    """
    A, b = components.footprints, sp.csc_array(components.background_footprints)
    norms = np.maximum(np.asarray((A * A).sum(axis=0)).ravel(), np.finfo(np.float32).tiny)
    shares = sp.csr_array(A.T @ b).astype(np.float64)
    return (shares @ components.background_traces) / norms[:, None] - components.baseline[:, None]


def dark_level(mean: NDArray, noise: NDArray) -> float:
    """What a detector counts in the dark, from where the variance of the noise of its pixels would come to 0.

    A straight line (Theil-Sen) through the medians of 30 groups of pixels that are alike in brightness. 0 where that is
    no straight line, where pixels are too few or too much alike in brightness to tell, and where it would be negative.

    Args:
        mean: mean light of pixels (P,).
        noise: standard deviation of their noise (P,).
    """
    order = np.argsort(mean, kind="stable")
    if len(order) < _LEAST_PIXELS:
        return 0.0
    groups = np.array_split(order, _GROUPS)
    light = np.array([np.median(mean[group]) for group in groups], np.float64)
    variance = np.array([np.median(np.square(noise[group], dtype=np.float64)) for group in groups])
    if light[-1] - light[0] <= _LEAST_RANGE * light[-1] or np.ptp(variance) == 0:
        return 0.0
    first, second = np.triu_indices(_GROUPS, 1)
    apart = light[second] > light[first]
    slope = np.median(((variance[second] - variance[first])[apart]) / (light[second] - light[first])[apart])
    if slope <= 0 or np.corrcoef(light, variance)[0, 1] < _LEAST_CORRELATION:
        return 0.0
    return float(np.clip(np.median(light - variance / slope), 0, _MOST_DARK * light[0]))


def estimate_dark_level(components: Components) -> float:
    """:func:`dark_level` of the pixels that components and background were found in."""
    A, b = components.footprints, sp.csc_array(components.background_footprints)
    mean = b @ components.background_traces.mean(axis=1, dtype=np.float64)
    mean = mean + A @ components.traces.mean(axis=1, dtype=np.float64)
    noise = components.pixel_noise.ravel()
    seen = (noise > 0) & (mean > 0)
    return dark_level(mean[seen], noise[seen])


def dark_under_footprints(components: Components, level: float) -> NDArray[np.float64]:
    """Dark counts (N,) under each footprint, in the units of its trace: those of every pixel, weighted by it."""
    A = components.footprints
    norms = np.maximum(np.asarray((A * A).sum(axis=0)).ravel(), np.finfo(np.float32).tiny)
    return level * np.asarray(A.sum(axis=0), np.float64).ravel() / norms


def delta_f_over_f(
    traces: NDArray,
    residual_traces: NDArray,
    baseline: NDArray,
    background_under_footprint: NDArray,
    *,
    frame_rate_hz: float,
    percentile: float,
    window_s: float,
) -> DeltaFOverF:
    """dF/F of components (see the text of the module).

    Args:
        traces: C, (N, T).
        residual_traces: R, (N, T).
        baseline: c, (N,).
        background_under_footprint: B - D, (N, T), in the units of the traces.
        frame_rate_hz: frames per second.
        percentile: low percentile, 0..100, that counts as rest.
        window_s: width of the running window in s. Shorter follows drift more closely, and eats long transients.

    Returns:
        dF/F, F0 and which components were guarded.

    Raises:
        ValueError: the shapes do not fit together, or the window is shorter than 3 frames.
    """
    N, T = traces.shape
    shapes = (residual_traces.shape, background_under_footprint.shape, baseline.shape)
    if shapes != ((N, T), (N, T), (N,)):
        raise ValueError(
            f"For traces of shape {(N, T)}, residual traces and background should be {(N, T)} and the baseline {(N,)}; "
            f"they are {shapes[0]}, {shapes[1]} and {shapes[2]}."
        )
    half = round(window_s * frame_rate_hz / 2)
    if half < 1:
        raise ValueError(f"A window of {window_s} s is below 3 frames at {frame_rate_hz} Hz; take a longer one.")
    F = traces.astype(np.float64) + residual_traces + baseline[:, None]
    smooth = gaussian_filter1d(F, _SMOOTHING_S * frame_rate_hz, axis=1, mode="nearest")
    rest = running_percentile(smooth, percentile=percentile, half_width=half)
    f0 = rest + running_percentile(background_under_footprint, percentile=50, half_width=half)
    least = np.maximum(noise_of_differences(F), 1e-6 * np.abs(F).max(axis=1, initial=0))
    least = np.where(least > 0, least, 1.0)[:, None]
    return DeltaFOverF(
        dff=((F - rest) / np.maximum(f0, least)).astype(np.float32),
        f0=np.maximum(f0, least).astype(np.float32),
        guarded=np.any(f0 < least, axis=1),
    )


def component_dff(components: Components, acquisition: Acquisition, parameters: EvaluationParameters) -> DeltaFOverF:
    """dF/F of the components of a recording."""
    level = parameters.dff_dark_level
    level = estimate_dark_level(components) if level is None else level
    background = background_under_footprints(components) - dark_under_footprints(components, level)[:, None]
    result = delta_f_over_f(
        components.traces,
        components.residual_traces,
        components.baseline,
        background,
        frame_rate_hz=acquisition.frame_rate_hz,
        percentile=parameters.dff_percentile,
        window_s=parameters.dff_window_s,
    )
    return replace(result, dark_level=level)
