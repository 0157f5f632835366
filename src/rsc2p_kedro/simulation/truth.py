"""What is true of a simulated recording, and how far a result is from it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.ndimage as ndi
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from rsc2p_kedro.core.results import Components, MotionCorrection
from rsc2p_kedro.simulation.motion import frame_basis, spline_basis

Float = NDArray[np.float32]
_MASK_LEVEL = 0.2
_LEAST_IOU = 0.5
_LARGEST_OFFSET = 3
_SPIKE_SIGMA_FRAMES = 2.0


@dataclass(frozen=True, eq=False)
class SimulatedTruth:
    """The truth about a simulated recording of T frames of (H, W) px with N neurons.

    Attributes:
        footprints: CSC (H*W, N) float32, rows in C order; without vignetting.
        traces: (N, T) float32, fluorescence over rest, where the mean background is 1; without bleaching.
        spikes: (N, T) float32, number of spikes in each frame.
        rigid_motion: (T, 2) float32, mean displacement (dy, dx) in px of the *content*: the right shift is minus this.
        shear: (T, 2) float32, displacement in px of the last row against the first.
        warp: (T, n, m, 2) float32, local displacement in px at control points spread evenly over the frame.
        background: (H, W) float32, mean background over time, without neurons, vignetting and bleaching.
    """

    footprints: sp.csc_array
    traces: Float
    spikes: Float
    rigid_motion: Float
    shear: Float
    warp: Float
    background: Float

    def __post_init__(self) -> None:
        (H, W), N, T = self.background.shape, self.footprints.shape[1], len(self.rigid_motion)
        expected = {"footprints": (H * W, N), "traces": (N, T), "spikes": (N, T), "shear": (T, 2)}
        problems = [
            f"{name} should have shape {shape}, has {getattr(self, name).shape}"
            for name, shape in expected.items()
            if getattr(self, name).shape != shape
        ]
        if problems:
            raise ValueError("SimulatedTruth is inconsistent: " + "; ".join(problems) + ".")

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W) of a frame."""
        return self.background.shape[0], self.background.shape[1]

    @property
    def n_neurons(self) -> int:
        return len(self.traces)

    def displacement(self, points: NDArray) -> Float:
        """Whole displacement (T, P, 2) in px of the content at the points (P, 2), given as (y, x) in px."""
        (H, W), points = self.shape, np.asarray(points, float)
        n, m = self.warp.shape[1:3]
        rows, columns = spline_basis(H, n, points[:, 0]), spline_basis(W, m, points[:, 1])
        local = np.einsum("pi,tijc,pj->tpc", rows, self.warp, columns, optimize=True)
        sliding = self.shear[:, None] * ((points[:, 0] - (H - 1) / 2) / H)[:, None]
        return (self.rigid_motion[:, None] + sliding + local).astype(np.float32)

    def displacement_field(self, frame: int) -> Float:
        """Whole displacement (H, W, 2) in px of the content of one frame."""
        H, W = self.shape
        n, m = self.warp.shape[1:3]
        local = np.moveaxis(frame_basis(H, n) @ np.moveaxis(self.warp[frame], -1, 0) @ frame_basis(W, m).T, 0, -1)
        sliding = self.shear[frame] * ((np.arange(H, dtype=np.float32) - (H - 1) / 2) / H)[:, None]
        return (self.rigid_motion[frame] + sliding[:, None] + local).astype(np.float32)


class TruthScore(NamedTuple):
    """One measure of a result against the truth: a row of the table of scores."""

    measure: str
    value: float
    unit: str
    description: str


def masks(footprints: sp.csc_array) -> sp.csc_array:
    """Pixels (0 or 1) above a fifth of each footprint's maximum, CSC (H*W, N) float32."""
    footprints = sp.csc_array(footprints)
    largest = footprints.max(axis=0).toarray().ravel() if footprints.shape[1] else np.zeros(0)
    inside = footprints.data > _MASK_LEVEL * np.repeat(largest, np.diff(footprints.indptr))
    result = sp.csc_array(
        (inside.astype(np.float32), footprints.indices.copy(), footprints.indptr.copy()), shape=footprints.shape
    )
    result.eliminate_zeros()
    return result


