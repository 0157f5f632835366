"""CZI files of Zeiss's ZEN, read with `czifile`."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from rsc2p_kedro.datasets.raw.recording import Layout, RawRecording, Told, refused
from rsc2p_kedro.datasets.raw.vendor import PlaneArray, array_recording, library, read_file

SUFFIX = ".czi"
_FORMAT = "Zeiss CZI"


def read(path: Path, layout: Layout) -> RawRecording | None:
    """Inspects a recording of ZEN.

    Args:
        path: a file `.czi`, or a folder that holds one.
        layout: what the user says; the file names its axes.

    Returns:
        The recording; None if this is no CZI file. Files of several scenes are a problem.
    """
    return read_file(path, SUFFIX, _FORMAT, lambda file: _read(path, file, layout))


def _read(path: Path, file: Path, layout: Layout) -> RawRecording:
    with _library().CziFile(file) as opened:
        if len(opened.scenes) != 1:
            problem = f"{file.name} holds {len(opened.scenes)} scenes: save the one to analyse as its own file"
            return refused(path, _FORMAT, [problem])
        scene = next(iter(opened.scenes.values()))
        return array_recording(
            path,
            _FORMAT,
            partial(_open, file),
            file=file,
            sizes=dict(scene.sizes),
            dtype=scene.dtype,
            layout=layout,
            channels=list(scene.channels),
            metadata=_metadata(scene, file.name) | _start(opened, file.name),
        )


def _library() -> Any:
    return library("czifile", SUFFIX, needs="CziScenes", python=(3, 12))


@contextmanager
def _open(path: Path) -> Iterator[PlaneArray]:
    with _library().CziFile(path) as opened:
        scene = next(iter(opened.scenes.values()))
        names = [name for name in scene.sizes if name not in "YX"]
        first = dict(zip(scene.dims, scene.start, strict=True))

        def plane(position: tuple[int, ...]) -> NDArray:
            at = {name: first[name] + i for name, i in zip(names, position, strict=True)}
            return (scene(**at) if at else scene).asarray().reshape(scene.shape[-2:])

        yield PlaneArray(plane, tuple(scene.sizes.values()), scene.dtype)


def _metadata(scene: Any, source: str) -> dict[str, Told]:
    """What the file tells of the movie."""
    told: dict[str, Told] = {}
    times = scene.coords.get("T")
    if times is not None and len(times) > 1 and times[-1] > times[0]:
        rate = (len(times) - 1) / float(times[-1] - times[0])
        told["frame_rate_hz"] = Told(rate, f"{source}, times of the first and the last frame")
    if scene.mpp is not None:
        told["pixel_size_um"] = Told((float(scene.mpp[1]), float(scene.mpp[0])), f"{source}, scaling of the axes")
    channels = list(scene.channels.values())
    wavelength = channels[0].get("ExcitationWavelength") if len(channels) == 1 else None
    if wavelength:
        where = f"{source}, ExcitationWavelength of the channel"
        told["imaging_plane.excitation_wavelength_nm"] = Told(float(wavelength), where)
    told["device.manufacturer"] = Told("Zeiss", f"{source}, a file of ZEN")
    return told


def _start(opened: Any, source: str) -> dict[str, Told]:
    """Start of the recording, with its offset from UTC if the file tells it (`Z` is UTC)."""
    root = opened.xml_element
    text = "" if root is None else root.findtext(".//AcquisitionDateAndTime") or ""
    match = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)?", text)
    if match is None or text.startswith("0001"):
        return {}
    offset = {"Z": "+00:00", None: ""}.get(match[3], match[3])
    unknown = "" if match[3] else " (clock of the microscope; its offset from UTC is not told)"
    start = f"{match[1]}{(match[2] or '')[:7]}{offset}"
    return {"session.session_start_time": Told(start, f"{source}, AcquisitionDateAndTime{unknown}")}
