"""Slow, plain implementations of the kernels of `rsc2p_kedro.algorithms.extraction`, with numbers of their own."""

from itertools import product
from math import ceil, inf, pi

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.optimize import nnls
from scipy.stats import norm


def project_frames(frames: NDArray, footprints: NDArray) -> NDArray:
    """Projections (N, n) of frames (n, pixels) on dense footprints (pixels, N)."""
    return np.array([[frame @ column for frame in frames] for column in footprints.T])


def regress_pixel(traces: NDArray, neuropil: NDArray, data: NDArray, expected_gain: float, current: NDArray) -> NDArray:
    """Footprints of the traces (k, n) and gain of the neuropil (n,) in one pixel (n,).

    The prior of the gain, 20 % of the expected one, is one more row of the least squares; the inertia of the current
    footprint (k,), as heavy as the data, one more row for each trace.
    """
    weight = 1 / (0.2 * expected_gain)
    design = np.vstack([np.column_stack([traces.T, neuropil]), np.r_[np.zeros(len(traces)), weight]])
    norms = np.linalg.norm(traces, axis=1)
    design = np.vstack([design, np.column_stack([np.diag(norms), np.zeros(len(traces))])])
    return nnls(design, np.r_[data, weight * expected_gain, norms * current])[0]


def thresholded_energy(z: NDArray, theta: float) -> NDArray:
    """Sum over the last axis of the squares of values above theta."""
    return np.apply_along_axis(lambda trace: sum(value * value for value in trace if value > theta), -1, z)


def energy_threshold(n_bins: int, min_peak_sd: float) -> float:
    """Mean energy above 3 sd of noise, plus 6 sd of that energy or the energy of one event, whichever is more."""
    second, fourth = (quad(lambda z, k=k: z**k * norm.pdf(z), 3, inf)[0] for k in (2, 4))
    return n_bins * second + max(min_peak_sd**2, 6 * np.sqrt(n_bins * fourth))


def peak_amplitude(trace: NDArray, decay: float, noise: float) -> float:
    """Height of the peak minus depth of the trough, from rest, of a trace filtered by a decay of unit norm."""
    n = len(trace)
    filtered = np.array([sum(trace[s] * decay ** (s - t) for s in range(t, n)) for t in range(n)])
    filtered *= np.sqrt(1 - decay**2)
    rest = np.quantile(filtered, 0.2) - norm.ppf(0.2) * noise
    height, depth = filtered.max() - rest, rest - filtered.min()
    return float(height - depth)


def solve_jointly(A: NDArray, B: NDArray, movie: NDArray, grid: tuple[int, int]) -> tuple[NDArray, NDArray]:
    """Traces and neuropil of a movie (n, pixels) by least squares on the stacked columns.

    The prior of the neuropil is further rows: sd 0.3 of each of the splines, which are on a grid (ny, nx), and 0.2 of
    the difference between neighbours.
    """
    n_neurons, n_splines = A.shape[1], B.shape[1]
    rows = [row / 0.3 for row in np.eye(n_splines)]
    for y, x in np.ndindex(grid):
        for other in ((y + 1, x), (y, x + 1)):
            if other[0] < grid[0] and other[1] < grid[1]:
                step = np.zeros(grid)
                step[y, x], step[other] = -1, 1
                rows.append(step.ravel() / 0.2)
    prior = np.hstack([np.zeros((len(rows), n_neurons)), np.array(rows)])
    data = np.vstack([movie.T, np.zeros((len(rows), len(movie)))])
    solution = np.linalg.lstsq(np.vstack([np.hstack([A, B]), prior]), data, rcond=None)[0]
    return solution[:n_neurons], solution[n_neurons:]


def matched_filter(movie: NDArray, mask: NDArray, kernel_1d: NDArray) -> NDArray:
    """Movie (h, w, n) correlated with a separable kernel, divided by the norm of the kernel's part inside the mask."""
    reach = len(kernel_1d) // 2
    kernel = np.outer(kernel_1d, kernel_1d)
    out = np.zeros(movie.shape)
    for y, x in np.argwhere(mask):
        total, squares = np.zeros(movie.shape[2]), 0.0
        for dy in range(-reach, reach + 1):
            for dx in range(-reach, reach + 1):
                if 0 <= y + dy < mask.shape[0] and 0 <= x + dx < mask.shape[1] and mask[y + dy, x + dx]:
                    total += kernel[dy + reach, dx + reach] * movie[y + dy, x + dx]
                    squares += kernel[dy + reach, dx + reach] ** 2
        out[y, x] = total / np.sqrt(squares)
    return out


