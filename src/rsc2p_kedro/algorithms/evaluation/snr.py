"""Signal-to-noise ratio of components: how exceptional their transients are.

After Giovannucci et al. 2019 (doi 10.7554/eLife.38173). A component of noise alone rises above its baseline now and
then, but not for as long as a transient lasts. With x the noisy trace of a component without its slow baseline, m its
mode and s the standard deviation of its noise,

    z(t) = (x(t) - m) / (3 s)
    l(t) = mean over t ... t + n - 1 of log P(noise > z) = mean of log Phi(-z)
    e(t) = -Phi^-1(exp(l(t)))      exceptionality of the run of n frames that starts at t
    snr  = max over t of e(t)

with Phi the normal distribution and n = ceil(frame rate * decay time) frames. The factor of 3 is CaImAn's, whose scale
is kept: an snr of 2 is a run of about 6 s above the baseline, and noise alone comes to about 0.5. Logarithms are kept
throughout (log_ndtr, ndtri_exp), so that no transient is too exceptional for its probability to be written.

The slow baseline is a running percentile. The mode is the mean of the shortest interval that holds half of all values:
it varies half as much as the half-sample mode, at the same bias. The noise is the root mean square distance of the
values below the mode from it, as transients only add to those above.
"""

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr, ndtri_exp

from rsc2p_kedro.algorithms.dff import remove_baseline
from rsc2p_kedro.core.parameters import Acquisition

SIGMA_FACTOR = 3.0
"""Standard deviations of noise in one unit of z."""
ACTIVE = 1.0
"""Exceptionality from which a run counts as activity: 3 standard deviations, for as long as a transient lasts."""
_TRANSIENT_SHARE = 0.5
_MOST_TRANSIENTS = 20


@dataclass(frozen=True, eq=False)
class Transients:
    """The transients of N components over T frames.

    Attributes:
        snr: (N,) float64, exceptionality of the best run.
        frames: (N, T) bool, frames of the transients: the best run of frames and others at least half as exceptional.
        active: (N, T) bool, frames of all runs that are as exceptional as :data:`ACTIVE`.
    """

    snr: NDArray[np.float64]
    frames: NDArray[np.bool_]
    active: NDArray[np.bool_]


def run_length(acquisition: Acquisition) -> int:
    """n, frames in which an indicator decays."""
    return int(np.ceil(acquisition.decay_time_frames))


def mode_and_noise(trace: NDArray) -> tuple[float, float]:
    """Mode of a trace (T,), and the standard deviation of its noise from the values below that.

    A trace that is the same in more than half of its frames has a noise of 0 or near it: its few other values are
    exceptional indeed.
    """
    values = np.sort(trace)
    half = (len(values) + 1) // 2
    widths = values[half - 1 :] - values[: len(values) - half + 1]
    start = int(np.argmin(widths))
    mode = float(values[start : start + half].mean())
    below = values[values < mode] - mode
    return mode, float(np.sqrt((below**2).mean())) if len(below) else 0.0


def exceptionality(trace: NDArray, length: int) -> NDArray[np.float64]:
    """e(t), (T - n + 1,), of a trace (T,) without its slow baseline for runs of n = min(`length`, T) frames.

    A trace without noise has no scale to be exceptional on; it gives 0.
    """
    length = min(length, len(trace))
    mode, noise = mode_and_noise(trace)
    if noise <= 1e-9 * np.abs(trace).max(initial=0):
        return np.zeros(len(trace) - length + 1)
    chance = log_ndtr(-(trace - mode) / (SIGMA_FACTOR * noise))
    sums = np.concatenate([[0.0], np.cumsum(chance)])
    return -ndtri_exp(np.minimum((sums[length:] - sums[:-length]) / length, 0))


@numba.njit(nogil=True, cache=True)
def _pick_runs(values: NDArray, length: int, least: float, most: int, starts: NDArray) -> int:
    """Writes the starts of the best runs that do not overlap; returns how many there are."""
    taken = np.zeros(len(values), np.bool_)
    for n in range(most):
        best = -1
        for t in range(len(values)):
            if not taken[t] and values[t] >= least and (best < 0 or values[t] > values[best]):
                best = t
        if best < 0:
            return n
        starts[n] = best
        taken[max(best - length + 1, 0) : best + length] = True
    return most


def pick_runs(values: NDArray, length: int, *, least: float, most: int = _MOST_TRANSIENTS) -> NDArray[np.int64]:
    """Starts of the most exceptional runs, best first, none of which overlap.

    Args:
        values: (R,), exceptionality of the run of `length` frames that starts at each frame.
        length: frames in a run.
        least: exceptionality below which no run is taken.
        most: runs at most.
    """
    starts = np.empty(most, np.int64)
    number = _pick_runs(np.ascontiguousarray(values, np.float64), length, least, most, starts)
    return starts[:number]


def cover(starts: NDArray, length: int, n_frames: int) -> NDArray[np.bool_]:
    """Frames (T,) within the runs of `length` frames from the given starts."""
    edges = np.zeros(n_frames + 1, np.int64)
    np.add.at(edges, starts, 1)
    np.add.at(edges, np.minimum(starts + length, n_frames), -1)
    return np.cumsum(edges[:-1]) > 0


def count_runs(frames: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Runs of consecutive frames (N,) in masks (N, T)."""
    return (np.diff(frames.astype(np.int8), axis=1, prepend=0) == 1).sum(axis=1)


def find_transients(traces: NDArray, acquisition: Acquisition) -> Transients:
    """Exceptionality and transients of noisy traces (N, T): denoised and residual."""
    N, T = traces.shape
    length = min(run_length(acquisition), T)
    flat = remove_baseline(traces, acquisition)
    snr, frames, active = np.zeros(N), np.zeros((N, T), bool), np.zeros((N, T), bool)
    for i in range(N):
        values = exceptionality(flat[i], length)
        snr[i] = values.max()
        if snr[i] > 0:
            frames[i] = cover(pick_runs(values, length, least=_TRANSIENT_SHARE * snr[i]), length, T)
        active[i] = cover(np.flatnonzero(values >= ACTIVE), length, T)
    return Transients(snr, frames, active)
