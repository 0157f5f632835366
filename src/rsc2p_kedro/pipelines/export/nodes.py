"""Adapters of the export: what the stages found on one side, an NWB file on the other."""

from pathlib import Path

import dask.array as da
import pandas as pd
from pynwb import NWBFile

from rsc2p_kedro.engines.results import ComponentQuality, Components, DeltaFOverF, MotionCorrection, SummaryImages
from rsc2p_kedro.nwb.build import RecordingResults, build_nwb_file
from rsc2p_kedro.nwb.inspection import dandi_messages, inspect_file
from rsc2p_kedro.nwb.metadata import NwbParameters, merge_metadata
from rsc2p_kedro.parameters import (
    EvaluationParameters,
    ExtractionParameters,
    IngestionParameters,
    MotionCorrectionParameters,
)
from rsc2p_kedro.provenance import collect_provenance, parameters_of
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
    component_quality: ComponentQuality,
) -> NWBFile:
    """The NWB file of a recording; its movie is read as the file is saved.

    Raises:
        ValueError: `raw: external` is asked for and links to the files would show other frames than were used.
    """
    files = _first_frames(frame_table, recording.path)
    if nwb.raw == "external":
        _check_links(frame_table, recording)
    found = RecordingResults(
        movie, corrected_movie, motion, components, component_table, dff, corrected_summary_images, files
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
    metadata = merge_metadata(nwb, recording)
    return build_nwb_file(
        metadata, found, parameters=nwb, stages={"acquisition": recording.acquisition, **stages}, provenance=provenance
    )


def _check_links(frame_table: pd.DataFrame, recording: Recording) -> None:
    """A link shows all pages of a file: a window of frames that cuts a stack would be shifted for its readers."""
    if recording.frames is not None and (frame_table["page"] > 0).any():
        raise ValueError(
            f"{recording.name}: `raw: external` links whole files, and `frames: {list(recording.frames)}` may cut one "
            "of many pages. Use `raw: embed`, or leave `frames` out."
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
