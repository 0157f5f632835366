"""Linear interpolation at given places: of images, and as a sparse matrix that moves footprints."""

import numpy as np
import scipy.sparse as sp
from numba import njit
from numpy.typing import NDArray

Float = NDArray[np.float32]


def sample(images: NDArray, places: NDArray, *, beyond_is_zero: bool = False) -> Float:
    """Interpolates images of one shape linearly at the same places.

    Args:
        images: (K, H, W), or (H, W); at least 2 px along each axis.
        places: (2, rows, columns), (y, x) in px of the images.
        beyond_is_zero: whether places outside of the images give 0; if not, they give the nearest pixel of the border.

    Returns:
        (K, rows, columns), or (rows, columns), float32.
    """
    stack = np.ascontiguousarray(images, np.float32).reshape(-1, *images.shape[-2:])
    result = np.empty((len(stack), *places.shape[1:]), np.float32)
    _sample(stack, np.ascontiguousarray(places, np.float64), beyond_is_zero, result)
    return result.reshape(*images.shape[:-2], *places.shape[1:])


@njit(nogil=True, cache=True)
def _sample(images: NDArray, places: NDArray, beyond_is_zero: bool, result: NDArray) -> None:
    height, width = images.shape[1:]
    for i in range(places.shape[1]):
        for j in range(places.shape[2]):
            y, x = places[0, i, j], places[1, i, j]
            if beyond_is_zero and not (0 <= y <= height - 1 and 0 <= x <= width - 1):
                result[:, i, j] = 0
                continue
            y, x = min(max(y, 0.0), height - 1.0), min(max(x, 0.0), width - 1.0)
            top, left = min(int(y), height - 2), min(int(x), width - 2)
            dy, dx = y - top, x - left
            for k in range(len(images)):
                above = (1 - dx) * images[k, top, left] + dx * images[k, top, left + 1]
                below = (1 - dx) * images[k, top + 1, left] + dx * images[k, top + 1, left + 1]
                result[k, i, j] = (1 - dy) * above + dy * below


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
