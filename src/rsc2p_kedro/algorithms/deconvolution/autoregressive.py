"""Calcium as an autoregressive process: AR coefficients from time constants, back, and estimated from traces.

Model of one trace (Friedrich, Zhou & Paninski 2017, doi 10.1371/journal.pcbi.1005423, "Model for calcium
dynamics")::

    y_t = b + c_t + e_t,    c_t = g_1 c_{t-1} + ... + g_p c_{t-p} + s_t,    s_t >= 0,    e_t ~ N(0, sigma^2)

y trace, b baseline, c calcium, s spikes, g AR coefficients, p order, sigma standard deviation of the noise. For p = 1,
g_1 = exp(-1 / decay). For p = 2, the roots d > r of z^2 - g_1 z - g_2 are exp(-1 / decay) and exp(-1 / rise):
g_1 = d + r, g_2 = -d r.
"""

import numpy as np
import scipy.fft
from numpy.typing import NDArray

# The values below were chosen by hand; they have not been tuned or varied one by one.
MAX_DECAY_RATIO = 2.0
"""Largest ratio of an estimated decay to the known one of the indicator, either way."""
_N_LAGS = 5
"""Lags of the autocovariance, in frames beyond the order, that AR coefficients are fitted to."""
_RISE_TO_DECAY = 0.15
"""Rise time in decay times where none is given."""
_MAX_RISE_ROOT = 0.98
"""Upper bound of the root of the rise, as a fraction of that of the decay, so that the two stay distinct."""


def decay_to_ar(decay_frames: float, order: int = 1, *, rise_frames: float | None = None) -> NDArray[np.float64]:
    """AR coefficients of calcium that decays (and rises) with the given time constants.

    Args:
        decay_frames: time constant of the decay in frames, above 0.
        order: 1 for an immediate rise, 2 for a gradual one.
        rise_frames: time constant of the rise in frames, shorter than the decay; None takes 0.15 of the decay. Order 2
            only.

    Returns:
        g (order,), stable.

    Raises:
        ValueError: the order is neither 1 nor 2, or a time constant is out of range.
    """
    _check_order(order)
    if not decay_frames > 0:
        raise ValueError(f"decay_frames should be above 0, is {decay_frames}.")
    decay = np.exp(-1 / decay_frames)
    if order == 1:
        return np.array([decay])
    rise_frames = _RISE_TO_DECAY * decay_frames if rise_frames is None else rise_frames
    if not 0 < rise_frames < decay_frames:
        raise ValueError(f"rise_frames should lie between 0 and decay_frames ({decay_frames}), is {rise_frames}.")
    rise = np.exp(-1 / rise_frames)
    return np.array([decay + rise, -decay * rise])


def ar_to_decay(g: NDArray) -> NDArray[np.float64]:
    """Time constants of AR coefficients.

    Args:
        g: (p,) or (N, p).

    Returns:
        (p,) or (N, p), in frames, longest first. NaN for a root that is no exponential decay: not real, or outside
        0..1.
    """
    rows = np.atleast_2d(np.asarray(g, np.float64))
    roots = np.array([np.roots([1.0, *-row]) if np.any(row) else np.zeros(len(row)) for row in rows], complex)
    real = np.where(np.abs(roots.imag) < 1e-9, roots.real, np.nan)
    decays = np.full(real.shape, np.nan)
    inside = (real > 0) & (real < 1)
    decays[inside] = -1 / np.log(real[inside])
    decays = -np.sort(-decays, axis=1)
    return decays if np.ndim(g) == 2 else decays[0]


def estimate_noise(traces: NDArray) -> NDArray[np.float64]:
    """Standard deviation of the white noise of traces, from the upper half of their spectra.

    The root of the mean power between a quarter and half of the frame rate (Pnevmatikakis et al. 2016,
    doi 10.1016/j.neuron.2015.11.037): calcium is slower than that, noise is not. A Hann window keeps slow drift from
    leaking into that range.

    Args:
        traces: (T,) or (N, T), 4 frames or more.

    Returns:
        (N,), in the units of the traces.

    Raises:
        ValueError: there are fewer than 4 frames.
    """
    traces = np.atleast_2d(traces)
    n_frames = traces.shape[1]
    if n_frames < 4:
        raise ValueError(f"traces should have at least 4 frames to estimate their noise, have {n_frames}.")
    window = np.hanning(n_frames + 2)[1:-1]
    centred = traces - traces.mean(axis=1, keepdims=True)
    power = np.abs(scipy.fft.rfft(centred * window, axis=1)) ** 2 / np.sum(window**2)
    frequencies = np.fft.rfftfreq(n_frames)
    return np.sqrt(power[:, (frequencies > 0.25) & (frequencies <= 0.5)].astype(np.float64).mean(axis=1))


