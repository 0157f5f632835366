"""Adapters of the export: what the stages found on one side, an NWB file on the other."""

import logging
from pathlib import Path
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
from rsc2p_kedro.core.provenance import collect_provenance, content_identity, parameters_of
from rsc2p_kedro.core.results import (
    ComponentQuality,
    Components,
    DeltaFOverF,
    MotionCorrection,
    SpikeInference,
    SummaryImages,
)
from rsc2p_kedro.datasets.frame_times import read_frame_times
from rsc2p_kedro.datasets.tiff_frames import inspect_file as inspect_tiff
from rsc2p_kedro.manifest.recordings import Recording
from rsc2p_kedro.nwb.acquisition import Links
from rsc2p_kedro.nwb.build import build_nwb_file
from rsc2p_kedro.nwb.inspection import dandi_messages, inspect_file
from rsc2p_kedro.nwb.metadata import NwbParameters, merge_metadata
from rsc2p_kedro.nwb.recording_results import RecordingResults

logger = logging.getLogger(__name__)


def build_nwb(
    movie: da.Array,
    corrected_movie: da.Array,
    frame_table: pd.DataFrame,
    motion: MotionCorrection,
    components: Components,
    component_table: pd.DataFrame,
    dff: DeltaFOverF,
    spike_inference: SpikeInference,
    corrected_summary_images: SummaryImages,
    recording: Recording,
    nwb: NwbParameters,
    ingestion: IngestionParameters,
    motion_correction: MotionCorrectionParameters,
    source_extraction: ExtractionParameters,
    evaluation: EvaluationParameters,
    component_quality: ComponentQuality,
) -> NWBFile:
    """The NWB file of a recording; its movie is read as the file is saved.

    Raises:
        ValueError: `raw: external` is asked for and a TIFF is no longer there, or the table under `frame_times` is not
            as it should be.
    """
    found = RecordingResults(
        movie,
        corrected_movie,
        motion,
        components,
        component_table,
        dff,
        spike_inference,
        corrected_summary_images,
        link_tiffs(frame_table, recording) if nwb.raw == "external" else None,
        _frame_times(recording, len(movie)),
    )
    stages = {
        "ingestion": recording.override(ingestion),
        "motion_correction": parameters_of(motion.provenance, recording.override(motion_correction)),
        "source_extraction": parameters_of(components.provenance, recording.override(source_extraction)),
        "evaluation": parameters_of(component_quality.provenance, recording.override(evaluation)),
    }
    provenance = collect_provenance(
        motion_correction=motion.provenance,
        source_extraction=components.provenance,
        evaluation=component_quality.provenance,
    )
    return build_nwb_file(
        merge_metadata(nwb, recording),
        found,
        parameters=nwb,
        stages={"acquisition": recording.acquisition, **stages},
        provenance=provenance,
        inputs=describe_inputs(
            recording,
            movie,
            frame_table=frame_table,
            motion=motion,
            components=components,
            component_quality=component_quality,
            component_table=component_table,
            dff=dff,
            spike_inference=spike_inference,
            corrected_summary_images=corrected_summary_images,
        ),
    )


def describe_inputs(recording: Recording, movie: da.Array, **made: Any) -> dict[str, Any]:
    """What an NWB file is made of, told by content, so that the same input makes the same file wherever it lies.

    Args:
        recording: whose frames these are.
        movie: raw, (T, H, W).
        made: results and tables by the name of their dataset, `frame_table` (which holds the place and the brightness
            of each raw frame) among them.
    """
    files = made["frame_table"]["file"]
    raw = {
        "folder": recording.path.name,
        "n_files": int(files.nunique()),
        "first_file": str(files.iloc[0]),
        "last_file": str(files.iloc[-1]),
        "frames": list(recording.frames or (0, len(movie))),
        "shape": list(movie.shape),
        "dtype": str(movie.dtype),
    }
    return {"raw_frames": raw, **{name: content_identity(value) for name, value in made.items()}}


def _frame_times(recording: Recording, n_frames: int) -> NDArray[np.float64] | None:
    """Times of all frames on disk, for recordings that have a table of them."""
    if recording.frame_times is None:
        return None
    needed = recording.frames[1] if recording.frames else n_frames
    return read_frame_times(recording.frame_times, frame_rate_hz=recording.frame_rate_hz, n_frames=needed)


def link_tiffs(frame_table: pd.DataFrame, recording: Recording) -> Links:
    """Links to the TIFFs of a recording: to those that hold a frame that was used, and so to all frames in them.

    Raises:
        ValueError: the last TIFF cannot be read; a window of frames may end before it does.
    """
    folder = (recording.path if recording.path.is_dir() else recording.path.parent).resolve()
    first = frame_table.groupby("file", sort=False)[["frame", "page"]].first()
    paths, n_before = tuple(folder / str(name) for name in first.index), int(first["page"].iloc[0])
    starts = (first["frame"] - first["page"] + n_before).astype(int)
    n_frames = len(frame_table) + n_before
    if recording.frames is not None:
        n_frames = int(starts.iloc[-1]) + _pages(paths[-1])
    return Links(paths, tuple(starts), n_frames, n_before)


def _pages(path: Path) -> int:
    """Frames in a TIFF."""
    file = inspect_tiff(path)
    if file.problems or not file.n_frames:
        raise ValueError(
            f"`raw: external` links to {path}, which {'; '.join(file.problems) or 'holds no frame'}. "
            "Bring the raw data back, or use `raw: embed`."
        )
    return file.n_frames


def inspect_nwb(nwb: NWBFile) -> pd.DataFrame:
    """What pynwb, nwbinspector and, where its client is installed, DANDI say of a file. No row: it is in order."""
    path = Path(nwb.container_source)
    of_dandi = dandi_messages(path)  # of the finished file: its name is checked, too
    for row in of_dandi.itertuples():
        logger.warning("%s: DANDI's validator says [%s]: %s", path.name, row.importance, row.message)
    return pd.concat([inspect_file(path), of_dandi], ignore_index=True)
