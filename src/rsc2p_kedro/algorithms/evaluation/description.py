"""Columns of the table of components: where they are, how large, how active."""

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from rsc2p_kedro.algorithms.deconvolution.autoregressive import ar_to_decay
from rsc2p_kedro.algorithms.evaluation.snr import count_runs

MASK_LEVEL = 0.2
"""Share of a footprint's maximum above which a pixel counts as part of the cell."""
_LIKELY = 0.5


def centres(footprints: sp.csc_array, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Centres of mass (N, 2) as (y, x) in px of footprints (H*W, N); those of an empty footprint are 0."""
    A = sp.csc_array(footprints, dtype=np.float64)
    y, x = np.divmod(np.arange(shape[0] * shape[1]), shape[1])
    mass = np.asarray(A.sum(axis=0)).ravel()
    return (A.T @ np.stack([y, x], axis=1)) / np.where(mass > 0, mass, 1)[:, None]


def areas(footprints: sp.csc_array) -> NDArray[np.int64]:
    """Pixels (N,) above a fifth of each footprint's maximum."""
    A = sp.csc_array(footprints)
    column = np.repeat(np.arange(A.shape[1]), np.diff(A.indptr))
    largest = np.zeros(A.shape[1], A.dtype)
    np.maximum.at(largest, column, A.data)
    return np.bincount(column[A.data > MASK_LEVEL * largest[column]], minlength=A.shape[1]).astype(np.int64)


def radii(footprints: sp.csc_array) -> NDArray[np.float64]:
    """Radii (N,) in px of discs of the same area."""
    return np.sqrt(areas(footprints) / np.pi)


def event_rates(event_probability: NDArray, frame_rate_hz: float) -> NDArray[np.float64]:
    """Events per second (N,): stretches of frames in each of which, with its two neighbours, a rise was likely.

    Args:
        event_probability: (N, T), that calcium rose in a frame; where it is not sure in which of two frames it did,
            the probability is shared between them.
        frame_rate_hz: frames per second.
    """
    T = event_probability.shape[1]
    padded = np.pad(event_probability, ((0, 0), (1, 1)))
    likely = padded[:, :T] + padded[:, 1 : T + 1] + padded[:, 2:] > _LIKELY
    return count_runs(likely) / (T / frame_rate_hz)


def decay_times(ar_coefficients: NDArray, frame_rate_hz: float) -> NDArray[np.float64]:
    """Decay time constants (N,) in s of AR coefficients (N, p); NaN where they do not decay."""
    if not len(ar_coefficients):
        return np.zeros(0)
    return ar_to_decay(ar_coefficients)[:, 0] / frame_rate_hz
