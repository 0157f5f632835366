"""Slow, plain twins of the kernels of `rsc2p_kedro.algorithms.extraction`."""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls
from scipy.stats import norm


def gather(frames: NDArray, footprints: NDArray) -> NDArray:
    """Projections (N, n) of frames (n, pixels) on dense footprints (pixels, N)."""
    return np.array([[frame @ column for frame in frames] for column in footprints.T])


def regress_pixel(traces: NDArray, neuropil: NDArray, data: NDArray, prior: float, kappa: float) -> NDArray:
    """Footprints of the traces (k, n) and gain of the neuropil (n,) in one pixel (n,); the prior is one more row."""
    design = np.vstack([np.column_stack([traces.T, neuropil]), np.r_[np.zeros(len(traces)), np.sqrt(kappa)]])
    return nnls(design, np.r_[data, np.sqrt(kappa) * prior])[0]


def energies(filtered: NDArray, theta: float) -> NDArray:
    """Thresholded energy (h, w) of filtered frames (h, w, n)."""
    return np.array([[sum(z * z for z in pixel if z > theta) for pixel in row] for row in filtered])


def rise(trace: NDArray, decay: float, noise: float) -> float:
    """Highest minus lowest excursion, from its rest, of a trace filtered by a decaying exponential of unit norm."""
    n = len(trace)
    filtered = np.array([sum(trace[s] * decay ** (s - t) for s in range(t, n)) for t in range(n)])
    filtered *= np.sqrt(1 - decay**2)
    rest = np.quantile(filtered, 0.2) - norm.ppf(0.2) * noise
    above, below = filtered.max() - rest, rest - filtered.min()
    return float(above - below)


def solve_jointly(A: NDArray, B: NDArray, movie: NDArray, prior_sd: float) -> tuple[NDArray, NDArray]:
    """Traces and neuropil of a movie (n, pixels) by least squares on the stacked columns, the prior as further rows."""
    n_neurons, n_tiles = A.shape[1], B.shape[1]
    design = np.vstack([np.hstack([A, B]), np.hstack([np.zeros((n_tiles, n_neurons)), np.eye(n_tiles) / prior_sd])])
    solution = np.linalg.lstsq(design, np.vstack([movie.T, np.zeros((n_tiles, len(movie)))]), rcond=None)[0]
    return solution[:n_neurons], solution[n_neurons:]


def matched_filter(frame: NDArray, mask: NDArray, blur: NDArray) -> NDArray:
    """One frame correlated with a separable kernel, divided by the norm of the kernel's part inside the mask."""
    reach = len(blur) // 2
    kernel = np.outer(blur, blur)
    out = np.zeros(frame.shape)
    for y, x in np.argwhere(mask):
        total, squares = 0.0, 0.0
        for dy in range(-reach, reach + 1):
            for dx in range(-reach, reach + 1):
                if 0 <= y + dy < frame.shape[0] and 0 <= x + dx < frame.shape[1] and mask[y + dy, x + dx]:
                    total += kernel[dy + reach, dx + reach] * frame[y + dy, x + dx]
                    squares += kernel[dy + reach, dx + reach] ** 2
        out[y, x] = total / np.sqrt(squares)
    return out
