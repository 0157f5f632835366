"""Results of a recording to an NWBFile in memory: one small function for each object of the file.

Their names are a contract with readers (roiextractors, neurosift, pynapple and our own tests look for exactly these).
Large data stay lazy until the file is written. All axes are turned by :mod:`rsc2p_kedro.nwb.orientation`.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import scipy.sparse as sp
from hdmf.common import DynamicTable, VectorData
from numpy.typing import NDArray
from pydantic import BaseModel
from pynwb import NWBFile, ProcessingModule, TimeSeries
from pynwb.base import Images
from pynwb.device import Device, DeviceModel
from pynwb.file import Subject
from pynwb.image import GrayscaleImage, ImageSeries
from pynwb.ophys import (
    CorrectedImageStack,
    DfOverF,
    Fluorescence,
    ImageSegmentation,
    ImagingPlane,
    MotionCorrection,
    OpticalChannel,
    PlaneSegmentation,
    RoiResponseSeries,
    TwoPhotonSeries,
)

from rsc2p_kedro.algorithms.blocks import Movie
from rsc2p_kedro.algorithms.dff import background_under_footprints
from rsc2p_kedro.core import results
from rsc2p_kedro.core.parameters import EvaluationParameters
from rsc2p_kedro.nwb.metadata import NwbParameters, RecordingMetadata
from rsc2p_kedro.nwb.orientation import images_to_nwb, points_to_nwb
from rsc2p_kedro.nwb.streaming import MaskIterator, MovieIterator, compressed

UNIT = "a.u."
RATE_UNIT = "typical transient amplitudes per frame"
_SAME_STEP_S = 2e-9  # nwbinspector wants a rate, no timestamps, where steps are the same to nine decimals
XY = "Axes: (time, x, y), x is the column and y the row of the frame."


@dataclass(frozen=True)
class Links:
    """TIFFs that the raw movie can be read from instead of the file.

    A link shows all frames of a TIFF, and those may be more than were used: where a window of frames cuts a stack, the
    linked movie begins earlier and ends later than what was found in it, and its times say so.

    Attributes:
        paths: the TIFFs, in order.
        starting_frames: for each, which frame of the linked movie it begins with.
        n_frames: of all of them together.
        n_before: frames of the first TIFF before the first frame that was used.
    """

    paths: tuple[Path, ...]
    starting_frames: tuple[int, ...]
    n_frames: int
    n_before: int = 0


@dataclass(frozen=True, eq=False)
class Timing:
    """When frames were taken, in s from the start of the session.

    Attributes:
        frame_rate_hz: frames per second.
        first_frame: frames of the session before the first one that is used.
        frame_times_s: (n,) float64 of all frames of the session, rising; none: they follow the frame rate.
    """

    frame_rate_hz: float
    first_frame: int = 0
    frame_times_s: NDArray[np.float64] | None = None

    def of(self, n_frames: int, *, n_before: int = 0) -> dict[str, Any]:
        """The fields of a series that tell its times: start and rate, or, where frames are irregular, their times.

        Args:
            n_frames: in the series.
            n_before: how many of them lie before the first frame that is used.

        Raises:
            ValueError: there are not as many times as frames.
        """
        first = self.first_frame - n_before
        if self.frame_times_s is None:
            return {"starting_time": first / self.frame_rate_hz, "rate": self.frame_rate_hz}
        times = self.frame_times_s[first : first + n_frames]
        if len(times) < n_frames:
            raise ValueError(
                f"Times are needed of frames {first} to {first + n_frames}, and there are {len(self.frame_times_s)}: "
                "the table under `frame_times` should have one row for each frame of the recording."
            )
        steps = np.diff(times)
        if np.ptp(steps) < _SAME_STEP_S:
            return {"starting_time": float(times[0]), "rate": float(1 / steps.mean())}
        return {"timestamps": times}


@dataclass(frozen=True, eq=False)
class RecordingResults:
    """What the stages found in one recording, as the file will tell it.

    Attributes:
        movie: raw, (T, H, W), lazy.
        corrected: (T, H, W), lazy.
        motion: what was found out about motion.
        components: N sources.
        component_table: one row a component (`rsc2p_kedro.core.schemas.ComponentTable`), in any order.
        dff: dF/F, and the F0 it was made with, (N, T) each.
        spikes: rates inferred from the noisy traces, (N, T).
        summary: images of the corrected movie.
        links: where the raw movie is to be linked to.
        frame_times_s: times of all frames of the session, where they are irregular (see :class:`Timing`).
    """

    movie: Movie
    corrected: Movie
    motion: results.MotionCorrection
    components: results.Components
    component_table: pd.DataFrame
    dff: results.DeltaFOverF
    spikes: results.SpikeInference
    summary: results.SummaryImages
    links: Links | None = None
    frame_times_s: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        T, H, W = self.movie.shape
        N, problems = self.components.n_components, []
        found = {
            "the corrected movie": (tuple(self.corrected.shape), (T, H, W)),
            "motion.shifts": (self.motion.shifts.shape, (T, 2)),
            "components.shape": (tuple(self.components.shape), (H, W)),
            "components.n_frames": (self.components.n_frames, T),
            "dff.dff": (self.dff.dff.shape, (N, T)),
            "dff.f0": (self.dff.f0.shape, (N, T)),
            "spikes.rates": (self.spikes.rates.shape, (N, T)),
            "summary.mean": (self.summary.mean.shape, (H, W)),
        }
        problems = [f"{name} should be {want}, is {got}" for name, (got, want) in found.items() if got != want]
        if sorted(self.component_table["component_id"]) != sorted(self.components.ids):
            problems.append("component_table and components do not have the same ids")
        if problems:
            raise ValueError(f"The results do not belong to one recording of {T} frames: " + "; ".join(problems) + ".")

    def chosen_rois(self, rois: str) -> "ChosenRois":
        """All or the accepted components, and what is known of each."""
        table = self.component_table.set_index("component_id").loc[self.components.ids]
        keep = np.ones(len(table), bool) if rois == "all" else table["accepted"].to_numpy(bool)
        beside = {
            "dff_guarded": self.dff.guarded,
            "spike_decay_time_s": self.spikes.decay_time_s,
            "transient_amplitude": self.spikes.transient_amplitude,
        }
        return ChosenRois(
            components=self.components.select(keep),
            table=table.assign(**beside)[keep],
            dff=self.dff.dff[keep],
            f0=self.dff.f0[keep],
            spike_rates=self.spikes.rates[keep],
        )


@dataclass(frozen=True, eq=False)
class ChosenRois:
    """The N components that the file tells of, all in one order.

    Attributes:
        components: themselves.
        table: one row each, of the component table, of dF/F (`dff_guarded`) and of the spike inference
            (`spike_decay_time_s`, `transient_amplitude`); its index are the ids.
        dff: (N, T).
        f0: (N, T), what dF/F was made with.
        spike_rates: (N, T).
    """

    components: results.Components
    table: pd.DataFrame
    dff: NDArray[np.float32]
    f0: NDArray[np.float32]
    spike_rates: NDArray[np.float32]


def build_nwb_file(
    metadata: RecordingMetadata,
    found: RecordingResults,
    *,
    parameters: NwbParameters,
    stages: Mapping[str, BaseModel],
    provenance: Mapping[str, Any],
    inputs: Mapping[str, Any],
) -> NWBFile:
    """The NWBFile of a recording, with its movies and masks still to be read.

    The same arguments make the same content; only pynwb's object ids and the date of creation differ.

    Args:
        metadata: complete (see :func:`rsc2p_kedro.nwb.metadata.check_metadata`).
        found: what the stages found.
        parameters: what of it is written, and how.
        stages: parameters of every stage as they were used, by name of the stage.
        provenance: see :func:`rsc2p_kedro.core.provenance.collect_provenance`.
        inputs: what the file was made of: facts of the raw frames, and the content of each result (see
            :func:`rsc2p_kedro.core.provenance.content_identity`).
    """
    nwb = make_nwb_file(metadata, provenance)
    plane = add_imaging_plane(nwb, metadata)
    clock = Timing(metadata.frame_rate_hz, metadata.first_frame, found.frame_times_s)
    raw, timing = add_raw_movie(nwb, found, plane, metadata, parameters, clock), clock.of(len(found.movie))
    ophys = nwb.create_processing_module(name="ophys", description=_about_module(found, parameters))
    add_motion(ophys, found, raw, parameters, timing)
    about_spikes = describe_spikes(cast(EvaluationParameters, stages["evaluation"]))
    add_rois(ophys, found, plane, parameters, timing, about_spikes=about_spikes)
    add_background(ophys, found.components, plane, parameters, timing)
    ophys.add(make_summary_images(found.summary))
    ophys.add(make_processing_parameters(stages, provenance, inputs))
    return nwb


def make_nwb_file(metadata: RecordingMetadata, provenance: Mapping[str, Any]) -> NWBFile:
    """The file without data: session, subject and what made it."""
    session = metadata.session
    return NWBFile(
        identifier=metadata.identifier,
        session_start_time=metadata.start_time,
        subject=make_subject(metadata),
        was_generated_by=[list(pair) for pair in _generators(provenance)],
        source_script=f"rsc2p-kedro {provenance.get('version')}, git commit {provenance.get('git_commit')}",
        source_script_file_name="src/rsc2p_kedro/nwb/build.py",
        **session.model_dump(exclude={"session_start_time"}, exclude_none=True),
    )


def _generators(provenance: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Programs and their versions: this project, the engines, the libraries."""
    made_by = {"rsc2p-kedro": provenance.get("version", "unknown"), **provenance.get("engines", {})}
    return [(str(name), str(version)) for name, version in {**made_by, **provenance.get("libraries", {})}.items()]


