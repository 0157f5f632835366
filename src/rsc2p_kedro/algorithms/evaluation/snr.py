"""Signal-to-noise ratio of components: how exceptional their transients are.

After Giovannucci et al. 2019 (doi 10.7554/eLife.38173). Noise exceeds its baseline now and then, but not for as long as
a transient lasts. With x the noisy trace of a component less its slow baseline, m its mode and s the standard deviation
of its noise::

    z(t) = (x(t) - m) / (3 s)
    l(t) = mean over t ... t + n - 1 of log P(noise > z) = mean of log Phi(-z)
    e(t) = -Phi^-1(exp(l(t)))      exceptionality of the run of n frames that starts at t
    snr  = max over t of e(t)

Phi is the normal distribution and n = ceil(frame rate * decay time). The factor of 3 is CaImAn's and keeps its scale:
an snr of 2 is a run of about 6 s above the mode, and noise alone has about 0.5. Logarithms are used throughout
(log_ndtr, ndtri_exp), so that the snr has no upper limit.

The slow baseline is a running percentile. The mode is the mean of the shortest interval that holds half of all values
(the "shorth"), whose standard deviation is half that of the half-sample mode at the same bias. The noise is the root
mean square distance from the mode of the values below it, because transients only add to the values above.
"""

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr, ndtri_exp

from rsc2p_kedro.algorithms.dff import remove_baseline
from rsc2p_kedro.core.parameters import Acquisition

SIGMA_FACTOR = 3.0
"""Standard deviations of noise in one unit of z. CaImAn's `sigma_factor`."""
MIN_ACTIVE_EXCEPTIONALITY = 1.0
"""Exceptionality from which a run is active: 3 standard deviations for as long as a transient lasts. Noise alone stays
below it in 200 traces of 1500 frames (tests/algorithms/evaluation/test_snr.py)."""
_MIN_TRANSIENT_FRACTION = 0.5
"""Least exceptionality of a transient, as a fraction of that of the best one. Precision and recall with `greedy_roi`
(benchmarks/evaluation_calibration.py): 0.892 and 0.963; with 0.25: 0.861 and 0.989; with 0.75: 1.000 and 0.941."""
_MAX_TRANSIENTS = 20
"""Transients of a component at most. Precision and recall as above; with 5: 0.995 and 0.963; with 80: 0.879 and
0.963."""


@dataclass(frozen=True, eq=False)
class Transients:
    """Transients of N components in T frames.

    Attributes:
        snr: (N,) float64, exceptionality of the best run.
        frames: (N, T) bool, frames of up to 20 transients: the best run and others at least half as exceptional.
        active: (N, T) bool, frames of all runs of an exceptionality of :data:`MIN_ACTIVE_EXCEPTIONALITY` or more.
    """

    snr: NDArray[np.float64]
    frames: NDArray[np.bool_]
    active: NDArray[np.bool_]


def transient_length(acquisition: Acquisition) -> int:
    """Frames in a transient: n, one decay time of the indicator.

    Args:
        acquisition: frame rate and decay time.

    Returns:
        Frames, rounded up.
    """
    return int(np.ceil(acquisition.decay_time_frames))


def mode_and_noise(trace: NDArray) -> tuple[float, float]:
    """Mode of a trace, and the standard deviation of its noise from the values below the mode.

    Args:
        trace: (T,), any unit.

    Returns:
        Mode and noise, in the units of the trace. A trace with the same value in more than half of its frames has a
        noise of 0 or near it.
    """
    values = np.sort(trace)
    half = (len(values) + 1) // 2
    widths = values[half - 1 :] - values[: len(values) - half + 1]
    start = int(np.argmin(widths))
    mode = float(values[start : start + half].mean())
    below = values[values < mode] - mode
    return mode, float(np.sqrt((below**2).mean())) if len(below) else 0.0


