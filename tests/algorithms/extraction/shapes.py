"""Images and footprints that the tests of extraction share."""

import numpy as np
import scipy.sparse as sp


def disc(shape, cy, cx, radius):
    """Image (H, W) float32, 1 within a disc."""
    y, x = np.ogrid[: shape[0], : shape[1]]
    return ((y - cy) ** 2 + (x - cx) ** 2 <= radius**2).astype(np.float32)


def as_footprints(*images):
    """Images (H, W) as footprints CSC (H*W, N)."""
    return sp.csc_array(np.stack([image.ravel() for image in images], axis=1).astype(np.float32))
