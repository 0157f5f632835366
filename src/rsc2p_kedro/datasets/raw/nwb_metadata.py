"""What an NWB file tells of microscope, session and animal, by the fields of the manifest."""

from collections.abc import Mapping, Sequence
from typing import Any

import h5py
import numpy as np
from pydantic import ValidationError

from rsc2p_kedro.core.parameters import FrozenModel
from rsc2p_kedro.datasets.raw.recording import Told, stepped_depths, told_depths
from rsc2p_kedro.nwb.metadata import DeviceFields, ImagingPlaneFields, SessionFields, SubjectFields

_MODELS: Mapping[str, type[FrozenModel]] = {
    "subject": SubjectFields,
    "session": SessionFields,
    "device": DeviceFields,
    "imaging_plane": ImagingPlaneFields,
}
_UM = {
    **dict.fromkeys(("meters", "meter", "m"), 1e6),
    **dict.fromkeys(("millimeters", "millimeter", "mm"), 1e3),
    **dict.fromkeys(("micrometers", "micrometer", "microns", "micron", "um", "µm", "μm"), 1.0),
}
"""Micrometres in a unit of length."""
_PLACEHOLDERS = {"", "unknown", "none", "n/a", "na", "nan", "no description", "todo", "tbd"}
"""Texts that stand for a missing one, in lower case and without a full stop."""


def read_metadata(file: h5py.File, series: h5py.Group) -> dict[str, Told]:
    """Reads the metadata of a series of images and of its session.

    Args:
        file: open for reading.
        series: a `TwoPhotonSeries` in it.

    Returns:
        What is told, by the field of the manifest. Placeholders, and values that the manifest does not take (a species
        that is not in Latin), are left out.
    """
    plane = series.get("imaging_plane", {})
    told = _rate(series, plane) | _pixel_size(series, plane)
    general = file.get("general", {})
    session = {name: _value(general.get(name)) for name in SessionFields.model_fields}
    session["session_description"] = _value(file.get("session_description"))
    session["session_start_time"] = _value(file.get("session_start_time"))
    subject = {name: _value(general.get(f"subject/{name}")) for name in SubjectFields.model_fields}
    birth = subject["date_of_birth"]
    subject["date_of_birth"] = birth[:10] if isinstance(birth, str) else None
    values = {"session": session, "subject": subject, "device": _device(plane), "imaging_plane": _plane(plane)}
    for section, fields in values.items():
        for name, value in fields.items():
            if value is not None and _is_valid(section, name, value):
                told[f"{section}.{name}"] = Told(value, f"NWB file, {name} of the {section.replace('_', ' ')}")
    return told


def _value(item: h5py.Dataset | None) -> Any:
    """Text, number or list of a dataset; None if there is none, or a placeholder."""
    if not isinstance(item, h5py.Dataset):
        return None
    value = item.asstr()[()] if item.dtype.kind in "OS" else item[()]
    value = value.tolist() if isinstance(value, np.ndarray | np.generic) else value
    is_missing = str(value).strip().lower().rstrip(".") in _PLACEHOLDERS or value == []
    return None if is_missing else value


def _text(value: Any) -> str | None:
    """Text of an attribute; None for a placeholder."""
    text = value.decode() if isinstance(value, bytes) else str(value)
    return None if text.strip().lower().rstrip(".") in _PLACEHOLDERS else text


def _is_valid(section: str, name: str, value: Any) -> bool:
    try:
        _MODELS[section].model_validate({name: value})
    except ValidationError:
        return False
    return True


def _rate(series: h5py.Group, plane: Mapping[str, Any]) -> dict[str, Told]:
    """Frame rate: of the series, of its times, or of the imaging plane."""
    if "starting_time" in series and float(series["starting_time"].attrs.get("rate", 0)) > 0:
        return {"frame_rate_hz": Told(float(series["starting_time"].attrs["rate"]), "NWB file, rate of the series")}
    if "timestamps" in series and len(series["timestamps"]) > 1:
        step = float(np.median(np.diff(series["timestamps"])))
        return {"frame_rate_hz": Told(1 / step, "NWB file, timestamps of the series (median)")} if step > 0 else {}
    rate = _value(plane.get("imaging_rate"))
    if isinstance(rate, float) and rate > 0:
        return {"frame_rate_hz": Told(rate, "NWB file, imaging_rate of the imaging plane")}
    return {}


