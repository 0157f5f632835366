"""Candidate detection: initial footprints and traces of neurons in a block of the binned movie without its background.

Greedy, as in Pnevmatikakis et al. 2016 (doi 10.1016/j.neuron.2015.11.037): filter the residual R with a Gaussian of the
size of a neuron, so that a neuron becomes a peak of the filtered residual Z (:mod:`.matched_filter`); take the pixel of
highest energy; cut a window around it; estimate footprint and trace by a few rank-1 updates; subtract them; repeat.
The energy and the rule for stopping differ between the two methods:

- `greedy_roi`: the energy is the sum of Z^2 over time, and each patch yields `components_per_patch` candidates.
- `adaptive`: only bins count in which Z exceeds the noise by far, E = sum over t of Z_t^2 [Z_t > theta] (thresholded
  energy as in Pachitariu et al. 2017, doi 10.1101/061507), of which the mean and sd in pure noise are known. Both the
  energy of a candidate and its net peak amplitude (:func:`peak_amplitudes`) must exceed what noise has, at its peak and
  again with its own footprint as the filter. A patch without activity yields nothing.

The kernels call one another, and numba's cache notices a change of a kernel only in the file of its caller: keep them
in one module.
"""

from dataclasses import dataclass
from math import erfc, exp, pi, sqrt
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from rsc2p_kedro.algorithms.extraction.matched_filter import filtered_noise, gaussian_kernel, matched_filter

Float = NDArray[np.float32]
ACTIVE_SD = 3.0
"""Theta: a bin counts as active above this many sd of noise. White noise exceeds it in 0.13 % of bins. Not tuned; other
values are compared in docs/methods_extraction.md."""
_MIN_ENERGY_SD = 6.0
"""The thresholded energy of a candidate must exceed the mean of that of noise by this many of its sd. Pure noise does
in less than 0.2 % of 5000 simulated traces (test_the_energy_of_noise_stays_below_its_threshold). Not tuned; other
values are compared in docs/methods_extraction.md."""
_RANK1_UPDATES = 4
"""Updates of footprint and trace of a candidate; CaImAn's greedy_roi does 5 (nIter). Not tuned; other values are
compared in docs/methods_extraction.md."""
_PROMISING = 0.7
"""Fraction of the minimum peak amplitude that the filtered residual of a single pixel must reach before a footprint is
estimated, which saves time; filtering with the footprint then increases the amplitude. Not tuned; other values are
compared in docs/methods_extraction.md."""
_MIN_OF_PEAK = 0.2
"""Pixels of a candidate's footprint below this fraction of its maximum are set to 0. Not tuned; other values are
compared in docs/methods_extraction.md."""
_SUBTRACTED_SD = 2.0
"""A candidate is subtracted in the bins in which it exceeds this many sd of noise; not tuned."""
_REST_QUANTILE = 0.2
"""Quantile of a trace from which its resting level is estimated: a neuron may be active most of the time. Tested with
one that is active for more than 60 % of it. Not tuned."""
_REST_BELOW_MEAN_SD = 0.8416
"""Distance in sd of that quantile of Gaussian noise below its mean."""


@dataclass(frozen=True)
class DetectionSettings:
    """Size, number and thresholds of candidates.

    Attributes:
        neuron_half_width_px: half-width of a neuron in px.
        max_per_patch: maximum (adaptive) or exact (greedy_roi) number of candidates per patch.
        min_energy: minimum thresholded energy of a candidate; ignored by greedy_roi.
        min_peak_amplitude: minimum net peak amplitude of its trace in sd of noise; ignored by greedy_roi.
        decay: factor by which calcium decays from one bin to the next.
        patch_px: (rows, columns) of a patch in px, without its overlap.
        adaptive: whether the method is `adaptive`, otherwise `greedy_roi`.
    """

    neuron_half_width_px: float
    max_per_patch: int
    min_energy: float
    min_peak_amplitude: float
    decay: float
    patch_px: tuple[int, int]
    adaptive: bool = True

    @property
    def min_area_px(self) -> int:
        """Minimum number of pixels of a footprint: those of a disc with half the half-width of a neuron."""
        return max(2, int(pi * (0.5 * self.neuron_half_width_px) ** 2))


