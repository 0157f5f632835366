"""Spike inference: the expected number of spikes in each frame, the posterior mean given the whole trace.

:mod:`.oasis` gives the single most probable spike train, which serves to denoise calcium. The posterior mean correlates
better with true spike rates: where the time of a spike is uncertain, it is spread over the frames in question.

With the trace y of a component less its slow baseline, at frame t::

    y_t = b + c_t + e_t,    e_t ~ N(0, sigma^2)
    c_t = g c_{t-1} + j_t,    g = exp(-1 / tau)
    j_t = 0 with probability 1 - p, else exponentially distributed with mean mu

b constant baseline, c calcium, j the rise of calcium by the transients that start in a frame ("jump"), tau decay in
frames. c is discretized in levels of d = sigma / 2. Levels further than 5 sigma from y_t are left out, so that the
forward-backward recursion (Rabiner 1989, doi 10.1109/5.18626, eqs. 18-25) visits 21 levels a frame. A value between two
levels is shared between them by linear interpolation. Exponential jumps cost one running sum over levels instead of a
matrix product. With a small probability :data:`RESTART` calcium takes any value, so that an artefact does not affect
the frames after it.

The recursion gives the probability q_t of a jump and its mean size given the whole trace. From these,
expectation-maximization (ibid., section III.C) estimates p, mu, b and sigma. Sigma stays between half and all of the
noise in the upper half of the spectrum, to which transients leak at low frame rates. Of the decays
:data:`DECAY_FACTORS` x the indicator's known one, the one under which the trace is most probable is taken. None is
shorter than the known decay: a decay that is too long misses little, one that is too short takes the tails of
transients for spikes.

The result, for each frame::

    rate_t = q_t (m_t / mu)^(1 / k),    m_t mean size of the jump, given that there was one

in units of the cell's typical transient amplitude. k > 1 where fluorescence grows faster than the number of spikes, as
with the cooperative binding of calcium to GCaMP (Greenberg et al. 2018, doi 10.1101/479055). Fluorescence rises some
time after the spike, later where it also decays slowly, and a frame shows the mean over its exposure: rates are
advanced by half a frame and a fraction of the trace's decay time, by linear interpolation between frames.
"""

from dataclasses import fields

import numpy as np
from numba import njit
from numpy.typing import NDArray

from rsc2p_kedro.algorithms import blocks
from rsc2p_kedro.algorithms.deconvolution.autoregressive import estimate_noise
from rsc2p_kedro.algorithms.deconvolution.indicators import GCAMP_DELAY
from rsc2p_kedro.algorithms.dff import remove_baseline
from rsc2p_kedro.core.parameters import Acquisition, Compute
from rsc2p_kedro.core.results import SpikeInference

DECAY_FACTORS = tuple(2 ** (i / 3) for i in range(7))
"""Candidate decays of a trace, in units of the indicator's known one: 1 to 4. The range was chosen on 24 data sets with
known spikes (commit 16f217a; docs/methods_evaluation.md, "Spikes")."""
# Evidence for the values below: the median correlation with true spikes over 177 traces of the two data sets of
# benchmarks/spike_inference.py (0.754, 0.815, 0.869 and 0.889 at 25, 50, 100 and 200 ms), with one value changed.
RESTART = 1e-8
"""Probability per frame that calcium takes any value. With 1e-6 the correlation changes by up to 0.004."""
_BASELINE_S = 45.0
"""Window of the slow baseline in s. Chosen on the same 24 data sets."""
_LEVELS_PER_NOISE, _REACH = 2.0, 5.0
"""Levels of calcium per sigma, and distance from the trace in sigma up to which they are kept. Probabilities agree with
those of the full recursion on 160 levels within 0.002 (tests/algorithms/deconvolution/test_posterior.py). With 4 levels
per sigma the correlation falls by up to 0.007."""
_LEVELS = int(2 * _REACH * _LEVELS_PER_NOISE) + 1
_MIN_NOISE_FRACTION = 0.5
"""Lower bound of sigma, in units of the noise in the upper half of the spectrum. With 0.25 and 0.75 the correlation
changes by up to 0.002."""
_MIN_AMPLITUDE_SD = 2.0
"""Lower bound, and initial value, of the mean transient amplitude mu, in sigma. With 1 and 4 the correlation changes by
up to 0.001."""
_MIN_EVENT_RATE_HZ, _MAX_EVENT_PROBABILITY = 0.005, 0.5
"""Bounds of the probability p of a jump: a rate in Hz, and a probability per frame. With 0.0005 and 0.9 the correlation
does not change."""
_INITIAL_EVENT_RATE_HZ = 0.5
"""Initial rate of jumps in Hz. With 0.1 and 2 the correlation changes by up to 0.002."""
_INITIAL_BASELINE_SD = 0.5
"""Initial constant baseline in sigma: the distance of the slow baseline, a 20th percentile, below the mean of the noise
(it is 0.84 without transients; with 0.84 the correlation changes by up to 0.002)."""
_EM_ROUNDS = 2
"""Rounds of expectation-maximization, before and again after the decay is selected. With 1 the correlation falls by up
to 0.003, with 4 it increases by up to 0.005."""
_TRACES_AT_ONCE = 16
"""Traces in one task of a thread; does not change the result."""


