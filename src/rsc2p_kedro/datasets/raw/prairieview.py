"""Bruker's PrairieView: a folder of TIFFs with an XML file that says which image is which.

The root `PVScan` (version, date) holds the settings (`PVStateShard`) and one `Sequence` a cycle, whose `Frame` elements
name one `File` (channel, channelName, filename, page) for each channel. In a `TSeries ZSeries Element` a cycle is a
volume and its frames are planes; in the other types of time series a cycle is a trial and its frames follow in time.
With `bidirectionalZ` every second volume is taken in the opposite direction. The OME-XML in the TIFFs is not needed.

Without the XML file, the names tell cycle, channel and number: `name_Cycle00001_Ch2_000001.ome.tif`.
"""

import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from natsort import natsorted
from numpy.typing import NDArray

from rsc2p_kedro.datasets.raw.recording import Layout, RawRecording, Told, common_problems, first_few, told_depths
from rsc2p_kedro.datasets.raw.selection import select_files
from rsc2p_kedro.datasets.raw.stacks import contradictions, missing_files
from rsc2p_kedro.datasets.raw.tiff import inspect_files, tiffs_in
from rsc2p_kedro.datasets.raw.tiff_file import TIFFFile

_NAME = re.compile(r"(.+)_Cycle(\d+)(?:_\w+?)?_Ch(\d+)_(\d+)\.(?:ome\.)?tiff?", re.IGNORECASE)
_VOLUMES = "TSeries ZSeries Element"
_DATES = ("%m/%d/%Y %I:%M:%S %p", "%m/%d/%Y %H:%M:%S", "%Y-%m-%d %H:%M:%S", "%d.%m.%Y %H:%M:%S")


@dataclass(frozen=True)
class _Frame:
    """One frame.

    Attributes:
        time_s: of its start.
        images: by channel, name of the file and number of the page from 0.
        z_um: position of the focus, the sum of all its drives; NaN if it is not told.
    """

    time_s: float
    images: dict[int, tuple[str, int]]
    z_um: float


@dataclass
class _Scan:
    """What the XML file says.

    Attributes:
        attributes: of the root: version and date.
        settings: by key, `key_index` for those with an index.
        z_um: position of the focus at the start; NaN if it is not told.
        cycles: for each, its type, whether it is taken in the opposite direction, and its frames.
        channels: names by number.
        places: positions in the grid of the stage, (x, y) as text.
        started: time of day of the first cycle.
        system: identifier of the microscope.
    """

    attributes: dict[str, str] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    z_um: float = math.nan
    cycles: list[tuple[str, bool, list[_Frame]]] = field(default_factory=list)
    channels: dict[int, str] = field(default_factory=dict)
    places: set[tuple[str, ...]] = field(default_factory=set)
    started: str = ""
    system: str = ""


def read(path: Path, layout: Layout) -> RawRecording | None:
    """Inspects a recording of PrairieView.

    Args:
        path: its folder, or its XML file.
        layout: what the user says of the order of the images.

    Returns:
        The recording, with all its problems; None if it is not of PrairieView.
    """
    folder = path if path.is_dir() else path.parent
    found = select_files(folder, _descriptions(path), Layout(exclude=layout.exclude))
    if len(found) == 1:
        return _read_described(path, folder, found[0], layout)
    named = [file for file in tiffs_in(folder, layout) if _NAME.fullmatch(file.name)] if path.is_dir() else []
    if found and named:
        problem = (
            f"there are several recordings of PrairieView in this folder ({first_few([x.name for x in found])}): give "
            f"one of them, such as `path: {found[0].name}` in this folder"
        )
        return RawRecording(path, "PrairieView", (), np.empty((0, 1, 1), np.int64), problems=(problem,))
    return _read_named(path, named, layout) if named else None


def _descriptions(path: Path) -> list[Path]:
    """XML files that describe images."""
    candidates = natsorted(path.glob("*.xml")) if path.is_dir() else [path] if path.suffix.lower() == ".xml" else []
    return [file for file in candidates if not file.name.startswith(".") and _describes_images(file)]


