"""Footprints as sparse columns: conversion from and to dense windows, and their shape."""

from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

Float = NDArray[np.float32]


def window_to_column(window: NDArray, top: int, left: int, shape: tuple[int, ...]) -> tuple[NDArray, NDArray]:
    """The positive pixels of a window of the frame.

    Args:
        window: (h, w) values.
        top: row of the frame at which the window starts.
        left: column of the frame at which the window starts.
        shape: (H, W) of the frame.

    Returns:
        Indices (n,) into the flattened frame (C order), ascending, and values (n,) float32.
    """
    y, x = np.nonzero(window > 0)
    return (y + top) * shape[1] + x + left, window[y, x].astype(np.float32)


def stack_columns(columns: Sequence[tuple[NDArray, NDArray]], n_pixels: int) -> sp.csc_array:
    """Footprints in one sparse array.

    Args:
        columns: (ascending pixel indices, values) of each of N footprints.
        n_pixels: H*W.

    Returns:
        CSC (n_pixels, N) float32.
    """
    indptr = np.cumsum([0, *(len(indices) for indices, _ in columns)])
    indices = np.concatenate([np.empty(0, np.int64), *(indices for indices, _ in columns)])
    values = np.concatenate([np.empty(0, np.float32), *(values for _, values in columns)])
    return sp.csc_array((values.astype(np.float32), indices, indptr), shape=(n_pixels, len(columns)))


def cut_window(footprints: sp.csc_array, j: int, shape: tuple[int, int], margin: int) -> tuple[Float, int, int]:
    """The dense window of one footprint.

    Args:
        footprints: (H*W, N).
        j: which footprint.
        shape: (H, W) of the frame.
        margin: pixels to add around its bounding box, as far as the frame reaches.

    Returns:
        The window (h, w) float32, and the row and column of the frame at which it starts. The window of an empty
        footprint has shape (0, 0).
    """
    part = slice(footprints.indptr[j], footprints.indptr[j + 1])
    y, x = np.divmod(footprints.indices[part], shape[1])
    if len(y) == 0:
        return np.zeros((0, 0), np.float32), 0, 0
    top, left = max(0, y.min() - margin), max(0, x.min() - margin)
    window = np.zeros(
        (min(shape[0], y.max() + margin + 1) - top, min(shape[1], x.max() + margin + 1) - left), np.float32
    )
    window[y - top, x - left] = footprints.data[part]
    return window, int(top), int(left)


MASK_LEVEL = 0.2
"""Pixels of a footprint above this fraction of its maximum belong to the cell: in the component table, and in scores
against the truth. Not tuned."""


def footprint_masks(footprints: sp.csc_array, level: float = MASK_LEVEL) -> sp.csc_array:
    """Masks of footprints: the pixels above a fraction of each footprint's maximum.

    Args:
        footprints: CSC (H*W, N).
        level: the fraction.

    Returns:
        CSC (H*W, N) int32, 1 within a mask.
    """
    A = sp.csc_array(footprints)
    column = np.repeat(np.arange(A.shape[1]), np.diff(A.indptr))
    maximum = np.zeros(A.shape[1], A.dtype)
    np.maximum.at(maximum, column, A.data)
    inside = A.data > level * maximum[column]
    entries = (np.ones(int(inside.sum()), np.int32), (A.indices[inside], column[inside]))
    return sp.csc_array(entries, shape=A.shape)


def mask_areas(footprints: sp.csc_array, level: float = MASK_LEVEL) -> NDArray[np.int64]:
    """Areas of the masks of footprints.

    Args:
        footprints: CSC (H*W, N).
        level: see :func:`footprint_masks`.

    Returns:
        (N,), in px.
    """
    return np.diff(footprint_masks(footprints, level).indptr).astype(np.int64)


def half_axes(footprints: sp.csc_array, shape: tuple[int, int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Half-axes of the ellipse that has the second moments of each footprint's energy.

    Energy is the square of the footprint, so that its faint rim hardly counts. A uniform disc of radius r has
    half-axes r.

    Args:
        footprints: (H*W, N).
        shape: (H, W) of the frame.

    Returns:
        Minor and major half-axes (N,) in px; 0 for an empty footprint.
    """
    out = np.zeros((footprints.shape[1], 2))
    for j in range(footprints.shape[1]):
        part = slice(footprints.indptr[j], footprints.indptr[j + 1])
        energy = footprints.data[part].astype(np.float64) ** 2
        if energy.sum() > 0:
            position = np.stack(np.divmod(footprints.indices[part], shape[1])).astype(np.float64)
            centred = position - (position @ energy / energy.sum())[:, None]
            moments = (centred * energy) @ centred.T / energy.sum()
            out[j] = 2 * np.sqrt(np.maximum(np.linalg.eigvalsh(moments), 0))
    return out[:, 0], out[:, 1]
