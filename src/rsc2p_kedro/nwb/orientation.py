"""The axes of NWB: every flip of the project is one of these two functions.

Our images are (H, W), row then column, and our points (y, x). NWB wants images as (x, y), width before height (schema
text since core 2.10), and points as (x, y). No validator can tell a file that has them the wrong way round.
"""

from typing import Any


def images_to_nwb(images: Any) -> Any:
    """Images (..., H, W), of NumPy or dask, as (..., x, y). Its own inverse. Copies nothing."""
    return images.swapaxes(-1, -2)


def points_to_nwb(points: Any) -> Any:
    """Points, shifts or sizes (..., 2) in (y, x) as (x, y). Its own inverse. Copies nothing."""
    return points[..., ::-1]
