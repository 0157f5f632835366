"""The settings that ThorImage writes next to its images, in `Experiment.xml`.

The file holds the settings at the start of a recording, also those that were not used: the steps of the z stage, for
example, apply to a stream only if its fast z is enabled. What was recorded is decided by the files themselves.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from xml.etree import ElementTree

from rsc2p_kedro.datasets.raw.recording import Told, stepped_depths

FILE_NAME = "Experiment.xml"
DETECTORS = ("ChanA", "ChanB", "ChanC", "ChanD")
"""Names of the four detectors, in the order of the bits that enable them."""

_LINE_SCANS = {"2": "kymograph", "3": "line"}
"""Values of the area mode whose images are not frames of a plane."""


class ExperimentError(ValueError):
    """An `Experiment.xml` cannot be used. The message says why."""


@dataclass(frozen=True)
class ThorExperiment:
    """The settings of a recording of ThorImage.

    Attributes:
        shape: (H, W) of its images.
        channels: names of the enabled channels.
        detectors: for each of them, its number among :data:`DETECTORS`.
        only_enabled_channels: whether a raw file holds the enabled channels only; None if it is not said.
        n_planes: number of planes of a volume, without flyback; 1 where the focus did not move.
        flyback_frames: number of images (of each channel) of the flyback in each volume.
        n_images: number of images (of each channel, with flyback) that were to be recorded; None if it is not said.
        streaming: whether images were streamed, rather than taken as stacks one after the other.
        complete: whether the recording ended as planned.
        metadata: what is told of microscope and session, by the field of the manifest.
    """

    shape: tuple[int, int]
    channels: tuple[str, ...]
    detectors: tuple[int, ...]
    only_enabled_channels: bool | None
    n_planes: int
    flyback_frames: int
    n_images: int | None
    streaming: bool
    complete: bool
    metadata: Mapping[str, Told]


def read_experiment(path: Path) -> ThorExperiment:
    """Reads the settings of a recording.

    Args:
        path: an `Experiment.xml`.

    Returns:
        The settings.

    Raises:
        ExperimentError: the file is no XML of ThorImage, lacks the size of the images, or describes line scans.
    """
    try:
        root = ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:
        raise ExperimentError(f"is damaged ({error}): copy it again from where it was recorded") from error
    scanner = _attributes(root, "LSM")
    if not {"pixelX", "pixelY"} <= set(scanner):
        raise ExperimentError("does not tell the size of the images (LSM, pixelX and pixelY)")
    if scanner.get("areaMode") in _LINE_SCANS:
        raise ExperimentError(f"describes scans of lines ({_LINE_SCANS[scanner['areaMode']]}), not frames")
    if int(scanner.get("NumberOfPlanes", 1)) > 1:
        raise ExperimentError("describes planes that were scanned at the same time, which cannot be read yet")
    stream, stage = _attributes(root, "Streaming"), _attributes(root, "ZStage")
    streaming = stream.get("enable") == "1"
    moving = stream.get("zFastEnable") == "1" if streaming else stage.get("enable", "1") == "1"
    n_planes = max(1, int(stage.get("steps", 1))) if moving else 1
    flyback = int(stream.get("flybackFrames", 0)) if streaming and n_planes > 1 else 0
    timepoints = _attributes(root, "Timelapse").get("timepoints")
    planned = stream.get("frames") if streaming else timepoints and int(timepoints) * n_planes
    names, detectors = _channels(root)
    only_enabled = _attributes(root, "RawData").get("onlyEnabledChannels")
    return ThorExperiment(
        shape=(int(scanner["pixelY"]), int(scanner["pixelX"])),
        channels=names,
        detectors=detectors,
        only_enabled_channels=None if only_enabled is None else only_enabled == "1",
        n_planes=n_planes,
        flyback_frames=flyback,
        n_images=None if planned is None else int(planned),
        streaming=streaming,
        complete=_attributes(root, "ExperimentStatus").get("value") == "Complete",
        metadata=_metadata(root, path, n_planes, flyback),
    )


def _attributes(root: ElementTree.Element, name: str) -> dict[str, str]:
    element = root.find(name)
    return {} if element is None else element.attrib


def _channels(root: ElementTree.Element) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Names of the enabled channels and the numbers of their detectors."""
    names = [element.get("name", "") for element in root.findall("Wavelengths/Wavelength")]
    enabled = _attributes(root, "Wavelengths/ChannelEnable").get("Set")
    mask = int(enabled or _attributes(root, "LSM").get("channel", "0"))
    detectors = tuple(bit for bit in range(len(DETECTORS)) if mask >> bit & 1) or tuple(range(len(names) or 1))
    if len(names) != len(detectors):  # all that are installed are listed, or none
        names = [DETECTORS[bit] for bit in detectors]
    return tuple(names), detectors


