"""Division of the frame into blocks, and of the recording into segments, which are processed in parallel.

Neither depends on the machine (:class:`rsc2p_kedro.core.parameters.Compute`), so neither does any result.
"""

from dataclasses import dataclass
from itertools import pairwise
from math import ceil


@dataclass(frozen=True)
class SpatialBlock:
    """A rectangle of a frame, and the core of it whose result is kept.

    Attributes:
        rows: rows of the whole rectangle.
        columns: columns of the whole rectangle.
        core_rows: rows of the core; the cores of all blocks cover the frame once.
        core_columns: columns of the core.
    """

    rows: slice
    columns: slice
    core_rows: slice
    core_columns: slice

    @property
    def core_within(self) -> tuple[slice, slice]:
        """(rows, columns) of the core, counted from the corner of the block."""
        top, left = self.rows.start, self.columns.start
        return (
            slice(self.core_rows.start - top, self.core_rows.stop - top),
            slice(self.core_columns.start - left, self.core_columns.stop - left),
        )


def _spans(length: int, core: int, margin: int) -> list[tuple[slice, slice]]:
    """(whole, core) spans of one axis: cores of nearly equal size that cover it once, each with a margin."""
    n = max(1, round(length / core))
    edges = [length * k // n for k in range(n + 1)]
    return [(slice(max(0, a - margin), min(length, b + margin)), slice(a, b)) for a, b in pairwise(edges)]


def spatial_blocks(shape: tuple[int, int], core_px: int, margin_px: int) -> list[SpatialBlock]:
    """Blocks whose cores cover a frame once.

    Args:
        shape: (H, W) of the frame in px.
        core_px: desired height and width of a core in px; the actual ones divide the frame evenly.
        margin_px: width in px of the margin around each core; cut off at the edges of the frame.

    Returns:
        Blocks row by row.
    """
    return [
        SpatialBlock(rows, columns, core_rows, core_columns)
        for rows, core_rows in _spans(shape[0], core_px, margin_px)
        for columns, core_columns in _spans(shape[1], core_px, margin_px)
    ]


def time_segments(n_frames: int, bin_frames: int, *, target_frames: int = 256, chunk_frames: int = 64) -> list[slice]:
    """Segments of time that cover a movie once, each a whole number of bins.

    Args:
        n_frames: length of the movie in frames.
        bin_frames: length of a bin in frames.
        target_frames: desired length of a segment in frames.
        chunk_frames: frames in a stored chunk; where bins are short, segments are also a whole number of chunks, so
            that no chunk is read twice.

    Returns:
        Slices in order. Frames at the end that do not fill a bin belong to the last segment.
    """
    unit = bin_frames * chunk_frames if bin_frames * chunk_frames <= 4 * target_frames else bin_frames
    length = unit * ceil(target_frames / unit)
    starts = list(range(0, max(1, n_frames - bin_frames + 1), length))
    return [slice(a, b) for a, b in zip(starts, [*starts[1:], n_frames], strict=True)]
