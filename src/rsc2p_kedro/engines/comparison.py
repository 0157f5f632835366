"""Agreement of two engines on one recording: their shifts, components and dF/F.

Neither engine is the truth. Agreement is not accuracy, which can only be measured on recordings whose truth is known
(:mod:`rsc2p_kedro.simulation`).
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
"""Standard deviation in frames of the Gaussian that smooths spikes before they are correlated.

The same as in the scores of simulated recordings (:mod:`rsc2p_kedro.simulation.truth`); not tuned.
"""
LOCAL_GRID = 4
"""Local shifts are compared at the centres of LOCAL_GRID x LOCAL_GRID equal parts of the frame.

The same as in the scores of simulated recordings; not tuned.
"""


@dataclass(frozen=True, eq=False)
class EngineRun:
    """Results of one engine on a recording, and their cost.

    Attributes:
        engine: name of the engine.
        motion: motion of the raw movie.
        components: components of the refit, extracted from the corrected movie.
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
        """Highest peak memory of all steps in GB; NaN if no cost was measured."""
        return max((cost.peak_memory_gb for cost in self.costs), default=float("nan"))


@dataclass(frozen=True, eq=False)
class Agreement:
    """Agreement of two runs on one recording.

    Components match if the IoU of their masks (pixels above a fifth of the footprint's maximum) is 0.5 or more. The
    footprints of the second run are shifted into the frame of the first before they are compared.

    Attributes:
        offset_px: (2,) float64, (dy, dx) in px of the first template with respect to the second. Each engine chooses
            the position of its template freely, so this is no disagreement.
        matched: (M, 2) int64, indices in both runs of accepted components that match.
        iou: (M,) float64, IoU of each match.
        trace_correlation: (M,) float64, Pearson correlation of the denoised traces.
        spike_correlation: (M,) float64, of the spikes, smoothed over 2 frames.
        dff_correlation: (M,) float64, of dF/F.
        n_extracted_by_other: number of accepted components of the first run that match any component of the second,
            accepted or not, and the reverse.
        rigid_shift_difference_px: root mean square per axis of the difference of the rigid shifts, without the offset.
        local_shift_difference_px: the same for the whole shifts (rigid and local) at 4 x 4 points of the frame.
    """

    offset_px: NDArray[np.float64]
    matched: NDArray[np.int64]
    iou: NDArray[np.float64]
    trace_correlation: NDArray[np.float64]
    spike_correlation: NDArray[np.float64]
    dff_correlation: NDArray[np.float64]
    n_extracted_by_other: tuple[int, int]
    rigid_shift_difference_px: float
    local_shift_difference_px: float


def shift_footprints(footprints: sp.csc_array, shape: tuple[int, int], dy: int, dx: int) -> sp.csc_array:
    """Moves footprints by whole pixels.

    Args:
        footprints: (H*W, N), rows in C order.
        shape: (H, W) of the frame.
        dy: displacement along y in px; above 0 moves down.
        dx: displacement along x in px; above 0 moves right.

    Returns:
        CSC (H*W, N); pixels that leave the frame are dropped.
    """
    (H, W), entries = shape, sp.coo_array(footprints)
    y, x = entries.row // W + dy, entries.row % W + dx
    inside = (y >= 0) & (y < H) & (x >= 0) & (x < W)
    indices = (y[inside] * W + x[inside], entries.col[inside])
    return sp.csc_array((entries.data[inside], indices), shape=footprints.shape)


def local_shifts(motion: MotionCorrection) -> NDArray[np.float64]:
    """Interpolates the whole shifts (rigid and local) at fixed points of the frame, whatever patches an engine used.

    Args:
        motion: of T frames.

    Returns:
        (T, 16, 2) as (dy, dx) in px at the centres of 4 x 4 equal parts of the frame: linear between patch centres,
        constant beyond them.
    """
    H, W = motion.template.shape
    y, x = (n * (np.arange(LOCAL_GRID) + 0.5) / LOCAL_GRID - 0.5 for n in (H, W))
    points = np.stack(np.meshgrid(y, x, indexing="ij"), axis=-1).reshape(-1, 2)
    if not motion.piecewise:
        return np.repeat(motion.shifts[:, None].astype(float), len(points), axis=1)
    nodes = [np.unique(motion.patch_centres[:, axis]).astype(float) for axis in (0, 1)]
    order = np.lexsort((motion.patch_centres[:, 1], motion.patch_centres[:, 0]))
    fields = motion.patch_shifts[:, order].transpose(1, 0, 2).reshape(*map(len, nodes), -1).astype(float)
    for axis in (0, 1):  # the interpolator needs two nodes per axis: a single row of patches is repeated
        if len(nodes[axis]) == 1:
            nodes[axis], fields = nodes[axis][0] + np.array([0.0, 1.0]), np.repeat(fields, 2, axis=axis)
    inside = np.column_stack([np.clip(points[:, a], nodes[a][0], nodes[a][-1]) for a in (0, 1)])
    return RegularGridInterpolator(tuple(nodes), fields)(inside).reshape(len(points), -1, 2).transpose(1, 0, 2)


