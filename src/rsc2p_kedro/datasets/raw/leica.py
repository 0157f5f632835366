"""LIF files of Leica's LAS X, read with `liffile`."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rsc2p_kedro.datasets.raw.recording import Layout, RawRecording, Told, first_few, refused, stepped_depths
from rsc2p_kedro.datasets.raw.vendor import array_recording, library, read_file

SUFFIX = ".lif"
_FORMAT = "Leica LIF"


@dataclass(frozen=True)
class _Mapped:
    """Pixels of an image, which lie uncompressed in the file.

    Attributes:
        path: the file.
        offset: of the first pixel in bytes.
        shape: of the image.
        dtype: of the pixels.
    """

    path: Path
    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype

    @contextmanager
    def __call__(self) -> Iterator[NDArray]:
        yield np.memmap(self.path, self.dtype, "r", self.offset, self.shape)


def read(path: Path, layout: Layout) -> RawRecording | None:
    """Inspects a recording of LAS X.

    Args:
        path: a file `.lif`, or a folder that holds one.
        layout: what the user says: `dataset` is the name of the image, where the file holds several movies.

    Returns:
        The recording; None if this is no LIF file.
    """
    return read_file(path, SUFFIX, _FORMAT, lambda file: _read(path, file, layout))


def _read(path: Path, file: Path, layout: Layout) -> RawRecording:
    with library("liffile", SUFFIX, needs="LifFile").LifFile(file) as opened:
        return _read_image(path, file, opened, layout)


def _read_image(path: Path, file: Path, opened: Any, layout: Layout) -> RawRecording:
    """The recording of one image of an open file."""
    images = {image.name: image for image in opened.images}
    movies = [name for name, image in images.items() if image.sizes.get("T", 1) > 1]
    if layout.dataset is not None and layout.dataset not in images:
        listed = first_few(list(images))
        return refused(path, _FORMAT, [f"there is no image {layout.dataset}, there are {listed}: correct `dataset`"])
    if layout.dataset is None and len(movies) != 1:
        hint = f"several movies ({first_few(movies)}): add the one to read, such as `dataset: {movies[0]}`"
        none = f"no movie, only {first_few(list(images))}: give another file as `path`"
        return refused(path, _FORMAT, [f"{file.name} holds {hint if movies else none}"])
    name = layout.dataset or movies[0]
    image = images[name]
    lookup_tables = image.xml_element.findall("./Data/Image/ImageDescription/Channels/ChannelDescription")
    return array_recording(
        path,
        _FORMAT,
        _Mapped(file, int(image.memory_block.offset), image.shape, np.dtype(image.dtype)),
        file=file,
        sizes=dict(image.sizes),
        dtype=image.dtype,
        layout=layout,
        channels=[channel.get("LUTName", "") for channel in lookup_tables],
        metadata=_metadata(image, f"{file.name}, {name}"),
        inside=name,
    )


def _metadata(image: Any, source: str) -> dict[str, Told]:
    """What the file tells of the movie."""
    told: dict[str, Told] = {}
    steps = {
        name: (values[-1] - values[0]) / (len(values) - 1) for name, values in image.coords.items() if len(values) > 1
    }
    if steps.get("T", 0) > 0:
        told["frame_rate_hz"] = Told(1 / float(steps["T"]), f"{source}, length of the axis T")
    if min(steps.get("Y", 0), steps.get("X", 0)) > 0:
        size = float(steps["Y"]) * 1e6, float(steps["X"]) * 1e6
        told["pixel_size_um"] = Told(size, f"{source}, length of the axes Y and X")
    step = round(float(steps.get("Z", 0)) * 1e6, 6)
    told |= stepped_depths(step, image.sizes.get("Z", 1), f"{source}, length of the axis Z")
    if image.timestamps is not None and len(image.timestamps):
        where = f"{source}, first time stamp (clock of the microscope; its offset from UTC is not told)"
        told["session.session_start_time"] = Told(str(image.timestamps[0]), where)
    told["device.manufacturer"] = Told("Leica", f"{source}, a file of LAS")
    return told
