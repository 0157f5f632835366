"""Ground truth of a simulated recording, and the accuracy of results measured against it.

A component matches a neuron where the intersection over union (IoU) of their binary masks is at least 0.5; pairs are
assigned by the Hungarian method. One whole-pixel offset of all footprints and one constant offset of all shifts are
removed first, since the position of a template within the range of the motion is arbitrary.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.ndimage as ndi
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from rsc2p_kedro.algorithms.extraction.footprints import footprint_masks
from rsc2p_kedro.core.results import Components, MotionCorrection, RedLabels
from rsc2p_kedro.simulation.motion import frame_basis, spline_basis

Float = NDArray[np.float32]
_MIN_IOU = 0.5
"""IoU of a match; above one half, no two components can match the same neuron. A convention, not tuned."""
_MAX_OFFSET_PX = 3
"""Largest offset of the footprints in px along each axis. Chosen by hand; not tuned."""
_SPIKE_SIGMA_FRAMES = 2.0
"""Standard deviation in frames of the Gaussian that spike trains are smoothed with before they are compared."""
_N_GRID = 4
"""Positions along each axis at which rigid shifts are compared with the local motion."""


@dataclass(frozen=True, eq=False)
class SimulatedTruth:
    """Ground truth of a simulated recording of T frames of (H, W) px with N neurons.

    Fluorescence is in units of the mean background.

    Attributes:
        footprints: CSC (H*W, N) float32, pixels in C order; without vignetting.
        traces: (N, T) float32, fluorescence above rest; without bleaching and motion out of the plane.
        spikes: (N, T) float32, number of spikes in each frame.
        rigid_motion: (T, 2) float32, mean displacement (dy, dx) in px of the *content*; the correct shift is minus
            this.
        shear: (T, 2) float32, displacement (dy, dx) in px of the last row against the first.
        warp: (T, n, m, 2) float32, local displacement (dy, dx) in px at n x m evenly spaced control points.
        background: (H, W) float32, mean background over time; without neurons, vignetting and bleaching.
        labelled: (N,) bool, neurons with the label of the structural channel; None where there is no such channel.
        crosstalk: part of the functional fluorescence that is detected in the structural channel; None likewise.
        neurons: (N,) int64, numbers of the neurons of a later session in the pool of its field of view; None for the
            first session, whose neurons are 0 to N - 1.

    Raises:
        ValueError: Shapes do not agree.
    """

    footprints: sp.csc_array
    traces: Float
    spikes: Float
    rigid_motion: Float
    shear: Float
    warp: Float
    background: Float
    labelled: NDArray[np.bool_] | None = None
    crosstalk: float | None = None
    neurons: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        (H, W), N, T = self.background.shape, self.footprints.shape[1], len(self.rigid_motion)
        expected = {"footprints": (H * W, N), "traces": (N, T), "spikes": (N, T), "shear": (T, 2)}
        problems = [
            f"{name} should have shape {shape}, has {getattr(self, name).shape}"
            for name, shape in expected.items()
            if getattr(self, name).shape != shape
        ]
        if self.labelled is not None and self.labelled.shape != (N,):
            problems.append(f"labelled should have shape {(N,)}, has {self.labelled.shape}")
        if problems:
            raise ValueError("SimulatedTruth is inconsistent: " + "; ".join(problems) + ".")

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W) of a frame."""
        return self.background.shape[0], self.background.shape[1]

    @property
    def n_neurons(self) -> int:
        """Number of neurons N."""
        return len(self.traces)

    def displacement(self, points: NDArray) -> Float:
        """Displacement of the content at some points in all frames: rigid motion, shear and warp together.

        Args:
            points: (P, 2), (y, x) in px.

        Returns:
            (T, P, 2) float32, (dy, dx) in px.
        """
        (H, W), points = self.shape, np.asarray(points, float)
        n, m = self.warp.shape[1:3]
        rows, columns = spline_basis(H, n, points[:, 0]), spline_basis(W, m, points[:, 1])
        local = np.einsum("pi,tijc,pj->tpc", rows, self.warp, columns, optimize=True)
        shear = self.shear[:, None] * ((points[:, 0] - (H - 1) / 2) / H)[:, None]
        return (self.rigid_motion[:, None] + shear + local).astype(np.float32)

    def displacement_field(self, frame: int) -> Float:
        """Displacement of the content at all pixels of one frame: rigid motion, shear and warp together.

        Args:
            frame: Index of the frame.

        Returns:
            (H, W, 2) float32, (dy, dx) in px.
        """
        H, W = self.shape
        n, m = self.warp.shape[1:3]
        local = np.moveaxis(frame_basis(H, n) @ np.moveaxis(self.warp[frame], -1, 0) @ frame_basis(W, m).T, 0, -1)
        shear = self.shear[frame] * ((np.arange(H, dtype=np.float32) - (H - 1) / 2) / H)[:, None]
        return (self.rigid_motion[frame] + shear[:, None] + local).astype(np.float32)


