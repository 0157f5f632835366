"""Positions or masks of neurons that a user has marked, for `initialization: seeded`."""

from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

from rsc2p_kedro.datasets.read_only import ReadOnlyDataset
from rsc2p_kedro.datasets.user_tables import Column, read_table

EXPECTED = "a CSV table with columns y_px and x_px, or a TIFF of labels (H, W) or masks (n, H, W)"


class SeedsDataset(ReadOnlyDataset[NDArray]):
    """Seeds of neurons, drawn by the user: a CSV table of centres, or a TIFF of masks.

    Examples:
        ```yaml
        animal_1.day_7.seeds:
          type: rsc2p_kedro.datasets.SeedsDataset
          filepath: data/01_raw/animal_1/seeds.csv
        ```

        >>> _ = (tmp_path / "seeds.csv").write_text("y_px,x_px\\n12,30\\n40.5,8\\n")
        >>> SeedsDataset(filepath=tmp_path / "seeds.csv").load()
        array([[12. , 30. ],
               [40.5,  8. ]])

    Loading gives centres (n, 2) float64 as (y, x) in px, or masks (n, H, W) bool. Whether they fit a movie is checked
    by :func:`check_seeds`, once the movie is known.
    """

    WHY_READ_ONLY = "seeds are drawn by the user. Save them with the program that drew them."

    def _read(self) -> NDArray:
        return read_seeds(self._filepath)


def read_seeds(path: Path, shape: tuple[int, int] | None = None) -> NDArray:
    """Reads the seeds that a user has drawn.

    Args:
        path: a CSV table with columns `y_px` and `x_px`, or a TIFF of labels (H, W; 0 is background) or of masks
            (n, H, W; pixels above 0 belong to the mask).
        shape: (H, W) of the movie, which the seeds should fit. None where it is not known yet.

    Returns:
        Centres (n, 2) float64 as (y, x) in px, or masks (n, H, W) bool.

    Raises:
        ValueError: there is no such file, its content is not as described above, or does not fit the movie.
    """
    if not path.is_file():
        raise ValueError(_no_seeds(path))
    if path.suffix.lower() == ".csv":
        return _read_centres(path, shape)
    masks = _read_masks(path)
    return masks if shape is None else check_seeds(masks, shape, source=path)


def check_seeds(seeds: NDArray | None, shape: tuple[int, int], *, source: Path | str = "seeds") -> NDArray:
    """Checks that seeds fit the frames of a movie.

    Args:
        seeds: centres (n, 2) as (y, x) in px or masks (n, H, W); None where the recording names no file.
        shape: (H, W) of the movie.
        source: the file they were read from, for the error.

    Returns:
        The same seeds.

    Raises:
        ValueError: there are no seeds, masks have another shape than the movie, or centres are outside the frame.
    """
    if seeds is None:
        raise ValueError(_no_seeds(None))
    height, width = shape
    if seeds.ndim == 3 and seeds.shape[1:] != (height, width):
        raise ValueError(
            f"{source}: masks should have {height} x {width} px like the movie, have {seeds.shape[1]} x "
            f"{seeds.shape[2]} px. Draw them on an image of this movie."
        )
    if seeds.ndim == 2:
        outside = seeds[~((seeds >= 0) & (seeds <= np.subtract(shape, 1))).all(axis=1)]
        if len(outside):
            raise ValueError(
                f"{source}: {len(outside)} of {len(seeds)} centres are outside the {height} x {width} px frame, the "
                f"first at y_px {outside[0, 0]:g}, x_px {outside[0, 1]:g}. Give them in px, counted from 0."
            )
    return seeds


def _no_seeds(path: Path | None) -> str:
    return (
        f"`initialization: seeded` needs seeds, but {'none were given' if path is None else f'{path} does not exist'}. "
        f"Name a file under `seeds:` in the recording's entry: {EXPECTED}."
    )


def _read_centres(path: Path, shape: tuple[int, int] | None) -> NDArray[np.float64]:
    height, width = shape or (None, None)
    frame = f" of the {height} x {width} px frame" if shape else ""
    columns = [
        Column(name, least=0, most=None if size is None else size - 1)
        for name, size in (("y_px", height), ("x_px", width))
    ]
    expected = f"a CSV table with columns y_px and x_px, in px{frame}, counted from 0"
    return read_table(path, columns, expected=expected).to_numpy()


def _read_masks(path: Path) -> NDArray[np.bool_]:
    try:
        image = tifffile.imread(path)
    except Exception as error:  # damaged headers raise errors of many kinds
        raise ValueError(f"{path} cannot be read as TIFF ({error}). Give {EXPECTED}.") from error
    if image.ndim == 3:
        return image > 0
    if image.ndim == 2 and image.dtype.kind in "ui":
        labels = np.unique(image[image != 0])
        return image == labels[:, None, None]
    raise ValueError(f"{path}: expected labels (H, W) or masks (n, H, W), found {image.dtype} {image.shape}.")