@njit(nogil=True, cache=True)
def _emissions(value, sigma, d, likelihood):
    """Fills the likelihood of a value at the levels around it, scaled to a maximum of 1.

    Returns (lowest level, log of the scale). The ratio of the likelihoods of neighbouring levels itself changes by a
    constant factor from level to level, which saves an exponential a level.
    """
    n = likelihood.size
    lowest = max(0, int(np.floor((value - 0.5 * (n - 1) * d) / d)))
    h, z = d / sigma, (value - lowest * d) / sigma
    nearest = z - h * min(max(np.rint(z / h), 0.0), n - 1.0)
    likelihood[0] = np.exp(0.5 * (nearest * nearest - z * z))
    factor, change = np.exp(h * z - 0.5 * h * h), np.exp(-h * h)
    for i in range(1, n):
        likelihood[i] = likelihood[i - 1] * factor
        factor *= change
    return lowest, -0.5 * nearest * nearest


@njit(nogil=True, cache=True)
def _decay(before, lowest, g, after):
    """Propagates probabilities of levels, from `lowest` on, by a frame of decay: (n + 1,), from the returned level."""
    after[:] = 0.0
    start = int(g * lowest)
    for i in range(before.size):
        level = g * (lowest + i)
        k = int(level)
        share = level - k
        after[k - start] += before[i] * (1.0 - share)
        after[min(k + 1 - start, after.size - 1)] += before[i] * share
    return start


@njit(nogil=True, cache=True)
def _jump(decayed, start, p, rho, lowest, after):
    """Propagates probabilities of decayed levels, from `start` on, by a jump or none: (n,) from level `lowest` on."""
    n, m = after.size, decayed.size
    after[:] = 0.0
    carried = 0.0
    for k in range(m):
        level = start + k
        if level >= lowest + n:
            return
        if level >= lowest:
            after[level - lowest] = (1.0 - p) * decayed[k] + p * carried
        carried = rho * carried + (1.0 - rho) * decayed[k]
    level = max(start + m, lowest)
    carried *= rho ** (level - start - m)
    for i in range(level - lowest, n):
        after[i] = p * carried
        carried *= rho


@njit(nogil=True, cache=True)
def _jump_back(ahead, lowest, p, rho, restart, decayed, start, before):
    """Propagates the backward probabilities `ahead` (n,) over a jump or none, to the decayed levels: fills `before`.

    `ahead` starts at level `lowest`, `before` at level `start`. Returns three sums over the decayed levels, weighted by
    their probabilities and with a common factor: of all paths, of those with a jump, and of the latter times the size
    of the jump in levels.
    """
    n, m = ahead.size, decayed.size
    paths, jumps, sizes = 0.0, 0.0, 0.0
    one, far = 0.0, 0.0
    for i in range(n - 1, max(start + m - lowest, 0) - 1, -1):
        one = ahead[i] + rho * one
        far = one + rho * far
    gap = lowest - (start + m)
    if gap > 0:
        far = rho**gap * (far + gap * one)
        one *= rho**gap
    for k in range(m - 1, -1, -1):
        i = start + k - lowest
        here = ahead[i] if 0 <= i < n else 0.0
        before[k] = (1.0 - p) * here + p * (1.0 - rho) * one + restart
        paths += decayed[k] * before[k]
        jumps += decayed[k] * p * (1.0 - rho) * one
        sizes += decayed[k] * p * (1.0 - rho) * far
        one = here + rho * one
        far = one + rho * far
    return paths, jumps, sizes


@njit(nogil=True, cache=True)
def _forward(y, g, sigma, p, mu, d, lowest, starts, likelihoods, decayed, forward):
    """Forward recursion: fills the probabilities of levels given the trace so far; returns the log-likelihood."""
    T, n = likelihoods.shape
    rho, log_likelihood = np.exp(-d / mu), 0.0
    for t in range(T):
        lowest[t], scale = _emissions(y[t], sigma, d, likelihoods[t])
        if t == 0:
            starts[0] = lowest[0]
            decayed[0, :] = 1.0 / n
        else:
            starts[t] = _decay(forward[t - 1], lowest[t - 1], g, decayed[t])
        _jump(decayed[t], starts[t], p if t > 0 else 0.0, rho, lowest[t], forward[t])
        total = 0.0
        for i in range(n):
            forward[t, i] = (forward[t, i] + RESTART / n) * likelihoods[t, i]
            total += forward[t, i]
        for i in range(n):
            forward[t, i] /= total
        log_likelihood += np.log(total) + scale
    return log_likelihood