def make_subject(metadata: RecordingMetadata) -> Subject:
    """The animal. A description that was not given is made of the facts that were."""
    subject = metadata.subject
    facts = subject.model_dump(exclude={"date_of_birth"}, exclude_none=True)
    about = [subject.species, subject.strain, subject.genotype, f"sex {subject.sex}"]
    facts.setdefault("description", f"{', '.join(part for part in about if part)}.")
    return Subject(date_of_birth=metadata.birth_time, **facts)


def add_imaging_plane(nwb: NWBFile, metadata: RecordingMetadata) -> ImagingPlane:
    """The microscope and the plane it looked at."""
    fields = metadata.imaging_plane
    spatial: dict[str, Any] = {}
    if metadata.pixel_size_um is not None:
        size = points_to_nwb(np.asarray(metadata.pixel_size_um, np.float32))
        spatial |= {"grid_spacing": size, "grid_spacing_unit": "micrometers"}
    if fields.origin_um is not None:
        spatial |= {"origin_coords": list(fields.origin_um), "origin_coords_unit": "micrometers"}
        spatial |= {"reference_frame": fields.reference_frame}
    channel = OpticalChannel(
        name="OpticalChannel",
        description=fields.optical_channel or f"Emission of {fields.indicator}.",
        emission_lambda=float(fields.emission_wavelength_nm or "nan"),
    )
    return nwb.create_imaging_plane(
        name="ImagingPlane",
        optical_channel=channel,
        device=_add_device(nwb, metadata),
        description=fields.description,
        excitation_lambda=float(fields.excitation_wavelength_nm or "nan"),
        indicator=fields.indicator,
        location=fields.location,
        imaging_rate=metadata.frame_rate_hz,
        **spatial,
    )


