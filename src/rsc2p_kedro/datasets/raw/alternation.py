"""A test on the pixels of whether images alternate: channels or planes that were saved one after the other.

In a movie of one plane, neighbouring images resemble each other more than distant ones. Where C channels or Z planes
alternate, image i resembles image i + p, with p = C (Z + flyback), and differs from those between. For each candidate p
the images of a short block are sorted into the classes i mod p. With x the image (binned, so that photon noise is
small), the variance within the classes,

    W(p) = mean over pixels of  sum over i (x_i - mean of the class of i)^2 / (L - p),

is the same for all p in a movie of one plane: of noise, of motion and of activity. (It even grows with p under
bleaching or drift.) Where images alternate, W(1) also holds the difference between the channels or planes, and W drops
at their number p and its multiples. The period is the smallest p at which W has dropped as far as it ever does, and the
difference between its classes must be a fair share of the structure of the images.

This is a one-way analysis of variance. Nothing is tuned on recordings of users; the thresholds were set on simulated
movies, on real ones and on pairs and triples of them that were interleaved (docs/formats.md).
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from rsc2p_kedro.algorithms import blocks
from rsc2p_kedro.datasets.raw.recording import ImageFile

LONGEST_PERIOD = 16
"""Largest number of alternating images that is looked for: 2 channels of 8 planes."""
_BLOCK = 48
"""Images of a block: three of each class at the longest period. Bleaching and drift within a block are small."""
_BINS = 32
"""Bins along each side of an image. An image of 512 px has 256 pixels in a bin, and 3 % noise at 4 photons a pixel."""
_SMALLEST_DROP = 1.15
"""Smallest W(1) / W(p) that counts as a period."""
_SMALLEST_DIFFERENCE = 0.1
"""Smallest difference between the classes that counts, as a share of the structure (standard deviation over space, and
over the classes) of the images."""
_FLICKER = 0.1
"""Largest relative change of brightness from image to image that may be the laser's."""
_BLANK = 0.05
"""Images whose standard deviation is below this share of the median are blank."""


def alternating_images(files: Sequence[ImageFile], *, n_images: int | None = None) -> int:
    """Looks whether the images of files alternate, reading at most three blocks of 48 images.

    Args:
        files: of a recording, in reading order, all of one shape.
        n_images: number of images to look at, from the first; None takes all.

    Returns:
        The period in at least two of three blocks: 1 if nothing alternates, or if there are too few images to tell.
    """
    ends = np.cumsum([file.n_images for file in files])
    total = min(int(ends[-1]), n_images or int(ends[-1])) if len(ends) else 0
    if not total or min(files[0].shape) < 8:
        return 1
    return _usual_period(total, lambda start, length: _read_block(files, ends, start, length))


