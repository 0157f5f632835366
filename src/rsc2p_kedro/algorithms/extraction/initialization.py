"""Initialization: where the neurons are, from the short movie with its background taken out (see :mod:`.noise`).

In each patch, again and again: blur the residual R with a Gaussian of the neuron's size, so that a neuron becomes a
peak Z in units of its noise; take the pixel of highest energy; cut a window; a few rank-1 updates of footprint and
trace; subtract (Pnevmatikakis et al. 2016, doi 10.1016/j.neuron.2015.11.037). The rules for the energy and for when
to stop differ:

- `greedy_roi`: the energy is the sum of Z^2, and there are always `components_per_patch` a patch.
- `adaptive`: only moments count at which Z exceeds noise by far, E = sum over t of Z_t^2 [Z_t > theta]; of pure noise
  E has a known mean and sd. A candidate must exceed them, at its peak and again with its own footprint as the filter
  (thresholded energy as in Pachitariu et al. 2017, doi 10.1101/061507), and its highest transient must be higher than
  its lowest excursion is low: noise, neuropil and motion go up and down alike. A patch without activity yields nothing.
- `seeded`: footprints start from the user's centres or masks.

R holds noise of variance 1 in every pixel before motion correction; interpolation correlates the noise of neighbours,
so Z is calibrated by the typical change of Z from one bin to the next.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import erfc, exp, pi, sqrt

import numpy as np
import scipy.ndimage as ndi
import scipy.sparse as sp
from numba import njit
from numpy.typing import NDArray

from rsc2p_kedro.algorithms.extraction import patches

Float = NDArray[np.float32]
_THETA = 3.0
"""Moments count as active above this many noise sd."""
_RANK1_UPDATES = 4
_PROMISING = 0.7
_LOWEST_OF_PEAK = 0.2
_REST_SHARE = 0.2
_REST_OF_NOISE = 0.8416
"""That quantile of noise lies this many sd below 0."""


@dataclass(frozen=True)
class Search:
    """What to look for.

    Attributes:
        half_width: of a neuron in px.
        most: components of a patch, at most (adaptive) or always (greedy_roi).
        least_energy: thresholded energy that a candidate must have; ignored by greedy_roi.
        least_rise: by how many sd its highest transient must exceed its lowest excursion; ignored by greedy_roi.
        decay: of calcium from one bin to the next.
        cell: (rows, columns) of a patch in px.
        adaptive: which of the two rules.
    """

    half_width: float
    most: int
    least_energy: float
    least_rise: float
    decay: float
    cell: tuple[int, int]
    adaptive: bool = True

    @property
    def blur(self) -> Float:
        """One-dimensional Gaussian, sd 0.6 half-widths: the best match to a disc."""
        sigma = max(0.6 * self.half_width, 0.5)
        reach = int(np.ceil(2.5 * sigma))
        return np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2).astype(np.float32)

    @property
    def window(self) -> int:
        """Half-width in px of the window a footprint is cut from."""
        return int(np.ceil(2 * self.half_width)) + 1

    @property
    def least_area(self) -> int:
        """Pixels that a footprint must have: those of a disc of half the half-width."""
        return max(2, int(pi * (0.5 * self.half_width) ** 2))


def energy_threshold(n_bins: int, threshold: float) -> float:
    """Thresholded energy that noise does not reach.

    That of noise in the mean, and above it a lone event of `threshold` sd or 6 sd of the sum, whichever is more.
    """
    tail, density = 0.5 * erfc(_THETA / sqrt(2)), exp(-(_THETA**2) / 2) / sqrt(2 * pi)
    mean = tail + _THETA * density
    fourth = 3 * tail + (_THETA**3 + 3 * _THETA) * density
    return n_bins * mean + max(threshold**2, 6 * sqrt(n_bins * fourth))


def thresholded_energy(z: NDArray, theta: float = _THETA) -> NDArray:
    """Sum along the last axis of the squares of values above theta."""
    return np.square(np.where(z > theta, z, 0)).sum(axis=-1)


@njit(nogil=True, cache=True, fastmath=True)
def _energy(z, theta):
    total = np.float32(0)
    for t in range(len(z)):
        total += z[t] * z[t] if z[t] > theta else np.float32(0)
    return total


@njit(nogil=True, cache=True)
def _energies(Z, theta, blocked, score, top, bottom, left, right):
    """Fills score within a rectangle; blocked pixels get -1."""
    for y in range(max(top, 0), min(bottom, Z.shape[0])):
        for x in range(max(left, 0), min(right, Z.shape[1])):
            score[y, x] = -1.0 if blocked[y, x] else _energy(Z[y, x], np.float32(theta))


@njit(nogil=True, cache=True)
def _connected(a, start_y, start_x):
    """Keeps the pixels of a window that are above 0 and connected (by edges) to the start; the rest become 0."""
    h, w = a.shape
    seen = np.zeros((h, w), np.bool_)
    stack = np.empty(4 * h * w + 1, np.int64)
    stack[0] = start_y * w + start_x
    size = 1
    while size > 0:
        size -= 1
        y, x = stack[size] // w, stack[size] % w
        if seen[y, x] or a[y, x] <= 0.0:
            continue
        seen[y, x] = True
        for dy, dx in ((1, 0), (-1, 0), (0, 1), (0, -1)):
            if 0 <= y + dy < h and 0 <= x + dx < w and not seen[y + dy, x + dx]:
                stack[size] = (y + dy) * w + x + dx
                size += 1
    area = 0
    for y in range(h):
        for x in range(w):
            if seen[y, x]:
                area += 1
            else:
                a[y, x] = 0.0
    return area


@njit(nogil=True, cache=True)
def _used(c, use):
    """A trace as float32, 0 at the moments that are not to be used."""
    out = np.empty(c.size, np.float32)
    for t in range(c.size):
        out[t] = c[t] if use[t] else 0.0
    return out


@njit(nogil=True, cache=True, fastmath=True)
def _dot(a, b):
    total = np.float32(0)
    for t in range(len(a)):
        total += a[t] * b[t]
    return total


@njit(nogil=True, cache=True, fastmath=True)
def _add(scale, a, b):
    """b += scale a."""
    for t in range(len(a)):
        b[t] += scale * a[t]


@njit(nogil=True, cache=True)
def _footprint(R, c, use, top, left, a):
    """Footprint a (h, w) in a window: regression of each pixel on c at the moments to use, lightly smoothed."""
    h, w = a.shape
    used = _used(c, use)
    total = 1e-12 + _dot(used, used)
    raw = np.zeros((h, w))
    for y in range(h):
        for x in range(w):
            raw[y, x] = _dot(used, R[top + y, left + x]) / total
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
def _trim(a, peak_y, peak_x, reach):
    """Zeroes what is below a part of the maximum near the peak, or not connected to it; returns the area left."""
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
            if a[y, x] < _LOWEST_OF_PEAK * best:
                a[y, x] = 0.0
    return _connected(a, by, bx)


@njit(nogil=True, cache=True)
def _trace(R, a, top, left, c):
    """Trace c (n,): least squares of the window on the footprint; returns the footprint's squared norm."""
    c[:] = 0.0
    norm = 1e-12
    for y in range(a.shape[0]):
        for x in range(a.shape[1]):
            v = a[y, x]
            if v > 0.0:
                norm += v * v
                _add(v, R[top + y, left + x], c)
    for t in range(c.size):
        c[t] /= norm
    return norm


