"""Columns of the component table: position, area, event rate and decay time of each component."""

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from rsc2p_kedro.algorithms.deconvolution.autoregressive import ar_to_decay
from rsc2p_kedro.algorithms.evaluation.snr import count_runs
from rsc2p_kedro.algorithms.extraction.footprints import mask_areas

_MIN_EVENT_PROBABILITY = 0.5
"""Probability of an event, summed over three frames, from which it counts: more likely than not."""


def centres(footprints: sp.csc_array, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Centres of mass of footprints.

    Args:
        footprints: A, CSC (H*W, N).
        shape: (H, W).

    Returns:
        (N, 2), (y, x) in px; (0, 0) for an empty footprint.
    """
    A = sp.csc_array(footprints, dtype=np.float64)
    y, x = np.divmod(np.arange(shape[0] * shape[1]), shape[1])
    mass = np.asarray(A.sum(axis=0)).ravel()
    return (A.T @ np.stack([y, x], axis=1)) / np.where(mass > 0, mass, 1)[:, None]


def areas(footprints: sp.csc_array) -> NDArray[np.int64]:
    """Areas of footprints: pixels above a fifth of the maximum.

    Args:
        footprints: A, CSC (H*W, N).

    Returns:
        (N,), in px.
    """
    return mask_areas(footprints)


def radii(footprints: sp.csc_array) -> NDArray[np.float64]:
    """Radii of discs of the same areas as footprints.

    Args:
        footprints: A, CSC (H*W, N).

    Returns:
        (N,), in px.
    """
    return np.sqrt(areas(footprints) / np.pi)


def event_rates(event_probability: NDArray, frame_rate_hz: float) -> NDArray[np.float64]:
    """Rates of events: runs of frames in which an event is likely, the two neighbouring frames included.

    Args:
        event_probability: (N, T), probability that the component fired in a frame. It is shared between neighbouring
            frames where the data do not decide between them, hence the sum over three.
        frame_rate_hz: frames per second.

    Returns:
        (N,), in Hz.
    """
    T = event_probability.shape[1]
    padded = np.pad(event_probability, ((0, 0), (1, 1)))
    likely = padded[:, :T] + padded[:, 1 : T + 1] + padded[:, 2:] > _MIN_EVENT_PROBABILITY
    return count_runs(likely) / (T / frame_rate_hz)


def decay_times(ar_coefficients: NDArray, frame_rate_hz: float) -> NDArray[np.float64]:
    """Decay times of AR coefficients.

    Args:
        ar_coefficients: g, (N, p).
        frame_rate_hz: frames per second.

    Returns:
        (N,), in s; NaN where the coefficients do not describe a decay.
    """
    if not len(ar_coefficients):
        return np.zeros(0)
    return ar_to_decay(ar_coefficients)[:, 0] / frame_rate_hz
