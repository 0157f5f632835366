"""Spike inference: how many spikes fell into each frame, as the mean of what a trace leaves possible.

:mod:`.oasis` gives the one most probable set of spikes, which is what denoised calcium needs. The correlation with
true spike rates asks for another answer, the posterior mean, which does not decide where the data do not. With the
trace y of a component less its slow baseline, at frame t::

    y_t = b + c_t + e_t,    e_t ~ N(0, sigma^2)
    c_t = g c_{t-1} + j_t,    g = exp(-1 / tau)
    j_t = 0 with probability 1 - p, else of an exponential distribution of mean mu

c calcium, j jumps, tau decay in frames. c lives on levels of d = sigma / 2; those further than 5 sigma from y_t are
left out, so that the forward-backward recursion (Rabiner 1989, doi 10.1109/5.18626) costs some 20 levels a frame. A
value between two levels is shared by them in proportion. Exponential jumps cost one running sum over levels, not a
matrix. A tiny probability :data:`RESTART` lets calcium be anywhere, so that an artefact stays where it is.

From the recursion come the probability q_t of a jump and its mean size given all of the trace, and from these, by
expectation-maximization, p, mu, b and sigma (at most the noise in the upper half of the spectrum, at least half of
it: at low frame rates transients reach there). Of the decays :data:`DECAY_FACTORS` x the indicator's known one, that
under which the trace is most probable is taken. None is shorter than the known decay: too long a decay misses little,
too short a one takes the tail of a transient for spikes.

What comes out, a frame::

    rate_t = q_t (m_t / mu)^(1 / k),    m_t the mean size of the jump if there was one

in units of the cell's typical transient amplitude. k > 1 where fluorescence grows faster than the number of spikes, as
the cooperative binding of calcium to GCaMP makes it (Greenberg et al. 2018, doi 10.1101/479055). Fluorescence rises some time after the
spike, later in the cells and with the indicators in which it also falls slowly; and a frame shows the mean of its
exposure. Half a frame and a share of the trace's decay time are taken off the times, with linear interpolation between
frames.
"""

from dataclasses import fields

import numpy as np
from numba import njit
from numpy.typing import NDArray

from rsc2p_kedro.algorithms import blocks
from rsc2p_kedro.algorithms.deconvolution.autoregressive import estimate_noise
from rsc2p_kedro.algorithms.dff import remove_baseline
from rsc2p_kedro.core.parameters import Acquisition, Compute
from rsc2p_kedro.core.results import SpikeInference

DECAY_FACTORS = tuple(2 ** (i / 3) for i in range(7))
"""Decays that a trace may choose from, in units of the indicator's known one."""
RESTART = 1e-8
"""Probability, a frame, that calcium is anywhere."""
_BASELINE_S = 45.0
_LEVELS_PER_NOISE, _REACH = 2.0, 5.0
_LEVELS = int(2 * _REACH * _LEVELS_PER_NOISE) + 1
_LEAST_NOISE = 0.5
_LEAST_RISE, _LEAST_RATE_HZ, _MOST_RISES = 2.0, 0.005, 0.5
_FIRST_RATE_HZ = 0.5
_TRACES_AT_ONCE = 16
_PERCENTILE_BELOW_MEAN = 0.5
_ROUNDS = 2


@njit(nogil=True, cache=True)
def _emissions(value, sigma, d, likelihood):
    """Likelihood of a value at the levels around it, its largest scaled to 1; returns (lowest level, log of scale).

    From one level to the next the likelihood changes by a factor that itself changes by a constant one.
    """
    n = likelihood.size
    lowest = max(0, int(np.floor((value - 0.5 * (n - 1) * d) / d)))
    h, z = d / sigma, (value - lowest * d) / sigma
    nearest = z - h * min(max(np.rint(z / h), 0.0), n - 1.0)
    likelihood[0] = np.exp(0.5 * (nearest * nearest - z * z))
    factor, slower = np.exp(h * z - 0.5 * h * h), np.exp(-h * h)
    for i in range(1, n):
        likelihood[i] = likelihood[i - 1] * factor
        factor *= slower
    return lowest, -0.5 * nearest * nearest


@njit(nogil=True, cache=True)
def _decay(before, lowest, g, after):
    """Probabilities (n,) of levels from `lowest` on, one frame later: (n + 1,) from the returned level on."""
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
    """Probabilities (n,) of levels from `lowest` on, after a jump or none, of decayed ones from `start` on."""
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
    """What lies `ahead` (n,) of levels from `lowest` on, as seen (before) by the decayed levels from `start` on.

    Returns, weighted by the probabilities of the decayed levels and up to the same factor: all ways, those with a jump,
    and those with a jump times its height in levels.
    """
    n, m = ahead.size, decayed.size
    ways, jumps, heights = 0.0, 0.0, 0.0
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
        ways += decayed[k] * before[k]
        jumps += decayed[k] * p * (1.0 - rho) * one
        heights += decayed[k] * p * (1.0 - rho) * far
        one = here + rho * one
        far = one + rho * far
    return ways, jumps, heights


