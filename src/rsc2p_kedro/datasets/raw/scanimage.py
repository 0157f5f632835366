"""ScanImage's TIFFs and BigTIFFs: versions 3.8, 4, 5, 2015 and later.

All images of an acquisition lie in one series of files, channel by channel, then frame by frame; those that were taken
while the focus flew back at the end of a volume are saved like the others. The settings are text, one a line:

- 3.8: `state.acq.numberOfChannelsSave=2`, in the ImageDescription, lines separated by carriage returns
- 4, 5, 2015: `scanimage.SI4.channelsSave = [1;2]`, `scanimage.SI.hChannels.channelSave = ...` in the ImageDescription
- 2016 and later: `SI.hChannels.channelSave = [1;2]` in the tag Software, regions of interest as JSON in the tag Artist

From version 5 on the ImageDescription of each page starts with `frameNumbers = 12`, `frameTimestamps_sec = 0.366...`
and `epoch = [2019 5 6 10 30 12.5]` (4 and 5: `Frame Number = `, `Frame Timestamp(s) = `), by which files of one
acquisition are recognized and dropped frames noticed. Structure: https://docs.scanimage.org/Appendix/ScanImage+BigTiff+Specification.html
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rsc2p_kedro.datasets.raw.recording import (
    Layout,
    RawRecording,
    Told,
    common_problems,
    first_few,
    numbered_channels,
    stepped_depths,
    told_depths,
)
from rsc2p_kedro.datasets.raw.stacks import contradictions
from rsc2p_kedro.datasets.raw.tiff import find_files, inspect_files, typical_tiff
from rsc2p_kedro.datasets.raw.tiff_file import FirstPage, TIFFFile, first_page

_PREFIX = re.compile(r"^(?:scanimage\.)?SI\d*\.|^state\.")
_NUMBER = re.compile(r"^frameNumberAcquisition = (\d+)", re.MULTILINE)
_NUMBER_OF_LOOP = re.compile(r"^frameNumbers = (\d+)|^Frame Number = (\d+)", re.MULTILINE)
_ACQUISITION = re.compile(r"^acquisitionNumbers = (\d+)", re.MULTILINE)
_TIME = re.compile(r"^frameTimestamps?_sec = ([\d.eE+-]+)|^Frame Timestamp\(s\) = ([\d.eE+-]+)", re.MULTILINE)
_MOST_DROPPED = 1000
"""Images between two files of an acquisition that may have been dropped; more are a missing file. Not tuned."""
_LONGEST_S = 20 * 3600
"""Longest time in s between two acquisitions of one session."""
_EPOCH = re.compile(r"^epoch = \[([^\]]*)\]", re.MULTILINE)


class Header(dict[str, str]):
    """Settings of ScanImage, without the `SI.` (`state.`) before their names."""

    @classmethod
    def of(cls, page: FirstPage) -> "Header":
        """Reads the settings.

        Args:
            page: tags of a first page.

        Returns:
            The settings; empty if the file is not from ScanImage.
        """
        text = page.software if page.software.startswith("SI.") else page.description
        pairs = (line.partition("=") for line in re.split(r"[\r\n]+", text) if _PREFIX.match(line))
        return cls({_PREFIX.sub("", name.strip()): value.strip() for name, _, value in pairs})

    def numbers(self, *names: str) -> list[float]:
        """Numbers of the first of some settings that has any.

        Args:
            names: of settings.

        Returns:
            Its numbers, of all rows; empty if none of the settings has a number.
        """
        for name in names:
            found = re.findall(r"[-+]?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|\binf\b)", self.get(name, ""), re.IGNORECASE)
            if found:
                return [float(number) for number in found]
        return []

    def number(self, *names: str, default: float = 0) -> float:
        """First number of the first of some settings that has any.

        Args:
            names: of settings.
            default: if there is none.

        Returns:
            The number.
        """
        return next(iter(self.numbers(*names)), default)

    def texts(self, *names: str) -> list[str]:
        """Texts in quotes of the first of some settings that has any.

        Args:
            names: of settings.

        Returns:
            The texts; empty if none of the settings has one.
        """
        return next((found for name in names if (found := re.findall("'([^']*)'", self.get(name, "")))), [])

    def is_true(self, name: str) -> bool:
        """Whether a setting is on.

        Args:
            name: of the setting.

        Returns:
            True for `true` and 1.
        """
        return self.get(name, "").lower() in ("true", "1")

    @property
    def version(self) -> str:
        """Version of ScanImage."""
        major = self.get("VERSION_MAJOR") or self.get("versionMajor") or self.get("software.version") or ""
        return major.strip("'")


@dataclass(frozen=True)
class _Volumes:
    """How the images of an acquisition alternate, from the settings.

    Attributes:
        channels: names of the channels that were saved.
        n_planes: number of planes.
        flyback_frames: frames at the end of a volume that were taken while the focus went back.
        step: number of frames that were averaged into one: frame numbers rise by it.
        problems: why this cannot be read.
    """

    channels: tuple[str, ...]
    n_planes: int
    flyback_frames: int
    step: int
    problems: tuple[str, ...] = ()


def read(path: Path, layout: Layout) -> RawRecording | None:
    """Inspects the files of ScanImage.

    Args:
        path: a folder of TIFFs or one TIFF. Several acquisitions in a folder are read one after the other.
        layout: what the user says of the order of the images.

    Returns:
        The recording, with all its problems; None if these are no TIFFs of ScanImage.
    """
    file = typical_tiff(path, layout)
    if file is None or not (header := Header.of(first_page(file))):
        return None
    paths, problems = find_files(path, layout)
    files = inspect_files(paths)
    volumes = _volumes(header, layout)
    pages = _pages(files, len(volumes.channels))
    order, times, notes = _arranged(pages, volumes)
    problems += [
        *common_problems(files),
        *volumes.problems,
        *_mroi_problems(first_page(file), files[0].shape if files else ()),
    ]
    told = Layout(len(volumes.channels), volumes.n_planes, volumes.flyback_frames)
    problems += [*_gaps(files, pages, path), *_differences(files, pages, volumes)]
    problems += contradictions(layout, told, "the ScanImage header")
    metadata = _metadata(header, file.name, files, volumes, pages)
    return RawRecording(
        path,
        f"ScanImage {header.version}".strip() + " TIFF",
        files,
        order,
        volumes.channels,
        metadata,
        times,
        tuple(problems),
        (*notes, *_stale_notes(files)),
        trials=pages.acquisitions[order[:, 0, 0]] if order.size else None,
    )


def _stale_notes(files: Sequence[TIFFFile]) -> list[str]:
    return [f"{file.path.name} {note}" for file in files[:3] for note in file.notes]


def _volumes(header: Header, layout: Layout) -> _Volumes:
    """Channels, planes and flyback according to the settings."""
    saved = [int(number) for number in header.numbers("hChannels.channelSave", "channelsSave", "channelSave")]
    n_channels = len(saved) or int(header.number("acq.numberOfChannelsSave", default=1))
    names = header.texts("hChannels.channelName", "channelName", "channelsName")
    channels = tuple(names[number - 1] for number in saved if number <= len(names))
    if len(channels) != n_channels or len(set(channels)) != n_channels:
        channels = tuple(str(number) for number in saved) or numbered_channels(n_channels)
    step = max(1, int(header.number("hScan2D.logAverageFactor", "acqNumAveragedFrames", default=1)))
    slices = int(
        header.number("hStackManager.actualNumSlices", "hStackManager.numSlices", "stackNumSlices", default=0)
        or header.number("hStackManager.numSlices", "acq.numberOfZSlices", default=1)
    )
    if not _is_volumetric(header) or slices < 2:
        return _Volumes(channels, 1, 0, step, _slow_stack(header, slices, layout))
    real = int(header.number("hStackManager.numFramesPerVolume", default=slices))
    flyback_frames = int(
        header.number(
            "hStackManager.numFramesPerVolumeWithFlyback",
            "hFastZ.numFramesPerVolume",
            default=real + _discarded(header),
        )
    ) - max(real, slices)
    problems = []
    if real > slices * step:
        problems.append(
            f"each of the {slices} planes was imaged {real // slices} times in a volume (framesPerSlice), which is not "
            "supported: average these images and save them as a TIFF without ScanImage's header"
        )
    elif step > 1:
        problems.append(
            f"{step} frames were averaged into one while {slices} planes were imaged (logAverageFactor), so images mix "
            "planes: such a recording cannot be taken apart"
        )
    return _Volumes(channels, slices, max(flyback_frames, 0), step, tuple(problems))


def _is_volumetric(header: Header) -> bool:
    """Whether planes were imaged in turn, rather than all frames of a plane before those of the next one."""
    if mode := header.texts("hStackManager.stackMode"):
        return header.is_true("hStackManager.enable") and mode[0] == "fast"
    return header.is_true("hFastZ.enable") or header.is_true("fastZEnable")


def _discarded(header: Header) -> int:
    """Images of the flyback in versions that do not tell the number of frames of a volume with them."""
    if not (header.is_true("hFastZ.discardFlybackFrames") or header.is_true("fastZDiscardFlybackFrames")):
        return 0
    return int(header.number("hFastZ.numDiscardFlybackFrames", "fastZNumDiscardFrames", default=0))


def _slow_stack(header: Header, slices: int, layout: Layout) -> tuple[str, ...]:
    """Problem of stacks in which all frames of one depth were taken before those of the next."""
    enabled = header.get("hStackManager.enable", "true").lower() in ("true", "1")
    if slices < 2 or not enabled or layout.n_planes == 1:
        return ()
    frames = int(header.number("hStackManager.framesPerSlice", "acqNumFrames", "acq.numberOfFrames", default=0))
    return (
        f"{slices} depths were imaged one after the other, {frames or 'some'} frames each (a slow stack), not in turn: "
        f"to use one of them, add `planes: 1` and its range of frames, such as `frames: [0, {frames or 1000}]`",
    )


@dataclass(frozen=True, eq=False)
class _Pages:
    """What the pages of all files tell.

    Attributes:
        positions: (n,) int64, number of the image in its acquisition, from 0; dropped frames are counted.
        acquisitions: (n,) int64, number of its acquisition, from 0.
        times_s: (n,) float64, from the start of the first acquisition; NaN where a page does not tell it.
        start: of the first acquisition, local time; None if it is not told.
        frames: (n,) int64, number of its frame as told, or -1.
    """

    positions: NDArray[np.int64]
    acquisitions: NDArray[np.int64]
    times_s: NDArray[np.float64]
    start: datetime | None
    frames: NDArray[np.int64]


def _pages(files: Sequence[TIFFFile], n_channels: int) -> _Pages:
    """Reads the descriptions of all pages; an acquisition starts where its frame numbers or its number do."""
    positions, acquisitions, times, frames = ([] for _ in range(4))
    acquisition, epoch, count, first = -1, None, 0.0, None
    for file in files:
        texts = file.page_descriptions() or [""] * file.n_images
        numbers = np.array([_value(_NUMBER, text, _value(_NUMBER_OF_LOOP, text, -1)) for text in texts], np.int64)
        seconds = np.array([_value(_TIME, text, np.nan) for text in texts])
        key = (_epoch(texts[0]), _value(_ACQUISITION, texts[0], 0)) if texts else (None, 0.0)
        if acquisition < 0 or not len(numbers) or numbers[0] <= 1 or key != (epoch, count):
            acquisition, (epoch, count) = acquisition + 1, key
            first = first or epoch
        offset = (epoch - first).total_seconds() if epoch and first else (0.0 if acquisition == 0 else np.nan)
        frames.append(numbers)
        acquisitions.append(np.full(file.n_images, acquisition))
        times.append(seconds + offset)
    joined = np.concatenate([*frames, np.empty(0, np.int64)]).astype(np.int64)
    owners = np.concatenate([*acquisitions, np.empty(0, np.int64)]).astype(np.int64)
    for number in range(acquisition + 1):
        positions.append(_positions(joined[owners == number], n_channels))
    joined_positions = np.concatenate([*positions, np.empty(0, np.int64)]).astype(np.int64)
    return _Pages(joined_positions, owners, np.concatenate([*times, np.empty(0)]), first, joined)


def _positions(numbers: NDArray[np.int64], n_channels: int) -> NDArray[np.int64]:
    """Positions of the images of one acquisition, from their frame numbers where these make sense."""
    n = len(numbers)
    frames = numbers[: n - n % n_channels].reshape(-1, n_channels)
    if not len(frames) or frames[0, 0] < 1 or (frames != frames[:, :1]).any():
        return np.arange(n)
    steps = np.diff(frames[:, 0])
    if len(steps) and (steps < 1).any():
        return np.arange(n)
    step = int(steps.min()) if len(steps) else 1
    index = (frames[:, 0] - frames[0, 0]) // step + max(0, int(frames[0, 0]) // step - 1)
    positions = (index[:, None] * n_channels + np.arange(n_channels)).ravel()
    rest = positions[-1] + 1 + np.arange(n % n_channels)
    return np.concatenate([positions, rest])


def _value(pattern: re.Pattern[str], text: str, default: float) -> float:
    found = pattern.search(text)
    return float(next(group for group in found.groups() if group)) if found else default


def _epoch(text: str) -> datetime | None:
    """Start of an acquisition, local time."""
    found = _EPOCH.search(text)
    parts = [float(part) for part in re.split(r"[\s,]+", found[1].strip()) if part] if found else []
    return _date(parts)


def _date(parts: Sequence[float]) -> datetime | None:
    """A date from year, month, day, hour, minute and second."""
    if len(parts) != 6 or parts[0] < 1990:
        return None
    year, month, day, hour, minute = (int(part) for part in parts[:5])
    return datetime(year, month, day, hour, minute) + timedelta(seconds=round(parts[5], 6))


def _arranged(pages: _Pages, volumes: _Volumes) -> tuple[NDArray[np.int64], NDArray[np.float64] | None, list[str]]:
    """Order (T, Z, C) of the whole volumes, the times of their frames, and notes on what is left out."""
    C, Z = len(volumes.channels), volumes.n_planes
    of_volume = C * (Z + volumes.flyback_frames)
    volume, place = np.divmod(pages.positions, of_volume)
    n_volumes = int(volume.max()) + 1 if len(volume) else 0
    table = np.full((int(pages.acquisitions.max(initial=-1)) + 1, n_volumes, of_volume), -1, np.int64)
    table[pages.acquisitions, volume, place] = np.arange(len(volume))
    needed = table[:, :, : C * Z].reshape(-1, Z, C)
    whole = (needed >= 0).all(axis=(1, 2))
    order = needed[whole]
    begun = (needed >= 0).any(axis=(1, 2))
    notes = []
    if n_left := int((begun & ~whole).sum()):
        notes.append(
            f"{n_left} incomplete volume{'s' * (n_left > 1)} (an acquisition that was stopped, or dropped frames) "
            f"{'are' if n_left > 1 else 'is'} left out"
        )
    dropped = sum(_n_dropped(pages, number, C) for number in range(table.shape[0]))
    if dropped:
        notes.append(f"ScanImage dropped {dropped} frames: the times of the others are those of their headers")
    if table.shape[0] > 1:
        notes.append(f"{table.shape[0]} acquisitions are read one after the other")
    times = pages.times_s[order[:, :, 0]] if order.size else np.empty(order.shape[:2])
    return order, times if np.isfinite(times).all() and order.size else None, notes


def _n_dropped(pages: _Pages, acquisition: int, n_channels: int) -> int:
    """Frames of an acquisition that were not saved."""
    positions = pages.positions[pages.acquisitions == acquisition]
    return (int(positions[-1] - positions[0]) + 1 - len(positions)) // n_channels if len(positions) else 0


def _gaps(files: Sequence[TIFFFile], pages: _Pages, path: Path) -> list[str]:
    """Problem of files that are missing before or between the files of an acquisition."""
    starts, bad = np.cumsum([0, *(file.n_images for file in files)]), []
    for file, start in zip(files, starts, strict=False):
        if not file.n_images or pages.frames[start] < 0:
            continue
        new = start == 0 or pages.acquisitions[start] != pages.acquisitions[start - 1]
        missing = pages.positions[start] - (0 if new else pages.positions[start - 1] + 1)
        if (missing > _MOST_DROPPED or missing < 0) and not (new and path.is_file()):
            bad.append(file.path.name)
    if not bad:
        return []
    return [f"files of the acquisition are missing before {first_few(bad)}: copy them again, or use `frames`"]


def _differences(files: Sequence[TIFFFile], pages: _Pages, volumes: _Volumes) -> list[str]:
    """Problems of acquisitions that do not belong to one recording: other channels or planes, other days."""
    starts = np.cumsum([0, *(file.n_images for file in files)])[:-1]
    owners = [
        int(pages.acquisitions[start]) if file.n_images else -1 for file, start in zip(files, starts, strict=True)
    ]
    firsts = [file.path for i, file in enumerate(files) if owners[i] >= 0 and owners[i] not in owners[:i]]
    headers = {path: Header.of(first_page(path)) for path in firsts[1:]}
    found = {path: _volumes(header, Layout(n_planes=1)) for path, header in headers.items()}
    other = [path.name for path, its in found.items() if replace(its, problems=()) != replace(volumes, problems=())]
    problems = []
    if other:
        problems.append(f"{first_few(other)} have other channels or planes: keep acquisitions of one kind in a folder")
    times = pages.times_s[np.isfinite(pages.times_s)]
    if pages.start is not None and len(times) and np.ptp(times) > _LONGEST_S:
        problems.append("the acquisitions are from different days: each day is a recording of its own")
    return problems


def _mroi_problems(page: FirstPage, shape: Sequence[int]) -> list[str]:
    """Problem of images that hold several regions one below the other, with the rows of each where they are told."""
    try:
        groups = json.loads(page.artist)["RoiGroups"]["imagingRoiGroup"]["rois"]
    except (ValueError, KeyError, TypeError):
        return []
    regions = [roi for roi in (groups if isinstance(groups, list) else [groups]) if roi.get("enable", 1)]
    header = Header.of(page)
    if len(regions) < 2 or not header.is_true("hRoiManager.mroiEnable"):
        return []
    rows = _rows_of_regions(regions, shape)
    ranges = ", ".join(f"{start} to {stop - 1}" for start, stop in rows)
    listed = f" (rows {ranges}, from 0)" if rows else ""
    return [
        f"{len(regions)} regions (mROI) lie one below the other in each image{listed}, which is not supported: save "
        "the rows of each region as TIFFs of their own without ScanImage's header, one recording a region"
    ]


def _rows_of_regions(regions: Sequence[dict[str, Any]], shape: Sequence[int]) -> list[tuple[int, int]]:
    """First row of each region and the one after its last; empty if it is not told, or does not fit the images."""
    fields: list[Any] = [roi.get("scanfields") for roi in regions]
    try:
        first = [one[0] if isinstance(one, list) else one for one in fields]
        heights = [int(one["pixelResolutionXY"][1]) for one in first]
    except (KeyError, TypeError, IndexError):
        return []
    between = shape[0] - sum(heights) if len(shape) == 2 else -1
    if between < 0 or between % (len(heights) - 1):  # the lines while the mirrors move to the next region
        return []
    starts = np.cumsum([0, *(height + between // (len(heights) - 1) for height in heights[:-1])])
    return [(int(start), int(start) + height) for start, height in zip(starts, heights, strict=True)]


def _metadata(
    header: Header, name: str, files: Sequence[TIFFFile], volumes: _Volumes, pages: _Pages
) -> dict[str, Told]:
    """Frame rate, pixel size, start and microscope, where the header tells them."""

    def source(key: str) -> str:
        return f"ScanImage header of {name}, {key}"

    told: dict[str, Told] = {}
    rate, key = _frame_rate(header, volumes)
    if rate > 0:
        told["frame_rate_hz"] = Told(round(rate, 6), source(key))
    corners = header.numbers("hRoiManager.imagingFovUm")
    if len(corners) == 8 and files and len(files[0].shape) == 2:
        (x0, y0, x1, y1, x2, y2), (height, width) = corners[:6], files[0].shape
        sides = np.hypot(x2 - x1, y2 - y1) / height, np.hypot(x1 - x0, y1 - y0) / width
        if min(sides) > 0:
            value = (round(float(sides[0]), 6), round(float(sides[1]), 6))
            told["pixel_size_um"] = Told(value, source("SI.hRoiManager.imagingFovUm"))
    start, key = (pages.start, "epoch") if pages.start else _start(header)
    if start is not None:
        where = f"{source(key)} (clock of the microscope; its offset from UTC is not told)"
        told["session.session_start_time"] = Told(start, where)
    if volumes.flyback_frames:
        told["flyback_frames"] = Told(volumes.flyback_frames, source("frames of a volume with the flyback"))
    told |= _depths(header, volumes, name)
    scanner = next(iter(header.texts("hScan2D.scanMode", "hScan2D.scannerType")), "")
    described = f"ScanImage {header.version}".strip() + (f", {scanner} scanning" if scanner else "")
    told["device.description"] = Told(described, source("version and hScan2D"))
    return told


def _depths(header: Header, volumes: _Volumes, name: str) -> dict[str, Told]:
    """Depths of the planes: each of them, or start and step."""
    n_planes, source = volumes.n_planes, f"ScanImage header of {name}"
    for key in ("hStackManager.zs", "hStackManager.arbitraryZs", "hFastZ.userZs"):
        rows = header.get(key, "").strip("[]").split(";")
        depths = header.numbers(key)
        if len(rows) in (1, len(depths)) and len(depths) in (n_planes, n_planes + volumes.flyback_frames):
            return told_depths(depths[:n_planes], n_planes, f"{source}, SI.{key}")
    if header.texts("hStackManager.stackDefinition") == ["arbitrary"]:
        return {}
    start = header.number("hStackManager.stackZStartPos", "stackZStartPos")
    for key in (
        "hStackManager.actualStackZStepSize",
        "hStackManager.stackZStepSize",
        "stackZStepSize",
        "acq.zStepSize",
    ):
        if step := header.number(key):
            return stepped_depths(step, n_planes, f"{source}, {key}", start_um=start)
    return {}


def _frame_rate(header: Header, volumes: _Volumes) -> tuple[float, str]:
    """Frames per second of a plane, and the setting it comes from."""
    if volumes.n_planes > 1 and (rate := header.number("hRoiManager.scanVolumeRate")):
        return rate, "SI.hRoiManager.scanVolumeRate"
    of_volume = volumes.n_planes + volumes.flyback_frames
    averaged = max(volumes.step, int(header.number("acq.numAvgFramesSave", default=1)))
    for key in ("hRoiManager.scanFrameRate", "scanFrameRate", "acq.frameRate"):
        if rate := header.number(key):
            return rate / of_volume / averaged, key
    for key in ("hRoiManager.scanFramePeriod", "scanFramePeriod"):
        if period := header.number(key):
            return 1 / period / of_volume / averaged, key
    return 0.0, ""


def _start(header: Header) -> tuple[datetime | None, str]:
    """Start of the acquisition in versions without an epoch, local time, and the setting it comes from."""
    formats = {"internal.triggerTimeString": "%m/%d/%Y %H:%M:%S.%f", "triggerClockTimeFirst": "%d-%m-%Y %H:%M:%S.%f"}
    for key, pattern in formats.items():
        for text in header.texts(key):
            try:
                return datetime.strptime(text, pattern), key
            except ValueError:
                continue
    return _date(header.numbers("acqStartTime")), "acqStartTime"
