"""Linear interpolation of images at given places, as a sparse matrix that also moves footprints."""

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray


def sampling_matrix(places: NDArray, shape: tuple[int, int]) -> sp.csr_array:
    """Makes the matrix that interpolates flattened images linearly at given places.

    Args:
        places: (2, ...), n places as (y, x) in px of an image.
        shape: (H, W) of the image, at least 2 px each.

    Returns:
        CSR (n, H*W) float32; rows of places outside of the image are empty.
    """
    y, x = (np.asarray(axis, np.float64).ravel() for axis in places)
    rows = np.flatnonzero((y >= 0) & (y <= shape[0] - 1) & (x >= 0) & (x <= shape[1] - 1))
    y, x = y[rows], x[rows]
    top, left = (np.minimum(axis.astype(np.int64), size - 2) for axis, size in zip((y, x), shape, strict=True))
    dy, dx = y - top, x - left
    corner = top * shape[1] + left
    pixels = np.stack([corner, corner + 1, corner + shape[1], corner + shape[1] + 1], axis=1)
    weights = np.stack([(1 - dy) * (1 - dx), (1 - dy) * dx, dy * (1 - dx), dy * dx], axis=1)
    counts = np.zeros(len(places[0].ravel()), np.int64)
    counts[rows] = 4
    matrix = sp.csr_array(
        (weights.ravel().astype(np.float32), pixels.ravel(), np.concatenate([[0], np.cumsum(counts)])),
        shape=(len(counts), shape[0] * shape[1]),
    )
    matrix.eliminate_zeros()
    return matrix