def _pixel_size(series: h5py.Group, plane: Mapping[str, Any]) -> dict[str, Told]:
    """Size of a pixel (y, x): grid spacing of the imaging plane, or field of view of the series."""
    spacing = plane.get("grid_spacing")
    if spacing is not None and len(spacing) >= 2:
        factor = _UM.get((_text(spacing.attrs.get("unit", "meters")) or "").lower())
        size = [_shortest(n) * (factor or 0) for n in spacing[:2]]
        if factor and np.isfinite(size).all() and min(size) > 0:
            return {"pixel_size_um": Told((size[1], size[0]), "NWB file, grid_spacing of the imaging plane")}
    field = series.get("field_of_view")
    if field is not None and len(field) >= 2 and "data" in series and series["data"].ndim >= 3:
        size = [float(n) * 1e6 / pixels for n, pixels in zip(field[:2], series["data"].shape[1:3], strict=True)]
        if np.isfinite(size).all() and min(size) > 0:
            return {"pixel_size_um": Told((size[1], size[0]), "NWB file, field_of_view of the series")}
    return {}


def read_depths(planes: Sequence[Mapping[str, Any]], n_planes: int) -> dict[str, Told]:
    """Reads the depths of several planes.

    Args:
        planes: imaging planes, or the only one of a series of volumes.
        n_planes: number of planes of the recording.

    Returns:
        The depths, from the origins of the imaging planes or the spacing of a volume; nothing for a single plane, whose
        origin is one of the metadata.
    """
    if n_planes < 2:
        return {}
    origins = [_origin(plane) for plane in planes]
    if len(planes) == n_planes and None not in origins:
        return told_depths(
            [one[2] for one in origins if one], n_planes, "NWB file, origin_coords of the imaging planes"
        )
    spacing = planes[0].get("grid_spacing")
    if len(planes) != 1 or spacing is None or len(spacing) < 3:
        return {}
    factor = _UM.get((_text(spacing.attrs.get("unit", "meters")) or "").lower(), 0.0)
    start = origins[0][2] if origins[0] else 0.0
    source = "NWB file, grid_spacing of the imaging plane"
    return stepped_depths(_shortest(spacing[2]) * factor, n_planes, source, start_um=start)


def _origin(plane: Mapping[str, Any]) -> list[float] | None:
    """The first pixel (x, y, z) in um; None if it is not told."""
    origin = plane.get("origin_coords")
    factor = _UM.get((_text(origin.attrs.get("unit", "meters")) or "").lower()) if origin is not None else None
    return [_shortest(n) * factor for n in origin[()]] if factor and origin is not None and len(origin) == 3 else None


def _shortest(number: np.floating) -> float:
    """The shortest decimal number that a number of low precision stands for: 1.1, not 1.10000002."""
    return float(np.format_float_positional(number))


def _device(plane: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of the microscope."""
    device = plane.get("device")
    if device is None:
        return {}
    model = device.get("model")
    attributes = {**(dict(model.attrs) if model is not None else {}), **dict(device.attrs)}
    names = ("manufacturer", "model_number", "serial_number")
    fields: dict[str, Any] = {name: _text(attributes[name]) for name in names if name in attributes}
    if "description" in device.attrs:
        fields["description"] = _text(device.attrs["description"])
    if model is not None:
        fields["model_name"] = _linked_name(device, "model")
    return {"name": _linked_name(plane, "device"), **fields}


def _linked_name(group: Any, key: str) -> str:
    """Name of the object that a link leads to."""
    return str(group.get(key, getlink=True).path).rsplit("/", 1)[1]


def _plane(plane: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of the imaging plane."""
    fields = {name: _value(plane.get(name)) for name in ("description", "indicator", "location", "reference_frame")}
    fields["excitation_wavelength_nm"] = _value(plane.get("excitation_lambda"))
    channels = [item for item in plane.values() if _text(item.attrs.get("neurodata_type", "")) == "OpticalChannel"]
    if len(channels) == 1:
        fields["emission_wavelength_nm"] = _value(channels[0].get("emission_lambda"))
        fields["optical_channel"] = _value(channels[0].get("description"))
    return fields | {"origin_um": _origin(plane)}