class TruthScore(NamedTuple):
    """One measure of accuracy, a row of the table of scores.

    Attributes:
        measure: Its name.
        value: Its value; NaN where it is undefined.
        unit: Its unit; empty for a number without unit.
        description: What it measures.
    """

    measure: str
    value: float
    unit: str
    description: str


def intersection_over_union(first: sp.csc_array, second: sp.csc_array) -> NDArray[np.float64]:
    """Intersection over union (IoU) of the masks of all pairs of footprints.

    Args:
        first: CSC (H*W, N).
        second: CSC (H*W, M).

    Returns:
        (N, M) float64, 0 to 1.
    """
    first, second = footprint_masks(first), footprint_masks(second)
    common = (first.T @ second).toarray().astype(float)
    areas = first.sum(axis=0).ravel()[:, None] + second.sum(axis=0).ravel()[None]
    return common / np.maximum(areas - common, 1)


def match_footprints(iou: NDArray) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Assigns footprints to each other by the Hungarian method, so that the sum of their IoU is largest.

    Args:
        iou: (N, M), intersection over union of all pairs.

    Returns:
        Rows and columns of the assigned pairs whose IoU is at least 0.5.
    """
    rows, columns = linear_sum_assignment(np.where(iou >= _MIN_IOU, iou, 0), maximize=True)
    matched = iou[rows, columns] >= _MIN_IOU
    return rows[matched], columns[matched]


def _maximum_projection(footprints: sp.csc_array, shape: tuple[int, int]) -> NDArray:
    """Maximum (H, W) over all footprints, each scaled to a maximum of 1."""
    if not footprints.shape[1]:
        return np.zeros(shape)
    scale = 1 / np.maximum(footprints.max(axis=0).toarray().ravel(), 1e-12)
    return (footprints @ sp.diags_array(scale)).max(axis=1).toarray().reshape(shape)


def align_footprints(
    truth: SimulatedTruth, footprints: sp.csc_array, *, max_offset_px: int = _MAX_OFFSET_PX
) -> sp.csc_array:
    """Moves all footprints by the whole-pixel offset, within ±3 px, at which they overlap best with the true ones.

    Args:
        truth: Ground truth of the recording.
        footprints: CSC (H*W, N).
        max_offset_px: Largest offset along each axis in px.

    Returns:
        CSC (H*W, N); pixels that are moved out of the frame are lost.
    """
    true, estimated = (_maximum_projection(A, truth.shape) for A in (truth.footprints, footprints))

    def overlap(offset: tuple[int, int]) -> float:
        return float((true * ndi.shift(estimated, offset, order=0, prefilter=False)).sum())

    steps = range(-max_offset_px, max_offset_px + 1)
    dy, dx = max(((dy, dx) for dy in steps for dx in steps), key=overlap)
    (H, W), entries = truth.shape, sp.coo_array(footprints)
    y, x = entries.row // W + dy, entries.row % W + dx
    inside = (y >= 0) & (y < H) & (x >= 0) & (x < W)
    places = (y[inside] * W + x[inside], entries.col[inside])
    return sp.csc_array((entries.data[inside], places), shape=footprints.shape)


def correlations(first: NDArray, second: NDArray) -> NDArray[np.float64]:
    """Pearson correlation of each row of one array with the same row of another.

    Args:
        first: (N, T).
        second: (N, T).

    Returns:
        (N,) float64; 0 where a row is constant.
    """
    first, second = (x - x.mean(axis=1, keepdims=True) for x in (first.astype(float), second.astype(float)))
    scale = np.sqrt((first**2).sum(axis=1) * (second**2).sum(axis=1))
    return (first * second).sum(axis=1) / np.maximum(scale, 1e-12)


def _median(values: NDArray) -> float:
    """Median of (n,) values, NaN if there is none."""
    return float(np.median(values)) if len(values) else float("nan")


def score_components(
    truth: SimulatedTruth, components: Components, accepted: NDArray[np.bool_] | None = None
) -> list[TruthScore]:
    """Measures how well neurons were detected and how well their activity was estimated.

    Args:
        truth: Ground truth of the recording.
        components: Components of the recording.
        accepted: (N,), components accepted as cells; None accepts all.

    Returns:
        Numbers of neurons and components, recall, precision and F1, and medians over the matched pairs: IoU, and the
        correlations of denoised traces, noisy traces and spike trains (smoothed by a Gaussian of 2 frames).
    """
    kept = np.arange(components.n_components) if accepted is None else np.flatnonzero(accepted)
    iou = intersection_over_union(truth.footprints, align_footprints(truth, components.footprints))
    detected = match_footprints(iou)[0]
    neurons, columns = match_footprints(iou[:, kept])
    matched = kept[columns]
    precision, recall = len(neurons) / max(len(kept), 1), len(neurons) / max(truth.n_neurons, 1)
    noisy_traces = components.traces + components.residual_traces
    denoised = correlations(truth.traces[neurons], components.traces[matched])
    noisy = correlations(truth.traces[neurons], noisy_traces[matched])
    spikes = correlations(
        *(
            ndi.gaussian_filter1d(s.astype(float), _SPIKE_SIGMA_FRAMES, axis=1)
            for s in (truth.spikes[neurons], components.spikes[matched])
        )
    )
    rows = [
        ("n_neurons", truth.n_neurons, "Neurons in the ground truth."),
        ("n_components", components.n_components, "Components, accepted or not."),
        ("n_accepted", len(kept), "Components accepted as cells."),
        ("recall_all", len(detected) / max(truth.n_neurons, 1), "Share of neurons that any component matches."),
        ("precision", precision, "Share of accepted components that match a neuron (IoU >= 0.5)."),
        ("recall", recall, "Share of neurons that an accepted component matches."),
        ("f1", 2 * precision * recall / max(precision + recall, 1e-12), "Harmonic mean of precision and recall."),
        ("iou", _median(iou[neurons, matched]), "Median over matches."),
        ("trace_correlation", _median(denoised), "Median over matches, denoised trace."),
        ("noisy_trace_correlation", _median(noisy), "Median over matches, denoised trace and residual."),
        ("spike_correlation", _median(spikes), "Median over matches, both smoothed by a Gaussian of 2 frames."),
    ]
    return [TruthScore(measure, value, "", description) for measure, value, description in rows]


def score_labels(truth: SimulatedTruth, components: Components, red_labels: RedLabels) -> list[TruthScore]:
    """Measures how well labelled neurons are told from others, and the error of the crosstalk.

    Args:
        truth: Ground truth of a recording with a structural channel.
        components: Components of the recording, accepted or not; those that match a neuron count.
        red_labels: Their signals and probabilities.

    Returns:
        Area under the ROC curve and Brier score of the probability, and the error of the crosstalk.

    Raises:
        ValueError: The recording has no structural channel.
    """
    if truth.labelled is None or truth.crosstalk is None:
        raise ValueError("The recording was simulated without a structural channel, so that labels have no truth.")
    neurons, matched = match_footprints(
        intersection_over_union(truth.footprints, align_footprints(truth, components.footprints))
    )
    labelled, probability = truth.labelled[neurons], red_labels.red_probability[matched].astype(float)
    squares = (probability - labelled) ** 2
    rows = [
        ("label_auc", area_under_roc(probability, labelled), "Labelled against other neurons, of those matched."),
        ("label_brier", float(squares.mean()) if len(squares) else float("nan"), "Mean squared error of probability."),
        ("crosstalk_error", red_labels.crosstalk - truth.crosstalk, "Estimated minus true crosstalk."),
    ]
    return [TruthScore(measure, value, "", description) for measure, value, description in rows]


def area_under_roc(score: NDArray, positive: NDArray[np.bool_]) -> float:
    """Probability that a positive has a higher score than a negative; ties count half.

    Args:
        score: (N,).
        positive: (N,).

    Returns:
        0..1; NaN where there are not both.
    """
    yes, no = score[positive], score[~positive]
    if not len(yes) or not len(no):
        return float("nan")
    return float((yes[:, None] > no).mean() + 0.5 * (yes[:, None] == no).mean())


def motion_error(shifts: NDArray, displacement: NDArray) -> float:
    """Root mean square error of shifts per axis, after a constant offset of the whole recording is removed.

    Args:
        shifts: (T, ..., 2), estimated shifts (dy, dx) in px to be applied to the frames.
        displacement: Array of the same shape, true displacement of the content in px, which the shifts should undo.

    Returns:
        Error in px.
    """
    error = shifts.astype(float) + displacement
    error -= error.mean(axis=tuple(range(error.ndim - 1)))
    return float(np.sqrt((error**2).mean()))


def score_motion(truth: SimulatedTruth, motion: MotionCorrection) -> list[TruthScore]:
    """Measures the error of rigid and local shifts, and the motion itself for comparison.

    Args:
        truth: Ground truth of the recording.
        motion: Estimated motion.

    Returns:
        Root mean square errors in px per axis. Local ones are taken at the patch centres, or, for a rigid correction,
        at the centres of a grid of 4 x 4 cells.
    """
    grid = ((n * (np.arange(_N_GRID) + 0.5) / _N_GRID - 0.5) for n in truth.shape)
    rigid_points = np.stack(np.meshgrid(*grid, indexing="ij"), axis=-1).reshape(-1, 2)
    points = motion.patch_centres if motion.piecewise else rigid_points
    rigid = np.repeat(motion.shifts[:, None], len(points), axis=1)
    local = motion.patch_shifts if motion.piecewise else rigid
    local_motion = truth.displacement(points)
    rows = [
        ("rigid_motion_error", motion.shifts, truth.rigid_motion, "Rigid shifts against the mean motion."),
        ("local_motion_error", local, local_motion, "Patch shifts against the motion at the patch centres."),
        ("rigid_for_local_error", rigid, local_motion, "Rigid shifts against the motion at the patch centres."),
        ("uncorrected_rigid_motion", 0 * motion.shifts, truth.rigid_motion, "Mean motion without correction."),
        ("uncorrected_local_motion", 0 * local, local_motion, "Motion at the patch centres without correction."),
    ]
    return [TruthScore(name, motion_error(shifts, moved), "px", text) for name, shifts, moved, text in rows]


def score_results(
    truth: SimulatedTruth,
    components: Components | None = None,
    accepted: NDArray[np.bool_] | None = None,
    motion: MotionCorrection | None = None,
    red_labels: RedLabels | None = None,
) -> list[TruthScore]:
    """Measures the accuracy of the given results.

    Args:
        truth: Ground truth of the recording.
        components: Components; None leaves their scores out.
        accepted: (N,), components accepted as cells; None accepts all.
        motion: Estimated motion; None leaves its scores out.
        red_labels: Signals of the components in the structural channel; None leaves their scores out.

    Returns:
        The scores of :func:`score_components`, of :func:`score_labels`, then those of :func:`score_motion`.
    """
    scores = score_components(truth, components, accepted) if components is not None else []
    if components is not None and red_labels is not None:
        scores += score_labels(truth, components, red_labels)
    return scores + (score_motion(truth, motion) if motion is not None else [])