class _Limits(NamedTuple):
    """Numbers that the kernels need, derived from :class:`DetectionSettings` and the noise of the block.

    noise: sd of Z. level: value of Z above which a bin is active. window_reach: half-width in px of the window that a
    footprint is cut from. peak_reach: distance in px from the candidate within which the maximum of its footprint is
    searched. The others as in the settings.
    """

    noise: float
    level: float
    min_energy: float
    min_peak_amplitude: float
    decay: float
    window_reach: int
    peak_reach: int
    min_area_px: int
    max_per_patch: int
    adaptive: bool


def energy_threshold(n_bins: int, min_peak_sd: float) -> float:
    """Thresholded energy that noise of variance 1 does not reach.

    Args:
        n_bins: length of a trace.
        min_peak_sd: height in sd of the smallest event that is to be detected on its own.

    Returns:
        The mean of noise plus the energy of one such event, or plus 6 sd of noise where that is more.
    """
    tail, density = 0.5 * erfc(ACTIVE_SD / sqrt(2)), exp(-(ACTIVE_SD**2) / 2) / sqrt(2 * pi)
    mean = tail + ACTIVE_SD * density
    fourth = 3 * tail + (ACTIVE_SD**3 + 3 * ACTIVE_SD) * density
    return n_bins * mean + max(min_peak_sd**2, _MIN_ENERGY_SD * sqrt(n_bins * fourth))


@njit(nogil=True, cache=True, fastmath=True)
def _energy(z, theta):
    total = np.float32(0)
    for t in range(len(z)):
        total += z[t] * z[t] if z[t] > theta else np.float32(0)
    return total


@njit(nogil=True, cache=True)
def _update_energies(Z, theta, closed, energies, top, bottom, left, right):
    """Energies of the pixels of a rectangle; -1 for closed pixels, which cannot be the centre of a candidate."""
    for y in range(max(top, 0), min(bottom, Z.shape[0])):
        for x in range(max(left, 0), min(right, Z.shape[1])):
            energies[y, x] = -1.0 if closed[y, x] else _energy(Z[y, x], np.float32(theta))


@njit(nogil=True, cache=True)
def _close(energies, closed, top, bottom, left, right):
    """Excludes the pixels of a rectangle as centres of further candidates."""
    for y in range(max(0, top), min(energies.shape[0], bottom)):
        for x in range(max(0, left), min(energies.shape[1], right)):
            closed[y, x] = True
            energies[y, x] = -1.0


@njit(nogil=True, cache=True)
def _keep_connected(a, start_y, start_x):
    """Sets pixels of a window (h, w) to 0 that are not connected by edges to the start; returns the area left."""
    h, w = a.shape
    reached = np.zeros((h, w), np.bool_)
    stack = np.empty(4 * h * w + 1, np.int64)
    stack[0] = start_y * w + start_x
    size = 1
    while size > 0:
        size -= 1
        y, x = stack[size] // w, stack[size] % w
        if reached[y, x] or a[y, x] <= 0.0:
            continue
        reached[y, x] = True
        for dy, dx in ((1, 0), (-1, 0), (0, 1), (0, -1)):
            if 0 <= y + dy < h and 0 <= x + dx < w and not reached[y + dy, x + dx]:
                stack[size] = (y + dy) * w + x + dx
                size += 1
    area = 0
    for y in range(h):
        for x in range(w):
            if reached[y, x]:
                area += 1
            else:
                a[y, x] = 0.0
    return area


@njit(nogil=True, cache=True)
def _active_part(c, active):
    """A trace as float32, 0 in bins that are not active."""
    out = np.empty(c.size, np.float32)
    for t in range(c.size):
        out[t] = c[t] if active[t] else 0.0
    return out


@njit(nogil=True, cache=True, fastmath=True)
def _dot(a, b):
    total = np.float32(0)
    for t in range(len(a)):
        total += a[t] * b[t]
    return total