def filtered_noise(Z: NDArray) -> float:
    """Noise sd of a filtered movie (h, w, n): the typical change between bins of every sixth pixel."""
    changes = [np.median(np.abs(np.diff(trace))) for row in Z[::6, ::6] for trace in row]
    return float(np.median(changes) / (norm.ppf(0.75) * np.sqrt(2)))


def footprint(R: NDArray, c: NDArray, active: NDArray, window: tuple[slice, slice], peak: tuple[int, int], reach: int):
    """Footprint (h, w) in a window of R (H, W, n): regression, smoothing, the part around its maximum near the peak."""
    trace = np.where(active, c, 0)
    raw = R[window] @ trace / (1e-12 + trace @ trace)
    kernel = np.outer([1, 2, 1], [1, 2, 1])
    a = ndi.correlate(raw, kernel, mode="constant") / ndi.correlate(np.ones_like(raw), kernel, mode="constant")
    near = np.full(a.shape, -np.inf)
    y, x = (slice(max(0, p - reach), p + reach + 1) for p in peak)
    near[y, x] = a[y, x]
    best = np.unravel_index(near.argmax(), a.shape)
    labels, _ = ndi.label(a >= 0.2 * a[best])
    return np.where(labels == labels[best], a, 0) if a[best] > 0 else np.zeros_like(a)


def candidate(R: NDArray, Z: NDArray, peak: tuple[int, int], noise: float, half_width: float):
    """Window, footprint, trace, squared norm and active bins after four rank-1 updates around a peak."""
    half, reach = ceil(2 * half_width) + 1, max(1, round(half_width))
    window = tuple(slice(max(0, p - half), p + half + 1) for p in peak)
    c = Z[peak].astype(float)
    active = c > 3 * noise
    for _ in range(4):
        a = footprint(R, c, active, window, tuple(p - s.start for p, s in zip(peak, window, strict=True)), reach)
        squared = 1e-12 + (a**2).sum()
        c = np.einsum("yx,yxt->t", a, R[window]) / squared
        active = c * np.sqrt(squared) > 3 * noise
    return window, a, c, squared, active


def detect(
    residual: NDArray, *, half_width: float, max_candidates: int, min_peak_sd: float, decay: float
) -> tuple[NDArray, NDArray]:
    """Footprints (k, h, w) and traces (k, n) of adaptive detection in a residual (n, h, w), all of it one patch."""
    R = np.moveaxis(residual, 0, -1).astype(float)
    mask, near = np.ones(R.shape[:2], bool), max(1, round(half_width) // 2)
    sigma = 0.6 * half_width
    kernel = np.exp(-0.5 * (np.arange(-ceil(2.5 * sigma), ceil(2.5 * sigma) + 1) / sigma) ** 2)
    min_energy = energy_threshold(len(residual), min_peak_sd)
    noise, closed, accepted = None, np.zeros(mask.shape, bool), []
    while len(accepted) < max_candidates:
        Z = matched_filter(R, mask, kernel)
        noise = noise or filtered_noise(Z)  # of the residual before anything is subtracted
        energies = np.where(closed, -1, (np.where(3 * noise < Z, Z, 0) ** 2).sum(-1))
        peak = tuple(int(p) for p in np.unravel_index(energies.argmax(), energies.shape))
        if energies[peak] <= min_energy * noise**2:
            break
        good = peak_amplitude(Z[peak], decay, noise) > 0.7 * min_peak_sd * noise
        if good:
            window, a, c, squared, active = candidate(R, Z, peak, noise, half_width)
            energy = (np.where(active, c, 0) ** 2).sum() * squared
            height = peak_amplitude(c, decay, noise / np.sqrt(squared)) * np.sqrt(squared)
            good = (a > 0).sum() >= int(pi * (0.5 * half_width) ** 2) and energy > min_energy * noise**2
            good = good and height > min_peak_sd * noise
        if not good:
            closed[tuple(slice(max(0, p - near), p + near + 1) for p in peak)] = True
            continue
        whole = np.zeros(mask.shape)
        whole[window] = a
        accepted.append((whole, c))
        R -= whole[..., None] * np.where(c * np.sqrt(squared) > 2 * noise, c, 0)
    return np.array([a for a, _ in accepted]), np.array([c for _, c in accepted])


def best_closed_path(gain: NDArray) -> float:
    """Highest sum of a gain (K, R) over all closed paths whose neighbouring radii differ by at most 1."""
    n_directions, n_radii = gain.shape
    paths = product(range(n_radii), repeat=n_directions)
    closed = (p for p in paths if all(abs(p[k] - p[k - 1]) <= 1 for k in range(n_directions)))
    return max(sum(gain[k, r] for k, r in enumerate(p)) for p in closed)
