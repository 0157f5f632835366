"""Conversion to the axis order of NWB: the only two functions of the project that swap axes for it.

Images of this project are (H, W), row then column, and points are (y, x). NWB stores images as (x, y), width before
height (schema text since core 2.10), and points as (x, y). No validator can detect a file whose axes are exchanged.
"""

from typing import Any

XY_AXES = "Axes: (time, x, y), x is the column and y the row of the frame."
"""Axis order, for the descriptions of movies."""


def images_to_nwb(images: Any) -> Any:
    """Swaps the axes of images. It is its own inverse and copies nothing.

    Args:
        images: (..., H, W), an array of NumPy or dask.

    Returns:
        A view (..., x, y) of the same kind and dtype.
    """
    return images.swapaxes(-1, -2)


def points_to_nwb(points: Any) -> Any:
    """Swaps the coordinates of points, shifts or sizes. It is its own inverse and copies nothing.

    Args:
        points: (..., 2) as (y, x), an array of NumPy or dask.

    Returns:
        A view (..., 2) as (x, y) of the same kind and dtype.
    """
    return points[..., ::-1]