def _add_device(nwb: NWBFile, metadata: RecordingMetadata) -> Device:
    fields, model = metadata.device, None
    if fields.manufacturer is not None:
        model = DeviceModel(
            name=fields.model_name or f"{fields.manufacturer} microscope",
            manufacturer=fields.manufacturer,
            model_number=fields.model_number,
            description=f"Two-photon microscope by {fields.manufacturer}.",
        )
        nwb.add_device_model(model)
    device = Device(name=fields.name, description=fields.description, serial_number=fields.serial_number, model=model)
    nwb.add_device(device)
    return device


def add_raw_movie(
    nwb: NWBFile,
    found: RecordingResults,
    plane: ImagingPlane,
    metadata: RecordingMetadata,
    parameters: NwbParameters,
    clock: Timing,
) -> TwoPhotonSeries | None:
    """The movie as it was recorded, in its own dtype: inside the file, as links to its TIFFs, or not at all."""
    if parameters.raw == "none":
        return None
    if parameters.raw == "embed":
        content = clock.of(len(found.movie))
        content["data"] = compressed(MovieIterator(found.movie), parameters.compression)
    else:
        content = _linked(found.links, clock)
    if metadata.pixel_size_um is not None:
        size_m = np.asarray(found.movie.shape[1:]) * np.asarray(metadata.pixel_size_um) * 1e-6
        content["field_of_view"] = points_to_nwb(size_m)
    series = TwoPhotonSeries(
        name="TwoPhotonSeries",
        description=f"The movie as recorded, before motion correction. {XY}",
        imaging_plane=plane,
        unit=UNIT,
        **content,
    )
    nwb.add_acquisition(series)
    return series