@njit(nogil=True, cache=True)
def _backward(g, p, mu, d, lowest, starts, likelihoods, decayed, forward, jumps, sizes, calcium):
    """Backward recursion: fills the probability of a jump, its mean size (0 if none) and the mean calcium, a frame."""
    T, n = likelihoods.shape
    rho = np.exp(-d / mu)
    later, ahead, before = np.ones(n), np.empty(n), np.empty(n + 1)
    for t in range(T - 1, -1, -1):
        total, level, mean = 0.0, 0.0, 0.0
        for i in range(n):
            ahead[i] = later[i] * likelihoods[t, i]
            mean += ahead[i] / n
            total += forward[t, i] * later[i]
            level += forward[t, i] * later[i] * (lowest[t] + i)
        calcium[t] = level / total * d
        paths, jumped, height = _jump_back(
            ahead, lowest[t], p if t > 0 else 0.0, rho, RESTART * mean, decayed[t], starts[t], before
        )
        jumps[t], sizes[t] = jumped / paths, height / paths * d
        if t == 0:
            return
        largest = 0.0
        for i in range(n):
            x = g * (lowest[t - 1] + i)
            share = x - int(x)
            k = int(x) - starts[t]
            later[i] = before[k] * (1.0 - share) + before[min(k + 1, n)] * share
            largest = max(largest, later[i])
        for i in range(n):
            later[i] /= largest


@njit(nogil=True, cache=True)
def _em_round(y, decay, model, min_noise, rate_hz, work, jumps, sizes, calcium):
    """One round of expectation-maximization under the model (baseline, sigma, p, mu).

    Fills jumps, sizes and calcium of a trace, and returns the updated model.
    """
    baseline, sigma, p, mu = model
    lowest, starts, likelihoods, decayed, forward = work
    d, g = sigma / _LEVELS_PER_NOISE, np.exp(-1.0 / decay)
    _forward(y - baseline, g, sigma, p, mu, d, lowest, starts, likelihoods, decayed, forward)
    _backward(g, p, mu, d, lowest, starts, likelihoods, decayed, forward, jumps, sizes, calcium)
    p = min(max(jumps.mean(), _MIN_EVENT_RATE_HZ / rate_hz), _MAX_EVENT_PROBABILITY)
    mu = max(sizes.sum() / max(jumps.sum(), 1e-9), _MIN_AMPLITUDE_SD * sigma)
    baseline += (y - baseline - calcium).mean()
    residual = np.sqrt(((y - baseline - calcium) ** 2).mean())
    return baseline, min(max(residual, min_noise), min_noise / _MIN_NOISE_FRACTION), p, mu


@njit(nogil=True, cache=True)
def _select_decay(y, decays, model, work):
    """The decay under which a trace is most probable, by ascent from the middle candidate."""
    baseline, sigma, p, mu = model
    lowest, starts, likelihoods, decayed, forward = work
    d, flat = sigma / _LEVELS_PER_NOISE, y - baseline
    middle = len(decays) // 2
    best, selected = -np.inf, middle
    for step in (1, -1):
        i = middle if step == 1 else middle - 1
        while 0 <= i < len(decays):
            g = np.exp(-1.0 / decays[i])
            log_likelihood = _forward(flat, g, sigma, p, mu, d, lowest, starts, likelihoods, decayed, forward)
            if log_likelihood <= best:
                break
            best, selected = log_likelihood, i
            i += step
        if selected > middle:
            break
    return decays[selected]


@njit(nogil=True, cache=True)
def _infer_trace(y, decays, noise, rate_hz, jumps, sizes):
    """Infers the spikes of one trace: fills jumps and sizes, returns (decay in frames, noise, mean jump)."""
    T, n = y.size, _LEVELS
    work = (np.empty(T, np.int64), np.empty(T, np.int64), np.empty((T, n)), np.empty((T, n + 1)), np.empty((T, n)))
    calcium, min_noise = np.empty(T), _MIN_NOISE_FRACTION * noise
    p = min(_INITIAL_EVENT_RATE_HZ / rate_hz, _MAX_EVENT_PROBABILITY)
    model = (_INITIAL_BASELINE_SD * noise, noise, p, _MIN_AMPLITUDE_SD * noise)
    decay = np.sqrt(decays[0] * decays[-1])
    for _ in range(_EM_ROUNDS):
        model = _em_round(y, decay, model, min_noise, rate_hz, work, jumps, sizes, calcium)
    decay = _select_decay(y, decays, model, work)
    for _ in range(_EM_ROUNDS):
        used = model
        model = _em_round(y, decay, model, min_noise, rate_hz, work, jumps, sizes, calcium)
    return decay, used[1], used[3]


