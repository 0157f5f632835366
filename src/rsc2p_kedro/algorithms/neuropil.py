"""Light around components (neuropil), and the part of it that is in their own pixels.

A pixel of a soma also has light of what lies in front of and behind it. It is estimated from the ring around the
component: the nearest pixels that are at least a gap away and in no component. The part r of it that the component's
own pixels have (contamination ratio; 0.7 in Suite2p) is estimated from fluctuations: those of the neuropil appear in
the component's total fluorescence r times as large while the component itself is silent. Fluctuations are those within
seconds; slow changes such as bleaching are common to all fluorescence and tell nothing.
"""

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from rsc2p_kedro.core.results import Components

GAP_PX, RING_PIXELS = 2.0, 350
"""Distance in px between a component and its ring, and pixels of the ring, as in Suite2p."""
INSIDE = 0.2
"""Weight of a pixel, relative to the component's largest, from which it is inside of it."""
REACH_PX = 30
"""Distance in px from a component's box within which its ring lies."""
LEAST_PIXELS = 50
"""Pixels in no component below which pixels of other components are taken, too."""
N_BLOCKS = 8
"""Blocks of time, from whose estimates the error of a contamination ratio follows."""


def background_around(components: Components) -> NDArray[np.float64]:
    """Mean background in the ring around each component.

    Args:
        components: footprints and background.

    Returns:
        (N, T), counts per pixel, including the dark level.
    """
    H, W = components.shape
    footprints = sp.csc_array(components.footprints)
    largest = np.maximum(footprints.max(axis=0).toarray().ravel(), np.finfo(np.float32).tiny)
    owned = sp.csc_array(footprints.multiply(1 / largest[None, :])) >= INSIDE
    taken = np.asarray(owned.sum(axis=1)).reshape(H, W) > 0
    b = sp.csr_array(components.background_footprints)
    weights = np.zeros((components.n_components, b.shape[1]))
    for i in range(components.n_components):
        own = sp.csc_array(owned[:, [i]]).indices
        ring = _ring(own, taken)
        weights[i] = b[ring].mean(axis=0) if len(ring) else 0
    return weights @ components.background_traces.astype(np.float64)


def _ring(own: NDArray[np.int64], taken: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Pixels (flat indices) of the ring around some pixels of a frame in which others are taken."""
    W = taken.shape[1]
    if not len(own):
        return own
    y, x = np.divmod(own, W)
    top, left = max(y.min() - REACH_PX, 0), max(x.min() - REACH_PX, 0)
    window = np.s_[top : y.max() + REACH_PX + 1, left : x.max() + REACH_PX + 1]
    free, outside = ~taken[window], np.ones(taken[window].shape, bool)
    outside[y - top, x - left] = False
    distance = distance_transform_edt(outside)
    allowed = distance > GAP_PX
    if (allowed & free).sum() >= LEAST_PIXELS:
        allowed &= free
    rows, columns = np.nonzero(allowed)
    nearest = np.argsort(distance[rows, columns], kind="stable")[:RING_PIXELS]
    return (rows[nearest] + top) * W + columns[nearest] + left


def contamination(total: NDArray, neuropil: NDArray, silent: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Contamination ratio of each component, from the fluctuations of its fluorescence and of the neuropil.

    Estimates of single components are drawn towards the median of all, the more the less certain they are (empirical
    Bayes): r = (r_i / e_i^2 + m / s^2) / (1 / e_i^2 + 1 / s^2), with the errors e_i, the median m and the spread s of
    the true ratios.

    Args:
        total: (N, T), fluctuations of the total fluorescence under the footprints.
        neuropil: (N, T), of the light around, in the same units.
        silent: (N, T), frames in which the component is silent.

    Returns:
        (N,), 0..1; 0 where nothing fluctuates.
    """
    blocks = np.array_split(np.arange(total.shape[1]), N_BLOCKS)
    products = np.stack([np.where(silent, neuropil * total, 0)[:, block].sum(axis=1) for block in blocks])
    squares = np.stack([np.where(silent, neuropil * neuropil, 0)[:, block].sum(axis=1) for block in blocks])
    p, s = products.sum(axis=0), squares.sum(axis=0)
    seen = (s > 0) & ((s - squares) > 0).all(axis=0)
    if not seen.any():
        return np.zeros(len(total))
    ratio = np.where(seen, p / np.where(seen, s, 1), np.nan)
    without = np.where(seen, (p - products) / np.where(seen, s - squares, 1), np.nan)
    error = np.sqrt((N_BLOCKS - 1) / N_BLOCKS * np.square(without - without.mean(axis=0)).sum(axis=0))
    error = np.maximum(error, 1e-6)
    middle = float(np.nanmedian(ratio))
    spread = max(1.4826**2 * float(np.nanmedian((ratio - middle) ** 2)) - float(np.nanmedian(error)) ** 2, 1e-4)
    drawn = (ratio / error**2 + middle / spread) / (1 / error**2 + 1 / spread)
    return np.clip(np.where(seen, drawn, middle), 0, 1)
