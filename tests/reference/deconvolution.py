"""Reference implementations of `rsc2p_kedro.algorithms.deconvolution`: slow and plain."""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls


def kernel_matrix(g: NDArray, n_frames: int) -> NDArray:
    """K (T, T) with c = K s: column t is the calcium of one spike of size 1 at t."""
    response = np.zeros(n_frames)
    for t in range(n_frames):
        response[t] = float(t == 0) + sum(g[k] * response[t - k - 1] for k in range(len(g)) if t > k)
    return np.array([np.r_[np.zeros(t), response[: n_frames - t]] for t in range(n_frames)]).T


def deconvolve(y: NDArray, g: NDArray, lam: float, baseline: float) -> tuple[NDArray, NDArray]:
    """Calcium and spikes of 1/2 |y - b - K s|^2 + lam sum(s), s >= 0, as a non-negative least-squares problem.

    With K^T K = R^T R the penalty only moves the data: |R s - R^-T (K^T (y - b) - lam)|^2.
    """
    K = kernel_matrix(g, len(y))
    R = np.linalg.cholesky(K.T @ K).T
    spikes, _ = nnls(R, np.linalg.solve(R.T, K.T @ (y - baseline) - lam), maxiter=50 * len(y))
    return K @ spikes, spikes


def jumps(
    y: NDArray, g: float, sigma: float, p: float, mu: float, n_levels: int = 160
) -> tuple[NDArray, NDArray, NDArray, float]:
    """Probability and mean size of jumps, mean calcium, and log-likelihood, by matrices over all levels.

    The model of `posterior` without leaving out levels: calcium on levels 0 ... n_levels - 1, half a sigma apart, which
    takes any of them with a probability of 1e-8 a frame.
    """
    spacing, restart = 0.5 * sigma, 1e-8
    levels, rho = np.arange(n_levels), np.exp(-spacing / mu)
    decay = np.zeros((n_levels, n_levels))
    for i in levels:
        k = int(g * i)
        decay[i, k] += 1 - (g * i - k)
        decay[i, min(k + 1, n_levels - 1)] += g * i - k
    height = np.subtract.outer(-levels, -levels)
    jump = np.where(height > 0, (1 - rho) * rho ** np.maximum(height - 1.0, 0), 0.0)
    emission = np.exp(-0.5 * ((y[:, None] - levels * spacing) / sigma) ** 2)
    before, log_likelihood, forward, decayed = np.full(n_levels, 1 / n_levels), 0.0, [], []
    for t in range(len(y)):
        decayed.append(before if t == 0 else before @ decay)
        chance = p if t else 0.0
        after = (decayed[t] @ ((1 - chance) * np.eye(n_levels) + chance * jump) + restart / n_levels) * emission[t]
        log_likelihood += np.log(after.sum())
        before = after / after.sum()
        forward.append(before)
    probability, size, calcium, later = np.zeros(len(y)), np.zeros(len(y)), np.zeros(len(y)), np.ones(n_levels)
    for t in range(len(y) - 1, -1, -1):
        chance, ahead = (p if t else 0.0), later * emission[t]
        calcium[t] = (forward[t] * later) @ levels * spacing / (forward[t] @ later)
        paths = ((1 - chance) * np.eye(n_levels) + chance * jump) @ ahead + restart * ahead.mean()
        probability[t] = decayed[t] @ (chance * jump @ ahead) / (decayed[t] @ paths)
        size[t] = spacing * (decayed[t] @ (chance * (jump * height) @ ahead)) / (decayed[t] @ paths)
        later = decay @ paths if t else later
        later = later / later.max()
    return probability, size, calcium, log_likelihood
