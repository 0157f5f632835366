"""Builds the NWB file of a recording in memory, from its metadata and results.

The objects of each group of the file are made by one module: :mod:`~rsc2p_kedro.nwb.session` (file, subject, device,
imaging plane), :mod:`~rsc2p_kedro.nwb.acquisition` (raw movie), :mod:`~rsc2p_kedro.nwb.motion` (shifts, corrected
movie), :mod:`~rsc2p_kedro.nwb.rois` (ROI tables) and :mod:`~rsc2p_kedro.nwb.fluorescence` (traces). Their names are a
contract with readers: roiextractors, Neurosift, pynapple and the tests of this project expect exactly these. Large data
stay lazy until the file is written.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, cast

import numpy as np
from hdmf.common import DynamicTable, VectorData
from pydantic import BaseModel
from pynwb import NWBFile
from pynwb.base import Images
from pynwb.image import GrayscaleImage

from rsc2p_kedro.core.parameters import EvaluationParameters
from rsc2p_kedro.core.results import SummaryImages
from rsc2p_kedro.nwb.acquisition import add_raw_movie
from rsc2p_kedro.nwb.fluorescence import add_background, add_rois, describe_spike_rates
from rsc2p_kedro.nwb.intervals import add_epochs, add_invalid_times
from rsc2p_kedro.nwb.metadata import NwbParameters, RecordingMetadata
from rsc2p_kedro.nwb.motion import add_motion
from rsc2p_kedro.nwb.orientation import images_to_nwb
from rsc2p_kedro.nwb.recording_results import RecordingResults
from rsc2p_kedro.nwb.session import add_imaging_plane, make_nwb_file
from rsc2p_kedro.nwb.timing import Timing


def build_nwb_file(
    metadata: RecordingMetadata,
    results: RecordingResults,
    *,
    parameters: NwbParameters,
    stages: Mapping[str, BaseModel],
    provenance: Mapping[str, Any],
    inputs: Mapping[str, Any],
) -> NWBFile:
    """Builds the NWB file of a recording.

    Args:
        metadata: complete (see :func:`rsc2p_kedro.nwb.metadata_checks.check_metadata`).
        results: of all stages.
        parameters: selection of the results to write, and options for writing.
        stages: parameters of every stage as they were used, by name of the stage.
        provenance: see :func:`rsc2p_kedro.core.provenance.collect_provenance`.
        inputs: properties of the raw frames, and a hash of the content of each result (see
            :func:`rsc2p_kedro.core.provenance.content_identity`).

    Returns:
        The file in memory; movies and masks are read as it is written. The same arguments make the same content, apart
        from the object ids of pynwb (which :func:`rsc2p_kedro.nwb.writing.write_nwb` replaces) and the date of
        creation.
    """
    nwb = make_nwb_file(metadata, provenance)
    plane = add_imaging_plane(nwb, metadata)
    timing = Timing(metadata.frame_rate_hz, metadata.first_frame, results.frame_times_s)
    raw = add_raw_movie(
        nwb,
        results.movie,
        plane=plane,
        metadata=metadata,
        parameters=parameters,
        timing=timing,
        links=results.links,
        line_offset_px=results.line_offset_px,
    )
    if results.files is not None:
        add_epochs(nwb, results.files, timing)
    if results.excluded_frames is not None:
        add_invalid_times(nwb, results.excluded_frames, timing)
    ophys = nwb.create_processing_module(name="ophys", description=_describe_module(results, parameters))
    times = timing.series_fields(len(results.movie))
    add_motion(ophys, results.motion, results.corrected_movie, original=raw, parameters=parameters, times=times)
    add_rois(
        ophys,
        results.exported_rois(parameters.rois),
        plane=plane,
        parameters=parameters,
        times=times,
        spike_rates_description=describe_spike_rates(cast(EvaluationParameters, stages["evaluation"])),
    )
    add_background(ophys, results.components, plane=plane, parameters=parameters, times=times)
    ophys.add(make_summary_images(results.summary_images))
    ophys.add(make_processing_parameters(stages, provenance, inputs))
    return nwb


def make_summary_images(summary_images: SummaryImages) -> Images:
    """Makes the summary images of the corrected movie.

    Args:
        summary_images: (H, W) each.

    Returns:
        The container `SegmentationImages`, whose images are (x, y).
    """
    descriptions = {
        "correlation": "Correlation of each pixel with its neighbours.",
        "mean": "Mean over time.",
        "maximum": "Maximum over time.",
        "standard_deviation": "Standard deviation over time.",
    }
    images = [
        GrayscaleImage(
            name=name,
            description=f"{description} Axes: (x, y).",
            data=np.ascontiguousarray(images_to_nwb(np.asarray(getattr(summary_images, name)))),
        )
        for name, description in descriptions.items()
    ]
    return Images(name="SegmentationImages", description="Images of the motion-corrected movie.", images=images)


def make_processing_parameters(
    stages: Mapping[str, BaseModel], provenance: Mapping[str, Any], inputs: Mapping[str, Any]
) -> DynamicTable:
    """Makes the flat table of everything that determined the results.

    Args:
        stages: parameters by name of the stage.
        provenance: versions, engines and git state; becomes the step `provenance`.
        inputs: identity of the raw frames and results; becomes the step `inputs`.

    Returns:
        A table with the columns step, parameter (nested names joined by dots) and value (JSON).
    """
    steps: dict[str, Mapping[str, Any]] = {step: model.model_dump(mode="json") for step, model in stages.items()}
    steps |= {"provenance": provenance, "inputs": inputs}
    rows = [(step, name, json.dumps(value)) for step, tree in steps.items() for name, value in _flattened(tree)]
    columns = {
        "step": "Stage of processing.",
        "parameter": "Name of the parameter.",
        "value": "Value of the parameter, as JSON.",
    }
    return DynamicTable(
        name="processing_parameters",
        description="Parameters of all stages as they were used, versions of the software, and identity of its inputs.",
        columns=[
            VectorData(name=name, description=description, data=[row[i] for row in rows])
            for i, (name, description) in enumerate(columns.items())
        ],
    )


def _flattened(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Values of nested mappings under names joined by dots: `libraries.numpy`."""
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flattened(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _describe_module(results: RecordingResults, parameters: NwbParameters) -> str:
    """Description of the content of `processing/ophys`, with the reason for missing parts."""
    text = "Motion correction, and the components and traces found in the motion-corrected movie."
    n_components = results.components.n_components
    if n_components == 0:
        text += " No component was found, so there are no ROIs and no traces."
    elif parameters.rois == "accepted" and not results.component_table["accepted"].any():
        text += f" None of {n_components} components was accepted, so there are no ROIs and no traces."
    if len(results.components.background_traces) == 0:
        text += " The background has no component."
    return text