def _describes_images(file: Path) -> bool:
    try:
        with file.open("rb") as stream:
            if b"<PVScan" not in stream.read(2000):
                return False
        return any(element.tag == "File" for _, element in ElementTree.iterparse(file, ["start"]))
    except (OSError, ElementTree.ParseError):
        return False


def _read_described(path: Path, folder: Path, description: Path, layout: Layout) -> RawRecording:
    """A recording with its XML file."""
    empty = np.empty((0, 1, 1), np.int64)
    try:
        scan = _parse(description)
    except ElementTree.ParseError as error:
        problem = f"{description.name} is damaged ({error}): copy it again from where it was recorded, or leave it out"
        return RawRecording(path, "PrairieView", (), empty, problems=(f"{problem} with `exclude`",))
    names = dict.fromkeys(name for _, _, frames in scan.cycles for frame in frames for name, _ in frame.images.values())
    paths = [folder / name for name in names]
    problems = missing_files(paths, description.name)
    files = () if problems else inspect_files(paths)
    problems += [*common_problems(files), *_kind_problems(scan)]
    numbers = sorted(scan.channels)
    table, times, depths, trials, notes = _table(scan, files, numbers)
    if not problems:
        problems += _page_problems(scan, files, description.name)
    volumes = bool(scan.cycles) and scan.cycles[0][0] == _VOLUMES
    flyback = layout.flyback_frames or 0
    n_planes = table.shape[1] - flyback if volumes else None
    problems += contradictions(layout, Layout(len(numbers), n_planes), description.name)
    if n_planes is None:
        order, times, trials = _split_planes(table, times, trials, layout)
    else:  # the user may say that the last images of each cycle belong to the flyback
        order, times = table[:, : max(1, n_planes)], times[:, : max(1, n_planes)]
    names_of_channels = [scan.channels[number] for number in numbers]
    if len(set(names_of_channels)) < len(numbers):
        names_of_channels = [f"Ch{number}" for number in numbers]
    version = scan.attributes.get("version", "")
    return RawRecording(
        path,
        f"PrairieView {version} TIFF".replace("  ", " "),
        files,
        order if files else empty.reshape(0, 1, 1).repeat(max(1, len(numbers)), axis=2),
        tuple(names_of_channels) or ("1",),
        _metadata(scan, description.name, times) | _depths(scan, depths, order.shape[1], description.name),
        times if files and order.size and np.isfinite(times).all() else None,
        tuple(problems),
        tuple(notes),
        trials=trials if files and not volumes else None,
    )


def _parse(description: Path) -> _Scan:
    """Reads the XML file, frame by frame, as it may be long."""
    scan = _Scan()
    for event, element in ElementTree.iterparse(description, ["start", "end"]):
        if event == "start":
            if element.tag == "PVScan":
                scan.attributes = dict(element.attrib)
            elif element.tag == "Sequence":
                scan.cycles.append((element.get("type", ""), _is_backward(scan, element), []))
                scan.started = scan.started or element.get("time", "")
            continue
        if element.tag == "Frame" and scan.cycles:
            _add_frame(scan, element)
            element.clear()
        elif element.tag == "PVStateShard":
            _add_state(scan, element)
        elif element.tag == "SystemIDs":
            scan.system = element.get("SystemID", "")
    return scan


def _add_state(scan: _Scan, shard: ElementTree.Element) -> None:
    """Adds the position of the stage and, from the first settings, all of them."""
    if not scan.settings:
        scan.settings, scan.z_um = dict(_values(shard)), _focus(shard)
    if found := [item for axis in "XY" if (item := shard.find(f"*[@key='xYStageGrid{axis}Index']")) is not None]:
        scan.places.add(tuple(item.get("value", "") for item in found))