def estimate_ar(
    traces: NDArray, noise: NDArray, decay_frames: float, order: int = 1, *, prior_weight: float = 100.0
) -> NDArray[np.float64]:
    """AR coefficients of each trace, from its autocovariance and the known decay of the indicator.

    The autocovariance of calcium obeys the same recursion as calcium itself (Yule-Walker equations), once the noise is
    subtracted at lag 0. The estimate is shrunk towards the coefficients of the known decay, the more so the weaker the
    signal: the two are averaged with weights signal power and `prior_weight` x noise power. The decay is then kept
    within a factor of :data:`MAX_DECAY_RATIO` of the known one, so that every root is stable.

    Args:
        traces: (T,) or (N, T).
        noise: (N,), standard deviation of the noise, in the units of the traces.
        decay_frames: known decay of the indicator in frames.
        order: 1 or 2.
        prior_weight: signal power, in units of the noise power, at which the trace and the known decay weigh the same.

    Returns:
        (N, order). The coefficients of the known decay where there are 5 frames or fewer beyond the order.

    Raises:
        ValueError: the order is neither 1 nor 2, or the decay is not above 0.
    """
    traces = np.atleast_2d(traces)
    known = decay_to_ar(decay_frames, order)
    if traces.shape[1] <= _N_LAGS + order:
        return np.tile(known, (len(traces), 1))
    covariance = autocovariance(traces, _N_LAGS + order)
    noise_power = np.asarray(noise, np.float64) ** 2
    covariance[:, 0] -= noise_power
    estimates = np.array([_yule_walker(row, order, known) for row in covariance]).reshape(-1, order)
    signal = np.maximum(covariance[:, 0], 0)
    weight = (signal / np.maximum(signal + prior_weight * noise_power, np.finfo(float).tiny))[:, None]
    blended = weight * estimates + (1 - weight) * known
    return np.array([_stabilize(row, decay_frames) for row in blended]).reshape(-1, order)


def autocovariance(traces: NDArray, n_lags: int) -> NDArray[np.float64]:
    """Autocovariance of traces, summed over frames and divided by T.

    Args:
        traces: (T,) or (N, T).
        n_lags: largest lag in frames.

    Returns:
        (N, n_lags + 1), at lags 0 ... n_lags, in squared units of the traces.
    """
    centred = np.atleast_2d(traces).astype(np.float64)
    centred = centred - centred.mean(axis=1, keepdims=True)
    n_frames = centred.shape[1]
    lagged = [np.einsum("nt,nt->n", centred[:, lag:], centred[:, : n_frames - lag]) for lag in range(n_lags + 1)]
    return np.stack(lagged, axis=1) / n_frames


def _yule_walker(covariance: NDArray, order: int, known: NDArray) -> NDArray:
    """Least-squares AR coefficients of an autocovariance (n_lags + 1,); the known ones where it is degenerate."""
    lags = np.arange(1, len(covariance))
    design = covariance[np.abs(lags[:, None] - np.arange(1, order + 1))]
    if covariance[0] <= 0 or np.linalg.matrix_rank(design) < order:
        return known
    return np.linalg.lstsq(design, covariance[1:], rcond=None)[0]


def _stabilize(g: NDArray, decay_frames: float) -> NDArray:
    """The coefficients with the decay clipped to its range about the known one, and real roots in 0..1."""
    low, high = np.exp(-MAX_DECAY_RATIO / decay_frames), np.exp(-1 / (MAX_DECAY_RATIO * decay_frames))
    if len(g) == 1:
        return np.clip(g, low, high)
    roots = np.sort(np.roots([1.0, -g[0], -g[1]]).real)
    decay = np.clip(roots[1], low, high)
    rise = np.clip(roots[0], 0.0, _MAX_RISE_ROOT * decay)
    return np.array([decay + rise, -decay * rise])


def _check_order(order: int) -> None:
    if order not in (1, 2):
        raise ValueError(f"order should be 1 (decay) or 2 (rise and decay), is {order}.")
