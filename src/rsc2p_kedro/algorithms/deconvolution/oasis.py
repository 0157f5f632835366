"""Deconvolution: non-negative spikes of traces under an autoregressive model of calcium, in linear time.

Friedrich, Zhou & Paninski 2017, doi 10.1371/journal.pcbi.1005423. For a trace y (T,), with the letters of
:mod:`.autoregressive` and G the banded matrix with s = G c::

    minimize over c and b    1/2 |y - b - c|^2 + lam sum(s)    with s = G c >= 0

- Order 1: OASIS, pools of frames that decay together, merged whenever the later one starts lower than the earlier
  decays to.
- Order 2: the same convex problem, solved exactly. Its dual variables m >= 0 (one for each frame without a spike)
  obey a linear system whose matrix G G^T has two bands beside the diagonal; frames change sides by block principal
  pivoting (Kim & Park 2011, doi 10.1137/110821172), each step of which costs O(T).
- The penalty lam is the one at which the residual has the power of the noise, |y - b - c|^2 = sigma^2 T, and b the best
  baseline for it. Between two changes of the set of spikes c is linear in (b, lam), so both follow from one quadratic.

Spikes are in the units of the trace: one of size s makes the calcium jump by s. s_0 = c_0: what came before the first
frame.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from rsc2p_kedro.algorithms.deconvolution.autoregressive import estimate_ar, estimate_noise

_MAX_ROUNDS = 60
_TOLERANCE = 1e-8


@dataclass(frozen=True, eq=False)
class Deconvolution:
    """Result of :func:`deconvolve`; N is absent from every shape where a single trace was given.

    Attributes:
        calcium: c, (N, T) float64, >= 0.
        spikes: s, (N, T) float64, >= 0.
        baseline: b, (N,) float64.
        noise: sigma, (N,) float64.
        g: coefficients, (N, p) float64.
        lam: penalty, (N,) float64, >= 0.
    """

    calcium: NDArray
    spikes: NDArray
    baseline: NDArray
    noise: NDArray
    g: NDArray
    lam: NDArray


@njit(nogil=True, cache=True)
def _ar1(x, g, c, rests):
    """OASIS of x - the trace less baseline and penalty - into calcium c; rests marks frames without a spike."""
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
        rests[start[k]] = value <= 0.0
        c[start[k]] = value
        for t in range(start[k] + 1, start[k + 1]):
            value *= g
            c[t] = value
            rests[t] = True


@njit(nogil=True, cache=True)
def _project(x, g1, g2, rests, c, m):
    """Projects x on the traces without a spike where `rests` is true; c gets it, m the multipliers (0 elsewhere).

    c = x + G_Z^T m with G_Z c = 0, Z the resting frames: a banded LDL^T of G_Z G_Z^T (bandwidth 2, also for a subset).
    """
    T = x.size
    z = np.flatnonzero(rests)
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
def _pivot(x, g1, g2, c, rests):
    """Exact solution for any order up to 2, from the set of resting frames that `rests` holds on entry."""
    T = x.size
    m = np.empty(T)
    scale = 1e-12 * (1.0 + np.abs(x).max())
    fewest, chances = T + 1, 3
    for _ in range(20 * T):
        _project(x, g1, g2, rests, c, m)
        wrong, last = 0, -1
        for t in range(T):
            if (m[t] if rests[t] else _spike(c, g1, g2, t)) < -scale:
                wrong += 1
                last = t
        if wrong == 0:
            return
        if wrong < fewest:
            fewest, chances = wrong, 3
        elif chances > 0:
            chances -= 1
        else:
            rests[last] = not rests[last]
            continue
        for t in range(T):
            if (m[t] if rests[t] else _spike(c, g1, g2, t)) < -scale:
                rests[t] = not rests[t]


@njit(nogil=True, cache=True)
def _solve(x, g1, g2, c, rests):
    """Calcium of the trace less baseline and penalty, by the method of its order (g2 = 0: order 1)."""
    if g2 == 0.0:
        _ar1(x, g1, c, rests)
    else:
        _pivot(x, g1, g2, c, rests)


@njit(nogil=True, cache=True)
def _residual_step(r, p, q, power, free, b, lowest):
    """Steps (of b, of lam) that bring the residual r to the wanted power, were the set of spikes to stay.

    r changes by p a unit of lam and by -(1 - q) a unit of b.
    """
    T = r.size
    give = T - q.sum()
    db, slope = 0.0, 0.0
    if free and give > 1e-9 * T:
        db, slope = r.sum() / give, p.sum() / give
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
    """One trace: c and s are filled; returns (baseline, penalty). Held values stay as given."""
    T = y.size
    h = np.empty(T)
    for t in range(T):
        h[t] = 1.0 - (g1 if t + 1 < T else 0.0) - (g2 if t + 2 < T else 0.0)
    rests = np.ones(T, np.bool_)
    m, p, q = np.empty(T), np.empty(T), np.empty(T)
    ones = np.ones(T)
    scale = _TOLERANCE * (noise + 1e-30)
    for _ in range(_MAX_ROUNDS):
        _solve(y - b - lam * h, g1, g2, c, rests)
        if not (free_lam or free_b):
            break
        _project(h, g1, g2, rests, p, m)
        _project(ones, g1, g2, rests, q, m)
        r = y - b - c
        if free_lam:
            db, dl = _residual_step(r, p, q, noise * noise * T, free_b, b, lowest)
            dl = max(dl, -lam)
            if lam + dl == 0.0 or dl == 0.0:
                db, _ = _residual_step(r + dl * p, p * 0.0, q, 0.0, free_b, b, lowest)
        else:
            dl = 0.0
            db, _ = _residual_step(r, p * 0.0, q, 0.0, free_b, b, lowest)
        if abs(db) <= scale and abs(dl) <= scale:
            break
        b += db
        lam += dl
    for t in range(T):
        s[t] = max(_spike(c, g1, g2, t), 0.0)
    return b, lam


@njit(nogil=True, cache=True)
def _fit_all(traces, g, noise, lam, baseline, free_lam, free_b, lowest, calcium, spikes):
    """:func:`_fit` for every row; lam and baseline are overwritten."""
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
    """Calcium, spikes and baseline of traces.

    Args:
        traces: (T,) or (N, T), any unit; finite.
        order: 1 decays, 2 rises and decays. Ignored where `g` is given.
        decay_frames: known decay of the indicator in frames; needed where `g` is not given.
        g: coefficients (p,) for all traces or (N, p), p 1 or 2; none: estimated (:func:`estimate_ar`).
        noise: standard deviation, scalar or (N,); none: from the spectrum. Used only to find `lam` and `g`.
        lam: penalty, scalar or (N,); none: the one at which the residual has the power of the noise, 0 where no
            penalty is small enough for that.
        baseline: scalar or (N,); none: the best one that is not below `lowest_baseline`.
        lowest_baseline: 0 keeps the baseline from falling below 0.

    Returns:
        :class:`Deconvolution`; a trace without a transient above its noise has no spikes.

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
    start = np.median(y, axis=1) if baseline is None else _per_trace(baseline, N)
    if baseline is None:
        start = np.maximum(start, lowest_baseline)
    calcium, spikes = np.empty_like(y), np.empty_like(y)
    _fit_all(y, coefficients, sigma, penalties, start, lam is None, baseline is None, lowest_baseline, calcium, spikes)
    result = (np.maximum(calcium, 0), spikes, start, sigma, coefficients, penalties)
    return Deconvolution(*(result if np.ndim(traces) == 2 else tuple(value[0] for value in result)))


def _per_trace(value: ArrayLike, n: int) -> NDArray:
    return np.array(np.broadcast_to(np.asarray(value, np.float64), (n,)))


def _check(y: NDArray, g: ArrayLike | None, decay_frames: float | None) -> None:
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
