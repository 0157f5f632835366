"""Where work is cut: patches of initialization, tiles of the spatial update, segments of time.

None of it depends on the machine (:class:`rsc2p_kedro.core.parameters.Compute`), so neither does any result.
"""

from dataclasses import dataclass
from itertools import pairwise
from math import ceil


@dataclass(frozen=True)
class Patch:
    """A rectangle of a frame that is worked on, and the core of it that it alone answers for."""

    rows: slice
    columns: slice
    core_rows: slice
    core_columns: slice

    @property
    def core_within(self) -> tuple[slice, slice]:
        """The core, counted from the patch's own corner."""
        top, left = self.rows.start, self.columns.start
        return (
            slice(self.core_rows.start - top, self.core_rows.stop - top),
            slice(self.core_columns.start - left, self.core_columns.stop - left),
        )


def _spans(length: int, core: int, margin: int) -> list[tuple[slice, slice]]:
    """(Whole, core) spans of one axis: cores of nearly one size that cover it once, each with a margin."""
    n = max(1, round(length / core))
    edges = [length * k // n for k in range(n + 1)]
    return [(slice(max(0, a - margin), min(length, b + margin)), slice(a, b)) for a, b in pairwise(edges)]


def grid(shape: tuple[int, int], core_px: int, margin_px: int) -> list[Patch]:
    """Patches whose cores cover a frame (H, W) once, row by row."""
    return [
        Patch(rows, columns, core_rows, core_columns)
        for rows, core_rows in _spans(shape[0], core_px, margin_px)
        for columns, core_columns in _spans(shape[1], core_px, margin_px)
    ]


def segments(n_frames: int, bin_frames: int, *, about: int = 256, chunk: int = 64) -> list[slice]:
    """Spans of time that cover 0..n_frames, each a whole number of bins, and of stored chunks where bins are short.

    A last span shorter than a bin joins the one before it.
    """
    unit = bin_frames * chunk if bin_frames * chunk <= 4 * about else bin_frames
    length = unit * ceil(about / unit)
    starts = list(range(0, max(1, n_frames - bin_frames + 1), length))
    return [slice(a, b) for a, b in zip(starts, [*starts[1:], n_frames], strict=True)]
