"""Nodes of the stage export: they build an NWB file from the results of all stages."""

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import dask.array as da
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pynwb import NWBFile

from rsc2p_kedro.core.parameters import (
    EvaluationParameters,
    ExtractionParameters,
    IngestionParameters,
    MotionCorrectionParameters,
)
from rsc2p_kedro.core.provenance import collect_provenance, content_identity
from rsc2p_kedro.core.results import (
    ComponentQuality,
    Components,
    DeltaFOverF,
    LineOffset,
    MotionCorrection,
    SpikeInference,
    SummaryImages,
)
from rsc2p_kedro.datasets.frame_times import check_frame_times
from rsc2p_kedro.datasets.raw.tiff import SUFFIXES as TIFF_SUFFIXES
from rsc2p_kedro.datasets.tracked import with_tracked_ids
from rsc2p_kedro.manifest.recordings import Recording
from rsc2p_kedro.nwb.acquisition import Links, cannot_link
from rsc2p_kedro.nwb.build import PlaneContents, build_nwb_file
from rsc2p_kedro.nwb.metadata import NwbParameters, merge_metadata
from rsc2p_kedro.nwb.recording_results import RecordingResults


@dataclass(frozen=True, eq=False, kw_only=True)
class PlaneResults:
    """The datasets of one plane that an NWB file is built from, by their names.

    Attributes:
        movie: raw movie (T, H, W).
        corrected_movie: corrected movie (T, H, W).
        line_offset: offset of odd rows that was corrected in the movie.
        file_table: files on disk and the number of frames in each.
        frame_table: file and page of each frame that was used.
        excluded_frames: frames that were left out, and why.
        motion: template and shifts.
        components: components of the refit.
        component_table: their position, quality and acceptance.
        component_quality: their quality, for its provenance.
        dff: their dF/F.
        spike_inference: their spike rates.
        corrected_summary_images: images of the corrected movie.
        structural_movie: raw movie (T, H, W) of the structural channel, if there is one.
        structural_summary_images: its images, after the same motion correction.
        tracked_ids: ids of the neurons over sessions, if the animal has other sessions.
    """

    movie: da.Array
    corrected_movie: da.Array
    line_offset: LineOffset
    file_table: pd.DataFrame
    frame_table: pd.DataFrame
    excluded_frames: pd.DataFrame
    motion: MotionCorrection
    components: Components
    component_table: pd.DataFrame
    component_quality: ComponentQuality
    dff: DeltaFOverF
    spike_inference: SpikeInference
    corrected_summary_images: SummaryImages
    structural_movie: da.Array | None = None
    structural_summary_images: SummaryImages | None = None
    tracked_ids: pd.DataFrame | None = None


def build_nwb(
    recording: Recording,
    nwb: NwbParameters,
    ingestion: IngestionParameters,
    motion_correction: MotionCorrectionParameters,
    source_extraction: ExtractionParameters,
    evaluation: EvaluationParameters,
    frame_times: NDArray[np.float64] | None = None,
    **results: Any,
) -> NWBFile:
    """Builds the NWB file of a recording.

    Args:
        recording: the recording, with its metadata.
        nwb: metadata that all recordings share, and options of the export.
        ingestion: parameters of the stage.
        motion_correction: parameters of the stage, unless `motion` records the ones it was computed with.
        source_extraction: parameters of the stage, unless `components` record the ones they were computed with.
        evaluation: parameters of the stage, unless `component_quality` records the ones it was computed with.
        frame_times: (n,) times in s of all frames (volumes) on disk. None means that frames are evenly spaced, or that
            the files tell their times.
        **results: those of :class:`PlaneResults`; of several planes those of each, as `plane_1_movie`.

    Returns:
        The file in memory; movies are read as it is saved.

    Raises:
        ValueError: there are fewer frame times than frames, or the results of a plane belong to different recordings.
    """
    shared = (ingestion, motion_correction, source_extraction, evaluation)
    planes = []
    for unit in recording.units:
        prefix = "" if unit.plane is None else f"plane_{unit.plane}_"
        own = {name.removeprefix(prefix): result for name, result in results.items() if name.startswith(prefix)}
        planes.append(_contents(unit, PlaneResults(**own), nwb, shared, frame_times))
    return build_nwb_file(merge_metadata(nwb, recording), planes, parameters=nwb)


HASHED = (
    "line_offset",
    "frame_table",
    "excluded_frames",
    "motion",
    "components",
    "component_quality",
    "component_table",
    "dff",
    "spike_inference",
    "corrected_summary_images",
    "structural_summary_images",
    "tracked_ids",
)
"""Results whose content identifies the inputs of a file."""


