"""NWB objects made from metadata: the file itself, the subject, the microscope and the imaging plane."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from pynwb import NWBFile
from pynwb.device import Device, DeviceModel
from pynwb.file import Subject
from pynwb.ophys import ImagingPlane, OpticalChannel

from rsc2p_kedro.nwb.metadata import RecordingMetadata
from rsc2p_kedro.nwb.names import channel_label, plane_suffix
from rsc2p_kedro.nwb.orientation import points_to_nwb


def make_nwb_file(metadata: RecordingMetadata, provenance: Mapping[str, Any]) -> NWBFile:
    """Makes an NWB file without data: the session, the subject and the software that made it.

    Args:
        metadata: complete (see :func:`rsc2p_kedro.nwb.metadata_checks.check_metadata`).
        provenance: see :func:`rsc2p_kedro.core.provenance.collect_provenance`.

    Returns:
        The file in memory.
    """
    software = {
        "rsc2p-kedro": provenance.get("version", "unknown"),
        **provenance.get("engines", {}),
        **provenance.get("libraries", {}),
    }
    return NWBFile(
        identifier=metadata.identifier,
        session_start_time=metadata.start_time,
        subject=make_subject(metadata),
        was_generated_by=[[str(name), str(version)] for name, version in software.items()],
        source_script=f"rsc2p-kedro {provenance.get('version')}, git commit {provenance.get('git_commit')}",
        source_script_file_name="src/rsc2p_kedro/nwb/build.py",
        **metadata.session.model_dump(exclude={"session_start_time"}, exclude_none=True),
    )


def make_subject(metadata: RecordingMetadata) -> Subject:
    """Describes the animal.

    Args:
        metadata: complete.

    Returns:
        The subject. Where no description was given, one is made from species, strain, genotype and sex.
    """
    subject = metadata.subject
    fields = subject.model_dump(exclude={"date_of_birth"}, exclude_none=True)
    facts = [subject.species, subject.strain, subject.genotype, f"sex {subject.sex}"]
    fields.setdefault("description", f"{', '.join(fact for fact in facts if fact)}.")
    return Subject(date_of_birth=metadata.birth_time, **fields)


def add_imaging_plane(nwb: NWBFile, metadata: RecordingMetadata, plane: int | None = None) -> ImagingPlane:
    """Adds an imaging plane to a file, and the microscope with the first one.

    Args:
        nwb: the file, which gets a device and a plane.
        metadata: complete.
        plane: number of the plane, from 1; None where there is only one.

    Returns:
        The imaging plane, which series and ROI tables refer to. Its grid spacing is (x, y) in um.
    """
    fields = metadata.imaging_plane
    spatial: dict[str, Any] = {}
    if metadata.pixel_size_um is not None:
        size = points_to_nwb(np.asarray(metadata.pixel_size_um, np.float32))
        spatial |= {"grid_spacing": size, "grid_spacing_unit": "micrometers"}
    return nwb.create_imaging_plane(
        name=f"ImagingPlane{plane_suffix(plane)}",
        optical_channel=_optical_channels(metadata),
        device=next(iter(nwb.devices.values()), None) or _add_device(nwb, metadata),
        description=_description(metadata, plane),
        excitation_lambda=float(fields.excitation_wavelength_nm or "nan"),
        indicator=fields.indicator,
        location=fields.location,
        imaging_rate=metadata.frame_rate_hz,
        **spatial,
        **_origin(metadata, plane),
    )


def _depth(metadata: RecordingMetadata, plane: int | None) -> float | None:
    return None if metadata.plane_depths_um is None else metadata.plane_depths_um[(plane or 1) - 1]


def _description(metadata: RecordingMetadata, plane: int | None) -> str:
    """The user's description, with number and depth of the plane where they are known."""
    depth = _depth(metadata, plane)
    number = "" if plane is None else f" Plane {plane} of {metadata.n_planes} of a volume."
    below = "" if depth is None else f" Depth {depth:g} um."
    return f"{metadata.imaging_plane.description}{number}{below}"


def _origin(metadata: RecordingMetadata, plane: int | None) -> dict[str, Any]:
    """The first pixel in the user's reference frame, or else the depth of the plane."""
    fields, depth = metadata.imaging_plane, _depth(metadata, plane)
    if fields.origin_um is None and depth is None:
        return {}
    x, y, z = fields.origin_um or (0.0, 0.0, 0.0)
    below_first = 0.0 if metadata.plane_depths_um is None or depth is None else depth - metadata.plane_depths_um[0]
    frame = fields.reference_frame or (
        "x and y from the first pixel; z is the depth below the surface of the brain, or as the microscope counts."
    )
    origin = [x, y, z + below_first if fields.origin_um is not None else depth]
    return {"origin_coords": origin, "origin_coords_unit": "micrometers", "reference_frame": frame}


def _optical_channels(metadata: RecordingMetadata) -> OpticalChannel | list[OpticalChannel]:
    """The channel of the indicator and, if there is one, the structural channel."""
    fields, names = metadata.imaging_plane, metadata.channel_names
    functional, structural = ("", "") if names is None else map(channel_label, names)
    channel = OpticalChannel(
        name=f"OpticalChannel{functional}",
        description=fields.optical_channel or f"Emission of {fields.indicator}.",
        emission_lambda=float(fields.emission_wavelength_nm or "nan"),
    )
    if names is None:
        return channel
    other = OpticalChannel(
        name=f"OpticalChannel{structural}",
        description=fields.structural_optical_channel or f"Emission of {fields.structural_label}.",
        emission_lambda=float(fields.structural_emission_wavelength_nm or "nan"),
    )
    return [channel, other]


def _add_device(nwb: NWBFile, metadata: RecordingMetadata) -> Device:
    """Adds the microscope, and its model where the manufacturer is known."""
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
