"""How far two engines agree on one recording: both run from the raw movie to dF/F, and their results are compared.

Each engine works in a process of its own, one after the other, with the same parameters, so that time and memory are
those of that engine alone. Nobody is right here: agreement is not truth, for which there is simulation.
"""

import os
import sys
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import dask.array as da
import numpy as np
import pandas as pd
import scipy.ndimage as ndi
import scipy.sparse as sp
from kedro.io import DataCatalog
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.interpolate import RegularGridInterpolator

from rsc2p_kedro.algorithms.summary_images import summarize
from rsc2p_kedro.core.parameters import (
    CaimanSettings,
    Compute,
    EngineName,
    EvaluationParameters,
    ExtractionParameters,
    FrozenModel,
    MotionCorrectionParameters,
)
from rsc2p_kedro.core.results import ComponentQuality, Components, DeltaFOverF, MotionCorrection
from rsc2p_kedro.datasets.records import read_record, write_record
from rsc2p_kedro.datasets.seeds import check_seeds, read_seeds
from rsc2p_kedro.datasets.zarr_movie import ZarrMovieDataset
from rsc2p_kedro.engines import get_engine
from rsc2p_kedro.manifest.recordings import Recording
from rsc2p_kedro.plots.engines import agreement_figure
from rsc2p_kedro.simulation.truth import correlations, intersection_over_union, match, motion_error

STEPS = ("correct_motion", "apply_motion", "fit", "refit", "evaluate", "dff")
_SPIKE_SIGMA_FRAMES = 2.0
_SAMPLE_S = 0.2
_GRID = 4

Model = TypeVar("Model", bound=FrozenModel)
Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class EngineRun:
    """What one engine made of a recording.

    Attributes:
        engine: its name.
        motion: of the raw movie.
        components: of the refit.
        quality: of the components.
        dff: of the components.
        correlation_image: (H, W) float32, of the corrected movie.
        seconds: of each step, by its name.
        peak_memory_gb: most memory of all its processes together; NaN where it could not be measured.
        cpu_seconds: of all its processes, start and compilation included, which other work on the machine does not
            lengthen; 0 where the system does not tell.
    """

    engine: str
    motion: MotionCorrection
    components: Components
    quality: ComponentQuality
    dff: DeltaFOverF
    correlation_image: NDArray[np.float32]
    seconds: dict[str, float] = field(default_factory=dict)
    peak_memory_gb: float = float("nan")
    cpu_seconds: float = 0.0


@dataclass(frozen=True)
class Workflow:
    """All that a run takes: the recording, parameters of the stages as they stand, and where the user's CaImAn is."""

    recording: Recording
    motion_correction: MotionCorrectionParameters
    source_extraction: ExtractionParameters
    evaluation: EvaluationParameters
    compute: Compute
    caiman: CaimanSettings

    def of(self, engine: EngineName, parameters: Model) -> Model:
        """The parameters of a stage for this recording and that engine."""
        values = self.recording.override(parameters).model_dump() | {"engine": engine}
        return type(parameters).model_validate(values)


def run_engine(engine: EngineName, movie: da.Array, workflow: Workflow, folder: Path) -> EngineRun:
    """The notebook's whole workflow by one engine; the corrected movie goes into the folder."""
    seconds: dict[str, float] = {}

    def timed(step: str, work: Callable[[], Result]) -> Result:
        start = time.perf_counter()
        result = work()
        seconds[step] = time.perf_counter() - start
        return result

    does, acquisition, compute = get_engine(engine, workflow.caiman), workflow.recording.acquisition, workflow.compute
    moving = workflow.of(engine, workflow.motion_correction)
    finding = workflow.of(engine, workflow.source_extraction)
    judging = workflow.of(engine, workflow.evaluation)
    motion = timed("correct_motion", lambda: does.correct_motion(movie, moving, compute=compute))
    stored = ZarrMovieDataset(filepath=folder / "corrected.zarr", threads=compute.threads, show_progress=False)
    timed("apply_motion", lambda: stored.save(does.apply_motion(movie, motion, moving)))
    corrected = stored.load()
    seeded = finding.initialization == "seeded"
    file = workflow.recording.seeds
    drawn = read_seeds(file) if seeded and file is not None else None
    seeds = check_seeds(drawn, corrected.shape[1:], source=str(file)) if seeded else None
    extract = partial(does.extract_sources, corrected, acquisition, finding, compute=compute)
    fit = timed("fit", lambda: extract(valid_mask=motion.valid_mask, seeds=seeds))
    found = timed("refit", lambda: extract(valid_mask=motion.valid_mask, earlier=fit))
    quality = timed("evaluate", lambda: does.evaluate(corrected, found, acquisition, judging, compute=compute))
    dff = timed("dff", lambda: does.compute_dff(found, acquisition, judging))
    image = summarize(corrected, compute=compute, valid_mask=motion.valid_mask).correlation
    return EngineRun(engine, motion, found, quality, dff, image, seconds)