def compare_runs(first: EngineRun, second: EngineRun) -> Agreement:
    """Compares the motion, the components and the activity of two runs on the same raw movie.

    Accepted components are matched one to one by the Hungarian method, so that the sum of their IoU is the largest.

    Args:
        first: run of one engine.
        second: run of the other engine.

    Returns:
        The agreement of both runs; arrays of length 0 if no accepted components match.
    """
    offset = np.median(first.motion.shifts.astype(float) - second.motion.shifts, axis=0).astype(np.float64)
    a, b = first.components, second.components
    dy, dx = np.rint(offset).astype(int)
    overlap = intersection_over_union(a.footprints, shift_footprints(b.footprints, b.shape, int(dy), int(dx)))
    rows, columns = (np.flatnonzero(run.quality.accepted) for run in (first, second))
    pairs = match_footprints(overlap[np.ix_(rows, columns)])
    i, j = rows[pairs[0]], columns[pairs[1]]
    smooth_spikes = [
        ndi.gaussian_filter1d(spikes.astype(float), SPIKE_SIGMA_FRAMES, axis=1) for spikes in (a.spikes[i], b.spikes[j])
    ]
    return Agreement(
        offset_px=offset,
        matched=np.column_stack([i, j]),
        iou=overlap[i, j],
        trace_correlation=correlations(a.traces[i], b.traces[j]),
        spike_correlation=correlations(*smooth_spikes),
        dff_correlation=correlations(first.dff.dff[i], second.dff.dff[j]),
        n_extracted_by_other=(len(match_footprints(overlap[rows])[0]), len(match_footprints(overlap[:, columns])[0])),
        rigid_shift_difference_px=motion_error(first.motion.shifts, -second.motion.shifts.astype(float)),
        local_shift_difference_px=motion_error(local_shifts(first.motion), -local_shifts(second.motion)),
    )


Row = tuple[str, str, list[float], str]
"""Name of a measure, unit, its values (of the first engine, of the second, of both together), and description."""


def _component_rows(first: EngineRun, second: EngineRun, agreement: Agreement) -> list[Row]:
    """Measures of the numbers of components."""
    n_matched, accepted = float(len(agreement.matched)), [float(run.quality.accepted.sum()) for run in (first, second)]
    by_other = [n_matched / n if n else np.nan for n in accepted]
    extracted = [m / n if n else np.nan for m, n in zip(agreement.n_extracted_by_other, accepted, strict=True)]
    numbers = [float(run.components.n_components) for run in (first, second)]
    return [
        ("components", "", [*numbers, np.nan], "Number of components after the refit."),
        ("accepted", "", [*accepted, n_matched], "Accepted components; both: accepted components that match."),
        (
            "accepted_by_other",
            "",
            [*by_other, np.nan],
            "Fraction of the accepted components that match an accepted component of the other engine.",
        ),
        (
            "extracted_by_other",
            "",
            [*extracted, np.nan],
            "Fraction of the accepted components that match any component of the other engine.",
        ),
    ]


def _difference_rows(agreement: Agreement) -> list[Row]:
    """Measures of matched components and of motion, which belong to both engines together."""

    def median(values: NDArray) -> float:
        return float(np.median(values)) if len(values) else np.nan

    rigid, local = agreement.rigid_shift_difference_px, agreement.local_shift_difference_px
    offset_y, offset_x = map(float, agreement.offset_px)
    rows = [
        ("matched_iou", "", median(agreement.iou), "Median IoU of matched components."),
        ("trace_correlation", "", median(agreement.trace_correlation), "Median over matches, denoised traces."),
        ("spike_correlation", "", median(agreement.spike_correlation), "Median over matches, smoothed over 2 frames."),
        ("dff_correlation", "", median(agreement.dff_correlation), "Median over matches, dF/F."),
        ("rigid_shift_difference", "px", rigid, "RMS difference per axis, rigid shifts."),
        ("local_shift_difference", "px", local, "RMS difference per axis, whole shifts at 4 x 4 points of the frame."),
        ("template_offset_y", "px", offset_y, "Position of the first template less the second; removed above."),
        ("template_offset_x", "px", offset_x, "Position of the first template less the second; removed above."),
    ]
    return [(name, unit, [np.nan, np.nan, value], description) for name, unit, value, description in rows]


def _cost_rows(first: EngineRun, second: EngineRun) -> list[Row]:
    """Measures of time and memory."""
    runs = (first, second)
    times = [(f"{step}_time", [run.seconds[step] for run in runs]) for step in first.seconds]
    total = [sum(run.seconds.values()) for run in runs]
    cpu, memory = [run.cpu_seconds for run in runs], [run.peak_memory_gb for run in runs]
    return [
        *((name, "s", [*values, np.nan], "Wall time of the step.") for name, values in times),
        ("total_time", "s", [*total, np.nan], "Wall time of all steps."),
        ("cpu_time", "s", [*cpu, np.nan], "CPU time of all processes, including their start."),
        (
            "peak_memory",
            "GB",
            [*memory, np.nan],
            "Highest peak of all steps, above the memory in use before the step.",
        ),
    ]


def agreement_table(first: EngineRun, second: EngineRun, agreement: Agreement) -> pd.DataFrame:
    """Tabulates the agreement of two runs and the cost of each.

    Args:
        first: run of one engine.
        second: run of the other engine, with the same steps.
        agreement: of both, see :func:`compare_runs`.

    Returns:
        One row per measure: name, unit, value of the first engine, of the second engine and of both together (NaN where
        there is none), and a description. The columns of the values are named for the engines; with `embedded` and
        `caiman` it is an :class:`~rsc2p_kedro.core.schemas.EngineAgreementTable`.
    """
    rows = [
        *_component_rows(first, second, agreement),
        *_difference_rows(agreement),
        *_cost_rows(first, second),
    ]
    columns = ["measure", "unit", first.engine, second.engine, "both", "description"]
    return pd.DataFrame([(name, unit, *values, text) for name, unit, values, text in rows], columns=columns)