def _linked(links: Links | None, clock: Timing) -> dict[str, Any]:
    """The fields of a series that lives in other files; the dataset that saves it makes the paths relative."""
    if links is None:
        raise ValueError(
            "`raw: external` needs the TIFFs the movie came from and the first frame of each; none were given."
        )
    return {
        "external_file": [str(path) for path in links.paths],
        "starting_frame": list(links.starting_frames),
        "num_samples": links.n_frames,
        "format": "external",
        **clock.of(links.n_frames, n_before=links.n_before),
    }


def add_motion(
    ophys: ProcessingModule,
    found: RecordingResults,
    raw: TwoPhotonSeries | None,
    parameters: NwbParameters,
    timing: Mapping[str, Any],
) -> None:
    """Shifts of whole frames and of patches, and the corrected movie where it is asked for."""
    rigid = TimeSeries(
        name="xy_translation",
        description="Rigid shift (x, y) in px that is applied to each frame to align it to the template.",
        data=compressed(points_to_nwb(found.motion.shifts), parameters.compression),
        unit="pixels",
        **timing,
    )
    if parameters.corrected == "embed":
        ophys.add(_make_corrected(found, raw, rigid, parameters, timing))
    else:
        ophys.add(rigid)
    if found.motion.piecewise:
        _add_patch_motion(ophys, found.motion, parameters, timing)


def _make_corrected(
    found: RecordingResults,
    raw: TwoPhotonSeries | None,
    rigid: TimeSeries,
    parameters: NwbParameters,
    timing: Mapping[str, Any],
) -> MotionCorrection:
    movie = ImageSeries(
        name="corrected",
        description=f"The movie after motion correction. {XY}",
        data=compressed(MovieIterator(found.corrected), parameters.compression),
        unit=UNIT,
        **timing,
    )
    stack = CorrectedImageStack(name="CorrectedImageStack", corrected=movie, original=raw, xy_translation=rigid)
    return MotionCorrection(name="MotionCorrection", corrected_image_stacks=[stack])


def _add_patch_motion(
    ophys: ProcessingModule,
    motion: results.MotionCorrection,
    parameters: NwbParameters,
    timing: Mapping[str, Any],
) -> None:
    ophys.add(
        TimeSeries(
            name="piecewise_xy_translation",
            description="Whole shift (x, y) in px applied at the centre of each patch. Axes: (time, patch, xy); the "
            "patches are the rows of motion_correction_patches.",
            data=compressed(points_to_nwb(motion.patch_shifts), parameters.compression),
            unit="pixels",
            **timing,
        )
    )
    centres = points_to_nwb(motion.patch_centres)
    columns = [
        VectorData(name="x", description="Column of the patch centre in px.", data=centres[:, 0].copy()),
        VectorData(name="y", description="Row of the patch centre in px.", data=centres[:, 1].copy()),
    ]
    ophys.add(
        DynamicTable(
            name="motion_correction_patches", description="Patches that were registered by themselves.", columns=columns
        )
    )


def add_rois(
    ophys: ProcessingModule,
    found: RecordingResults,
    plane: ImagingPlane,
    parameters: NwbParameters,
    timing: Mapping[str, Any],
    *,
    about_spikes: str,
) -> None:
    """ROIs and their traces; none of these objects where there is no ROI, as an empty table cannot be read back."""
    chosen = found.chosen_rois(parameters.rois)
    components = chosen.components
    if components.n_components == 0:
        return
    segmentation = ImageSegmentation(name="ImageSegmentation")
    ophys.add(segmentation)
    rois = make_roi_table(components, chosen.table, plane, parameters)
    segmentation.add_plane_segmentation(rois)
    traces = {
        "RoiResponseSeries": (
            "Fluorescence of the ROI alone (denoised trace and residual), without its baseline.",
            _noisy(components),
        ),
        "Denoised": ("Denoised calcium trace, without its baseline.", components.traces),
        "Deconvolved": ("Deconvolved activity, in units of the denoised trace.", components.spikes),
        "Neuropil": (
            "Background fluorescence under the ROI's footprint, without the ROI's own baseline (its column baseline).",
            background_under_footprints(components).astype(np.float32),
        ),
        "Baseline": ("F0, the baseline that dF/F was made with.", chosen.f0),
    }
    fluorescence, ratio = Fluorescence(name="Fluorescence"), DfOverF(name="DfOverF")
    for container in (fluorescence, ratio):  # before its series, which else share no ancestor with the table
        ophys.add(container)
    for name, (description, data) in traces.items():
        _add_traces(fluorescence, name, description, data, rois, parameters, timing)
    _add_traces(fluorescence, "SpikeRates", about_spikes, chosen.spike_rates, rois, parameters, timing, unit=RATE_UNIT)
    _add_traces(
        ratio, "RoiResponseSeries", "dF/F of the ROI; 1 is 100 %.", chosen.dff, rois, parameters, timing, unit="n.a."
    )


