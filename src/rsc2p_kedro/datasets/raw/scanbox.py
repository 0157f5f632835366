"""Scanbox of Neurolabware: pixels in a file `.sbx`, and the structure `info` in the file `.mat` of the same name.

Pixels are unsigned 16-bit numbers, stored as 65535 minus their value, with channels alternating from pixel to pixel.
The number of frames follows from the size of the file. With an electrically tunable lens, planes alternate from frame
to frame. Versions 2 and 3 are read (https://scanbox.org).
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from natsort import natsorted

from rsc2p_kedro.datasets.raw.flat_file import FlatFile, complete_frames
from rsc2p_kedro.datasets.raw.matlab import read_structure
from rsc2p_kedro.datasets.raw.recording import (
    Layout,
    RawRecording,
    Told,
    arrange,
    numbered_channels,
    refused,
    told_depths,
)

SUFFIX = ".sbx"
_FORMAT = "Scanbox"
_DTYPE = np.dtype("<u2")
_DEFAULT_SIZE = (512, 796)
"""Lines and columns where `info.sz` is missing, as Scanbox's own reader assumes."""
_INDICATOR = re.compile(r"(\w*gcamp|\w*rcamp|\w*geco|ogb|cal-?5[29]0)", re.IGNORECASE)
"""Beginning of the names of indicators, as opposed to those of filters and structural dyes."""


def read(path: Path, layout: Layout) -> RawRecording | None:
    """Inspects a recording of Scanbox.

    Args:
        path: a file `.sbx`, the file `.mat` next to it, or a folder with one of them.
        layout: what the user says of the planes; overrides what the file tells.

    Returns:
        The recording; None if this is not one of Scanbox.
    """
    if path.is_dir():
        files = natsorted(file for file in path.iterdir() if file.suffix.lower() == SUFFIX)
    else:
        files = [path.with_suffix(SUFFIX) if path.suffix.lower() == ".mat" else path]
    if not files or files[0].suffix.lower() != SUFFIX or not files[0].is_file():
        return None
    if len(files) > 1:
        names = ", ".join(file.name for file in files)
        return refused(path, _FORMAT, [f"there are several recordings ({names}): give the path of one file as `path`"])
    described = files[0].with_suffix(".mat")
    if not described.is_file():
        problem = f"{described.name} is missing, which tells the size of the frames: copy it next to the .sbx file"
        return refused(path, _FORMAT, [problem])
    try:
        return _read(path, files[0], read_structure(described, "info"), layout)
    except ValueError as error:
        return refused(path, _FORMAT, [f"{described.name} {error}"])


