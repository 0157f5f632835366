"""Deconvolution: non-negative spikes of traces under an autoregressive model of calcium, in linear time.

Friedrich, Zhou & Paninski 2017, doi 10.1371/journal.pcbi.1005423. For a trace y (T,), with the letters of
:mod:`.autoregressive` and G the banded matrix with s = G c::

    minimize over c and b    1/2 |y - b - c|^2 + lam sum(s)    with s = G c >= 0

- Order 1: OASIS ("Fast online deconvolution algorithm" there). Pools of frames that decay together are merged whenever
  the later one starts below what the earlier one has decayed to.
- Order 2: the same convex problem, solved exactly (OASIS is approximate for p > 1). Its dual variables m >= 0 (one for
  each frame without a spike) obey a linear system whose matrix G G^T has two bands beside the diagonal. Frames move
  between the sets with and without a spike by block principal pivoting (Kim & Park 2011, doi 10.1137/110821172); each
  step costs O(T).
- The penalty lam is the one at which the residual has the power of the noise, |y - b - c|^2 = sigma^2 T (the hard noise
  constraint of that paper), and b the best baseline for it. Between two changes of the set of spikes c is linear in (b,
  lam), so both follow from one quadratic equation.

The spikes are in the units of the trace: a spike of size s raises calcium by s. s_0 = c_0 includes all calcium from
before the first frame.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from rsc2p_kedro.algorithms.deconvolution.autoregressive import estimate_ar, estimate_noise

_MAX_ROUNDS = 60
"""Updates of baseline and penalty at most."""
_TOLERANCE = 1e-8
"""Change of baseline and penalty, in units of the noise, at which they have converged."""
_PIVOT_TOLERANCE = 1e-12
"""Violation of a sign, in units of the largest value of the trace, that counts as rounding error."""
_BLOCK_EXCHANGES = 3
"""Block exchanges without progress before single ones (alpha of Kim & Park, who use 3 as well)."""


@dataclass(frozen=True, eq=False)
class Deconvolution:
    """Result of :func:`deconvolve`. A single trace gives the same without the axis N.

    Attributes:
        calcium: c, (N, T) float64, >= 0, in the units of the trace.
        spikes: s, (N, T) float64, >= 0, in the units of the trace.
        baseline: b, (N,) float64, in the units of the trace.
        noise: sigma, (N,) float64, standard deviation in the units of the trace.
        g: AR coefficients, (N, p) float64.
        lam: penalty, (N,) float64, >= 0, in the units of the trace.
    """

    calcium: NDArray
    spikes: NDArray
    baseline: NDArray
    noise: NDArray
    g: NDArray
    lam: NDArray


@njit(nogil=True, cache=True)
def _ar1(x, g, c, silent):
    """OASIS of order 1 on x, the trace less baseline and penalty: fills calcium c and the mask `silent`, no spike.

    v, w and start are the value, weight and first frame of each pool.
    """
    T = x.size
    v, w, start = np.empty(T), np.empty(T), np.empty(T + 1, np.int64)
    powers = np.empty(T)
    powers[0] = 1.0
    for t in range(1, T):
        powers[t] = powers[t - 1] * g
    i = -1
    for t in range(T):
        i += 1
        v[i], w[i], start[i] = x[t], 1.0, t
        while i > 0 and v[i] < v[i - 1] * powers[start[i] - start[i - 1]]:
            decay = powers[start[i] - start[i - 1]]
            total = w[i - 1] + decay * decay * w[i]
            v[i - 1] = (w[i - 1] * v[i - 1] + decay * w[i] * v[i]) / total
            w[i - 1] = total
            i -= 1
    start[i + 1] = T
    for k in range(i + 1):
        value = max(v[k], 0.0)
        silent[start[k]] = value <= 0.0
        c[start[k]] = value
        for t in range(start[k] + 1, start[k + 1]):
            value *= g
            c[t] = value
            silent[t] = True


@njit(nogil=True, cache=True)
def _project(x, g1, g2, silent, c, m):
    """Projects x on the traces without spikes in the frames Z, `silent`: fills c, and the multipliers m (0 elsewhere).

    c = x + G_Z^T m with G_Z c = 0, by a banded LDL^T of G_Z G_Z^T (bandwidth 2, also for a subset of frames).
    (At 1500 frames, scipy.linalg.solveh_banded by itself takes 4.8 times as long as this function.)
    """
    T = x.size
    z = np.flatnonzero(silent)
    n = z.size
    d, l1, l2, u = np.empty(n), np.zeros(n), np.zeros(n), np.empty(n)
    for i in range(n):
        t = z[i]
        diagonal = 1.0 + (g1 * g1 if t >= 1 else 0.0) + (g2 * g2 if t >= 2 else 0.0)
        rhs = -(x[t] - (g1 * x[t - 1] if t >= 1 else 0.0) - (g2 * x[t - 2] if t >= 2 else 0.0))
        if i >= 2:
            a2 = -g2 if t - z[i - 2] == 2 else 0.0
            l2[i] = a2 / d[i - 2]
            diagonal -= l2[i] * a2
            rhs -= l2[i] * u[i - 2]
        if i >= 1:
            gap = t - z[i - 1]
            a1 = (-g1 + (g1 * g2 if t >= 2 else 0.0)) if gap == 1 else (-g2 if gap == 2 else 0.0)
            if i >= 2:
                a1 -= l2[i] * l1[i - 1] * d[i - 2]
            l1[i] = a1 / d[i - 1]
            diagonal -= l1[i] * a1
            rhs -= l1[i] * u[i - 1]
        d[i], u[i] = diagonal, rhs
    for t in range(T):
        m[t] = 0.0
    for i in range(n - 1, -1, -1):
        value = u[i] / d[i]
        if i + 1 < n:
            value -= l1[i + 1] * m[z[i + 1]]
        if i + 2 < n:
            value -= l2[i + 2] * m[z[i + 2]]
        m[z[i]] = value
    for t in range(T):
        c[t] = x[t] + m[t]
        if t + 1 < T:
            c[t] -= g1 * m[t + 1]
        if t + 2 < T:
            c[t] -= g2 * m[t + 2]


@njit(nogil=True, cache=True)
def _spike(c, g1, g2, t):
    """Spike s_t of calcium c."""
    s = c[t]
    if t >= 1:
        s -= g1 * c[t - 1]
    if t >= 2:
        s -= g2 * c[t - 2]
    return s


@njit(nogil=True, cache=True)
def _pivot(x, g1, g2, c, silent):
    """Exact solution of order 1 or 2 by block principal pivoting: fills c, and `silent` from its initial set."""
    T = x.size
    m = np.empty(T)
    tolerance = _PIVOT_TOLERANCE * (1.0 + np.abs(x).max())
    fewest, exchanges = T + 1, _BLOCK_EXCHANGES
    for _ in range(20 * T):
        _project(x, g1, g2, silent, c, m)
        violations, last = 0, -1
        for t in range(T):
            if (m[t] if silent[t] else _spike(c, g1, g2, t)) < -tolerance:
                violations += 1
                last = t
        if violations == 0:
            return
        if violations < fewest:
            fewest, exchanges = violations, _BLOCK_EXCHANGES
        elif exchanges > 0:
            exchanges -= 1
        else:
            silent[last] = not silent[last]
            continue
        for t in range(T):
            if (m[t] if silent[t] else _spike(c, g1, g2, t)) < -tolerance:
                silent[t] = not silent[t]


@njit(nogil=True, cache=True)
def _residual_step(r, p, q, power, free, b, lowest):
    """Steps (of b, of lam) that bring the residual r to a power, as long as the set of spikes stays the same.

    r changes by p per unit of lam and by -(1 - q) per unit of b; b changes only if `free`, and not below `lowest`.
    """
    T = r.size
    freedom = T - q.sum()
    db, slope = 0.0, 0.0
    if free and freedom > 1e-9 * T:
        db, slope = r.sum() / freedom, p.sum() / freedom
        if b + db < lowest:
            db, slope = lowest - b, 0.0
    r0 = r - db * (1.0 - q)
    d = p - slope * (1.0 - q)
    a2, a1, a0 = (d * d).sum(), (r0 * d).sum(), (r0 * r0).sum() - power
    if a2 <= 1e-300:
        return db, 0.0
    root = a1 * a1 - a2 * a0
    dl = (-a1 + np.sqrt(root)) / a2 if root > 0.0 else -a1 / a2
    return db + slope * dl, dl


@njit(nogil=True, cache=True)
def _fit(y, g1, g2, noise, lam, b, free_lam, free_b, lowest, c, s):
    """Deconvolves one trace: fills c and s, returns (baseline, penalty), which are unchanged unless they are free."""
    T = y.size
    h = np.empty(T)
    for t in range(T):
        h[t] = 1.0 - (g1 if t + 1 < T else 0.0) - (g2 if t + 2 < T else 0.0)
    silent = np.ones(T, np.bool_)
    m, p, q = np.empty(T), np.empty(T), np.empty(T)
    ones = np.ones(T)
    tolerance = _TOLERANCE * (noise + 1e-30)
    for _ in range(_MAX_ROUNDS):
        x = y - b - lam * h
        if g2 == 0.0:
            _ar1(x, g1, c, silent)
        else:
            _pivot(x, g1, g2, c, silent)
        if not (free_lam or free_b):
            break
        _project(h, g1, g2, silent, p, m)
        _project(ones, g1, g2, silent, q, m)
        r = y - b - c
        if free_lam:
            db, dl = _residual_step(r, p, q, noise * noise * T, free_b, b, lowest)
            dl = max(dl, -lam)
            if lam + dl == 0.0 or dl == 0.0:
                db, _ = _residual_step(r + dl * p, p * 0.0, q, 0.0, free_b, b, lowest)
        else:
            dl = 0.0
            db, _ = _residual_step(r, p * 0.0, q, 0.0, free_b, b, lowest)
        if abs(db) <= tolerance and abs(dl) <= tolerance:
            break
        b += db
        lam += dl
    for t in range(T):
        s[t] = max(_spike(c, g1, g2, t), 0.0)
    return b, lam


@njit(nogil=True, cache=True)
def _fit_all(traces, g, noise, lam, baseline, free_lam, free_b, lowest, calcium, spikes):
    """:func:`_fit` of every row; overwrites lam and baseline."""
    for n in range(len(traces)):
        g2 = g[n, 1] if g.shape[1] == 2 else 0.0
        baseline[n], lam[n] = _fit(
            traces[n], g[n, 0], g2, noise[n], lam[n], baseline[n], free_lam, free_b, lowest, calcium[n], spikes[n]
        )


def deconvolve(
    traces: NDArray,
    *,
    order: int = 1,
    decay_frames: float | None = None,
    g: ArrayLike | None = None,
    noise: ArrayLike | None = None,
    lam: ArrayLike | None = None,
    baseline: ArrayLike | None = None,
    lowest_baseline: float = -np.inf,
) -> Deconvolution:
    """Calcium, spikes and baseline of traces, by the minimization of this module.

    Args:
        traces: (T,) or (N, T), any unit; finite, 4 frames or more.
        order: of the autoregressive model, 1 (decay) or 2 (rise and decay). Ignored where `g` is given.
        decay_frames: known decay of the indicator in frames; needed where `g` is not given.
        g: AR coefficients, (p,) for all traces or (N, p), p 1 or 2; None estimates them (:func:`estimate_ar`).
        noise: standard deviation, scalar or (N,); None estimates it from the spectrum. Used only for `lam` and `g`.
        lam: penalty, scalar or (N,); None takes the one at which the residual has the power of the noise, or 0 where
            even that leaves a larger residual.
        baseline: scalar or (N,); None takes the best one that is not below `lowest_baseline`.
        lowest_baseline: lower bound of the baseline; 0 keeps it non-negative.

    Returns:
        Calcium, spikes and the parameters used. A trace without a transient above its noise has no spikes.

    Raises:
        ValueError: a trace is not finite or too short, or neither `g` nor `decay_frames` is given.
    """
    y = np.ascontiguousarray(np.atleast_2d(traces), np.float64)
    N = len(y)
    _check(y, g, decay_frames)
    sigma = estimate_noise(y) if noise is None else _per_trace(noise, N)
    if g is None:
        coefficients = estimate_ar(y, sigma, float(decay_frames or 0), order)
    else:
        coefficients = np.ascontiguousarray(np.broadcast_to(np.asarray(g, np.float64), (N, np.shape(g)[-1])))
    penalties = np.zeros(N) if lam is None else _per_trace(lam, N)
    b = np.maximum(np.median(y, axis=1), lowest_baseline) if baseline is None else _per_trace(baseline, N)
    calcium, spikes = np.empty_like(y), np.empty_like(y)
    _fit_all(y, coefficients, sigma, penalties, b, lam is None, baseline is None, lowest_baseline, calcium, spikes)
    result = (np.maximum(calcium, 0), spikes, b, sigma, coefficients, penalties)
    return Deconvolution(*(result if np.ndim(traces) == 2 else tuple(value[0] for value in result)))


def _per_trace(value: ArrayLike, n: int) -> NDArray:
    """A scalar or (n,) as a new array (n,)."""
    return np.array(np.broadcast_to(np.asarray(value, np.float64), (n,)))


def _check(y: NDArray, g: ArrayLike | None, decay_frames: float | None) -> None:
    """Raises ValueError with all problems of the arguments of :func:`deconvolve`."""
    problems = []
    if y.ndim != 2 or y.shape[1] < 4:
        problems.append(f"traces should be (T,) or (N, T) with 4 frames or more, have shape {y.shape}")
    if not np.isfinite(y).all():
        problems.append("traces hold NaN or infinity")
    if g is None and decay_frames is None:
        problems.append("give `decay_frames`, the decay of the indicator in frames, or the coefficients `g`")
    if g is not None and np.shape(g)[-1:] not in ((1,), (2,)):
        problems.append(f"g should be (p,) or (N, p) with p 1 or 2, has shape {np.shape(g)}")
    if problems:
        raise ValueError("Cannot deconvolve: " + "; ".join(problems) + ".")