def describe_spikes(evaluation: EvaluationParameters) -> str:
    """What spike rates are, and by which parameters (all that begin with `spike_`) they were made."""
    settings = [
        f"{name} = {getattr(evaluation, name):g} ({(field.description or name).split(':')[0]})"
        for name, field in EvaluationParameters.model_fields.items()
        if name.startswith("spike_")
    ]
    return (
        "Inferred spike rate: posterior mean number of rises of calcium in each frame given the whole noisy trace, in "
        "units of the ROI's own typical transient amplitude (its column transient_amplitude). It is a number of spikes "
        "up to a factor that a "
        "trace alone does not tell, and where the data do not decide, neither does it; Deconvolved is the one most "
        "probable set of spikes instead. The calcium of a ROI decays with the time constant in its column decay_time. "
        "Rates are moved earlier by half a frame and the delay, and the height of a rise counts to the power 1 / "
        f"supralinearity. Parameters: {'; '.join(settings)}."
    )


def _noisy(components: results.Components) -> NDArray[np.float32]:
    return components.traces + components.residual_traces


def _add_traces(
    container: Fluorescence | DfOverF,
    name: str,
    description: str,
    data: NDArray,
    table: PlaneSegmentation,
    parameters: NwbParameters,
    timing: Mapping[str, Any],
    unit: str = UNIT,
) -> None:
    """Traces (N, T) of all rows of a table as a series (T, N)."""
    region = table.create_roi_table_region(description="All ROIs.", region=list(range(len(data))))
    container.add_roi_response_series(
        RoiResponseSeries(
            name=name,
            description=f"{description} Axes: (time, ROI).",
            data=compressed(np.ascontiguousarray(data.T), parameters.compression),
            rois=region,
            unit=unit,
            **timing,
        )
    )


def make_roi_table(
    components: results.Components, table: pd.DataFrame, plane: ImagingPlane, parameters: NwbParameters
) -> PlaneSegmentation:
    """One row a ROI: its mask, where it is, how good it is, whether it is taken for a cell.

    Args:
        components: N > 0.
        table: (N rows) as in :class:`ChosenRois`.
        plane: where the ROIs are.
        parameters: how they are stored.
    """
    accepted = table["accepted"].to_numpy(bool)
    centres = table[["centre_y_px", "centre_x_px"]].to_numpy(np.float32)
    columns: dict[str, tuple[str, Sequence[Any] | NDArray]] = {
        "is_accepted": ("Whether the ROI is taken for a cell.", accepted),
        "roi_name": ("Name of the ROI, from its id.", [f"roi_{i:04d}" for i in components.ids]),
        "snr": ("How exceptional its transients are; 2 is about 6 sd of noise.", table["snr"].to_numpy(np.float32)),
        "r_value": (
            "Correlation of its mask with the mean frame of its transients.",
            table["r_value"].to_numpy(np.float32),
        ),
        "classifier_score": ("How much its shape is a cell's, 0 to 1.", table["classifier_score"].to_numpy(np.float32)),
        "area": ("Pixels above a fifth of the mask's maximum.", table["area_px"].to_numpy(np.int64)),
        "event_rate": (
            "Events per second: stretches of frames in each of which a rise of calcium is likely.",
            table["event_rate_hz"].to_numpy(np.float32),
        ),
        "decay_time": (
            "Decay time of calcium in s, which SpikeRates were inferred with.",
            table["spike_decay_time_s"].to_numpy(np.float32),
        ),
        "transient_amplitude": (
            "Mean rise of RoiResponseSeries, the unit of SpikeRates; 0 where its trace has no noise.",
            table["transient_amplitude"].to_numpy(np.float32),
        ),
        "baseline": ("Constant fluorescence of the ROI, in neither its traces nor Neuropil.", components.baseline),
        "ROICentroids": ("Centre (x, y) in px.", np.ascontiguousarray(points_to_nwb(centres))),
        "Accepted": ("1 where is_accepted.", accepted.astype(np.uint8)),
        "Rejected": ("1 where not is_accepted.", (~accepted).astype(np.uint8)),
        "curated": ("Whether a person decided, not a threshold.", table["curated"].to_numpy(bool)),
        "dff_guarded": ("Whether F0 of its dF/F was too low and was raised.", table["dff_guarded"].to_numpy(bool)),
        "reason": ("Why it was accepted or rejected.", table["reason"].tolist()),
    }
    return PlaneSegmentation(
        name="PlaneSegmentation",
        description=f"Components found by constrained non-negative matrix factorization ({parameters.rois}).",
        imaging_plane=plane,
        id=components.ids.tolist(),
        columns=[
            _mask_column(components.footprints, components.shape, parameters),
            *(
                VectorData(name=name, description=about, data=data)
                for name, (about, data) in columns.items()
                if _applies(data)
            ),
        ],
    )