def _read(path: Path, file: Path, info: Mapping[str, Any], layout: Layout) -> RawRecording:
    """The recording of a file with its description."""
    if _get(info, "mesoscope.enabled"):
        raise ValueError("describes regions of a mesoscope, which cannot be read yet")
    if int(_get(info, "scanbox_version", 2 if "sz" in info else 1)) < 2:
        raise ValueError(
            "is of Scanbox 1, whose samples are no pixels yet: save the frames that Scanbox's own sbxread gives as TIFF"
        )
    lines, columns = (int(n) for n in np.ravel(_get(info, "sz", _DEFAULT_SIZE)))
    folds = _folds(info, lines)
    shape, channels = (lines // folds, columns), _channels(info)
    n_frames, notes = complete_frames(file, shape, _DTYPE, len(channels))
    planes, problems = _planes(info)
    images = FlatFile(file, shape, _DTYPE, n_frames, samples=len(channels), inverted=True)
    if layout.n_planes is not None:
        planes, problems = layout.n_planes, []
    if layout.n_channels not in (None, len(channels)):
        problems.append(f"the file holds {len(channels)} channels ({', '.join(channels)}): correct `channels`")
    if not n_frames:
        problems.append(f"{file.name} holds no complete frame: copy it again from where it was recorded")
    order, more_notes = arrange(images.n_images, Layout(len(channels), planes, layout.flyback_frames))
    if int(_get(info, "scanmode", 1)) == 0:
        notes.append("lines were scanned in both directions; the first columns may be dead and are kept")
    return RawRecording(
        path,
        _FORMAT,
        (images,),
        order,
        channels,
        metadata=_metadata(info, f"info of {file.stem}.mat", lines, folds, planes + (layout.flyback_frames or 0))
        | told_depths(np.ravel(_get(info, "otwave_um", [])).tolist(), planes, f"info of {file.stem}.mat, otwave_um"),
        problems=tuple(problems),
        notes=(*notes, *more_notes),
    )


def _get(info: Mapping[str, Any], name: str, default: Any = None) -> Any:
    """A field of the description; dots lead into structures, and empty arrays count as missing."""
    value: Any = info
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return default if value is None or np.size(value) == 0 else value


def _folds(info: Mapping[str, Any], lines: int) -> int:
    """Number of frames that a scan of all lines was divided into."""
    fold_lines = int(_get(info, "fold_lines", 0))
    if fold_lines and lines % fold_lines:
        raise ValueError(f"divides {lines} lines into frames of {fold_lines}, which is no whole number")
    return lines // fold_lines if fold_lines else 1


def _channels(info: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the channels that were saved; version 2 has none, and up to two channels."""
    count = _get(info, "chan.nchan")
    if count is None:
        count = 2 if int(_get(info, "channels", 2)) == 1 else 1
    saved = np.flatnonzero(np.atleast_1d(_get(info, "chan.save", [])))
    names = np.atleast_1d(_get(info, "chan.names", []))
    if len(saved) == count and len(saved) and saved[-1] < len(names):
        return tuple(str(names[number]) for number in saved)
    return numbered_channels(int(count))


def _planes(info: Mapping[str, Any]) -> tuple[int, list[str]]:
    """Number of planes, and a problem if it is uncertain.

    The period of the lens stands in different fields in different versions: its waveform, its table, its parameters.
    """
    waves = np.size(_get(info, "otwave", []))
    if not int(_get(info, "volscan", waves > 1)):
        return 1, []
    parameters = np.ravel(np.asarray(_get(info, "otparam", []), float))
    period = parameters[2] if len(parameters) > 2 and np.isfinite(parameters[2]) else 0
    found = {int(n) for n in (len(np.atleast_2d(_get(info, "etl_table", np.empty((0, 1))))), waves, period) if n > 0}
    if len(found) == 1:
        return found.pop(), []
    numbers = f" contradict each other ({', '.join(map(str, sorted(found)))})" if found else " do not tell how many"
    hint = f"add `planes: {max(found, default=3)}`, or the right number, in the manifest"
    return 1, [f"planes were scanned with a lens, and the settings{numbers}: {hint}"]


def _metadata(info: Mapping[str, Any], source: str, lines: int, folds: int, planes: int) -> dict[str, Told]:
    """What is told of microscope and session."""
    told: dict[str, Told] = {}
    if _get(info, "resfreq"):
        directions = 2 - int(_get(info, "scanmode", 1))
        rate = float(info["resfreq"]) / lines * directions * folds / planes
        fields = "resfreq / sz" + " x 2, scanmode" * (directions == 2) + f" / {planes} planes" * (planes > 1)
        told["frame_rate_hz"] = Told(rate, f"{source}, {fields}")
    pixel = [_get(info, name) for name in ("dycal", "dxcal")]
    if all(pixel):
        told["pixel_size_um"] = Told(tuple(float(size) for size in pixel), f"{source}, dycal and dxcal")
    else:
        number = int(_get(info, "config.magnification", 0))
        calibrations = _get(info, "calibration", [])
        if isinstance(calibrations, list) and 0 < number <= len(calibrations):
            sizes = [_get(calibrations[number - 1], axis) for axis in ("y", "x")]
            if all(sizes):
                told["pixel_size_um"] = Told(
                    tuple(map(float, sizes)), f"{source}, calibration of magnification {number}"
                )
    if _get(info, "config.wavelength"):
        wavelength = float(info["config"]["wavelength"])
        told["imaging_plane.excitation_wavelength_nm"] = Told(wavelength, f"{source}, config.wavelength")
    indicators = [name for name in _channels(info) if _INDICATOR.match(name)]
    if len(indicators) == 1:
        told["imaging_plane.indicator"] = Told(indicators[0], f"{source}, chan.names")
    version, objective = _get(info, "scanbox_version"), _get(info, "objective")
    parts = [f"Scanbox {version}" if version else "Scanbox", *([f"objective {objective}"] if objective else [])]
    told["device.description"] = Told(", ".join(parts), source)
    told["device.manufacturer"] = Told("Neurolabware", f"{source} of Scanbox")
    return told
