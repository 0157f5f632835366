"""Displacement field of a frame: one value at the centre of each patch, interpolated by splines.

A field is given, for each axis, by its values theta (Py, Px) at nodes, the centres of the patches of NoRMCorre's grid.
Between the nodes it is the tensor product of natural cubic splines; beyond the outermost nodes it is extrapolated
linearly:

    u(y, x) = sum_ij b_i(y) b_j(x) theta_ij

where b_i is the natural cubic spline that is 1 at node i and 0 at all others. The spline passes through the nodes, so
that theta is the displacement *at* the patch centres, even where the patches are unevenly spaced.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

Float = NDArray[np.float32]


def patch_starts(size: int, width: int, stride: int) -> NDArray[np.int64]:
    """First pixels of the patches along one axis; the last patch ends with the frame, as in NoRMCorre.

    Args:
        size: pixels along the axis.
        width: of a patch in px.
        stride: distance of neighbouring patches in px.

    Returns:
        (P,) int64, in px. An axis no longer than a patch has one patch, which starts at 0.
    """
    if size <= width:
        return np.zeros(1, np.int64)
    return np.append(np.arange(0, size - width, stride), size - width).astype(np.int64)


def spline_basis(size: int, nodes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cardinal natural cubic splines of the nodes at each pixel of an axis.

    Args:
        size: pixels along the axis.
        nodes: (P,) increasing positions in px.

    Returns:
        (P, size), row i being 1 at node i and 0 at the others; each column sums to 1.
    """
    if len(nodes) == 1:
        return np.ones((1, size))
    x = np.arange(size, dtype=np.float64)
    spline = CubicSpline(nodes, np.eye(len(nodes)), bc_type="natural")
    values = spline(np.clip(x, nodes[0], nodes[-1]))
    values += np.minimum(x - nodes[0], 0)[:, None] * spline(nodes[0], 1)
    values += np.maximum(x - nodes[-1], 0)[:, None] * spline(nodes[-1], 1)
    return np.ascontiguousarray(values.T)


@dataclass(frozen=True, eq=False)
class FieldGrid:
    """Nodes of a displacement field on frames of one shape.

    Attributes:
        shape: (H, W) of the frames.
        nodes_y: (Py,) rows of the nodes in px.
        nodes_x: (Px,) columns of the nodes in px.
        basis_y: (Py, H) float32, the splines along the rows.
        basis_x: (Px, W) float32, the splines along the columns.
    """

    shape: tuple[int, int]
    nodes_y: NDArray[np.float64]
    nodes_x: NDArray[np.float64]
    basis_y: Float
    basis_x: Float

    @classmethod
    def from_nodes(
        cls, shape: tuple[int, int], nodes_y: NDArray[np.float64], nodes_x: NDArray[np.float64]
    ) -> "FieldGrid":
        """Computes the splines of given nodes.

        Args:
            shape: (H, W) of the frames.
            nodes_y: (Py,) increasing rows in px.
            nodes_x: (Px,) increasing columns in px.

        Returns:
            The grid of all Py x Px crossings.
        """
        bases = (
            spline_basis(size, nodes).astype(np.float32) for size, nodes in zip(shape, (nodes_y, nodes_x), strict=True)
        )
        return cls(shape, nodes_y, nodes_x, *bases)

    @property
    def n_nodes(self) -> int:
        """Number of nodes, P = Py Px."""
        return len(self.nodes_y) * len(self.nodes_x)

    @property
    def centres(self) -> Float:
        """(P, 2) float32, nodes as (y, x) in px, one row of the grid after the other."""
        y, x = np.meshgrid(self.nodes_y, self.nodes_x, indexing="ij")
        return np.stack([y.ravel(), x.ravel()], 1).astype(np.float32)

    @property
    def mean_weights(self) -> NDArray[np.float64]:
        """(P,) weights that turn values at the nodes into the mean of the field over the frame; they sum to 1."""
        return np.outer(self.basis_y.mean(1, dtype=np.float64), self.basis_x.mean(1, dtype=np.float64)).ravel()

    def bin_2x2(self) -> "FieldGrid":
        """The same nodes on frames binned 2 x 2.

        Returns:
            A grid for frames (H // 2, W // 2); displacements in px are half as large there.
        """
        nodes = ((axis - 0.5) / 2 for axis in (self.nodes_y, self.nodes_x))
        return FieldGrid.from_nodes((self.shape[0] // 2, self.shape[1] // 2), *nodes)

    def dense(self, field: NDArray) -> Float:
        """Evaluates a field at every pixel.

        Args:
            field: (2, Py, Px), values at the nodes along y and x.

        Returns:
            (2, H, W) float32, in the unit of `field`.
        """
        return np.stack([self.basis_y.T @ axis.astype(np.float32) @ self.basis_x for axis in field])


def patch_grid(shape: tuple[int, int], *, stride: int, overlap: int) -> FieldGrid:
    """Grid of the centres of overlapping patches.

    Args:
        shape: (H, W) of the frames.
        stride: distance of neighbouring patches in px.
        overlap: overlap of neighbouring patches in px; a patch is stride + overlap wide.

    Returns:
        A grid with one node along each axis that is no longer than a patch.
    """
    width = stride + overlap
    nodes_y, nodes_x = (
        patch_starts(size, width, stride).astype(np.float64) + (min(width, size) - 1) / 2 for size in shape
    )
    return FieldGrid.from_nodes(shape, nodes_y, nodes_x)


def rigid_grid(shape: tuple[int, int]) -> FieldGrid:
    """Grid of rigid motion: one node in the middle of the frame.

    Args:
        shape: (H, W) of the frames.

    Returns:
        A grid whose fields are the same everywhere.
    """
    return FieldGrid.from_nodes(shape, *(np.array([(size - 1) / 2]) for size in shape))