def _is_backward(scan: _Scan, sequence: ElementTree.Element) -> bool:
    return sequence.get("bidirectionalZ", "").lower() == "true" and len(scan.cycles) % 2 == 1


def _add_frame(scan: _Scan, element: ElementTree.Element) -> None:
    """Adds a frame to the last cycle."""
    images: dict[int, tuple[str, int]] = {}
    for file in element.iter("File"):
        number = int(file.get("channel", "1"))
        scan.channels.setdefault(number, file.get("channelName") or f"Ch{number}")
        images[number] = (file.get("filename", ""), int(file.get("page", "1")) - 1)
    shard = element.find("PVStateShard")
    if images:
        time = element.get("absoluteTime") or element.get("relativeTime") or "nan"
        scan.cycles[-1][2].append(_Frame(float(time), images, math.nan if shard is None else _focus(shard)))


def _values(shard: ElementTree.Element) -> Iterator[tuple[str, str]]:
    """Settings of version 5 (`PVStateValue`) and of earlier ones (`Key`)."""
    for element in shard:
        key = element.get("key", "")
        if (value := element.get("value")) is not None:
            yield key, value
        for indexed in element.findall("IndexedValue"):
            yield f"{key}_{indexed.get('index')}", indexed.get("value", "")


def _focus(shard: ElementTree.Element) -> float:
    """Position of the focus in um, the sum of motor and piezo; NaN if it is not told."""
    found = shard.findall("*[@key='positionCurrent']/SubindexedValues[@index='ZAxis']/SubindexedValue")
    texts = [value.get("value", "") for value in found]
    before_5 = shard.find("*[@key='positionCurrent_ZAxis']")
    if before_5 is not None:
        texts = before_5.get("value", "").split(",")
    try:
        return sum(float(text) for text in texts) if texts else math.nan
    except ValueError:
        return math.nan


def _kind_problems(scan: _Scan) -> list[str]:
    """Problems of what is not a time series."""
    kinds = sorted({kind for kind, _, frames in scan.cycles if frames})
    if not kinds:
        return ["there are no images in this recording of PrairieView: remove it from the manifest"]
    if len(kinds) > 1:
        return [f"the recording mixes sequences of several types ({', '.join(kinds)}): keep one type"]
    if len(scan.places) > 1:
        return [
            f"the cycles were taken at {len(scan.places)} positions of the stage, each a recording of its own: put the "
            "TIFFs of each position in a folder, without the XML file"
        ]
    if kinds[0] in ("ZSeries", "Single", "Linescan", "Point Scan"):
        return [f"this is a {kinds[0]} of PrairieView, not a movie: remove it from the manifest"]
    return []


def _table(
    scan: _Scan, files: tuple[TIFFFile, ...], channels: list[int]
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64], NDArray[np.int64], list[str]]:
    """Numbers of the images (T, Z, C), times (T, Z) from the first, depths (Z,), cycles (T,), notes on what lacks."""
    starts = dict(zip((file.path.name for file in files), np.cumsum([0, *(f.n_images for f in files)]), strict=False))
    volumes = bool(scan.cycles) and scan.cycles[0][0] == _VOLUMES
    rows, times, depths, trials, n_left = [], [], [], [], 0
    n_planes = max((len(frames) for _, _, frames in scan.cycles), default=1) if volumes else 1
    for cycle, (_, backward, frames) in enumerate(scan.cycles):
        groups = [frames] if volumes else [[frame] for frame in frames]
        for group in groups:
            if len(group) < n_planes or any(set(frame.images) != set(channels) for frame in group):
                n_left += bool(group)
                continue
            group = group[::-1] if backward else group
            rows.append([[starts.get(f.images[c][0], 0) + f.images[c][1] for c in channels] for f in group])
            times.append([frame.time_s for frame in group])
            depths.append([frame.z_um for frame in group])
            trials.append(cycle)
    what = "volume" if volumes else "frame"
    notes = [f"{n_left} incomplete {what}{'s' * (n_left > 1)} left out: the recording was stopped"] if n_left else []
    table = np.array(rows, np.int64).reshape(-1, n_planes, max(1, len(channels)))
    seconds = np.array(times, np.float64).reshape(-1, n_planes)
    places = np.median(np.array(depths, np.float64).reshape(-1, n_planes), axis=0) if depths else np.empty(0)
    return table, seconds - (seconds.min() if seconds.size else 0), places, np.array(trials, np.int64), notes


