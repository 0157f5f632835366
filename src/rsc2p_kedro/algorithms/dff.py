"""Relative change of fluorescence, dF/F.

With C the denoised trace of a component, R its residual trace, c its baseline and B the background under its footprint:

    F  = C + R + c
    F0 = P(F) + M(B)
    dF/F = (F - P(F)) / F0

P is a running low percentile: over a window around each frame that is cut off at the ends of the recording, with linear
interpolation between values. M is the running median over the same window: the denominator is the light at rest, and
should follow bleaching and drift, not the neuropil's every flicker. Where the light falls steadily, a low percentile is
that of the end of the window: half a window's fall too low.

Where F0 is below the noise of F, noise alone would come out at more than 100 %: there F0 is raised to that noise, and
the component is reported as guarded.
"""

import numba
import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from rsc2p_kedro.engines.results import Components, DeltaFOverF
from rsc2p_kedro.parameters import Acquisition, EvaluationParameters

_MAD_TO_SD = 1.4826
_BASELINE_PERCENTILE = 20.0
_BASELINE_S, _BASELINE_DECAYS = 30.0, 20.0


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


def remove_baseline(traces: NDArray, acquisition: Acquisition) -> NDArray[np.float64]:
    """Traces (N, T) less their 20th percentile over 30 s, or over 20 decay times if that is longer."""
    window_s = max(_BASELINE_S, _BASELINE_DECAYS * acquisition.decay_time_s)
    half = int(np.ceil(window_s * acquisition.frame_rate_hz / 2))
    return traces - running_percentile(traces, percentile=_BASELINE_PERCENTILE, half_width=half)


def noise_of_differences(traces: NDArray) -> NDArray[np.float64]:
    """Standard deviation (N,) of white noise in traces (N, T), from the median size of the steps between frames."""
    if traces.shape[1] < 2:
        return np.zeros(len(traces))
    return _MAD_TO_SD / np.sqrt(2) * np.median(np.abs(np.diff(traces, axis=1)), axis=1)


def background_under_footprints(components: Components) -> NDArray[np.float64]:
    """Background (N, T) under each footprint, in the units of its trace: a'b f / a'a.

    The component's own baseline, which the background of :class:`~rsc2p_kedro.engines.results.Components` holds too, is
    taken out, so that trace + residual + baseline + this is all the light under the footprint.
    """
    A, b = components.footprints, sp.csc_array(components.background_footprints)
    norms = np.maximum(np.asarray((A * A).sum(axis=0)).ravel(), np.finfo(np.float32).tiny)
    shares = sp.csr_array(A.T @ b).astype(np.float64)
    return (shares @ components.background_traces) / norms[:, None] - components.baseline[:, None]


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
        background_under_footprint: B, (N, T), in the units of the traces.
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
    rest = running_percentile(F, percentile=percentile, half_width=half)
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
    return delta_f_over_f(
        components.traces,
        components.residual_traces,
        components.baseline,
        background_under_footprints(components),
        frame_rate_hz=acquisition.frame_rate_hz,
        percentile=parameters.dff_percentile,
        window_s=parameters.dff_window_s,
    )
