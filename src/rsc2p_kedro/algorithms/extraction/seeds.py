"""Seeds: footprints that the user gives as centres or masks."""

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from rsc2p_kedro.algorithms.extraction.footprints import stack_columns, window_to_column


def seed_footprints(seeds: NDArray, shape: tuple[int, int], neuron_half_width_px: float) -> sp.csc_array:
    """Footprints of the user's seeds.

    Args:
        seeds: centres (n, 2) as (y, x) in px, or masks (n, H, W), of which pixels above 0 count.
        shape: (H, W) of the frame.
        neuron_half_width_px: radius in px of the disc around a centre.

    Returns:
        CSC (H*W, n) float32, 1 in the pixels of each seed.

    Raises:
        ValueError: seeds have another shape, lie outside the frame, or are empty.
    """
    seeds = np.asarray(seeds)
    if seeds.ndim == 3 and seeds.shape[1:] == shape:
        masks = seeds > 0
    elif seeds.ndim == 2 and seeds.shape[1] == 2:
        y, x = np.ogrid[: shape[0], : shape[1]]
        radius = neuron_half_width_px
        masks = np.array([(y - cy) ** 2 + (x - cx) ** 2 <= radius**2 for cy, cx in seeds], bool).reshape(-1, *shape)
    else:
        raise ValueError(
            f"seeds should be centres (n, 2) as (y, x) in px or masks (n, {shape[0]}, {shape[1]}), "
            f"have shape {seeds.shape}."
        )
    empty = np.flatnonzero(~masks.any(axis=(1, 2)))
    if len(empty):
        raise ValueError(f"Seeds {empty.tolist()} cover no pixel of the {shape[0]} x {shape[1]} frame; leave them out.")
    return stack_columns([window_to_column(mask, 0, 0, shape) for mask in masks], shape[0] * shape[1])
