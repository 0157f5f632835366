"""Adapters of the export: what the stages found on one side, an NWB file on the other."""

from pathlib import Path

import dask.array as da
import pandas as pd
from pynwb import NWBFile

from rsc2p_kedro.engines.results import Components, DeltaFOverF, MotionCorrection, SummaryImages
from rsc2p_kedro.nwb.build import RecordingResults, build_nwb_file
from rsc2p_kedro.nwb.inspection import dandi_messages, inspect_file
from rsc2p_kedro.nwb.metadata import NwbParameters, merge_metadata
from rsc2p_kedro.parameters import (
    EvaluationParameters,
    ExtractionParameters,
    IngestionParameters,
    MotionCorrectionParameters,
)
from rsc2p_kedro.provenance import collect_provenance
from rsc2p_kedro.recordings import Recording


def build_nwb(
    movie: da.Array,
    corrected_movie: da.Array,
    frame_table: pd.DataFrame,
    motion: MotionCorrection,
    components: Components,
    component_table: pd.DataFrame,
    dff: DeltaFOverF,
    corrected_summary_images: SummaryImages,
    recording: Recording,
    nwb: NwbParameters,
    ingestion: IngestionParameters,
    motion_correction: MotionCorrectionParameters,
    source_extraction: ExtractionParameters,
    evaluation: EvaluationParameters,
) -> NWBFile:
    """The NWB file of a recording; its movie is read as the file is saved."""
    files = _first_frames(frame_table, recording.path)
    found = RecordingResults(
        movie, corrected_movie, motion, components, component_table, dff, corrected_summary_images, files
    )
    stages = {
        "ingestion": recording.override(ingestion),
        "motion_correction": recording.override(motion_correction),
        "source_extraction": recording.override(source_extraction),
        "evaluation": recording.override(evaluation),
    }
    provenance = collect_provenance(motion_correction=motion.provenance, source_extraction=components.provenance)
    metadata = merge_metadata(nwb, recording)
    return build_nwb_file(
        metadata, found, parameters=nwb, stages={"acquisition": recording.acquisition, **stages}, provenance=provenance
    )


def _first_frames(frame_table: pd.DataFrame, path: Path) -> dict[Path, int]:
    """The TIFFs of a recording, and the frame that each begins with."""
    folder = (path if path.is_dir() else path.parent).resolve()
    first = frame_table.groupby("file", sort=False)["frame"].min()
    return {folder / str(name): int(frame) for name, frame in first.items()}


def inspect_nwb(nwb: NWBFile) -> pd.DataFrame:
    """What pynwb, nwbinspector and, where its client is installed, DANDI say of a file. No row: it is in order."""
    path = Path(nwb.container_source)
    return pd.concat([inspect_file(path), dandi_messages(path)], ignore_index=True)