def _contents(
    unit: Recording,
    given: PlaneResults,
    nwb: NwbParameters,
    shared: tuple[IngestionParameters, MotionCorrectionParameters, ExtractionParameters, EvaluationParameters],
    frame_times: NDArray[np.float64] | None,
) -> PlaneContents:
    """What the file holds of one plane: its results, the parameters and versions that made them, and their inputs."""
    ingestion, motion_correction, source_extraction, evaluation = shared
    times, delay = _times_of(unit, given.frame_table, frame_times)
    results = RecordingResults(
        given.movie,
        given.corrected_movie,
        given.motion,
        given.components,
        with_tracked_ids(given.component_table, given.tracked_ids),
        given.dff,
        given.spike_inference,
        given.corrected_summary_images,
        link_tiffs(given.file_table, given.frame_table, unit) if nwb.raw == "external" else None,
        times,
        given.line_offset.offset_px,
        given.excluded_frames,
        given.frame_table["trial"].to_numpy(dtype=str),
        delay,
        given.structural_movie,
        given.structural_summary_images,
    )
    made = (given.motion.provenance, given.components.provenance, given.component_quality.provenance)
    stages = {
        "acquisition": unit.acquisition,
        "ingestion": unit.override(ingestion),
        "motion_correction": unit.override(motion_correction),
        "source_extraction": unit.override(source_extraction),
        "evaluation": unit.override(evaluation),
    }
    provenance = collect_provenance(motion_correction=made[0], source_extraction=made[1], evaluation=made[2])
    hashed = {name: getattr(given, name) for name in HASHED if getattr(given, name) is not None}
    return PlaneContents(results, stages, provenance, describe_inputs(unit, given.movie, **hashed))


def _times_of(
    unit: Recording, frame_table: pd.DataFrame, frame_times: NDArray[np.float64] | None
) -> tuple[NDArray[np.float64] | None, float]:
    """Times of all frames on disk in s, None where they are evenly spaced; and the delay of the plane within a volume.

    The user's table holds times of volumes. The files tell the time of each frame that was used, in which the delay is
    contained; frames before them, which only links to raw files show, are taken as evenly spaced.
    """
    if frame_times is not None:
        return _check_times(frame_times, unit, len(frame_table)), unit.plane_delay_s
    if "time_s" not in frame_table:
        return None, unit.plane_delay_s
    times, n_before = frame_table["time_s"].to_numpy(np.float64), unit.frames[0] if unit.frames else 0
    earlier = times[0] - np.arange(n_before, 0, -1) / unit.frame_rate_hz
    return np.concatenate([earlier, times]), 0.0


def describe_inputs(recording: Recording, movie: da.Array, **results: Any) -> dict[str, Any]:
    """Identifies the inputs of an NWB file by content, so that the same inputs give the same file on any machine.

    Args:
        recording: the recording.
        movie: raw movie (T, H, W).
        **results: results and tables by the name of their dataset. They must include `frame_table`, which has the file
            and the brightness of each raw frame.

    Returns:
        Properties of the raw frames under `raw_frames`, and the SHA-256 of each result under its name.
    """
    files = results["frame_table"]["file"]
    raw = {
        "folder": recording.path.name,
        "n_files": int(files.nunique()),
        "first_file": str(files.iloc[0]),
        "last_file": str(files.iloc[-1]),
        "frames": list(recording.frames or (0, len(movie))),
        "shape": list(movie.shape),
        "dtype": str(movie.dtype),
        **({} if recording.plane is None else {"plane": recording.plane}),
        **({} if recording.channel_names is None else {"channels": list(recording.channel_names)}),
    }
    return {"raw_frames": raw, **{name: content_identity(value) for name, value in results.items()}}


def link_tiffs(file_table: pd.DataFrame, frame_table: pd.DataFrame, recording: Recording) -> Links:
    """Makes links to the TIFFs that contain the frames that were used, and thus to all frames in these files.

    Args:
        file_table: files on disk in reading order, and the number of frames in each.
        frame_table: file and page of each frame that was used.
        recording: the recording, for its path.

    Returns:
        The files, and the positions of their frames in the linked movie.

    Raises:
        ValueError: the raw data are no TIFFs, or the files also hold images of other planes or channels.
    """
    used = frame_table["file"].unique()
    others = [name for name in used if PurePosixPath(name).suffix.lower() not in TIFF_SUFFIXES]
    if others:
        raise ValueError(f"{recording.name}: {cannot_link(f'not TIFFs ({others[0]})')}.")
    one_file = used.tolist() == [recording.path.name]  # then `path` names that file, and no folder
    folder = recording.path.parent if one_file else recording.path
    counts = file_table.set_index("file").loc[used, "n_frames"].to_numpy()
    starts = np.cumsum(counts) - counts
    places = pd.Series(starts, used).loc[frame_table["file"]].to_numpy() + frame_table["page"].to_numpy()
    if (np.diff(places) != 1).any():
        raise ValueError(
            "`raw: external` links whole files, but these also hold images of other planes or channels; use "
            "`raw: embed` or `raw: none`."
        )
    paths = tuple(folder / str(name) for name in used)
    return Links(paths, tuple(map(int, starts)), int(counts.sum()), int(frame_table["page"].iloc[0]))


def _check_times(times: NDArray[np.float64], recording: Recording, n_frames: int) -> NDArray[np.float64]:
    needed = recording.frames[1] if recording.frames else n_frames
    return check_frame_times(times, needed, source=recording.frame_times or "frame_times")


def tabulate_inspection(messages: pd.DataFrame) -> pd.DataFrame:
    """Tabulates the messages of pynwb, nwbinspector and, if its client is installed, DANDI about an NWB file.

    Args:
        messages: one row per message, as the dataset `nwb@inspection` loads them from the file.

    Returns:
        The same messages as an :class:`~rsc2p_kedro.core.schemas.InspectionTable`, empty if there are none.
    """
    return messages