@njit(nogil=True, cache=True, fastmath=True)
def _add_scaled(scale, a, b):
    """b += scale a."""
    for t in range(len(a)):
        b[t] += scale * a[t]


@njit(nogil=True, cache=True)
def _regress_footprint(R, c, active, top, left, a):
    """Footprint a (h, w) in a window: regression of each pixel on c in its active bins, lightly smoothed (3 x 3)."""
    h, w = a.shape
    trace = _active_part(c, active)
    total = 1e-12 + _dot(trace, trace)
    raw = np.zeros((h, w))
    for y in range(h):
        for x in range(w):
            raw[y, x] = _dot(trace, R[top + y, left + x]) / total
    for y in range(h):
        for x in range(w):
            s, n = 0.0, 0.0
            for dy in range(-1, 2):
                for dx in range(-1, 2):
                    if 0 <= y + dy < h and 0 <= x + dx < w:
                        k = (2.0 - abs(dy)) * (2.0 - abs(dx))
                        s += k * raw[y + dy, x + dx]
                        n += k
            a[y, x] = s / n


@njit(nogil=True, cache=True)
def _trim_footprint(a, peak_y, peak_x, reach):
    """Sets pixels to 0 that are dim, or not connected to the maximum near the peak; returns the area left."""
    h, w = a.shape
    best, by, bx = 0.0, -1, -1
    for y in range(max(0, peak_y - reach), min(h, peak_y + reach + 1)):
        for x in range(max(0, peak_x - reach), min(w, peak_x + reach + 1)):
            if a[y, x] > best:
                best, by, bx = a[y, x], y, x
    if by < 0:
        return 0
    for y in range(h):
        for x in range(w):
            if a[y, x] < _MIN_OF_PEAK * best:
                a[y, x] = 0.0
    return _keep_connected(a, by, bx)


@njit(nogil=True, cache=True)
def _regress_trace(R, a, top, left, c):
    """Trace c (n,): least squares of the window on the footprint; returns the squared norm of the footprint."""
    c[:] = 0.0
    norm = 1e-12
    for y in range(a.shape[0]):
        for x in range(a.shape[1]):
            v = a[y, x]
            if v > 0.0:
                norm += v * v
                _add_scaled(v, R[top + y, left + x], c)
    for t in range(c.size):
        c[t] /= norm
    return norm


@njit(nogil=True, cache=True)
def _subtract(R, Z, a, c, active, kernel, norm, top, left):
    """Subtracts the candidate a c from the residual R, and its filtered form from Z, in the active bins."""
    h, w = a.shape
    H, W = R.shape[0], R.shape[1]
    reach, trace = kernel.size // 2, _active_part(c, active)
    for y in range(h):
        for x in range(w):
            if a[y, x] > 0.0:
                _add_scaled(np.float32(-a[y, x]), trace, R[top + y, left + x])
    for y in range(max(0, top - reach), min(H, top + h + reach)):
        for x in range(max(0, left - reach), min(W, left + w + reach)):
            s = 0.0
            for yy in range(max(0, y - reach - top), min(h, y + reach + 1 - top)):
                for xx in range(max(0, x - reach - left), min(w, x + reach + 1 - left)):
                    s += a[yy, xx] * kernel[top + yy - y + reach] * kernel[left + xx - x + reach]
            if s > 0.0 and norm[y, x] > 0.0:
                _add_scaled(np.float32(-s / norm[y, x]), trace, Z[y, x])


@njit(nogil=True, cache=True)
def _peak_amplitude(c, decay, noise):
    """:func:`peak_amplitudes` of one trace (n,)."""
    filtered = np.empty(c.size)
    value = 0.0
    for t in range(c.size - 1, -1, -1):
        value = c[t] + decay * value
        filtered[t] = value
    highest, lowest = filtered[0], filtered[0]
    for t in range(filtered.size):
        highest, lowest = max(highest, filtered[t]), min(lowest, filtered[t])
    scale = np.sqrt(1.0 - decay * decay)
    rest = np.quantile(filtered, _REST_QUANTILE) * scale + _REST_BELOW_MEAN_SD * noise
    return (highest + lowest) * scale - 2.0 * rest


