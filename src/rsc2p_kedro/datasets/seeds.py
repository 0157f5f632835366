"""Where the user says the neurons are, for `initialization: seeded`."""

from pathlib import Path

import numpy as np
import pandas as pd
import tifffile
from numpy.typing import NDArray


def read_seeds(path: Path | None, shape: tuple[int, int]) -> NDArray:
    """Centres (n, 2) as (y, x) in px, or masks (n, H, W) bool, that a user has drawn.

    Args:
        path: a CSV table with columns `y_px` and `x_px`, or a TIFF of labels (H, W) or of masks (n, H, W).
        shape: (H, W) of the movie.

    Raises:
        ValueError: there is no such file, or it does not hold what is expected.
    """
    if path is None or not path.is_file():
        raise ValueError(
            f"`initialization: seeded` needs seeds, found {path}. Name a file under `seeds:` in the recording's entry: "
            "a CSV table with columns y_px and x_px, or a TIFF of labels (H, W) or masks (n, H, W)."
        )
    seeds = _centres(path) if path.suffix.lower() == ".csv" else _masks(path)
    if seeds.ndim == 3 and seeds.shape[1:] != tuple(shape):
        raise ValueError(f"{path}: masks should be {shape[0]} x {shape[1]} px as the movie, are {seeds.shape[1:]}.")
    if seeds.ndim == 2 and not ((seeds >= 0) & (seeds <= np.subtract(shape, 1))).all():
        outside = int((~((seeds >= 0) & (seeds <= np.subtract(shape, 1))).all(axis=1)).sum())
        raise ValueError(f"{path}: {outside} of {len(seeds)} centres lie outside the {shape[0]} x {shape[1]} px frame.")
    return seeds


def _centres(path: Path) -> NDArray:
    table = pd.read_csv(path)
    missing = {"y_px", "x_px"} - set(table.columns)
    if missing:
        raise ValueError(f"{path}: expected columns y_px and x_px, found {', '.join(table.columns)}.")
    return table[["y_px", "x_px"]].to_numpy(dtype=float)


def _masks(path: Path) -> NDArray:
    image = tifffile.imread(path)
    if image.ndim == 3:
        return image > 0
    if image.ndim == 2 and image.dtype.kind in "ui":
        return np.stack([image == label for label in np.unique(image) if label]).reshape(-1, *image.shape)
    raise ValueError(f"{path}: expected labels (H, W) or masks (n, H, W), found {image.dtype} {image.shape}.")
