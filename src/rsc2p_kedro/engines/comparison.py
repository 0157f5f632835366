"""How far two engines agree on one recording, from their shifts, components and dF/F.

Neither engine is the truth: agreement is not accuracy, which only recordings with a known truth (simulation) can tell.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy.ndimage as ndi
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.interpolate import RegularGridInterpolator

from rsc2p_kedro.core.results import ComponentQuality, Components, DeltaFOverF, MotionCorrection
from rsc2p_kedro.engines.cost import StepCost
from rsc2p_kedro.simulation.truth import correlations, intersection_over_union, match_footprints, motion_error

SPIKE_SIGMA_FRAMES = 2.0
"""Spike trains are blurred by a Gaussian of this many frames before they are correlated, as in the benchmarks."""
GRID = 4
"""Local shifts are compared at the centres of GRID x GRID equal parts of the frame."""


@dataclass(frozen=True, eq=False)
class EngineRun:
    """What one engine made of a recording.

    Attributes:
        engine: name of the engine.
        motion: motion of the raw movie.
        components: components of the refit, in the corrected movie.
        quality: quality and acceptance of the components.
        dff: dF/F of the components.
        costs: cost of each step, in the order of the steps.
    """

    engine: str
    motion: MotionCorrection
    components: Components
    quality: ComponentQuality
    dff: DeltaFOverF
    costs: Sequence[StepCost] = ()

    @property
    def seconds(self) -> dict[str, float]:
        """Wall time of each step in s."""
        return {cost.step: cost.seconds for cost in self.costs}

    @property
    def cpu_seconds(self) -> float:
        """CPU time of all steps in s."""
        return sum(cost.cpu_seconds for cost in self.costs)

    @property
    def peak_memory_gb(self) -> float:
        """Largest peak of memory of any step in GB; NaN without costs."""
        return max((cost.peak_memory_gb for cost in self.costs), default=float("nan"))


@dataclass(frozen=True, eq=False)
class Agreement:
    """Where two runs agree. Components of the second are seen in the frame of the first.

    Attributes:
        offset_px: (2,), where (dy, dx) the first template lies against the second: no disagreement.
        matched: (M, 2) indices of the accepted components of both that match (IoU of 0.5 or more).
        iou: (M,), of each match.
        trace_correlation: (M,), of the denoised traces.
        spike_correlation: (M,), of the spikes, blurred by 2 frames.
        dff_correlation: (M,), of dF/F.
        any_matched: accepted components of the first, and of the second, that match any component of the other.
        rigid_difference_px: root mean square per axis of the difference of rigid shifts, but for the offset.
        local_difference_px: the same of the whole shifts at 4 x 4 places within the frame.
    """

    offset_px: NDArray[np.float64]
    matched: NDArray[np.int64]
    iou: NDArray[np.float64]
    trace_correlation: NDArray[np.float64]
    spike_correlation: NDArray[np.float64]
    dff_correlation: NDArray[np.float64]
    any_matched: tuple[int, int]
    rigid_difference_px: float
    local_difference_px: float


def moved_footprints(footprints: sp.csc_array, shape: tuple[int, int], dy: int, dx: int) -> sp.csc_array:
    """Footprints (H*W, N) whose content moved by whole pixels; what leaves the frame is lost."""
    (H, W), entries = shape, sp.coo_array(footprints)
    y, x = entries.row // W + dy, entries.row % W + dx
    inside = (y >= 0) & (y < H) & (x >= 0) & (x < W)
    places = (y[inside] * W + x[inside], entries.col[inside])
    return sp.csc_array((entries.data[inside], places), shape=footprints.shape)


def local_shifts(motion: MotionCorrection) -> NDArray[np.float64]:
    """Whole shifts (T, 16, 2) at the centres of 4 x 4 tiles, linear between patch centres, constant beyond them."""
    H, W = motion.template.shape
    y, x = (n * (np.arange(GRID) + 0.5) / GRID - 0.5 for n in (H, W))
    points = np.stack(np.meshgrid(y, x, indexing="ij"), axis=-1).reshape(-1, 2)
    if not motion.piecewise:
        return np.repeat(motion.shifts[:, None].astype(float), len(points), axis=1)
    nodes = [np.unique(motion.patch_centres[:, axis]).astype(float) for axis in (0, 1)]
    order = np.lexsort((motion.patch_centres[:, 1], motion.patch_centres[:, 0]))
    fields = motion.patch_shifts[:, order].transpose(1, 0, 2).reshape(*map(len, nodes), -1).astype(float)
    for axis in (0, 1):  # one row of patches says the same everywhere along it
        if len(nodes[axis]) == 1:
            nodes[axis], fields = nodes[axis][0] + np.array([0.0, 1.0]), np.repeat(fields, 2, axis=axis)
    inside = np.column_stack([np.clip(points[:, a], nodes[a][0], nodes[a][-1]) for a in (0, 1)])
    return RegularGridInterpolator(tuple(nodes), fields)(inside).reshape(len(points), -1, 2).transpose(1, 0, 2)


def _blurred(spikes: NDArray) -> NDArray[np.float64]:
    return ndi.gaussian_filter1d(spikes.astype(float), SPIKE_SIGMA_FRAMES, axis=1)


def agreement(first: EngineRun, second: EngineRun) -> Agreement:
    """Where two runs agree on motion, components and their activity."""
    offset = np.median(first.motion.shifts.astype(float) - second.motion.shifts, axis=0).astype(np.float64)
    a, b = first.components, second.components
    dy, dx = np.rint(offset).astype(int)
    overlap = intersection_over_union(a.footprints, moved_footprints(b.footprints, b.shape, int(dy), int(dx)))
    rows, columns = (np.flatnonzero(run.quality.accepted) for run in (first, second))
    chosen = match_footprints(overlap[np.ix_(rows, columns)])
    i, j = rows[chosen[0]], columns[chosen[1]]
    return Agreement(
        offset_px=offset,
        matched=np.column_stack([i, j]),
        iou=overlap[i, j],
        trace_correlation=correlations(a.traces[i], b.traces[j]),
        spike_correlation=correlations(_blurred(a.spikes[i]), _blurred(b.spikes[j])),
        dff_correlation=correlations(first.dff.dff[i], second.dff.dff[j]),
        any_matched=(len(match_footprints(overlap[rows])[0]), len(match_footprints(overlap[:, columns])[0])),
        rigid_difference_px=motion_error(first.motion.shifts, -second.motion.shifts.astype(float)),
        local_difference_px=motion_error(local_shifts(first.motion), -local_shifts(second.motion)),
    )


def _median(values: NDArray) -> float:
    return float(np.median(values)) if len(values) else float("nan")


def agreement_table(first: EngineRun, second: EngineRun, found: Agreement) -> pd.DataFrame:
    """One row a measure: of the first engine, of the second, and of both together."""
    nan, runs = float("nan"), (first, second)
    accepted = [int(run.quality.accepted.sum()) for run in runs]
    shares = [len(found.matched) / n if n else nan for n in accepted]
    any_shares = [m / n if n else nan for m, n in zip(found.any_matched, accepted, strict=True)]
    between = [
        ("matched_iou", "", _median(found.iou), "Median IoU of the matches."),
        ("trace_correlation", "", _median(found.trace_correlation), "Median over matches, denoised traces."),
        ("spike_correlation", "", _median(found.spike_correlation), "Median over matches, blurred by 2 frames."),
        ("dff_correlation", "", _median(found.dff_correlation), "Median over matches, dF/F."),
        ("rigid_difference", "px", found.rigid_difference_px, "RMS per axis of the difference of rigid shifts."),
        ("local_difference", "px", found.local_difference_px, "The same of whole shifts at 4 x 4 places."),
        ("template_offset_y", "px", float(found.offset_px[0]), "First template against the second; taken out above."),
        ("template_offset_x", "px", float(found.offset_px[1]), "First template against the second; taken out above."),
    ]
    rows: list[tuple] = [
        ("components", "", *(float(run.components.n_components) for run in runs), nan, "Components of the refit."),
        ("accepted", "", *map(float, accepted), float(len(found.matched)), "Accepted; by both (IoU >= 0.5)."),
        ("share_matched", "", *shares, nan, "Share of its accepted components that the other accepts."),
        ("share_found", "", *any_shares, nan, "Share of its accepted components that the other has at all."),
        *((name, unit, nan, nan, value, text) for name, unit, value, text in between),
        *((f"{step}_time", "s", *(run.seconds[step] for run in runs), nan, "Wall time.") for step in first.seconds),
        ("total_time", "s", *(sum(run.seconds.values()) for run in runs), nan, "Wall time of all steps."),
        (
            "cpu_time",
            "s",
            *(run.cpu_seconds for run in runs),
            nan,
            "CPU time of all its processes, their start included.",
        ),
        (
            "peak_memory",
            "GB",
            *(run.peak_memory_gb for run in runs),
            nan,
            "Largest of all steps, above what was held before the step.",
        ),
    ]
    columns = ["measure", "unit", first.engine, second.engine, "both", "description"]
    return pd.DataFrame(rows, columns=columns)
