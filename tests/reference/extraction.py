"""Slow, plain twins of the kernels of `rsc2p_kedro.algorithms.extraction`."""

import numpy as np
import scipy.ndimage as ndi
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


def footprint(R: NDArray, c: NDArray, use: NDArray, window: tuple[slice, slice], peak: tuple[int, int], reach: int):
    """Footprint (h, w) in a window of R (H, W, n): regression, smoothing, the part around its maximum near the peak."""
    moments = np.where(use, c, 0)
    raw = R[window] @ moments / (1e-12 + moments @ moments)
    kernel = np.outer([1, 2, 1], [1, 2, 1])
    a = ndi.correlate(raw, kernel, mode="constant") / ndi.correlate(np.ones_like(raw), kernel, mode="constant")
    near = np.full(a.shape, -np.inf)
    y, x = (slice(max(0, p - reach), p + reach + 1) for p in peak)
    near[y, x] = a[y, x]
    best = np.unravel_index(near.argmax(), a.shape)
    labels, _ = ndi.label(a >= 0.2 * a[best])
    return np.where(labels == labels[best], a, 0) if a[best] > 0 else np.zeros_like(a)


def candidate(R: NDArray, Z: NDArray, peak: tuple[int, int], level: float, half: int, reach: int):
    """Window, footprint and trace of four rank-1 updates around a peak."""
    window = tuple(slice(max(0, p - half), p + half + 1) for p in peak)
    c = Z[peak].astype(float)
    use = c > level
    for _ in range(4):
        a = footprint(R, c, use, window, tuple(p - s.start for p, s in zip(peak, window, strict=True)), reach)
        squared = 1e-12 + (a**2).sum()
        c = np.einsum("yx,yxt->t", a, R[window]) / squared
        use = c * np.sqrt(squared) > level
    return window, a, c, squared, use


def greedy(residual: NDArray, blur: NDArray, noise: float, *, search) -> tuple[NDArray, NDArray]:
    """Footprints (k, h, w) and traces (k, n) of an adaptive search in a residual (n, h, w), all of it one patch."""
    R = np.moveaxis(residual, 0, -1).astype(float)
    mask, spread = np.ones(R.shape[:2], bool), max(1, round(search.half_width) // 2)
    blocked, found = np.zeros(mask.shape, bool), []
    while len(found) < search.most:
        Z = np.moveaxis([matched_filter(frame, mask, blur) for frame in np.moveaxis(R, -1, 0)], 0, -1)
        score = np.where(blocked, -1, (np.where(3 * noise < Z, Z, 0) ** 2).sum(-1))
        peak = tuple(int(p) for p in np.unravel_index(score.argmax(), score.shape))
        if score[peak] <= search.least_energy * noise**2:
            break
        good = rise(Z[peak], search.decay, noise) > 0.7 * search.least_rise * noise
        if good:
            window, a, c, squared, use = candidate(
                R, Z, peak, 3 * noise, search.window, max(1, round(search.half_width))
            )
            energy = (np.where(use, c, 0) ** 2).sum() * squared
            height = rise(c, search.decay, noise / np.sqrt(squared)) * np.sqrt(squared)
            good = (a > 0).sum() >= search.least_area and energy > search.least_energy * noise**2
            good = good and height > search.least_rise * noise
        if not good:
            blocked[tuple(slice(max(0, p - spread), p + spread + 1) for p in peak)] = True
            continue
        whole = np.zeros(mask.shape)
        whole[window] = a
        found.append((whole, c))
        R -= whole[..., None] * np.where(c * np.sqrt(squared) > 2 * noise, c, 0)
    return np.array([a for a, _ in found]), np.array([c for _, c in found])