@njit(nogil=True, cache=True)
def _peak_amplitudes(traces, decay, noise, out):
    for j in range(len(traces)):
        out[j] = _peak_amplitude(traces[j], decay, noise[j])


@njit(nogil=True, cache=True)
def _fit_candidate(R, z, y, x, limits, c, active):
    """Rank-1 approximation around a peak whose filtered trace is z; fills trace c and its active bins.

    Returns the footprint in its window, the top and left of the window, its area in px, and its squared norm.
    """
    H, W, n = R.shape
    top, left = max(0, y - limits.window_reach), max(0, x - limits.window_reach)
    a = np.empty((min(H, y + limits.window_reach + 1) - top, min(W, x + limits.window_reach + 1) - left))
    for t in range(n):
        c[t] = z[t]
        active[t] = c[t] > limits.level or not limits.adaptive
    area, squared = 0, 1.0
    for _ in range(_RANK1_UPDATES):
        _regress_footprint(R, c, active, top, left, a)
        area = _trim_footprint(a, y - top, x - left, limits.peak_reach)
        squared = _regress_trace(R, a, top, left, c)
        for t in range(n):
            active[t] = c[t] * np.sqrt(squared) > limits.level or not limits.adaptive
    return a, top, left, area, squared


@njit(nogil=True, cache=True)
def _exceeds_noise(c, active, squared, limits):
    """Whether the trace of a candidate, filtered by its own footprint, passes the tests of energy and amplitude."""
    energy = 0.0
    for t in range(c.size):
        if active[t]:
            energy += c[t] * c[t] * squared
    return energy > limits.min_energy * limits.noise * limits.noise and (
        _peak_amplitude(c, limits.decay, limits.noise / np.sqrt(squared)) * np.sqrt(squared)
        > limits.min_peak_amplitude * limits.noise
    )


@njit(nogil=True, cache=True)
def _is_promising(z, limits, buffer):
    """Whether the filtered residual z (n,) of a single pixel is worth a footprint; always with greedy_roi."""
    for t in range(z.size):
        buffer[t] = z[t]
    return not limits.adaptive or (
        _peak_amplitude(buffer, limits.decay, limits.noise) > _PROMISING * limits.min_peak_amplitude * limits.noise
    )


