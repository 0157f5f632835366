"""Every object of a simulated tissue and its kind, so that each ROI can be told what it lies on."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

Float = NDArray[np.float32]
ObjectKind = Literal["soma", "process", "spot", "out_of_focus"]
OBJECT_KINDS: tuple[ObjectKind, ...] = ("soma", "process", "spot", "out_of_focus")
"""Kinds of objects: somata in the plane; branching processes; varicosities and cross-sections of 1 to 2 px; somata
above or below the plane."""
FINDABLE_SNR = 8.0
"""Matched-filter SNR of its largest transient above which a soma counts as findable. A convention, not tuned: the
largest of some 10^8 noise values, as many as a movie has pixels and frames, lies at 5.6, and a filter that is only
roughly the right one loses about a third."""


@dataclass(frozen=True, eq=False)
class ObjectTruth:
    """The objects of a simulated recording of T frames of (H, W) px: M of them, of which the first N are the somata.

    Fluorescence is in units of the mean background.

    Attributes:
        shape: (H, W) of a frame.
        footprints: CSC (H*W, M) float32, pixels in C order; without vignetting.
        traces: (M, T) float32, fluorescence above rest; without bleaching and motion out of the plane.
        kinds: (M,) str, `soma`, `process`, `spot` or `out_of_focus`.
        owners: (M,) int64, index of the soma whose dendrite a process is and whose trace it follows; -1 for none.
        snr: (M,) float64, matched-filter SNR of the largest transient; see :func:`matched_filter_snr`.

    Raises:
        ValueError: Shapes do not agree, a kind is unknown, or somata do not come first.
    """

    shape: tuple[int, int]
    footprints: sp.csc_array
    traces: Float
    kinds: NDArray[np.str_]
    owners: NDArray[np.int64]
    snr: NDArray[np.float64]

    def __post_init__(self) -> None:
        n = len(self.kinds)
        sizes = {"footprints": self.footprints.shape[1], "traces": len(self.traces)}
        sizes |= {"owners": len(self.owners), "snr": len(self.snr)}
        problems = [f"{name} should have {n} objects, has {size}" for name, size in sizes.items() if size != n]
        if self.footprints.shape[0] != self.shape[0] * self.shape[1]:
            problems.append(f"footprints should have {self.shape[0] * self.shape[1]} pixels")
        if unknown := set(self.kinds.tolist()) - set(OBJECT_KINDS):
            problems.append(f"kinds should be among {', '.join(OBJECT_KINDS)}, has {', '.join(sorted(unknown))}")
        if not (self.kinds[: self.n_somata] == "soma").all():
            problems.append("somata should come first")
        if problems:
            raise ValueError("ObjectTruth is inconsistent: " + "; ".join(problems) + ".")

    @property
    def n_somata(self) -> int:
        """Number of somata N in the plane."""
        return int((self.kinds == "soma").sum())

    @property
    def findable(self) -> NDArray[np.intp]:
        """Indices of the somata whose largest transient has a matched-filter SNR of 8 or more."""
        return np.flatnonzero(self.snr[: self.n_somata] >= FINDABLE_SNR)


def matched_filter_snr(
    footprints: sp.csc_array, traces: NDArray, transient: NDArray, signal: NDArray, noise_variance: NDArray
) -> NDArray[np.float64]:
    """Matched-filter SNR of the largest transient of each object.

    The filter is the object's footprint a in space and the indicator's transient k in time (sum k^2 = 1), each pixel p
    weighted by its noise: SNR = max_t sum_s k(s) [c(t + s) - median c] sqrt(sum_p (g_p a_p)^2 / v_p). In white noise
    its response has a standard deviation of 1. Neither neighbours nor neuropil count as noise.

    Args:
        footprints: CSC (pixels, M), a.
        traces: (M, T), c.
        transient: (K,), response of the indicator to one spike, frame by frame, of any scale.
        signal: (pixels,), photons per unit of fluorescence, g.
        noise_variance: (pixels,), variance of the noise in photons^2, v.

    Returns:
        (M,) float64.
    """
    weights = np.asarray(signal, float) ** 2 / noise_variance
    in_space = np.sqrt(sp.csc_array(footprints).power(2).T @ weights)
    kernel = np.asarray(transient, float)[: traces.shape[1]] / np.linalg.norm(transient[: traces.shape[1]])
    above = traces - np.median(traces, axis=1, keepdims=True)
    in_time = np.array([np.correlate(trace, kernel, mode="full").max(initial=0) for trace in above])
    return in_space * in_time.reshape(-1)