@njit(nogil=True, cache=True)
def _forward(y, g, sigma, p, mu, d, lowest, starts, likelihoods, decayed, forward):
    """Fills the probabilities of levels given the trace so far; returns the log-likelihood of the trace."""
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
    """Fills, for each frame, the probability of a jump, its mean size (0 if there was none) and the mean calcium."""
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
        ways, jumped, height = _jump_back(
            ahead, lowest[t], p if t > 0 else 0.0, rho, RESTART * mean, decayed[t], starts[t], before
        )
        jumps[t], sizes[t] = jumped / ways, height / ways * d
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
def _learn(y, decay, model, least_noise, rate_hz, work, jumps, sizes, calcium):
    """One round: jumps, sizes and calcium of a trace are filled, given the model (baseline, sigma, p, mu).

    Returns the model that suits them better.
    """
    baseline, sigma, p, mu = model
    lowest, starts, likelihoods, decayed, forward = work
    d, g = sigma / _LEVELS_PER_NOISE, np.exp(-1.0 / decay)
    _forward(y - baseline, g, sigma, p, mu, d, lowest, starts, likelihoods, decayed, forward)
    _backward(g, p, mu, d, lowest, starts, likelihoods, decayed, forward, jumps, sizes, calcium)
    p = min(max(jumps.mean(), _LEAST_RATE_HZ / rate_hz), _MOST_RISES)
    mu = max(sizes.sum() / max(jumps.sum(), 1e-9), _LEAST_RISE * sigma)
    baseline += (y - baseline - calcium).mean()
    residual = np.sqrt(((y - baseline - calcium) ** 2).mean())
    return baseline, min(max(residual, least_noise), least_noise / _LEAST_NOISE), p, mu


@njit(nogil=True, cache=True)
def _choose(y, decays, model, work):
    """The decay under which a trace is most probable, found from the middle one by going up while that is better."""
    baseline, sigma, p, mu = model
    lowest, starts, likelihoods, decayed, forward = work
    d, flat = sigma / _LEVELS_PER_NOISE, y - baseline
    middle = len(decays) // 2
    best, chosen = -np.inf, middle
    for step in (1, -1):
        i = middle if step == 1 else middle - 1
        while 0 <= i < len(decays):
            g = np.exp(-1.0 / decays[i])
            found = _forward(flat, g, sigma, p, mu, d, lowest, starts, likelihoods, decayed, forward)
            if found <= best:
                break
            best, chosen = found, i
            i += step
        if chosen > middle:
            break
    return decays[chosen]


@njit(nogil=True, cache=True)
def _infer(y, decays, noise, rate_hz, jumps, sizes):
    """One trace: jumps and sizes are filled; returns (decay in frames, noise, mean jump)."""
    T, n = y.size, _LEVELS
    work = (np.empty(T, np.int64), np.empty(T, np.int64), np.empty((T, n)), np.empty((T, n + 1)), np.empty((T, n)))
    calcium, least_noise = np.empty(T), _LEAST_NOISE * noise
    model = (_PERCENTILE_BELOW_MEAN * noise, noise, min(_FIRST_RATE_HZ / rate_hz, _MOST_RISES), _LEAST_RISE * noise)
    decay = np.sqrt(decays[0] * decays[-1])
    for _ in range(_ROUNDS):
        model = _learn(y, decay, model, least_noise, rate_hz, work, jumps, sizes, calcium)
    decay = _choose(y, decays, model, work)
    for _ in range(_ROUNDS):
        used = model
        model = _learn(y, decay, model, least_noise, rate_hz, work, jumps, sizes, calcium)
    return decay, used[1], used[3]


@njit(nogil=True, cache=True)
def _infer_all(traces, decays, noise, rate_hz, jumps, sizes, decay, mean_jump):
    """:func:`_infer` for every row; noise is overwritten. Rows without noise stay as they are."""
    for i in range(len(traces)):
        if noise[i] > 0.0:
            decay[i], noise[i], mean_jump[i] = _infer(traces[i], decays, noise[i], rate_hz, jumps[i], sizes[i])


def advance(rates: NDArray, frames: NDArray) -> NDArray:
    """Traces (N, T) that come `frames` (N,) >= 0 earlier, linear between frames, 0 where there is nothing later."""
    whole = frames.astype(np.int64)
    share = (frames - whole)[:, None]
    padded = np.pad(rates, ((0, 0), (0, int(whole.max(initial=0)) + 1)))
    at = whole[:, None] + np.arange(rates.shape[1])
    return (1 - share) * np.take_along_axis(padded, at, axis=1) + share * np.take_along_axis(padded, at + 1, axis=1)


def infer_spikes(
    traces: NDArray, acquisition: Acquisition, *, delay: float = 0.045, supralinearity: float = 4 / 3
) -> SpikeInference:
    """Spike rates of traces; see the text of the module.

    Args:
        traces: (N, T), noisy, in any unit (dF/F, or a component's trace and residual); finite, 4 frames or more.
        acquisition: frame rate, and the known decay of the indicator.
        delay: from a spike to the middle of the rise of fluorescence, in decay times of the trace.
        supralinearity: k, 1 where twice the spikes give twice the fluorescence. Larger: large rises count for less.

    Returns:
        :class:`~rsc2p_kedro.core.results.SpikeInference`. A trace without noise has no spikes.

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
    earlier = 0.5 + delay * decay
    return SpikeInference(
        rates=np.maximum(advance(rates, earlier), 0).astype(np.float32),
        event_probability=np.clip(advance(jumps, earlier), 0, 1).astype(np.float32),
        decay_time_s=(decay / rate).astype(np.float32),
        transient_amplitude=mean_jump.astype(np.float32),
        noise=noise.astype(np.float32),
    )


def infer_spikes_of_all(
    traces: NDArray, acquisition: Acquisition, *, delay: float, supralinearity: float, compute: Compute
) -> SpikeInference:
    """:func:`infer_spikes` of traces (N, T), some at a time; `compute` does not change the result by a bit."""
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