@njit(nogil=True, cache=True)
def _detect(R, Z, norm, kernel, core, patch, limits, footprints, traces):
    """Candidates of a block; fills footprints (k, h, w) and traces (k, n) and returns their number.

    R (h, w, n), the residual, and Z (h, w, n), its filtered form, are overwritten. norm (h, w): of the filter.
    core (top, bottom, left, right): candidates are kept only within. patch: (rows, columns) of the patches that divide
    the core.
    """
    H, W, n = R.shape
    energies, closed = np.empty((H, W)), norm <= 0.0
    _update_energies(Z, limits.level, closed, energies, 0, H, 0, W)
    counts = np.zeros(((core[1] - core[0]) // patch[0] + 1, (core[3] - core[2]) // patch[1] + 1), np.int64)
    c, active = np.empty(n), np.empty(n, np.bool_)
    min_energy = limits.min_energy * limits.noise * limits.noise if limits.adaptive else 0.0
    count, reach, near = 0, kernel.size // 2, max(1, limits.peak_reach // 2)
    while count < len(footprints):
        peak = np.argmax(energies)
        y, x = peak // W, peak % W
        if energies[y, x] <= min_energy:
            break
        inside = core[0] <= y < core[1] and core[2] <= x < core[3]
        i, j = (y - core[0]) // patch[0], (x - core[2]) // patch[1]
        if inside and counts[i, j] >= limits.max_per_patch:
            rows, columns = core[0] + i * patch[0], core[2] + j * patch[1]
            _close(energies, closed, rows, min(rows + patch[0], core[1]), columns, min(columns + patch[1], core[3]))
            continue
        if not inside and not limits.adaptive:
            _close(energies, closed, y, y + 1, x, x + 1)
            continue
        accepted = _is_promising(Z[y, x], limits, c)
        if accepted:
            a, top, left, area, squared = _fit_candidate(R, Z[y, x], y, x, limits, c, active)
            accepted = area >= limits.min_area_px and (
                not limits.adaptive or _exceeds_noise(c, active, squared, limits)
            )
        if not accepted or not inside:
            _close(energies, closed, y - near, y + near + 1, x - near, x + near + 1)
        if accepted and inside:
            footprints[count, top : top + a.shape[0], left : left + a.shape[1]] = a
            traces[count] = c
            count += 1
            counts[i, j] += 1
        if accepted:
            active[:] = (c * np.sqrt(squared) > _SUBTRACTED_SD * limits.noise) | (not limits.adaptive)
            _subtract(R, Z, a, c, active, kernel, norm, top, left)
            bottom, right = top + a.shape[0] + reach, left + a.shape[1] + reach
            _update_energies(Z, limits.level, closed, energies, top - reach, bottom, left - reach, right)
    return count


def peak_amplitudes(traces: NDArray, decay: float, noise: NDArray) -> NDArray[np.float64]:
    """Net peak amplitude of each trace: height of its highest peak minus depth of its lowest trough, both from rest.

    Noise, neuropil and motion cause positive and negative excursions alike; calcium transients are positive only. The
    trace is filtered with a decaying exponential of unit norm, which keeps the sd of white noise. Rest is estimated
    from the 20th percentile, as a neuron may be active most of the time, corrected for the distance between that
    quantile of noise and its mean.

    Args:
        traces: (N, T).
        decay: factor by which calcium decays from one value to the next.
        noise: (N,), sd of the noise of each trace.

    Returns:
        (N,), in the units of the traces; near 0 where there is only noise, below 0 where troughs are deeper than peaks
        are high.
    """
    out = np.empty(len(traces))
    _peak_amplitudes(np.ascontiguousarray(traces, np.float64), decay, np.ascontiguousarray(noise, np.float64), out)
    return out


def detect_in_block(
    residual: NDArray, mask: NDArray[np.bool_], settings: DetectionSettings, core: tuple[slice, slice]
) -> tuple[Float, Float]:
    """Candidates of one block whose peak is in its core.

    Args:
        residual: (n, h, w), in units of the noise.
        mask: (h, w), pixels to use.
        settings: size, number and thresholds of candidates.
        core: (rows, columns) within the block; patches of `settings.patch_px` divide it.

    Returns:
        Footprints (k, h, w) and traces (k, n), float32.
    """
    half_width = settings.neuron_half_width_px
    R = np.ascontiguousarray(np.moveaxis(residual, 0, -1), np.float32)
    kernel = gaussian_kernel(half_width)
    Z, norm = matched_filter(R, mask, kernel)
    noise = filtered_noise(Z, norm)
    limits = _Limits(
        noise=noise,
        level=ACTIVE_SD * noise if settings.adaptive else 0.0,
        min_energy=float(settings.min_energy),
        min_peak_amplitude=float(settings.min_peak_amplitude),
        decay=float(settings.decay),
        window_reach=int(np.ceil(2 * half_width)) + 1,
        peak_reach=max(1, round(half_width)),
        min_area_px=settings.min_area_px,
        max_per_patch=settings.max_per_patch,
        adaptive=settings.adaptive,
    )
    rows, columns = core
    patch = settings.patch_px
    n_patches = -(-(rows.stop - rows.start) // patch[0]) * -(-(columns.stop - columns.start) // patch[1])
    footprints = np.zeros((settings.max_per_patch * n_patches, *mask.shape), np.float32)
    traces = np.zeros((len(footprints), len(residual)), np.float32)
    bounds = (rows.start, rows.stop, columns.start, columns.stop)
    count = _detect(R, Z, norm, kernel, bounds, patch, limits, footprints, traces)
    return footprints[:count], traces[:count]
