"""The records of tracking: what it needs of each session, and what it found.

Conventions are those of :mod:`rsc2p_kedro.core.results`. The *canvas* is the frame of the reference session, with a
margin where other sessions reach beyond it; its first pixel is (0, 0).
"""

from dataclasses import dataclass, field

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

Float = NDArray[np.float32]
UNTRACKED = "untracked"
"""Id of components that are not tracked, because they are not accepted or their session shows another place."""


@dataclass(frozen=True, eq=False)
class FieldOfView:
    """What tracking needs of one session: its N accepted components and two summary images.

    Attributes:
        session: name of the session, unique within the animal.
        shape: (H, W) of its frames in px.
        ids: (N,) int64, ids of the components.
        footprints: CSC (H*W, N) float32, >= 0.
        mean: (H, W) float32, mean image in counts.
        correlation: (H, W) float32, local correlation image.
        pixel_size_um: size of a pixel in um, (y, x); None if unknown.
        traces: (N, K) float32, dF/F of the components at K <= 400 moments, for pictures; may be empty, (N, 0).
        decisions: the user's decisions, by the columns of :class:`~rsc2p_kedro.core.schemas.TrackingDecisionTable`.
        known: an earlier tracking table, by its columns.

    Raises:
        ValueError: shapes do not agree, or ids repeat.
    """

    session: str
    shape: tuple[int, int]
    ids: NDArray[np.int64]
    footprints: sp.csc_array
    mean: Float
    correlation: Float
    pixel_size_um: tuple[float, float] | None = None
    traces: Float = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    decisions: dict[str, list] = field(default_factory=dict)
    known: dict[str, list] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n, pixels = len(self.ids), self.shape[0] * self.shape[1]
        problems = [] if len(np.unique(self.ids)) == n else ["ids are not unique"]
        if self.footprints.shape != (pixels, n):
            problems.append(f"footprints should have shape {(pixels, n)}, have {self.footprints.shape}")
        for name in ("mean", "correlation"):
            image = getattr(self, name)
            if image.shape != tuple(self.shape):
                problems.append(f"{name} should have shape {tuple(self.shape)}, has {image.shape}")
        if problems:
            raise ValueError(f"FieldOfView of {self.session} is inconsistent: {'; '.join(problems)}.")

    @property
    def n_components(self) -> int:
        """Number of components N."""
        return len(self.ids)


@dataclass(frozen=True, eq=False)
class SessionAlignment:
    """How one session was aligned with the others, and how well.

    Attributes:
        session: its name.
        aligned: whether it shows the same field of view; if not, none of its components is tracked.
        reason: why not; empty if it does.
        shift_px: (dy, dx), displacement of the middle of its field of view in the reference, in px of the reference.
        rotation_deg: rotation of its frame in the reference in degrees, from the axis y towards x.
        scale: magnification relative to the reference, beyond that of the pixel sizes if these are known.
        deformation_px: root mean square of the displacement that shift, rotation and scale do not explain, in px.
        correlation_before: correlation of footprints, mean and correlation image with the other sessions, frames as
            they are.
        correlation_after: the same after the alignment; it is judged by its magnitude, as contrast may be inverted.
        region_before: (3, 3), the largest of the three correlations in each ninth of the common field of view, before.
        region_after: the same after the alignment; NaN where the fields do not overlap.
        significance: highest cross-correlation relative to the highest with a mirrored session.
        overlap_share: share of its components in the common field of view that coincide with one of another session.
        overlap_by_chance: the same for a mirrored session that was aligned in the same way.
    """

    session: str
    aligned: bool
    reason: str
    shift_px: tuple[float, float]
    rotation_deg: float
    scale: float
    deformation_px: float
    correlation_before: tuple[float, float, float]
    correlation_after: tuple[float, float, float]
    region_before: NDArray[np.float64]
    region_after: NDArray[np.float64]
    significance: float
    overlap_share: float
    overlap_by_chance: float


@dataclass(frozen=True, eq=False)
class Tracking:
    """The neurons of one animal and plane over its sessions: N tracked components of S aligned sessions.

    Attributes:
        alignments: of all sessions, in their order.
        shape: (rows, columns) of the canvas.
        origin: (y, x) of the first pixel of the canvas in the reference session, in px.
        radius_px: radius of a neuron in px of the canvas.
        session: (N,) str, session of each component.
        component_id: (N,) int64.
        neuron_id: (N,) str, id of its neuron.
        probability: (N,), probability that it belongs to its neuron: the mean over the other components of the neuron;
            of a neuron that was found once, that it is none of the others.
        rival: (N,), highest mean probability that it belongs to another neuron.
        doubtful: (N,) bool, components to look at.
        footprints: CSC (pixels of the canvas, N), aligned.
        images: for each aligned session, by its name, the aligned mean image as local contrast, (rows, columns)
            float32; NaN outside of its field of view.
        pair_distance: (M,), distance of the centroids of neighbouring footprints in radii of a neuron.
        pair_similarity: (M,), cosine similarity of their shapes.
        pair_probability: (M,), probability that they are one neuron.
        false_positive_share: expected share of the pairs in one neuron that are different neurons.
        false_negative_share: expected share of the pairs that are one neuron and were not put together.
    """

    alignments: tuple[SessionAlignment, ...]
    shape: tuple[int, int]
    origin: tuple[int, int]
    radius_px: float
    session: NDArray[np.str_]
    component_id: NDArray[np.int64]
    neuron_id: NDArray[np.str_]
    probability: NDArray[np.float64]
    rival: NDArray[np.float64]
    doubtful: NDArray[np.bool_]
    footprints: sp.csc_array
    images: dict[str, Float]
    pair_distance: NDArray[np.float64]
    pair_similarity: NDArray[np.float64]
    pair_probability: NDArray[np.float64]
    false_positive_share: float
    false_negative_share: float

    @property
    def sessions(self) -> list[str]:
        """Names of the aligned sessions, in order."""
        return [alignment.session for alignment in self.alignments if alignment.aligned]