@njit(nogil=True, cache=True)
def _subtract(R, Z, a, c, use, blur, norm, top, left):
    """Takes a c off R at the moments to use, and what it adds to the filtered Z."""
    h, w = a.shape
    H, W = R.shape[0], R.shape[1]
    reach, used = blur.size // 2, _used(c, use)
    for y in range(h):
        for x in range(w):
            if a[y, x] > 0.0:
                _add(np.float32(-a[y, x]), used, R[top + y, left + x])
    for y in range(max(0, top - reach), min(H, top + h + reach)):
        for x in range(max(0, left - reach), min(W, left + w + reach)):
            s = 0.0
            for yy in range(max(0, y - reach - top), min(h, y + reach + 1 - top)):
                for xx in range(max(0, x - reach - left), min(w, x + reach + 1 - left)):
                    s += a[yy, xx] * blur[top + yy - y + reach] * blur[left + xx - x + reach]
            if s > 0.0 and norm[y, x] > 0.0:
                _add(np.float32(-s / norm[y, x]), used, Z[y, x])


@njit(nogil=True, cache=True)
def _quantile(values, share):
    """Quantile of values (n,), interpolated linearly; they are put into another order (Hoare's selection)."""
    position = share * (values.size - 1)
    k = int(position)
    low, high = 0, values.size - 1
    while low < high:
        pivot, i, j = values[(low + high) // 2], low, high
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if k <= j:
            high = j
        elif k >= i:
            low = i
        else:
            break
    if k + 1 >= values.size:
        return values[k]
    above = values[k + 1]
    for i in range(k + 2, values.size):
        above = min(above, values[i])
    return values[k] + (position - k) * (above - values[k])


@njit(nogil=True, cache=True)
def _rise(c, decay, noise):
    """How much higher the highest transient of a trace is than its lowest excursion is low, both from its rest.

    Rest is a low percentile, for a neuron may be active most of the time; that noise lets it lie below the middle is
    taken into account. The trace is filtered with a decaying exponential of unit norm, so white noise keeps its sd.
    """
    filtered = np.empty(c.size)
    value = 0.0
    for t in range(c.size - 1, -1, -1):
        value = c[t] + decay * value
        filtered[t] = value
    highest, lowest = filtered[0], filtered[0]
    for t in range(filtered.size):
        highest, lowest = max(highest, filtered[t]), min(lowest, filtered[t])
    scale = np.sqrt(1.0 - decay * decay)
    rest = _quantile(filtered, _REST_SHARE) * scale + _REST_OF_NOISE * noise
    return (highest + lowest) * scale - 2.0 * rest


@njit(nogil=True, cache=True)
def _rises(traces, decay, noise, out):
    """:func:`_rise` of every row."""
    for j in range(len(traces)):
        out[j] = _rise(traces[j], decay, noise[j])


@njit(nogil=True, cache=True)
def _block(score, blocked, top, bottom, left, right):
    """Nothing will be looked for in a rectangle any more."""
    for y in range(max(0, top), min(score.shape[0], bottom)):
        for x in range(max(0, left), min(score.shape[1], right)):
            blocked[y, x] = True
            score[y, x] = -1.0


@njit(nogil=True, cache=True)
def _candidate(R, Z, y, x, noise, half, reach, level, adaptive, c, use):
    """Rank-1 form around a peak: (window, its top, its left, area, squared norm); c and use are filled."""
    H, W, n = R.shape
    top, left = max(0, y - half), max(0, x - half)
    a = np.empty((min(H, y + half + 1) - top, min(W, x + half + 1) - left))
    for t in range(n):
        c[t] = Z[y, x, t]
        use[t] = c[t] > level or not adaptive
    area, squared = 0, 1.0
    for _ in range(_RANK1_UPDATES):
        _footprint(R, c, use, top, left, a)
        area = _trim(a, y - top, x - left, reach)
        squared = _trace(R, a, top, left, c)
        for t in range(n):
            use[t] = c[t] * np.sqrt(squared) > level or not adaptive
    return a, top, left, area, squared


@njit(nogil=True, cache=True)
def _stands_out(c, use, squared, noise, decay, least_energy, least_rise):
    """Whether a candidate's own trace passes both tests of evidence."""
    energy = 0.0
    for t in range(c.size):
        if use[t]:
            energy += c[t] * c[t] * squared
    return energy > least_energy * noise * noise and (
        _rise(c, decay, noise / np.sqrt(squared)) * np.sqrt(squared) > least_rise * noise
    )


@njit(nogil=True, cache=True)
def _greedy(
    R,
    Z,
    norm,
    noise,
    blur,
    core,
    cell,
    half,
    reach,
    least_area,
    decay,
    least_energy,
    least_rise,
    most,
    adaptive,
    found,
    traces,
):
    """Components of one tile; `found` (k, h, w) and `traces` (k, n) are filled, how many is returned.

    R (h, w, n) residual and Z (h, w, n), its filtered form, are overwritten; norm (h, w) of the filter; noise: sd of
    Z; core (top, bottom, left, right) and the size of the patches (cells) that divide it, each of which yields `most`
    at most.
    """
    H, W, n = R.shape
    level = _THETA * noise if adaptive else 0.0
    enough = least_energy * noise * noise if adaptive else 0.0
    score = np.empty((H, W))
    blocked = norm <= 0.0
    _energies(Z, level, blocked, score, 0, H, 0, W)
    counts = np.zeros(((core[1] - core[0]) // cell[0] + 1, (core[3] - core[2]) // cell[1] + 1), np.int64)
    c, use = np.empty(n), np.empty(n, np.bool_)
    count, k, spread = 0, blur.size // 2, max(1, reach // 2)
    while count < len(found):
        peak = np.argmax(score)
        y, x = peak // W, peak % W
        if score[y, x] <= enough:
            break
        inside = core[0] <= y < core[1] and core[2] <= x < core[3]
        i, j = (y - core[0]) // cell[0], (x - core[2]) // cell[1]
        if inside and counts[i, j] >= most:
            rows, columns = core[0] + i * cell[0], core[2] + j * cell[1]
            _block(score, blocked, rows, min(rows + cell[0], core[1]), columns, min(columns + cell[1], core[3]))
            continue
        if not inside and not adaptive:
            _block(score, blocked, y, y + 1, x, x + 1)
            continue
        for t in range(n):
            c[t] = Z[y, x, t]
        if adaptive and _rise(c, decay, noise) <= _PROMISING * least_rise * noise:
            _block(score, blocked, y - spread, y + spread + 1, x - spread, x + spread + 1)
            continue
        a, top, left, area, squared = _candidate(R, Z, y, x, noise, half, reach, level, adaptive, c, use)
        if area < least_area or (adaptive and not _stands_out(c, use, squared, noise, decay, least_energy, least_rise)):
            _block(score, blocked, y - spread, y + spread + 1, x - spread, x + spread + 1)
            continue
        if inside:
            found[count, top : top + a.shape[0], left : left + a.shape[1]] = a
            traces[count] = c
            count += 1
            counts[i, j] += 1
        for t in range(n):
            use[t] = not adaptive or c[t] * np.sqrt(squared) > 2.0 * noise
        _subtract(R, Z, a, c, use, blur, norm, top, left)
        if not inside:
            _block(score, blocked, y - spread, y + spread + 1, x - spread, x + spread + 1)
        _energies(Z, level, blocked, score, top - k, top + a.shape[0] + k, left - k, left + a.shape[1] + k)
    return count


def rises(traces: NDArray, decay: float, noise: NDArray) -> NDArray[np.float64]:
    """How much higher the highest transient of each trace (N, T) is than its lowest excursion is low.

    Noise, neuropil and motion go up and down alike; calcium only rises. `decay`: of calcium from one value to the next;
    `noise`: sd (N,) of the noise of each trace.
    """
    out = np.empty(len(traces))
    _rises(np.ascontiguousarray(traces, np.float64), decay, np.ascontiguousarray(noise, np.float64), out)
    return out


def matched_filter(residual: NDArray, mask: NDArray[np.bool_], blur: Float) -> tuple[Float, Float]:
    """Residual (h, w, n) blurred by a kernel and divided by the kernel's norm within the mask (h, w); and that norm.

    White noise of variance 1 keeps its variance.
    """
    squared = ndi.correlate1d(
        ndi.correlate1d(mask.astype(np.float32), blur**2, 0, mode="constant"), blur**2, 1, mode="constant"
    )
    norm = np.where(mask, np.sqrt(squared), 0).astype(np.float32)
    filtered = np.zeros(residual.shape, np.float32)
    scale = np.divide(1, norm, out=np.zeros_like(norm), where=norm > 0)
    _blur(np.ascontiguousarray(residual, np.float32), np.asarray(blur, np.float32), scale, filtered)
    return filtered, norm


@njit(nogil=True, cache=True)
def _blur(R, blur, scale, out):
    """Separable correlation of R (h, w, n) with a kernel along y and x, zeros beyond the ends, times scale (h, w)."""
    h, w, n = R.shape
    reach = blur.size // 2
    row = np.empty((w, n), np.float32)
    for y in range(h):
        row[:] = 0
        for yy in range(max(0, y - reach), min(h, y + reach + 1)):
            for x in range(w):
                _add(blur[yy - y + reach], R[yy, x], row[x])
        for x in range(w):
            for xx in range(max(0, x - reach), min(w, x + reach + 1)):
                _add(blur[xx - x + reach] * scale[y, x], row[xx], out[y, x])


def filtered_noise(filtered: NDArray, norm: NDArray, step: int = 6) -> float:
    """Noise sd of a filtered patch (h, w, n): median over a grid of pixels of the typical change from bin to bin."""
    some = filtered[::step, ::step][norm[::step, ::step] > 0]
    if some.size == 0 or some.shape[1] < 2:
        return 1.0
    changes = np.median(np.abs(np.diff(some, axis=1)), axis=1) / (0.6745 * sqrt(2))
    return max(float(np.median(changes)), 1e-6)


def search_tile(
    residual: NDArray, mask: NDArray[np.bool_], search: Search, core: tuple[slice, slice]
) -> tuple[Float, Float]:
    """Components of one tile whose peak lies in its core.

    Args:
        residual: (n, h, w), in units of the noise.
        mask: (h, w), pixels to use.
        search: what to look for.
        core: (rows, columns) within the tile; patches of `search.cell` divide it.

    Returns:
        footprints (k, h, w) and traces (k, n), float32.
    """
    R = np.ascontiguousarray(np.moveaxis(residual, 0, -1), np.float32)
    Z, norm = matched_filter(R, mask, search.blur)
    noise = filtered_noise(Z, norm)
    rows, columns = core
    patches_here = -(-(rows.stop - rows.start) // search.cell[0]) * -(-(columns.stop - columns.start) // search.cell[1])
    found = np.zeros((search.most * patches_here, *mask.shape), np.float32)
    traces = np.zeros((len(found), len(residual)), np.float32)
    count = _greedy(
        R, Z, norm, noise, search.blur, (rows.start, rows.stop, columns.start, columns.stop), search.cell,
        search.window, max(1, round(search.half_width)), search.least_area, search.decay, search.least_energy,
        search.least_rise, search.most, search.adaptive, found, traces,
    )  # fmt: skip
    return found[:count], traces[:count]


def search_downsampled(
    residual: NDArray,
    mask: NDArray[np.bool_],
    search: Search,
    core: tuple[slice, slice],
    *,
    spatial: int = 1,
    rolling: int = 1,
) -> tuple[Float, Float]:
    """:func:`search_tile` with `spatial` x `spatial` px binned, and running sums over `rolling` bins."""
    if rolling > 1:
        residual = rolling_sum(residual, rolling)
    if spatial == 1:
        return search_tile(residual, mask, search, core)
    small_mask = bin_pixels(mask[None].astype(np.float32), spatial)[0] > 0
    rows, columns = (slice(round(s.start / spatial), round(s.stop / spatial)) for s in core)
    search = replace(search, half_width=max(search.half_width / spatial, 1), cell=_shrink(search.cell, spatial))
    found, traces = search_tile(bin_pixels(residual, spatial), small_mask, search, (rows, columns))
    large = np.zeros((len(found), *mask.shape), np.float32)
    grown = np.kron(found, np.ones((1, spatial, spatial), np.float32)) / spatial
    large[:, : grown.shape[1], : grown.shape[2]] = grown
    return large * mask, traces


def _shrink(cell: tuple[int, int], factor: int) -> tuple[int, int]:
    return max(1, cell[0] // factor), max(1, cell[1] // factor)


def stitch(
    results: Sequence[tuple[NDArray, NDArray]], grid: Sequence[patches.Patch], shape: tuple[int, int]
) -> tuple[sp.csc_array, Float]:
    """Footprints CSC (H*W, k) and traces (k, n) of all patches, in the order of the patches.

    Footprints without a pixel, as those of a bin at the rim of the mask may be, are left out.
    """
    columns, traces = [], np.concatenate([own for _, own in results])
    for patch, (found, _) in zip(grid, results, strict=True):
        columns += [to_column(a, patch.rows.start, patch.columns.start, shape) for a in found]
    seen = [k for k, (indices, _) in enumerate(columns) if len(indices)]
    return stack_columns([columns[k] for k in seen], shape[0] * shape[1]), traces[seen]


def to_column(window: NDArray, top: int, left: int, shape: tuple[int, ...]) -> tuple[NDArray, NDArray]:
    """(indices, values) in the flattened frame of what is above 0 in a window."""
    y, x = np.nonzero(window > 0)
    return (y + top) * shape[1] + x + left, window[y, x].astype(np.float32)


def stack_columns(columns: Sequence[tuple[NDArray, NDArray]], n_pixels: int) -> sp.csc_array:
    """CSC (n_pixels, N) float32 of columns given as (sorted indices, values)."""
    indptr = np.cumsum([0, *(len(indices) for indices, _ in columns)])
    indices = np.concatenate([np.empty(0, np.int64), *(indices for indices, _ in columns)])
    values = np.concatenate([np.empty(0, np.float32), *(values for _, values in columns)])
    return sp.csc_array((values.astype(np.float32), indices, indptr), shape=(n_pixels, len(columns)))


def seed_footprints(seeds: NDArray, shape: tuple[int, int], half_width: float) -> sp.csc_array:
    """Footprints of the user's seeds: discs around centres (n, 2) as (y, x) in px, or masks (n, H, W).

    Raises:
        ValueError: seeds have another shape, lie outside the frame, or are empty.
    """
    seeds = np.asarray(seeds)
    if seeds.ndim == 3 and seeds.shape[1:] == shape:
        masks = seeds > 0
    elif seeds.ndim == 2 and seeds.shape[1] == 2:
        y, x = np.ogrid[: shape[0], : shape[1]]
        masks = np.array([(y - cy) ** 2 + (x - cx) ** 2 <= half_width**2 for cy, cx in seeds], bool).reshape(-1, *shape)
    else:
        raise ValueError(
            f"seeds should be centres (n, 2) as (y, x) in px or masks (n, {shape[0]}, {shape[1]}), "
            f"have shape {seeds.shape}."
        )
    empty = np.flatnonzero(~masks.any(axis=(1, 2)))
    if len(empty):
        raise ValueError(f"Seeds {empty.tolist()} cover no pixel of the {shape[0]} x {shape[1]} frame; leave them out.")
    return stack_columns([to_column(mask, 0, 0, shape) for mask in masks], shape[0] * shape[1])


def bin_pixels(movie: NDArray, factor: int) -> Float:
    """Frames (n, H, W) with factor x factor pixels summed and divided by factor (white noise keeps its variance).

    Rows and columns beyond a whole number of bins are left out.
    """
    n, h, w = movie.shape[0], movie.shape[1] // factor, movie.shape[2] // factor
    cut = movie[:, : h * factor, : w * factor].reshape(n, h, factor, w, factor)
    return np.asarray(cut.sum(axis=(2, 4)) / factor, np.float32)


def rolling_sum(residual: NDArray, length: int) -> Float:
    """Running sums (n, H, W) over `length` bins divided by sqrt(length), so that white noise keeps its variance."""
    length = min(length, len(residual))
    total = np.cumsum(residual, axis=0, dtype=np.float32)
    total[length:] -= total[:-length].copy()
    return total / np.float32(sqrt(length))
