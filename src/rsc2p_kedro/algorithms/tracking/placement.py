"""Where the field of view of one session lies in that of another."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from rsc2p_kedro.algorithms.registration.field import FieldGrid


@dataclass(frozen=True, eq=False)
class Placement:
    """The place of a session that each place of the reference shows: q(p) = matrix (p - centre) + offset + field(p).

    Attributes:
        shape: (H, W) of the reference in px.
        matrix: (2, 2), rotation and scale.
        centre: (2,), centre (y, x) of the reference in px.
        offset: (2,), place of the session that the centre shows, in its px.
        nodes_y: (Py,) rows of the nodes of the field in px of the reference.
        nodes_x: (Px,) columns of the nodes.
        field: (2, Py, Px), deviation (y, x) at the nodes in px of the session.
    """

    shape: tuple[int, int]
    matrix: NDArray[np.float64]
    centre: NDArray[np.float64]
    offset: NDArray[np.float64]
    nodes_y: NDArray[np.float64]
    nodes_x: NDArray[np.float64]
    field: NDArray[np.float64]

    @classmethod
    def similarity(
        cls,
        shape: tuple[int, int],
        offset: NDArray,
        rotation_deg: float = 0.0,
        pixel_ratio: Sequence[float] = (1.0, 1.0),
    ) -> "Placement":
        """A rotation, a scale and a shift.

        Args:
            shape: (H, W) of the reference.
            offset: (2,), place of the session that the centre of the reference shows.
            rotation_deg: angle by which the session is sampled.
            pixel_ratio: pixels of the session per pixel of the reference along y and x.

        Returns:
            The placement, with a field of 0 at the corners.
        """
        angle = np.deg2rad(rotation_deg)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        matrix = np.sqrt(np.outer(pixel_ratio, pixel_ratio)) * turn
        nodes_y, nodes_x = (np.array([0.0, size - 1.0]) for size in shape)
        centre = (np.array(shape, float) - 1) / 2
        return cls(shape, matrix, centre, np.asarray(offset, float), nodes_y, nodes_x, np.zeros((2, 2, 2)))

    @property
    def grid(self) -> FieldGrid:
        """The splines of the nodes of the field."""
        return _grid(self.shape, tuple(self.nodes_y.tolist()), tuple(self.nodes_x.tolist()))

    def places(self, *, step: int = 1, margin: tuple[int, int, int, int] = (0, 0, 0, 0)) -> NDArray[np.float64]:
        """Places of the session at the pixels of the reference.

        Args:
            step: use every so many rows and columns.
            margin: rows above and below, columns left and right of the reference to add; there the field is that of
                the nearest pixel of the reference.

        Returns:
            (2, rows, columns), (y, x) in px of the session.
        """
        top, bottom, left, right = margin
        y = np.arange(-top, self.shape[0] + bottom, step, dtype=float)
        x = np.arange(-left, self.shape[1] + right, step, dtype=float)
        dy, dx = (y - self.centre[0])[:, None], (x - self.centre[1])[None, :]
        linear = np.stack([self.matrix[i, 0] * dy + self.matrix[i, 1] * dx + self.offset[i] for i in range(2)])
        grid = self.grid
        rows, columns = (np.clip(axis, 0, size - 1).astype(int) for axis, size in zip((y, x), self.shape, strict=True))
        basis_y, basis_x = grid.basis_y[:, rows].astype(float), grid.basis_x[:, columns].astype(float)
        return linear + np.einsum(
            "iab,ay,bx->iyx", self.field, basis_y, basis_x, optimize=["einsum_path", (0, 1), (0, 1)]
        )

    def corners(self, shape: tuple[int, int]) -> NDArray[np.float64]:
        """Places of the reference that the corners of the session show, without the field.

        Args:
            shape: (h, w) of the session.

        Returns:
            (4, 2), (y, x) in px of the reference.
        """
        corners = np.array([[y, x] for y in (0, shape[0] - 1) for x in (0, shape[1] - 1)], float)
        return (corners - self.offset) @ np.linalg.inv(self.matrix).T + self.centre

    @property
    def rotation_deg(self) -> float:
        """Rotation of the session in the reference in degrees."""
        return float(np.rad2deg(np.arctan2(self.matrix[1, 0], self.matrix[0, 0])))


@lru_cache(maxsize=16)  # a refinement makes many placements of the same nodes
def _grid(shape: tuple[int, int], nodes_y: tuple[float, ...], nodes_x: tuple[float, ...]) -> FieldGrid:
    return FieldGrid.from_nodes(shape, np.array(nodes_y), np.array(nodes_x))


def within(places: NDArray, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Which places lie within a frame.

    Args:
        places: (2, ...), (y, x) in px.
        shape: (H, W) of the frame.

    Returns:
        (...) bool.
    """
    y, x = np.asarray(places)
    return (y >= 0) & (y <= shape[0] - 1) & (x >= 0) & (x <= shape[1] - 1)