def _run_alone(engine: EngineName, movie_path: str, workflow: Workflow, folder: str) -> None:
    """What the process of one engine does; kernels are compiled before the clock starts."""
    warnings.simplefilter("ignore")
    if engine == "embedded":
        from rsc2p_kedro.engines.warm_up import warm_up

        warm_up()
    movie = ZarrMovieDataset(filepath=movie_path).load()
    write_record(Path(folder) / "run.npz", run_engine(engine, movie, workflow, Path(folder)))


def run_measured(engine: EngineName, movie_path: Path, workflow: Workflow, folder: Path) -> EngineRun:
    """Runs an engine in a process of its own, and measures its memory.

    Args:
        engine: its name.
        movie_path: of the raw movie, a zarr array (T, H, W).
        workflow: what to do.
        folder: for what is made meanwhile.

    Raises:
        RuntimeError: the process has failed; what it said stands above.
    """
    folder.mkdir(parents=True)
    before = os.times()
    process = get_context("spawn").Process(target=_run_alone, args=(engine, str(movie_path), workflow, str(folder)))
    process.start()
    watch = MemoryWatch(process.pid or 0)
    try:
        process.join()
    finally:
        process.terminate()
        peak = watch.stop()
    if process.exitcode:
        raise RuntimeError(f"Engine {engine} failed (exit code {process.exitcode}); see above for what it said.")
    done = read_record(folder / "run.npz", EngineRun)
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return replace(done, peak_memory_gb=peak, cpu_seconds=cpu)


class MemoryWatch(threading.Thread):
    """Looks at the memory of a process and all its children, five times a second (Linux).

    Counted is what only they have (anonymous and shared memory), not the pages of files that the system keeps at hand.
    """

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid, self._peak, self._done = pid, float("nan"), threading.Event()
        if sys.platform.startswith("linux"):
            self.start()

    def run(self) -> None:
        while not self._done.wait(_SAMPLE_S):
            self._peak = float(np.fmax(self._peak, memory_of_tree(self._pid) / 1e9))

    def stop(self) -> float:
        """Ends the watch; the peak in GB."""
        self._done.set()
        if self.is_alive():
            self.join()
        return self._peak


def memory_of_tree(pid: int) -> int:
    """Bytes that a process and all its children have for themselves (Linux)."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            parent = _status(int(entry.name)).get("PPid", 0)
            children.setdefault(parent, []).append(int(entry.name))
    tree, total = [pid], 0
    for one in tree:  # grows as children are found
        tree += children.get(one, [])
        status = _status(one)
        total += status.get("RssAnon", 0) + status.get("RssShmem", 0)
    return 1024 * total


def _status(pid: int) -> dict[str, int]:
    """Numbers in what Linux tells of a process (memory in KB); none where it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    pairs = (line.split(":", 1) for line in lines)
    return {name: int(value.split()[0]) for name, value in pairs if value.split() and value.split()[0].isdigit()}


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
    y, x = (n * (np.arange(_GRID) + 0.5) / _GRID - 0.5 for n in (H, W))
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
    return ndi.gaussian_filter1d(spikes.astype(float), _SPIKE_SIGMA_FRAMES, axis=1)


