"""Plain, slow version of the local correlation."""

import numpy as np
from numpy.typing import NDArray


def local_correlation(movie: NDArray, valid_mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Mean of np.corrcoef of each pixel with each of its valid neighbours that change."""
    _, H, W = movie.shape
    image = np.zeros((H, W))
    usable = valid_mask & (movie.std(axis=0) > 0)
    for y, x in np.argwhere(usable):
        near = [
            np.corrcoef(movie[:, y, x], movie[:, y + dy, x + dx])[0, 1]
            for dy in (-1, 0, 1)
            for dx in (-1, 0, 1)
            if (dy, dx) != (0, 0) and 0 <= y + dy < H and 0 <= x + dx < W and usable[y + dy, x + dx]
        ]
        image[y, x] = np.mean(near) if near else 0
    return image
