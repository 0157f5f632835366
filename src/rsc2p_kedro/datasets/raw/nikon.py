"""ND2 files of Nikon's NIS-Elements, read with `nd2`."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rsc2p_kedro.datasets.raw.recording import Layout, RawRecording, Told, stepped_depths
from rsc2p_kedro.datasets.raw.vendor import PlaneArray, array_recording, library, read_file

SUFFIX = ".nd2"
_FORMAT = "Nikon ND2"


def read(path: Path, layout: Layout) -> RawRecording | None:
    """Inspects a recording of NIS-Elements.

    Args:
        path: a file `.nd2`, or a folder that holds one.
        layout: what the user says; the file names its axes.

    Returns:
        The recording; None if this is no ND2 file.
    """
    return read_file(path, SUFFIX, _FORMAT, lambda file: _read(path, file, layout))


def _read(path: Path, file: Path, layout: Layout) -> RawRecording:
    with library("nd2", SUFFIX, needs="ND2File").ND2File(file) as opened:
        return array_recording(
            path,
            _FORMAT,
            partial(_open, file),
            file=file,
            sizes=dict(opened.sizes),
            dtype=opened.dtype,
            layout=layout,
            channels=[channel.channel.name for channel in opened.metadata.channels or ()],
            metadata=_metadata(opened, file.name),
        )


@contextmanager
def _open(path: Path) -> Iterator[PlaneArray]:
    with library("nd2", SUFFIX, needs="ND2File").ND2File(path) as opened:
        sizes = dict(opened.sizes)
        loops = {name: n for name, n in sizes.items() if name not in "CYX"}
        shape = (sizes["Y"], sizes["X"])

        def plane(position: tuple[int, ...]) -> NDArray:
            at = dict(zip(sizes, position, strict=False))
            frame = np.ravel_multi_index([at[name] for name in loops], tuple(loops.values())) if loops else 0
            return opened.read_frame(int(frame)).reshape(-1, *shape)[at.get("C", 0)]

        yield PlaneArray(plane, tuple(sizes.values()), opened.dtype)


def _metadata(opened: Any, source: str) -> dict[str, Told]:
    """What the file tells of microscope and session."""
    told: dict[str, Told] = {}
    n_times = opened.sizes.get("T", 1)
    frames = [event for event in opened.events(orient="records") if "Events" not in event]  # without the user's marks
    times = [float(frame["Time [s]"]) for frame in frames if "Time [s]" in frame][:: max(1, len(frames) // n_times)]
    if next(iter(opened.sizes)) == "T" and len(times) == n_times and times[-1] > times[0]:
        rate = (n_times - 1) / (times[-1] - times[0])
        told["frame_rate_hz"] = Told(rate, f"{source}, times of the first and the last frame")
    channels = opened.metadata.channels or ()
    if channels:
        size = opened.voxel_size()
        if all(channels[0].volume.axesCalibrated[:2]) and min(size.x, size.y) > 0:
            told["pixel_size_um"] = Told((size.y, size.x), f"{source}, calibration of the axes")
        told |= stepped_depths(float(size.z), opened.sizes.get("Z", 1), f"{source}, calibration of the axis Z")
        if len(channels) == 1 and channels[0].channel.emissionLambdaNm:
            wavelength = float(channels[0].channel.emissionLambdaNm)
            told["imaging_plane.emission_wavelength_nm"] = Told(wavelength, f"{source}, emission of the channel")
        if channels[0].microscope.objectiveName:
            objective = f"objective {channels[0].microscope.objectiveName}"
            told["device.description"] = Told(objective, f"{source}, microscope")
    told["device.manufacturer"] = Told("Nikon", f"{source}, a file of NIS-Elements")
    return told
