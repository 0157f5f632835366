"""Slow, plain twins of the kernels of `rsc2p_kedro.algorithms.deconvolution`."""

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