def _metadata(root: ElementTree.Element, path: Path, n_planes: int, flyback: int) -> dict[str, Told]:
    """What is told of microscope and session."""
    scanner, source, images_of_volume = _attributes(root, "LSM"), path.name, n_planes + flyback
    told: dict[str, Told] = {}
    if _attributes(root, "Streaming").get("enable") == "1" and float(scanner.get("frameRate", 0)) > 0:
        averaged = int(scanner.get("averageNum", 1)) if scanner.get("averageMode") == "1" else 1
        rate = float(scanner["frameRate"]) / averaged / images_of_volume
        divisors = [f"averageNum {averaged}"] * (averaged > 1) + [f"{images_of_volume} images"] * (images_of_volume > 1)
        told["frame_rate_hz"] = Told(rate, " / ".join([f"{source}, LSM frameRate", *divisors]))
    if flyback:
        told["flyback_frames"] = Told(flyback, f"{source}, Streaming flybackFrames")
    told |= _depths(_attributes(root, "ZStage"), n_planes, source)
    pixels = [_pixel_size(scanner, *names) for names in (("Height", "Y"), ("Width", "X"))]
    if all(pixels):
        told["pixel_size_um"] = Told(tuple(pixels), f"{source}, LSM widthUM and heightUM")
    start = _start_time(_attributes(root, "Date"))
    if start:
        told["session.session_start_time"] = Told(start, f"{source}, Date date and uTime")
    wavelength = float(_attributes(root, "MultiPhotonLaser").get("pos", 0))
    if wavelength > 0:
        told["imaging_plane.excitation_wavelength_nm"] = Told(wavelength, f"{source}, MultiPhotonLaser pos")
    parts = {"": scanner.get("name"), "objective ": _attributes(root, "Magnification").get("name")}
    parts["ThorImageLS "] = _attributes(root, "Software").get("version")
    told["device.description"] = Told(", ".join(label + text for label, text in parts.items() if text), source)
    told["device.manufacturer"] = Told("Thorlabs", f"{source} of ThorImage")
    notes = _attributes(root, "ExperimentNotes").get("text")
    return told | ({"session.notes": Told(notes, f"{source}, ExperimentNotes")} if notes else {})


def _depths(stage: Mapping[str, str], n_planes: int, source: str) -> dict[str, Told]:
    """Depths of the planes: from the start of the stage (in mm) if it agrees with its end and steps, else from 0."""
    step = float(stage.get("stepSizeUM", 0))
    start, stop = (float(stage.get(name, "nan")) * 1000 for name in ("startPos", "stopPos"))
    if abs(abs(stop - start) - step * (n_planes - 1)) < step / 2:
        return stepped_depths(
            step if stop > start else -step, n_planes, f"{source}, ZStage startPos and stepSizeUM", start_um=start
        )
    return stepped_depths(step, n_planes, f"{source}, ZStage stepSizeUM")


def _pixel_size(scanner: Mapping[str, str], side: str, axis: str) -> float:
    """Size of a pixel in um along one axis, 0 if it is not told; `pixelSizeUM` is something else in new versions."""
    total = float(scanner.get(f"{side.lower()}UM", 0))
    return round(total / int(scanner[f"pixel{axis}"]), 6) or float(scanner.get(f"pixel{side}UM", 0))


def _start_time(date: Mapping[str, str]) -> str | None:
    """Start with its offset from UTC: the difference of the local time `date` and the Unix time `uTime`."""
    if not date.get("uTime"):
        return None
    start = datetime.fromtimestamp(float(date["uTime"]), UTC)
    try:
        local = datetime.strptime(date.get("date", ""), "%m/%d/%Y %H:%M:%S").replace(tzinfo=UTC)
    except ValueError:
        return start.isoformat()
    quarters = round((local - start).total_seconds() / 900)
    certain = abs(local - start - timedelta(minutes=15 * quarters)) < timedelta(minutes=1) and abs(quarters) <= 4 * 14
    return start.astimezone(timezone(timedelta(minutes=15 * quarters))).isoformat() if certain else start.isoformat()