def _applies(values: Sequence[Any] | NDArray) -> bool:
    """A column that has no value for some ROI is left out, never filled with NaN."""
    return not (isinstance(values, np.ndarray) and values.dtype.kind == "f" and np.isnan(values).any())


def _mask_column(footprints: sp.csc_array, shape: tuple[int, int], parameters: NwbParameters) -> VectorData:
    return VectorData(
        name="image_mask",
        description="Weight of each pixel. Axes: (ROI, x, y), x is the column and y the row of the frame.",
        data=compressed(MaskIterator(footprints, shape), parameters.compression),
    )


def add_background(
    ophys: ProcessingModule,
    components: results.Components,
    plane: ImagingPlane,
    parameters: NwbParameters,
    timing: Mapping[str, Any],
) -> None:
    """The background, apart from the ROIs; nothing where it has no component."""
    n_background = len(components.background_traces)
    if n_background == 0:
        return
    table = PlaneSegmentation(
        name="BackgroundComponents",
        description="Footprints of the background: diffuse light that belongs to no ROI.",
        imaging_plane=plane,
        id=list(range(n_background)),
        columns=[_mask_column(components.background_footprints, components.shape, parameters)],
    )
    ophys.add(table)
    fluorescence = Fluorescence(name="BackgroundFluorescence")
    ophys.add(fluorescence)
    about = "Course of each background component."
    _add_traces(fluorescence, "RoiResponseSeries", about, components.background_traces, table, parameters, timing)


def make_summary_images(summary: results.SummaryImages) -> Images:
    """Images of the corrected movie over time, each (x, y)."""
    about = {
        "correlation": "Correlation of each pixel with its neighbours.",
        "mean": "Mean over time.",
        "maximum": "Maximum over time.",
        "standard_deviation": "Standard deviation over time.",
    }
    images = [
        GrayscaleImage(
            name=name,
            description=f"{text} Axes: (x, y).",
            data=np.ascontiguousarray(images_to_nwb(np.asarray(getattr(summary, name)))),
        )
        for name, text in about.items()
    ]
    return Images(name="SegmentationImages", description="Images of the motion-corrected movie.", images=images)


def make_processing_parameters(
    stages: Mapping[str, BaseModel], provenance: Mapping[str, Any], inputs: Mapping[str, Any]
) -> DynamicTable:
    """A flat table (step, parameter, value as JSON): all that was set, all that was running, and what it ran on."""
    steps: dict[str, Mapping[str, Any]] = {step: model.model_dump(mode="json") for step, model in stages.items()}
    steps |= {"provenance": provenance, "inputs": inputs}
    rows = [(step, name, json.dumps(value)) for step, tree in steps.items() for name, value in _leaves(tree)]
    about = ("Stage of processing.", "Name of the parameter.", "Its value, as JSON.")
    return DynamicTable(
        name="processing_parameters",
        description="Parameters of all stages as they were used, the versions of what ran, and what it ran on.",
        columns=[
            VectorData(name=name, description=text, data=[row[i] for row in rows])
            for i, (name, text) in enumerate(zip(("step", "parameter", "value"), about, strict=True))
        ],
    )


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Values of nested mappings, named with dots: `libraries.numpy`."""
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _about_module(found: RecordingResults, parameters: NwbParameters) -> str:
    """What the module holds, and what it does not hold and why."""
    text = "Motion correction, and the components and traces found in the motion-corrected movie."
    accepted = int(found.component_table["accepted"].sum())
    if found.components.n_components == 0:
        text += " No component was found, so there are no ROIs and no traces."
    elif parameters.rois == "accepted" and accepted == 0:
        text += f" None of {found.components.n_components} components was accepted, so there are no ROIs and no traces."
    if len(found.components.background_traces) == 0:
        text += " The background has no component."
    return text