def agreement(first: EngineRun, second: EngineRun) -> Agreement:
    """Where two runs agree on motion, components and their activity."""
    offset = np.median(first.motion.shifts.astype(float) - second.motion.shifts, axis=0).astype(np.float64)
    a, b = first.components, second.components
    dy, dx = np.rint(offset).astype(int)
    overlap = intersection_over_union(a.footprints, moved_footprints(b.footprints, b.shape, int(dy), int(dx)))
    rows, columns = (np.flatnonzero(run.quality.accepted) for run in (first, second))
    chosen = match(overlap[np.ix_(rows, columns)])
    i, j = rows[chosen[0]], columns[chosen[1]]
    return Agreement(
        offset_px=offset,
        matched=np.column_stack([i, j]),
        iou=overlap[i, j],
        trace_correlation=correlations(a.traces[i], b.traces[j]),
        spike_correlation=correlations(_blurred(a.spikes[i]), _blurred(b.spikes[j])),
        dff_correlation=correlations(first.dff.dff[i], second.dff.dff[j]),
        any_matched=(len(match(overlap[rows])[0]), len(match(overlap[:, columns])[0])),
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
        *((f"{step}_time", "s", *(run.seconds[step] for run in runs), nan, "Wall time.") for step in STEPS),
        ("total_time", "s", *(sum(run.seconds.values()) for run in runs), nan, "Wall time of all steps."),
        ("cpu_time", "s", *(run.cpu_seconds for run in runs), nan, "Of all its processes, their start included."),
        ("peak_memory", "GB", *(run.peak_memory_gb for run in runs), nan, "Of all its processes, without file cache."),
    ]
    columns = ["measure", "unit", first.engine, second.engine, "both", "description"]
    return pd.DataFrame(rows, columns=columns)


def draw_agreement(first: EngineRun, second: EngineRun, found: Agreement, recording: Recording) -> Figure:
    """The figure of two runs."""
    shape, (dy, dx) = first.components.shape, np.rint(found.offset_px).astype(int)
    accepted = [np.flatnonzero(run.quality.accepted) for run in (first, second)]
    own = sp.csc_array(first.components.footprints[:, accepted[0]])
    other = sp.csc_array(second.components.footprints[:, accepted[1]])
    among_accepted = [np.searchsorted(accepted[side], found.matched[:, side]) for side in (0, 1)]
    return agreement_figure(
        first.correlation_image,
        (own, moved_footprints(other, shape, int(dy), int(dx))),
        np.column_stack(among_accepted),
        iou=found.iou,
        trace_correlation=found.trace_correlation,
        dff_correlation=found.dff_correlation,
        shifts=(first.motion.shifts, second.motion.shifts),
        seconds=(first.seconds, second.seconds),
        memory_gb=(first.peak_memory_gb, second.peak_memory_gb),
        names=(first.engine, second.engine),
        frame_rate_hz=recording.frame_rate_hz,
        pixel_size_um=recording.pixel_size_um,
        title=f"{recording.name}: {first.engine} and {second.engine} {second.motion.provenance['version']}",
    )


def write_agreement(catalog: DataCatalog, workflow: Workflow) -> pd.DataFrame:
    """Runs both engines on the raw movie of a recording; the table, which is stored like the figure.

    Args:
        catalog: with the movie; what is made meanwhile lies beside it, and is removed.
        workflow: the recording and its parameters.
    """
    name = workflow.recording.name
    movie_path = Path(catalog[f"{name}.movie"]._filepath)  # type: ignore[attr-defined]
    with TemporaryDirectory(dir=movie_path.parent, prefix="engines_") as folder:
        first, second = (
            run_measured(engine, movie_path, workflow, Path(folder) / engine) for engine in ("embedded", "caiman")
        )
    found = agreement(first, second)
    table = agreement_table(first, second, found)
    catalog.save(f"{name}.engine_agreement_table", table)
    catalog.save(f"{name}.engine_agreement_figure", draw_agreement(first, second, found, workflow.recording))
    return table


def workflow_of(recording: Recording, parameters: dict[str, Any]) -> Workflow:
    """A workflow from the parameters of an environment."""
    return Workflow(
        recording=recording,
        motion_correction=MotionCorrectionParameters.model_validate(parameters.get("motion_correction") or {}),
        source_extraction=ExtractionParameters.model_validate(parameters.get("source_extraction") or {}),
        evaluation=EvaluationParameters.model_validate(parameters.get("evaluation") or {}),
        compute=Compute.model_validate(parameters.get("compute") or {}),
        caiman=CaimanSettings.model_validate(parameters.get("caiman") or {}),
    )
