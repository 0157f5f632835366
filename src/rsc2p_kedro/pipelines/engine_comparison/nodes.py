"""Nodes of the comparison: the nodes of the stages run by a given engine, their cost, and the agreement of engines."""

import inspect
from collections.abc import Callable
from functools import cache
from typing import Any

import dask.array as da
import numpy as np
import pandas as pd
import scipy.sparse as sp
from matplotlib.figure import Figure

from rsc2p_kedro.algorithms.blocks import frame_blocks, read, run
from rsc2p_kedro.core.fingerprints import uses
from rsc2p_kedro.core.parameters import CaimanSettings, Compute, EngineName, MotionCorrectionParameters
from rsc2p_kedro.core.results import ComponentQuality, Components, DeltaFOverF, MotionCorrection, SummaryImages
from rsc2p_kedro.engines.comparison import EngineRun, agreement_table, compare_runs, shift_footprints
from rsc2p_kedro.engines.cost import StepCost, measure
from rsc2p_kedro.manifest.recordings import Recording
from rsc2p_kedro.pipelines.motion_correction.nodes import apply_motion
from rsc2p_kedro.plots.engines import agreement_figure


def by_engine(function: Callable, engine: EngineName, *arguments: Any, **named: Any) -> Any:
    """Calls the node function of a stage with a given engine, which overrides that of the parameters.

    Args:
        function: node function of a stage, with an argument `recording`.
        engine: the engine to use.
        *arguments: arguments of the function.
        **named: further arguments by name.

    Returns:
        The result of the function.
    """
    bound = inspect.signature(function).bind(*arguments, **named)
    bound.arguments["recording"] = bound.arguments["recording"].with_engine(engine)
    return function(*bound.args, **bound.kwargs)


def measured_by_engine(function: Callable, engine: EngineName, *arguments: Any, **named: Any) -> tuple[Any, StepCost]:
    """Calls a node function as :func:`by_engine` does and measures its cost, without the compilation of kernels.

    Args:
        function: node function of a stage, with an argument `recording`.
        engine: the engine to use.
        *arguments: arguments of the function.
        **named: further arguments by name.

    Returns:
        The result of the function, and the cost of the call.
    """
    if engine == "embedded":
        _compile_kernels()
    return measure(function.__name__, lambda: by_engine(function, engine, *arguments, **named))


@cache
def _compile_kernels() -> int:
    from rsc2p_kedro.engines.warm_up import warm_up  # needed here only, and not at the start of every command

    return warm_up()


def measure_apply_motion(
    engine: EngineName,
    movie: da.Array,
    motion: MotionCorrection,
    recording: Recording,
    parameters: MotionCorrectionParameters,
    compute: Compute,
    caiman: CaimanSettings,
) -> StepCost:
    """Measures the cost of applying shifts: every corrected frame is computed once and discarded.

    The corrected movie itself is lazy and computed while the catalog saves it, so its cost cannot be measured there.

    Args:
        engine: the engine that estimated the motion.
        movie: raw movie (T, H, W).
        motion: its motion.
        recording: the recording, whose own parameters take precedence.
        parameters: how shifts are applied.
        compute: resources of the machine.
        caiman: location of the user's CaImAn.

    Returns:
        The cost.
    """
    if engine == "embedded":
        _compile_kernels()
    corrected = by_engine(apply_motion, engine, movie, motion, recording, parameters, caiman)

    def discard(frames: slice) -> None:
        read(corrected, frames)

    blocks = frame_blocks(len(movie), compute.block_frames)
    sizes = [block.stop - block.start for block in blocks]
    _, cost = measure(
        "apply_motion",
        lambda: run(discard, blocks, compute=compute, description="applying motion", unit="frame", sizes=sizes),
    )
    return cost


def collect_run(
    engine: EngineName,
    motion: MotionCorrection,
    components: Components,
    component_quality: ComponentQuality,
    dff: DeltaFOverF,
    *costs: StepCost,
) -> EngineRun:
    """Collects the results of one engine on a recording.

    Args:
        engine: the engine.
        motion: motion of the raw movie.
        components: components of the refit.
        component_quality: their quality and acceptance.
        dff: their dF/F.
        *costs: cost of each step, in the order of the steps.

    Returns:
        The results and their cost in one record.
    """
    return EngineRun(engine, motion, components, component_quality, dff, costs)


def tabulate_agreement(first: EngineRun, second: EngineRun) -> pd.DataFrame:
    """Tabulates the agreement of two engines on motion, components and activity, and the cost of each.

    Args:
        first: run of the embedded engine.
        second: run of CaImAn.

    Returns:
        An :class:`~rsc2p_kedro.core.schemas.EngineAgreementTable`, one row per measure.
    """
    return agreement_table(first, second, compare_runs(first, second))


@uses(recording="frame_rate_hz pixel_size_um")
def plot_agreement(first: EngineRun, second: EngineRun, images: SummaryImages, recording: Recording) -> Figure:
    """Draws contours, traces, shifts and cost of two engines side by side.

    Args:
        first: run of the embedded engine.
        second: run of CaImAn.
        images: summary images of the movie corrected by the first engine.
        recording: the recording, for its frame rate and pixel size.

    Returns:
        The figure.
    """
    agreement = compare_runs(first, second)
    shape, (dy, dx) = first.components.shape, np.rint(agreement.offset_px).astype(int)
    accepted = [np.flatnonzero(engine_run.quality.accepted) for engine_run in (first, second)]
    own = sp.csc_array(first.components.footprints[:, accepted[0]])
    other = sp.csc_array(second.components.footprints[:, accepted[1]])
    among_accepted = [np.searchsorted(accepted[side], agreement.matched[:, side]) for side in (0, 1)]
    return agreement_figure(
        images.correlation,
        (own, shift_footprints(other, shape, int(dy), int(dx))),
        np.column_stack(among_accepted),
        iou=agreement.iou,
        trace_correlation=agreement.trace_correlation,
        dff_correlation=agreement.dff_correlation,
        shifts=(first.motion.shifts, second.motion.shifts),
        seconds=(first.seconds, second.seconds),
        memory_gb=(first.peak_memory_gb, second.peak_memory_gb),
        names=(first.engine, second.engine),
        frame_rate_hz=recording.frame_rate_hz,
        pixel_size_um=recording.pixel_size_um,
        title=f"{recording.name}: {first.engine} and {second.engine} {second.motion.provenance['version']}",
    )