def alternating_frames(movie: blocks.Movie) -> int:
    """Looks whether the frames of a movie alternate, reading at most three blocks of 48 frames.

    Args:
        movie: (T, H, W), lazy or not, finite.

    Returns:
        The period in at least two of three blocks: 1 if nothing alternates, or if there are too few frames to tell.
    """

    def read(start: int, length: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        frames = blocks.read(movie, slice(start, start + length))
        return _binned(frames), _binned(np.asarray(np.gradient(frames.mean(axis=0, dtype=np.float64))))

    return 1 if min(movie.shape[1:]) < 8 else _usual_period(len(movie), read)


def _usual_period(n_images: int, read: Callable[[int, int], tuple[NDArray[np.float64], NDArray[np.float64]]]) -> int:
    """The period in at least two of three blocks, each read by its start and length as :func:`_read_block` does."""
    length = min(_BLOCK, n_images)
    if length < 12:
        return 1
    starts = sorted({int(share * (n_images - length)) for share in (0.3, 0.7, 0.0)}, key=lambda start: -start)
    votes: list[int] = []
    for start in starts:
        votes.append(period(*read(start, length)))
        usual = max(votes, key=votes.count)
        if votes.count(usual) >= min(2, len(starts)):
            return usual
    return min(votes)


def period(images: NDArray, slopes: NDArray | None = None) -> int:
    """Finds the number of images that alternate in a block.

    Args:
        images: (L, rows, columns) consecutive images, at least 12, binned.
        slopes: (2, rows, columns) derivatives of the mean image along rows and columns, binned: the change that a shift
            makes. None takes those of the binned images.

    Returns:
        The period, at least 1.
    """
    spread = images.std(axis=(1, 2))
    seen = np.flatnonzero(spread > _BLANK * np.median(spread))  # blank frames are no class of images
    x, longest = images[seen].astype(np.float64), min(LONGEST_PERIOD, len(images) // 3)
    classes = [[np.flatnonzero(seen % p == q) for q in range(p)] for p in range(1, longest + 1)]
    usable = [members for members in classes if all(len(member) > 1 for member in members)]
    if not usable:
        return 1
    within = np.array([_variance_within(x, members) for members in usable])
    found = int(np.argmax(within <= 1.1 * within.min()))
    if found == 0 or within[0] < _SMALLEST_DROP * within[found]:
        return 1
    slopes = np.stack(np.gradient(x.mean(axis=0))) if slopes is None else slopes
    difference = _difference(x, usable[found], slopes)
    structure = x.mean(axis=0).var() + difference
    return len(usable[found]) if difference >= _SMALLEST_DIFFERENCE**2 * structure else 1


def _variance_within(x: NDArray[np.float64], classes: Sequence[NDArray[np.int64]]) -> float:
    """W(p) of images x (L, rows, columns), for the images of each class."""
    squares = sum(((x[members] - x[members].mean(axis=0)) ** 2).sum() for members in classes)
    return float(squares / x[0].size / (len(x) - len(classes)))


def _difference(x: NDArray[np.float64], classes: Sequence[NDArray[np.int64]], slopes: NDArray[np.float64]) -> float:
    """Variance between the classes that neither a shift nor a flicker of the laser explains.

    A shift by s changes the mean image m by s . grad m, and a flicker by a multiple of m: both are fitted and removed,
    the latter up to 10 %. So breathing and heartbeat, even if they were locked to the frames, are not taken for planes.
    """
    if min(x.shape[1:]) > 8:  # motion brings other tissue in at the border
        x, slopes = x[:, 1:-1, 1:-1], slopes[:, 1:-1, 1:-1]
    mean, shift = x.mean(axis=0), slopes.reshape(2, -1).T
    brightness, total = mean.ravel(), 0.0
    for members in classes:
        d = (x[members].mean(axis=0) - mean).ravel()
        change = np.clip(d @ brightness / max(brightness @ brightness, 1e-30), -_FLICKER, _FLICKER)
        d = d - change * brightness
        d = d - shift @ np.linalg.lstsq(shift, d, rcond=None)[0]
        total += float(d @ d) / d.size
    return total / len(classes)


def _bin_size(size: int) -> int:
    """Pixels of a bin along a side of an image: at least 4, unless fewer than 8 bins were left."""
    return max(1, min(max(4, -(-size // _BINS)), size // 8))


def _read_block(
    files: Sequence[ImageFile], ends: NDArray[np.int64], start: int, length: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Images `start` and following of all files as means of bins (length, rows, columns), and their `slopes`."""
    numbers = np.arange(start, start + length)
    owners = np.searchsorted(ends, numbers, side="right")
    binned, total = [], np.zeros(files[0].shape)
    for owner in np.unique(owners):
        file = files[owner]
        out = np.empty((int((owners == owner).sum()), *file.shape), file.dtype.newbyteorder("="))
        file.read((numbers[owners == owner] - (ends[owner] - file.n_images)).tolist(), out)
        out = np.nan_to_num(out, posinf=0, neginf=0) if out.dtype.kind == "f" else out  # reported where frames are read
        binned.append(_binned(out))
        total += out.sum(axis=0, dtype=np.float64)
    return np.concatenate(binned), _binned(np.asarray(np.gradient(total / length)))


def _binned(images: NDArray) -> NDArray[np.float64]:
    """Means of bins of images (n, H, W)."""
    shape = images.shape[1:]
    rows, columns = (np.arange(0, size, _bin_size(size)) for size in shape)
    sums = np.add.reduceat(np.add.reduceat(images, rows, axis=1, dtype=np.float64), columns, axis=2)
    means: NDArray[np.float64] = sums / np.outer(np.diff([*rows, shape[0]]), np.diff([*columns, shape[1]]))
    return means
