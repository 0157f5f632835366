"""Values at which the detector saturates get no weight: they say only that the light was at least as strong.

Where a detector saturates, the middle of a bright neuron stays level while its rim goes on rising, and the neuron
becomes two components with mirrored traces. Such values are therefore taken as censored: before each update they are
replaced by what the model expects, where this is more than was recorded (an EM algorithm for censored data, Dempster et
al. 1977, doi 10.1111/j.2517-6161.1977.tb01600.x, with the most probable value in place of the mean of the truncated
normal distribution: noise is small where light is strong). At its fixed point they have no weight in the fit.

The level comes from :mod:`rsc2p_kedro.algorithms.saturation`. A bin is censored where its mean reaches the level.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

_PIXELS_AT_ONCE = 256
"""Pixels whose model is computed at once, for memory; changes no result."""


@dataclass(frozen=True, eq=False)
class CensoredValues:
    """Censored values of a movie of T frames or bins, in units of the noise.

    Attributes:
        pixels: (P,), flat indices of the pixels that have any, ascending.
        observed: (T, P) CSC, the values as recorded, minus the mean of the pixel as recorded.
        shift: (P,), by how much the mean of the pixel has risen since values were replaced; updated in place.
    """

    pixels: NDArray[np.int64]
    observed: sp.csc_array
    shift: NDArray[np.float64]

    @property
    def columns(self) -> NDArray[np.int64]:
        """(E,), for each censored value the position of its pixel in `pixels`."""
        return np.repeat(np.arange(len(self.pixels)), np.diff(self.observed.indptr))


def find_censored(movie: NDArray, level: float) -> sp.csc_array:
    """The values of a movie that reach a level.

    Args:
        movie: (T, H, W), in the units of the level.
        level: from which on values are censored.

    Returns:
        CSC (T, H*W) float32, 1 where a value is censored.
    """
    t, p = np.nonzero((movie >= level).reshape(len(movie), -1))
    shape = (len(movie), movie.shape[1] * movie.shape[2])
    return sp.csc_array(sp.coo_array((np.ones(len(t), np.float32), (t, p)), shape=shape))


def record_values(movie: NDArray, censored: sp.csc_array) -> sp.csc_array:
    """The values of a movie where it is censored.

    Args:
        movie: (T, H, W), minus the mean of the pixel, in units of the noise.
        censored: (T, H*W), from :func:`find_censored` for the same movie in the units of the level.

    Returns:
        CSC (T, H*W) float32, with an explicit entry for each censored value.
    """
    pixels = np.repeat(np.arange(censored.shape[1]), np.diff(censored.indptr))
    recorded = censored.copy()
    recorded.data[:] = movie.reshape(len(movie), -1)[censored.indices, pixels]
    return recorded


def collect_values(recorded: sp.csc_array, mask: NDArray[np.bool_]) -> CensoredValues | None:
    """The censored values of the pixels that are used.

    Args:
        recorded: (T, H*W), from :func:`record_values`.
        mask: (H, W), pixels that are used.

    Returns:
        The values, None where there are none.
    """
    pixels = np.flatnonzero((np.diff(recorded.indptr) > 0) & mask.ravel())
    return CensoredValues(pixels, sp.csc_array(recorded[:, pixels]), np.zeros(len(pixels))) if len(pixels) else None


def expected_values(
    values: CensoredValues, A: sp.csc_array, C: NDArray, splines: sp.csr_array, F: NDArray, gain: NDArray
) -> NDArray[np.float64]:
    """What a factorization expects at censored values.

    Args:
        values: E censored values.
        A: footprints (H*W, N) in units of the noise.
        C: traces (N, T).
        splines: (H*W, K), of the neuropil.
        F: (K, T), time courses of the splines.
        gain: (H, W), brightness of the neuropil in units of the noise.

    Returns:
        (E,), in the order of `values.observed.data`.
    """
    background = splines[values.pixels].multiply(gain.reshape(-1, 1)[values.pixels])
    model = sp.csr_array(sp.hstack([sp.csr_array(A)[values.pixels], background], format="csr"), dtype=np.float64)
    sources, expected = np.concatenate([C, F]), np.empty(values.observed.nnz)
    for first in range(0, len(values.pixels), _PIXELS_AT_ONCE):
        bounds = values.observed.indptr[first : first + _PIXELS_AT_ONCE + 1]
        part = slice(bounds[0], bounds[-1])
        series = model[first : first + _PIXELS_AT_ONCE] @ sources
        expected[part] = series[values.columns[part] - first, values.observed.indices[part]]
    return expected


def restore(movie: NDArray, values: CensoredValues, expected: NDArray) -> None:
    """Replaces censored values by what is expected there, where this is more; keeps the mean of each pixel at 0.

    Args:
        movie: (T, H, W), minus the mean of the pixel, in units of the noise; changed in place.
        values: its censored values; their shift is changed in place.
        expected: (E,), from :func:`expected_values`.
    """
    flat, columns = movie.reshape(len(movie), -1), values.columns
    higher = np.maximum(values.observed.data - values.shift[columns], expected)
    for first in range(0, len(values.pixels), _PIXELS_AT_ONCE):
        pixels = values.pixels[first : first + _PIXELS_AT_ONCE]
        bounds = values.observed.indptr[first : first + _PIXELS_AT_ONCE + 1]
        part = slice(bounds[0], bounds[-1])
        series = flat[:, pixels].astype(np.float64)
        series[values.observed.indices[part], columns[part] - first] = higher[part]
        means = series.mean(axis=0)
        flat[:, pixels] = series - means
        values.shift[first : first + _PIXELS_AT_ONCE] += means
