"""The displacement field of a frame: values at the true patch centres, and a spline between them.

A field is given by its values theta (Py, Px) at nodes, the centres of the patches of NoRMCorre's grid, for each axis.
Between the nodes it is the tensor product of natural cubic splines, beyond the outermost nodes it goes on in a straight
line:

    u(y, x) = sum_ij b_i(y) b_j(x) theta_ij

where b_i is the natural cubic spline that is 1 at node i and 0 at all others. The spline passes through the nodes, so
that theta is the displacement *at* the patch centres, however unevenly the patches are spaced.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

Float = NDArray[np.float32]


def patch_starts(size: int, width: int, stride: int) -> NDArray[np.int64]:
    """First pixels of the patches along one axis; the last patch ends with the frame, as in NoRMCorre.

    Raises nothing: an axis shorter than a patch has one patch, which starts at 0 and is as long as the axis.
    """
    if size <= width:
        return np.zeros(1, np.int64)
    return np.append(np.arange(0, size - width, stride), size - width).astype(np.int64)


def axis_centres(size: int, width: int, stride: int) -> NDArray[np.float64]:
    """Centres in px of the patches along one axis, the centre of pixel 0 being 0."""
    return np.asarray(patch_starts(size, width, stride) + (min(width, size) - 1) / 2, np.float64)


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
    def of(cls, shape: tuple[int, int], nodes_y: NDArray[np.float64], nodes_x: NDArray[np.float64]) -> "FieldGrid":
        """A grid with its splines."""
        bases = (
            spline_basis(size, nodes).astype(np.float32) for size, nodes in zip(shape, (nodes_y, nodes_x), strict=True)
        )
        return cls(shape, nodes_y, nodes_x, *bases)

    @property
    def n_nodes(self) -> int:
        return len(self.nodes_y) * len(self.nodes_x)

    @property
    def centres(self) -> Float:
        """(P, 2) nodes as (y, x), rows of the grid one after the other."""
        y, x = np.meshgrid(self.nodes_y, self.nodes_x, indexing="ij")
        return np.stack([y.ravel(), x.ravel()], 1).astype(np.float32)

    @property
    def mean_weights(self) -> NDArray[np.float64]:
        """(P,) weights that turn values at the nodes into the mean of the field over the frame; they sum to 1."""
        return np.outer(self.basis_y.mean(1, dtype=np.float64), self.basis_x.mean(1, dtype=np.float64)).ravel()

    def halved(self) -> "FieldGrid":
        """The same nodes on frames binned 2 x 2; displacements in px are half as large there."""
        nodes = ((axis - 0.5) / 2 for axis in (self.nodes_y, self.nodes_x))
        return FieldGrid.of((self.shape[0] // 2, self.shape[1] // 2), *nodes)

    def dense(self, theta: NDArray) -> Float:
        """The field (2, H, W) of values (2, Py, Px) at the nodes."""
        return np.stack([self.basis_y.T @ axis.astype(np.float32) @ self.basis_x for axis in theta])


def patch_grid(shape: tuple[int, int], *, stride: int, overlap: int) -> FieldGrid:
    """The grid of the centres of patches `stride + overlap` px wide; one node where the frame is no larger."""
    nodes = (axis_centres(size, stride + overlap, stride) for size in shape)
    return FieldGrid.of(shape, *nodes)


def rigid_grid(shape: tuple[int, int]) -> FieldGrid:
    """A grid of one node: the same displacement everywhere."""
    return FieldGrid.of(shape, *(np.array([(size - 1) / 2]) for size in shape))