def _split_planes(
    table: NDArray[np.int64], times: NDArray[np.float64], trials: NDArray[np.int64], layout: Layout
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """Takes frames over time as volumes, if the user says so."""
    Z, flyback = layout.n_planes or 1, layout.flyback_frames or 0
    if Z + flyback == 1:
        return table, times, trials
    T = len(table) // (Z + flyback)
    table = table[: T * (Z + flyback)].reshape(T, Z + flyback, -1)[:, :Z]
    return table, times[: T * (Z + flyback)].reshape(T, Z + flyback)[:, :Z], trials[: T * (Z + flyback) : Z + flyback]


def _page_problems(scan: _Scan, files: tuple[TIFFFile, ...], name: str) -> list[str]:
    """Problem of files that hold fewer images than the XML file names."""
    needed: dict[str, int] = defaultdict(int)
    for _, _, frames in scan.cycles:
        for frame in frames:
            for file, page in frame.images.values():
                needed[file] = max(needed[file], page + 1)
    short = [file.path.name for file in files if file.n_images < needed[file.path.name]]
    if not short:
        return []
    return [f"{first_few(short)} hold fewer images than {name} names: copy them again from where they were recorded"]


def _metadata(scan: _Scan, name: str, times: NDArray[np.float64]) -> dict[str, Told]:
    """Frame rate, pixel size, start, wavelength and microscope, where the XML file tells them."""
    told: dict[str, Told] = {}
    settings = scan.settings
    steps = np.diff(times[:, 0])
    period = float(np.median(steps)) if len(steps) and np.isfinite(steps).all() else 0.0
    if period > 0:
        told["frame_rate_hz"] = Told(round(1 / period, 6), f"{name}, times of the frames")
    elif float(settings.get("framePeriod", 0) or 0) > 0 and times.shape[1] == 1:
        told["frame_rate_hz"] = Told(round(1 / float(settings["framePeriod"]), 6), f"{name}, framePeriod")
    if size := _pixel_size(settings):
        told["pixel_size_um"] = Told(size, f"{name}, micronsPerPixel")
    if start := _start(scan):
        where = f"{name}, date and time (clock of the microscope; its offset from UTC is not told)"
        told["session.session_start_time"] = Told(start, where)
    if wavelength := _wavelength(settings):
        told["imaging_plane.excitation_wavelength_nm"] = Told(wavelength, f"{name}, laserWavelength")
    told["device.manufacturer"] = Told("Bruker", f"{name}, PVScan")
    if scan.system:
        told["device.serial_number"] = Told(scan.system, f"{name}, SystemIDs")
    parts = [f"PrairieView {scan.attributes.get('version', '')}".strip()]
    parts += [f"objective {settings['objectiveLens']}"] if settings.get("objectiveLens") else []
    power = {key: value for key, value in settings.items() if re.fullmatch(r"laserPower(_\d+)?", key)}
    parts += [f"laser power {first_few([f'{float(v):g}' for v in power.values()])} (setting)"] if power else []
    told["device.description"] = Told(", ".join(parts), f"{name}, version, objectiveLens and laserPower")
    return told


def _depths(scan: _Scan, of_planes: NDArray[np.float64], n_planes: int, name: str) -> dict[str, Told]:
    """Depths of the planes, from the positions of the focus."""
    depths = of_planes[:n_planes]
    if n_planes == 1 and not np.isfinite(depths).all():  # told once, for all frames
        depths = np.array([scan.z_um])
    return told_depths(depths.tolist(), n_planes, f"{name}, positionCurrent ZAxis")


def _pixel_size(settings: Mapping[str, str]) -> tuple[float, float] | None:
    values = [float(settings.get(f"micronsPerPixel_{axis}", 0) or 0) for axis in ("YAxis", "XAxis")]
    return (values[0], values[1]) if min(values) > 0 else None


def _wavelength(settings: Mapping[str, str]) -> float | None:
    """Wavelength of the only laser, or of the only one that is on."""
    found = {
        key.rpartition("_")[2]: float(value) for key, value in settings.items() if "laserWavelength" in key and value
    }
    lit = {index: nm for index, nm in found.items() if float(settings.get(f"laserPower_{index}", 0) or 0) > 0}
    for choice in (found, lit):
        if len(choice) == 1:
            return next(iter(choice.values())) or None
    return None


def _start(scan: _Scan) -> datetime | None:
    """Local time at which the first cycle began."""
    for pattern in _DATES:
        try:
            date = datetime.strptime(scan.attributes.get("date", ""), pattern)
        except ValueError:
            continue
        clock = re.match(r"(\d+):(\d+):(\d+)(\.\d{1,6})?", scan.started)
        if clock is None:
            return date
        hour, minute, second = (int(part) for part in clock.groups()[:3])
        microsecond = round(float(clock[4] or 0) * 1e6)
        return date.replace(hour=hour, minute=minute, second=second, microsecond=min(microsecond, 999_999))
    return None


def _read_named(path: Path, paths: list[Path], layout: Layout) -> RawRecording:
    """A recording whose XML file is missing, by the names of its files."""
    parts: list[Any] = [_NAME.fullmatch(file.name) for file in paths]
    files = inspect_files(paths)
    starts = np.cumsum([0, *(file.n_images for file in files)])
    images: dict[int, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    for part, file, start in zip(parts, files, starts, strict=False):
        images[int(part[3])][int(part[2])] += range(start, start + file.n_images)
    channels = sorted(images)
    cycles = sorted({cycle for numbers in images.values() for cycle in numbers})
    lacking = "the XML file of PrairieView is missing or damaged"
    problems, notes = common_problems(files), [f"{lacking}: names tell channels and cycles"]
    lengths = {len(images[channel][cycle]) for channel in channels for cycle in cycles}
    if len({part[1] for part in parts}) > 1:
        problems.append("there are files of several recordings of PrairieView in this folder: keep one in a folder")
    if any(len({len(images[channel][cycle]) for channel in channels}) > 1 for cycle in cycles):
        problems.append("the channels hold different numbers of images: copy the files again, with the XML file")
    elif layout.n_planes is None and (len(cycles) > 1 or not parts[0][1].upper().startswith("TSERIES")):
        problems.append(
            f"{lacking}, and {len(cycles)} cycles of {max(lengths)} images may be trials of one plane or volumes: add "
            f"`planes: 1`, or `planes: {max(lengths)}`, or copy the XML file"
        )
    told = Layout(n_channels=len(channels))
    problems += contradictions(layout, told, "the names of the files")
    n = min(sum(len(images[channel][cycle]) for cycle in cycles) for channel in channels)
    columns = [[number for cycle in cycles for number in images[channel][cycle]][:n] for channel in channels]
    trials = np.repeat(cycles, [len(images[channels[0]][cycle]) for cycle in cycles])[:n]
    table = np.array(columns, np.int64).T.reshape(n, 1, len(channels))
    order, _, trials = _split_planes(table, np.zeros((n, 1)), trials, layout)
    names = tuple(f"Ch{channel}" for channel in channels)
    volumes = layout.n_planes is not None and layout.n_planes > 1
    return RawRecording(
        path,
        "PrairieView TIFF",
        files,
        order,
        names,
        problems=tuple(problems),
        notes=tuple(notes),
        trials=None if volumes else trials,
    )
