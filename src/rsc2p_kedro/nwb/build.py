"""Builds the NWB file of a recording in memory, from its metadata and results.

The objects of each group of the file are made by one module: :mod:`~rsc2p_kedro.nwb.session` (file, subject, device,
imaging plane), :mod:`~rsc2p_kedro.nwb.acquisition` (raw movie), :mod:`~rsc2p_kedro.nwb.motion` (shifts, corrected
movie), :mod:`~rsc2p_kedro.nwb.rois` (ROI tables) and :mod:`~rsc2p_kedro.nwb.fluorescence` (traces). Their names are a
contract with readers: roiextractors, Neurosift, pynapple and the tests of this project expect exactly these. Large data
stay lazy until the file is written.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from hdmf.common import DynamicTable, VectorData
from pydantic import BaseModel
from pynwb import NWBFile, ProcessingModule
from pynwb.base import Images
from pynwb.image import GrayscaleImage
from pynwb.ophys import ImagingPlane, TwoPhotonSeries

from rsc2p_kedro.core.parameters import EvaluationParameters
from rsc2p_kedro.core.results import SummaryImages
from rsc2p_kedro.nwb.acquisition import add_raw_movie
from rsc2p_kedro.nwb.fluorescence import add_background, add_rois, describe_spike_rates
from rsc2p_kedro.nwb.intervals import add_epochs, add_invalid_times
from rsc2p_kedro.nwb.metadata import NwbParameters, RecordingMetadata
from rsc2p_kedro.nwb.motion import add_motion
from rsc2p_kedro.nwb.names import channel_label, plane_suffix
from rsc2p_kedro.nwb.orientation import images_to_nwb
from rsc2p_kedro.nwb.recording_results import RecordingResults
from rsc2p_kedro.nwb.session import add_imaging_plane, make_nwb_file
from rsc2p_kedro.nwb.timing import Timing


@dataclass(frozen=True, eq=False)
class PlaneContents:
    """What a file holds of one plane of a recording.

    Attributes:
        results: of all stages.
        stages: parameters of every stage as they were used, by name of the stage.
        provenance: see :func:`rsc2p_kedro.core.provenance.collect_provenance`.
        inputs: properties of the raw frames, and a hash of the content of each result (see
            :func:`rsc2p_kedro.core.provenance.content_identity`).
    """

    results: RecordingResults
    stages: Mapping[str, BaseModel]
    provenance: Mapping[str, Any]
    inputs: Mapping[str, Any]


def build_nwb_file(
    metadata: RecordingMetadata, planes: Sequence[PlaneContents], *, parameters: NwbParameters
) -> NWBFile:
    """Builds the NWB file of a recording.

    Args:
        metadata: complete (see :func:`rsc2p_kedro.nwb.metadata_checks.check_metadata`).
        planes: the contents of each plane. Where there are several, the names of the objects of a plane end in its
            number, such as `PlaneSegmentationPlane1`.
        parameters: selection of the results to write, and options for writing.

    Returns:
        The file in memory; movies and masks are read as it is written. The same arguments make the same content, apart
        from the object ids of pynwb (which :func:`rsc2p_kedro.nwb.writing.write_nwb` replaces) and the date of
        creation.
    """
    numbers = [None] if len(planes) == 1 else list(range(1, len(planes) + 1))
    nwb = make_nwb_file(metadata, planes[0].provenance)
    acquired = [
        _add_acquisition(nwb, metadata, contents.results, number, parameters)
        for number, contents in zip(numbers, planes, strict=True)
    ]
    of_planes = dict(zip(numbers, planes, strict=True))
    description = _describe_module(of_planes, parameters)
    _add_times(nwb, planes, [timing for _, timing, _ in acquired])
    ophys = nwb.create_processing_module(name="ophys", description=description)
    for number, contents, (plane, timing, raw) in zip(numbers, planes, acquired, strict=True):
        _add_results(ophys, contents, number, parameters=parameters, plane=plane, timing=timing, raw=raw)
    ophys.add(make_processing_parameters(of_planes))
    return nwb


def _add_times(nwb: NWBFile, planes: Sequence[PlaneContents], timings: Sequence[Timing]) -> None:
    """Adds the trials as epochs, and the times at which frames of each plane are left out."""
    first = planes[0].results
    if first.trials is not None:
        add_epochs(nwb, first.trials, timings[0])
    for number, (contents, timing) in enumerate(zip(planes, timings, strict=True), start=1):
        excluded = contents.results.excluded_frames
        if excluded is not None:
            add_invalid_times(nwb, excluded, timing, where=f"plane {number}: " if len(planes) > 1 else "")


def _add_acquisition(
    nwb: NWBFile, metadata: RecordingMetadata, results: RecordingResults, number: int | None, parameters: NwbParameters
) -> tuple[ImagingPlane, Timing, TwoPhotonSeries | None]:
    """Adds a plane, and its raw movies: of the functional channel and, if there is one, of the structural channel."""
    plane, suffix = add_imaging_plane(nwb, metadata, number), plane_suffix(number)
    timing = Timing(metadata.frame_rate_hz, metadata.first_frame, results.frame_times_s, results.delay_s)
    common: dict[str, Any] = {
        "plane": plane,
        "metadata": metadata,
        "parameters": parameters,
        "timing": timing,
        "line_offset_px": results.line_offset_px,
    }
    if metadata.channel_names is None or results.structural_movie is None:
        return plane, timing, add_raw_movie(nwb, results.movie, links=results.links, suffix=suffix, **common)
    functional, structural = (f"{channel_label(name)}{suffix}" for name in metadata.channel_names)
    raw = add_raw_movie(nwb, results.movie, suffix=functional, channel="Functional channel. ", **common)
    about = "Structural channel, recorded at the same time. "
    add_raw_movie(nwb, results.structural_movie, suffix=structural, channel=about, **common)
    return plane, timing, raw


def _add_results(
    ophys: ProcessingModule,
    contents: PlaneContents,
    number: int | None,
    *,
    parameters: NwbParameters,
    plane: ImagingPlane,
    timing: Timing,
    raw: TwoPhotonSeries | None,
) -> None:
    """Adds motion, ROIs, background and images of one plane."""
    results, suffix = contents.results, plane_suffix(number)
    times = timing.series_fields(len(results.movie))
    add_motion(
        ophys,
        results.motion,
        results.corrected_movie,
        original=raw,
        parameters=parameters,
        times=times,
        suffix=suffix,
    )
    add_rois(
        ophys,
        results.exported_rois(parameters.rois),
        plane=plane,
        parameters=parameters,
        times=times,
        spike_rates_description=describe_spike_rates(
            cast(EvaluationParameters, contents.stages["evaluation"]), plane.indicator
        ),
        suffix=suffix,
    )
    add_background(ophys, results.components, plane=plane, parameters=parameters, times=times, suffix=suffix)
    ophys.add(make_summary_images(results.summary_images, f"SegmentationImages{suffix}"))
    if results.structural_images is not None:
        about = "Images of the structural channel, after the same motion correction."
        ophys.add(make_summary_images(results.structural_images, f"StructuralImages{suffix}", about))


def make_summary_images(
    summary_images: SummaryImages,
    name: str = "SegmentationImages",
    about: str = "Images of the motion-corrected movie.",
) -> Images:
    """Makes the summary images of the corrected movie.

    Args:
        summary_images: (H, W) each.
        name: of the container.
        about: description of the container.

    Returns:
        The container, whose images are (x, y).
    """
    descriptions = {
        "correlation": "Correlation of each pixel with its neighbours.",
        "mean": "Mean over time.",
        "maximum": "Maximum over time.",
        "standard_deviation": "Standard deviation over time.",
    }
    images = [
        GrayscaleImage(
            name=kind,
            description=f"{description} Axes: (x, y).",
            data=np.ascontiguousarray(images_to_nwb(np.asarray(getattr(summary_images, kind)))),
        )
        for kind, description in descriptions.items()
    ]
    return Images(name=name, description=about, images=images)


def make_processing_parameters(planes: Mapping[int | None, PlaneContents]) -> DynamicTable:
    """Makes the flat table of everything that determined the results.

    Args:
        planes: contents of each plane by its number, None for the only one. Versions, engines and git state become the
            step `provenance`, the identity of the raw frames and results the step `inputs`.

    Returns:
        A table with the columns step (such as `evaluation`, or `plane_1.evaluation`), parameter (nested names joined by
        dots) and value (JSON).
    """
    steps: dict[str, Mapping[str, Any]] = {}
    for number, contents in planes.items():
        prefix = "" if number is None else f"plane_{number}."
        steps |= {f"{prefix}{step}": model.model_dump(mode="json") for step, model in contents.stages.items()}
        steps |= {f"{prefix}provenance": contents.provenance, f"{prefix}inputs": contents.inputs}
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


def _describe_module(planes: Mapping[int | None, PlaneContents], parameters: NwbParameters) -> str:
    """Description of the content of `processing/ophys`, with the reason for missing parts of each plane."""
    text = "Motion correction, and the components and traces found in the motion-corrected movie."
    for number, contents in planes.items():
        where = "" if number is None else f" Plane {number}:"
        text += "".join(f"{where} {reason}" for reason in _missing_parts(contents.results, parameters))
    return text


def _missing_parts(results: RecordingResults, parameters: NwbParameters) -> Iterator[str]:
    """Sentences on what a plane has none of."""
    n_components = results.components.n_components
    if n_components == 0:
        yield "No component was found, so there are no ROIs and no traces."
    elif parameters.rois == "accepted" and not results.component_table["accepted"].any():
        yield f"None of {n_components} components was accepted, so there are no ROIs and no traces."
    if len(results.components.background_traces) == 0:
        yield "The background has no component."
