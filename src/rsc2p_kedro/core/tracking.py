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