def intersection_over_union(first: sp.csc_array, second: sp.csc_array) -> NDArray[np.float64]:
    """IoU (N, M) of every footprint of the first with every one of the second, both CSC (H*W, N or M)."""
    first, second = masks(first), masks(second)
    common = (first.T @ second).toarray().astype(float)
    areas = first.sum(axis=0).ravel()[:, None] + second.sum(axis=0).ravel()[None]
    return common / np.maximum(areas - common, 1)


def match(overlap: NDArray) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Pairs (rows, columns) of at least half an IoU of 1, chosen so that the sum of their IoU (N, M) is the largest."""
    rows, columns = linear_sum_assignment(np.where(overlap >= _LEAST_IOU, overlap, 0), maximize=True)
    good = overlap[rows, columns] >= _LEAST_IOU
    return rows[good], columns[good]


def _projection(footprints: sp.csc_array, shape: tuple[int, int]) -> NDArray:
    """Largest of all footprints (H, W), each scaled to a maximum of 1."""
    if not footprints.shape[1]:
        return np.zeros(shape)
    scale = 1 / np.maximum(footprints.max(axis=0).toarray().ravel(), 1e-12)
    return (footprints @ sp.diags_array(scale)).max(axis=1).toarray().reshape(shape)


def _moved(image: NDArray, dy: int, dx: int) -> NDArray:
    """An image whose content moved by whole pixels, 0 where nothing came in."""
    return ndi.shift(image, (dy, dx), order=0, prefilter=False)


def align_footprints(truth: SimulatedTruth, footprints: sp.csc_array) -> sp.csc_array:
    """Footprints moved by the whole pixels (within ±3) at which they overlap best with the true ones.

    A template may lie anywhere within the motion; where it lies is no fault of the result.
    """
    true, found = _projection(truth.footprints, truth.shape), _projection(footprints, truth.shape)
    steps = range(-_LARGEST_OFFSET, _LARGEST_OFFSET + 1)
    dy, dx = max(((dy, dx) for dy in steps for dx in steps), key=lambda s: float((true * _moved(found, *s)).sum()))
    (H, W), entries = truth.shape, sp.coo_array(footprints)
    y, x = entries.row // W + dy, entries.row % W + dx
    inside = (y >= 0) & (y < H) & (x >= 0) & (x < W)
    places = (y[inside] * W + x[inside], entries.col[inside])
    return sp.csc_array((entries.data[inside], places), shape=footprints.shape)


def correlations(first: NDArray, second: NDArray) -> NDArray[np.float64]:
    """Pearson correlation of each row of the first (N, T) with that of the second, 0 where one is constant."""
    first, second = (x - x.mean(axis=1, keepdims=True) for x in (first.astype(float), second.astype(float)))
    scale = np.sqrt((first**2).sum(axis=1) * (second**2).sum(axis=1))
    return (first * second).sum(axis=1) / np.maximum(scale, 1e-12)


def _median(values: NDArray) -> float:
    return float(np.median(values)) if len(values) else float("nan")


def score_components(
    truth: SimulatedTruth, components: Components, accepted: NDArray[np.bool_] | None = None
) -> list[TruthScore]:
    """How well neurons were found and their activity was read.

    Args:
        truth: of the recording.
        components: what was found in it.
        accepted: (N,), components taken for cells; none: all.

    Returns:
        Share and quality of the matches: a component matches a neuron where the IoU of their masks (pixels above a
        fifth of the maximum) is 0.5 or more; pairs are chosen by the Hungarian method.
    """
    kept = np.arange(components.n_components) if accepted is None else np.flatnonzero(accepted)
    footprints = align_footprints(truth, components.footprints)
    overlap = intersection_over_union(truth.footprints, footprints)
    _, found = match(overlap)
    true, chosen = match(overlap[:, kept])
    estimated = kept[chosen]
    precision, recall = len(true) / max(len(kept), 1), len(true) / max(truth.n_neurons, 1)
    trace = correlations(truth.traces[true], components.traces[estimated])
    noisy = correlations(truth.traces[true], (components.traces + components.residual_traces)[estimated])
    smooth = [
        ndi.gaussian_filter1d(s.astype(float), _SPIKE_SIGMA_FRAMES, axis=1)
        for s in (truth.spikes[true], components.spikes[estimated])
    ]
    return [
        TruthScore("n_neurons", truth.n_neurons, "", "Neurons of the truth."),
        TruthScore("n_components", components.n_components, "", "Components, accepted or not."),
        TruthScore("n_accepted", len(kept), "", "Components taken for cells."),
        TruthScore("recall_all", len(found) / max(truth.n_neurons, 1), "", "Neurons found by any component."),
        TruthScore("precision", precision, "", "Share of accepted components that are neurons (IoU >= 0.5)."),
        TruthScore("recall", recall, "", "Share of neurons found by an accepted component."),
        TruthScore("f1", 2 * precision * recall / max(precision + recall, 1e-12), "", "Harmonic mean of both."),
        TruthScore("iou", _median(overlap[true, estimated]), "", "Median IoU of the matches."),
        TruthScore("trace_correlation", _median(trace), "", "Median over matches, denoised trace."),
        TruthScore("noisy_trace_correlation", _median(noisy), "", "Median over matches, trace and residual."),
        TruthScore(
            "spike_correlation", _median(correlations(*smooth)), "", "Median over matches, blurred by 2 frames."
        ),
    ]


def motion_error(shifts: NDArray, displacement: NDArray) -> float:
    """Root mean square error in px per axis of shifts (T, ..., 2) that should undo a displacement of the same shape.

    A constant offset is taken out first, one for the whole recording: where the template lies is no error.
    """
    error = shifts.astype(float) + displacement
    error -= error.mean(axis=tuple(range(error.ndim - 1)))
    return float(np.sqrt((error**2).mean()))


def _grid(shape: tuple[int, int]) -> NDArray[np.float64]:
    """Centres (16, 2) of a frame cut into 4 x 4 tiles."""
    y, x = (n * (np.arange(4) + 0.5) / 4 - 0.5 for n in shape)
    return np.stack(np.meshgrid(y, x, indexing="ij"), axis=-1).reshape(-1, 2)


def score_motion(truth: SimulatedTruth, motion: MotionCorrection) -> list[TruthScore]:
    """Error of rigid and local motion, at the patch centres (or, after rigid correction, at 4 x 4 places)."""
    points = motion.patch_centres if motion.piecewise else _grid(truth.shape)
    rigid = np.repeat(motion.shifts[:, None], len(points), axis=1)
    local = motion.patch_shifts if motion.piecewise else rigid
    moved = truth.displacement(points)
    values = {
        "rigid_motion_error": (
            motion_error(motion.shifts, truth.rigid_motion),
            "Rigid shifts against the mean motion.",
        ),
        "local_motion_error": (motion_error(local, moved), "Shifts of patches against the motion at their centres."),
        "rigid_for_local_error": (motion_error(rigid, moved), "Rigid shifts against the motion at those centres."),
        "uncorrected_rigid_motion": (motion_error(0 * motion.shifts, truth.rigid_motion), "No correction at all."),
        "uncorrected_local_motion": (motion_error(0 * local, moved), "No correction at all, at those centres."),
    }
    return [TruthScore(name, value, "px", text) for name, (value, text) in values.items()]


def score(
    truth: SimulatedTruth,
    components: Components | None = None,
    accepted: NDArray[np.bool_] | None = None,
    motion: MotionCorrection | None = None,
) -> list[TruthScore]:
    """Scores of whatever results there are; `measure`, `value` (NaN where there is none), `unit`, `description`."""
    rows: Iterable[TruthScore] = score_components(truth, components, accepted) if components is not None else []
    return [*rows, *(score_motion(truth, motion) if motion is not None else [])]
