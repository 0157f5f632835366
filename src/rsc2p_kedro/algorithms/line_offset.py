"""Offset between the lines of bidirectional scanning ("bidirectional phase"), estimated from the movie and corrected.

A resonant or bidirectional scanner records even rows (0, 2, ...) from left to right and odd rows (1, 3, ...) on the way
back. Where the two are not aligned, the content of odd rows is displaced along x. **The offset is the displacement of
the content of odd rows relative to even rows in px, positive to the right** (towards larger x). It is corrected by
moving odd rows by minus the offset; even rows stay as they are.

Estimation. With o_i(x) the odd row i of an image and e_i(x) the mean of the two even rows next to it,

    m(d) = mean over i and x of (o_i(x + d) - e_i(x))^2

is lowest at the offset d: the tissue changes little from row to row, and slanted structures cancel in the mean of both
neighbours. Images are means of up to 32 consecutive frames, which have little motion and noise, from up to 16 places
spread over the recording. m is divided by its value at d = 0 for each image, so that all count alike, whatever their
brightness. An offset other than 0 is only found where m is lower by more than `MIN_GAIN` and its
logarithm by more than `MIN_STANDARD_ERRORS` standard errors over the odd rows: a movie without offset is not changed.

CaImAn (`correct_bidi`) and Suite2p (`bidi_corrected`) correct the same; they find it by phase correlation.
"""

import dask.array as da
import numpy as np
from numpy.typing import NDArray

from rsc2p_kedro.algorithms.blocks import Movie, read, run
from rsc2p_kedro.core.parameters import Compute
from rsc2p_kedro.core.results import LineOffset

LARGEST_OFFSET_PX = 8
"""Largest offset in px that is searched for, or an eighth of the width of the frame where that is less. Chosen, not
tuned: offsets of microscopes in use are below 4 px."""

N_IMAGES, FRAMES_PER_IMAGE = 16, 32
"""Images and frames averaged to one. Chosen for the time of reading (512 frames), not tuned."""

FEWEST_FRAMES_PER_IMAGE = 8
"""Frames averaged to one image of a short movie, of which there are then fewer images. Chosen, not tuned."""

MIN_GAIN = 0.02
"""Smallest relative decrease of m at an offset other than 0. Chosen, not tuned: in none of 88 simulated and 3 real
movies without offset was m lower anywhere than at 0."""

MIN_STANDARD_ERRORS = 4.0
"""Smallest mean decrease of log m in standard errors over the odd rows. Chosen, not tuned."""

_TINY = 1e-9
"""Smallest relative mismatch of a row, for its logarithm."""


def estimate_line_offset(movie: Movie, *, compute: Compute) -> LineOffset:
    """Estimates the offset of odd rows.

    Args:
        movie: (T, H, W), raw, not yet motion-corrected.
        compute: resources of the machine; they do not change the result.

    Returns:
        The offset in whole px, 0 where none is found, and the mismatch of the rows at each offset that was tried.
    """
    T, H, W = movie.shape
    largest = min(LARGEST_OFFSET_PX, W // 8)
    if H < 3 or largest < 1:
        return LineOffset.not_estimated()
    spans = _spans(T)
    images = run(
        lambda span: read(movie, span).mean(0, dtype=np.float64), spans, compute=compute, description="line-scan offset"
    )
    mismatch = np.mean([row_mismatch(image, largest) for image in images], axis=0)
    offsets = np.arange(-largest, largest + 1)
    return LineOffset(_decide(mismatch, offsets), offsets, mismatch.mean(0))


def _spans(n_frames: int) -> list[slice]:
    """Frames of each image: consecutive, spread evenly over the recording, without overlap."""
    length = min(FRAMES_PER_IMAGE, max(n_frames // N_IMAGES, min(FEWEST_FRAMES_PER_IMAGE, n_frames)))
    n = min(N_IMAGES, n_frames // length)
    starts = ((np.arange(n) + 0.5) * n_frames / n - length / 2).astype(int)
    return [slice(start, start + length) for start in np.clip(starts, 0, n_frames - length).tolist()]


def row_mismatch(image: NDArray, largest: int) -> NDArray[np.float64]:
    """Mean squared difference of odd rows, moved back by an offset, from the mean of the even rows next to them.

    Args:
        image: (H, W), H >= 3, W > 2 * largest.
        largest: largest offset in px along either direction.

    Returns:
        (odd rows, 2 * largest + 1) for the offsets -largest ... largest, relative to the mean over all rows at offset
        0; all 1 for an image in which all rows are equal.
    """
    image = np.asarray(image, np.float64)
    odd = image[1:-1:2]
    even = (image[0:-2:2] + image[2::2])[: len(odd)] / 2
    middle, width = even[:, largest : image.shape[1] - largest], image.shape[1] - 2 * largest
    differences = (odd[:, start : start + width] - middle for start in range(2 * largest + 1))
    # Without the mean of each row: rows of a flickering laser differ in brightness.
    squares = np.stack([difference.var(axis=1) for difference in differences], axis=1)
    usual = squares[:, largest].mean()
    return squares / usual if usual > 0 else np.ones(squares.shape)


def _decide(mismatch: NDArray[np.float64], offsets: NDArray[np.int64]) -> int:
    """The offset of lowest mismatch (odd rows, offsets), or 0 where it is not clearly lower than that of 0."""
    best, zero = int(mismatch.mean(0).argmin()), int(np.flatnonzero(offsets == 0)[0])
    if mismatch[:, best].mean() > (1 - MIN_GAIN) * mismatch[:, zero].mean():
        return 0
    # Ratios, because a few rows with bright cells would dominate differences.
    ratios = np.log(np.maximum(mismatch[:, zero], _TINY)) - np.log(np.maximum(mismatch[:, best], _TINY))
    error = float(ratios.std(ddof=1)) / np.sqrt(len(ratios)) if len(ratios) > 1 else np.inf
    return int(offsets[best]) if ratios.mean() > MIN_STANDARD_ERRORS * error else 0


def correct_line_offset(movie: da.Array, offset_px: int) -> da.Array:
    """Moves odd rows by minus the offset.

    Args:
        movie: (T, H, W), lazy.
        offset_px: displacement of the content of odd rows in px, positive to the right.

    Returns:
        (T, H, W), lazy, in the same dtype; the same array for an offset of 0. Pixels at the edge that have no source
        take the value of the nearest pixel of their row.

    Raises:
        ValueError: the offset is not smaller than the width of the frame.
    """
    if offset_px == 0:
        return movie
    W = movie.shape[2]
    if abs(offset_px) >= W:
        raise ValueError(f"line_offset should be smaller than the width of the frame ({W} px), is {offset_px}.")
    columns = np.clip(np.arange(W) + offset_px, 0, W - 1)

    def move(block: NDArray) -> NDArray:
        block = block.copy()
        block[:, 1::2] = block[:, 1::2][..., columns]
        return block

    return movie.rechunk({1: -1, 2: -1}).map_blocks(move, dtype=movie.dtype, meta=movie._meta)