@njit(nogil=True, cache=True)
def _infer_all(traces, decays, noise, rate_hz, jumps, sizes, decay, mean_jump):
    """:func:`_infer_trace` of every row; overwrites noise. Rows without noise stay as they are."""
    for i in range(len(traces)):
        if noise[i] > 0.0:
            decay[i], noise[i], mean_jump[i] = _infer_trace(traces[i], decays, noise[i], rate_hz, jumps[i], sizes[i])


def advance(rates: NDArray, frames: NDArray) -> NDArray:
    """Rates moved to earlier frames, by linear interpolation between frames.

    Args:
        rates: (N, T).
        frames: (N,), frames >= 0 that each row is advanced by; not necessarily whole.

    Returns:
        (N, T), in the units of the rates; 0 for the last `frames` of each row.
    """
    whole = frames.astype(np.int64)
    share = (frames - whole)[:, None]
    padded = np.pad(rates, ((0, 0), (0, int(whole.max(initial=0)) + 1)))
    at = whole[:, None] + np.arange(rates.shape[1])
    return (1 - share) * np.take_along_axis(padded, at, axis=1) + share * np.take_along_axis(padded, at + 1, axis=1)


def infer_spikes(
    traces: NDArray, acquisition: Acquisition, *, delay: float = GCAMP_DELAY, supralinearity: float = 4 / 3
) -> SpikeInference:
    """Spike rates of traces, by the model of this module.

    Args:
        traces: (N, T), noisy, in any unit (dF/F, or a component's trace and residual); finite, 4 frames or more.
        acquisition: frame rate, and the known decay of the indicator.
        delay: from a spike to the middle of the rise of fluorescence, in decay times of the trace.
        supralinearity: k, 1 where twice the spikes give twice the fluorescence. Raising it lowers the rates of
            transients above the mean amplitude.

    Returns:
        Rates and probabilities (N, T), decay, transient amplitude and noise (N,). A trace without noise has no spikes.

    Raises:
        ValueError: traces are not (N, T), too short, or not finite.
    """
    traces = np.asarray(traces, np.float64)
    if traces.ndim != 2 or traces.shape[1] < 4 or not np.isfinite(traces).all():
        raise ValueError(f"Expected finite traces (N, T) of 4 frames or more to infer spikes from, got {traces.shape}.")
    rate = acquisition.frame_rate_hz
    noise = estimate_noise(traces) if len(traces) else np.zeros(0)
    noise[noise <= 1e-9 * np.abs(traces).max(axis=1, initial=0)] = 0
    decay, mean_jump = np.full(len(traces), acquisition.decay_time_frames), np.zeros(len(traces))
    jumps, sizes = np.zeros(traces.shape), np.zeros(traces.shape)
    flat = np.ascontiguousarray(remove_baseline(traces, acquisition, window_s=_BASELINE_S))
    decays = acquisition.decay_time_frames * np.array(DECAY_FACTORS)
    _infer_all(flat, decays, noise, rate, jumps, sizes, decay, mean_jump)
    unit = np.maximum(jumps * mean_jump[:, None], np.finfo(float).tiny)
    rates = jumps * (sizes / unit) ** (1 / supralinearity)
    lead = 0.5 + delay * decay
    return SpikeInference(
        rates=np.maximum(advance(rates, lead), 0).astype(np.float32),
        event_probability=np.clip(advance(jumps, lead), 0, 1).astype(np.float32),
        decay_time_s=(decay / rate).astype(np.float32),
        transient_amplitude=mean_jump.astype(np.float32),
        noise=noise.astype(np.float32),
    )


def infer_spikes_of_all(
    traces: NDArray, acquisition: Acquisition, *, delay: float, supralinearity: float, compute: Compute
) -> SpikeInference:
    """:func:`infer_spikes` in parallel.

    Args:
        traces: (N, T), noisy, in any unit; finite, 4 frames or more.
        acquisition: frame rate, and the known decay of the indicator.
        delay: from a spike to the middle of the rise of fluorescence, in decay times of the trace.
        supralinearity: k, see :func:`infer_spikes`.
        compute: resources of the machine; the result does not depend on them.

    Returns:
        The same record as :func:`infer_spikes`.

    Raises:
        ValueError: traces are too short, or not finite.
    """
    groups = blocks.frame_blocks(len(traces), _TRACES_AT_ONCE)
    parts = blocks.run(
        lambda s: infer_spikes(traces[s], acquisition, delay=delay, supralinearity=supralinearity),
        groups,
        compute=compute,
        description="Spikes",
        unit="component",
        sizes=[s.stop - s.start for s in groups],
    )
    if not parts:
        return infer_spikes(traces, acquisition, delay=delay, supralinearity=supralinearity)
    return SpikeInference(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(SpikeInference)))