def exceptionality(trace: NDArray, length: int) -> NDArray[np.float64]:
    """Exceptionality e(t) of every run of frames.

    Args:
        trace: (T,), less its slow baseline, any unit.
        length: n, frames in a run; at most T are used.

    Returns:
        (T - n + 1,), without unit; 0 for a trace without noise.
    """
    length = min(length, len(trace))
    mode, noise = mode_and_noise(trace)
    if noise <= 1e-9 * np.abs(trace).max(initial=0):
        return np.zeros(len(trace) - length + 1)
    log_probability = log_ndtr(-(trace - mode) / (SIGMA_FACTOR * noise))
    sums = np.concatenate([[0.0], np.cumsum(log_probability)])
    return -ndtri_exp(np.minimum((sums[length:] - sums[:-length]) / length, 0))


def select_runs(
    values: NDArray, length: int, *, min_value: float, max_runs: int = _MAX_TRANSIENTS
) -> NDArray[np.int64]:
    """Starts of the most exceptional runs that do not overlap, by greedy selection.

    (scipy.signal.find_peaks selects local maxima only; here the next best run may begin where a selected one ends.)

    Args:
        values: (R,), exceptionality of the run of `length` frames that starts at each frame.
        length: frames in a run.
        min_value: exceptionality below which no run is selected.
        max_runs: number of runs at most.

    Returns:
        (`max_runs`,) or fewer, best first.
    """
    starts = np.empty(max_runs, np.int64)
    number = _select_runs(np.ascontiguousarray(values, np.float64), length, min_value, starts)
    return starts[:number]


@numba.njit(nogil=True, cache=True)
def _select_runs(values: NDArray, length: int, min_value: float, starts: NDArray) -> int:
    """Fills the starts of the best runs that do not overlap; returns their number."""
    taken = np.zeros(len(values), np.bool_)
    for n in range(len(starts)):
        best = -1
        for t in range(len(values)):
            if not taken[t] and values[t] >= min_value and (best < 0 or values[t] > values[best]):
                best = t
        if best < 0:
            return n
        starts[n] = best
        taken[max(best - length + 1, 0) : best + length] = True
    return len(starts)


def frames_of_runs(starts: NDArray, length: int, n_frames: int) -> NDArray[np.bool_]:
    """Frames that lie within any of some runs.

    Args:
        starts: first frame of each run.
        length: frames in a run.
        n_frames: T, frames in all.

    Returns:
        (T,).
    """
    edges = np.zeros(n_frames + 1, np.int64)
    np.add.at(edges, starts, 1)
    np.add.at(edges, np.minimum(starts + length, n_frames), -1)
    return np.cumsum(edges[:-1]) > 0


def count_runs(frames: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Number of runs of consecutive frames in each row.

    Args:
        frames: (N, T), frames that belong to a run.

    Returns:
        (N,).
    """
    return (np.diff(frames.astype(np.int8), axis=1, prepend=0) == 1).sum(axis=1)


def find_transients(traces: NDArray, acquisition: Acquisition) -> Transients:
    """SNR and transients of components.

    Args:
        traces: (N, T), noisy: denoised plus residual; any unit.
        acquisition: frame rate and decay time.

    Returns:
        SNR (N,), and the frames (N, T) of transients and of activity.
    """
    N, T = traces.shape
    length = min(transient_length(acquisition), T)
    flat = remove_baseline(traces, acquisition)
    snr, frames, active = np.zeros(N), np.zeros((N, T), bool), np.zeros((N, T), bool)
    for i in range(N):
        values = exceptionality(flat[i], length)
        snr[i] = values.max()
        if snr[i] > 0:
            starts = select_runs(values, length, min_value=_MIN_TRANSIENT_FRACTION * snr[i])
            frames[i] = frames_of_runs(starts, length, T)
        active[i] = frames_of_runs(np.flatnonzero(values >= MIN_ACTIVE_EXCEPTIONALITY), length, T)
    return Transients(snr, frames, active)
