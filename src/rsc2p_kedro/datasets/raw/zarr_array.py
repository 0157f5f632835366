"""Movies in zarr arrays (format 2 or 3), and in OME-Zarr with named axes."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import zarr

from rsc2p_kedro.datasets.raw.array_file import ArrayFile, letters, name_axes, order_of_images
from rsc2p_kedro.datasets.raw.recording import (
    Layout,
    RawRecording,
    Told,
    first_few,
    numbered_channels,
    refused,
    stepped_depths,
)
from rsc2p_kedro.datasets.raw.stacks import pixel_problems

_FORMAT, _OME = "zarr", "OME-Zarr"
_MARKERS = ("zarr.json", ".zarray", ".zgroup")
"""Files that make a folder a zarr array or group."""

_MICROMETRES = {"micrometer": 1.0, "nanometer": 1e-3, "millimeter": 1e3, "meter": 1e6}
_SECONDS = {"second": 1.0, "millisecond": 1e-3, "microsecond": 1e-6, "minute": 60.0}


@dataclass(frozen=True)
class ZarrArray:
    """An array in a zarr store, opened each time it is read.

    Attributes:
        path: folder of the store.
        name: of the array in the store; empty if the store is an array.
    """

    path: Path
    name: str

    @contextmanager
    def __call__(self) -> Iterator[Any]:
        """Opens the array.

        Yields:
            The array.
        """
        yield zarr.open_array(self.path / self.name, mode="r")


def is_store(path: Path) -> bool:
    """Tells whether a folder is a zarr array or group.

    Args:
        path: of the folder.

    Returns:
        Whether it holds the metadata of one.
    """
    return path.is_dir() and any((path / marker).is_file() for marker in _MARKERS)


def is_ome(path: Path) -> bool:
    """Tells whether a folder is an image of OME-Zarr, as microscopes write, rather than an array of any program.

    Args:
        path: of the folder.

    Returns:
        Whether it is a zarr group that describes an image.
    """
    if not is_store(path) or (path / ".zarray").is_file():
        return False
    try:
        return bool(_multiscale(dict(zarr.open_group(path, mode="r").attrs)))
    except Exception:  # an array of zarr 3, or damaged metadata
        return False


def read(path: Path, layout: Layout) -> RawRecording | None:
    """Inspects a movie in a zarr store.

    Args:
        path: folder of the store.
        layout: what the user says: `dataset` where there are several arrays, `axes` where they are not named.

    Returns:
        The recording; None if this is no zarr store.
    """
    if not is_store(path):
        return None
    try:
        node = zarr.open(path, mode="r")
    except Exception as error:  # damaged metadata raise errors of many kinds
        return refused(path, _FORMAT, [f"the store cannot be read ({error}): copy it again from where it was recorded"])
    attributes = dict(node.attrs)
    multiscale = _multiscale(attributes) if isinstance(node, zarr.Group) else {}
    names = (
        [""] if isinstance(node, zarr.Array) else [str(scale["path"]) for scale in multiscale.get("datasets", [])[:1]]
    )
    if isinstance(node, zarr.Group) and not names:
        names = sorted(name for name, array in node.arrays() if sum(n > 1 for n in array.shape) >= 3)
    if layout.dataset is not None:
        if isinstance(node, zarr.Array) or not isinstance(node.get(layout.dataset), zarr.Array):
            return refused(path, _FORMAT, [f"there is no array {layout.dataset}, there are {first_few(names)}"])
        names = [layout.dataset]
    if len(names) != 1:
        found = f"several arrays ({first_few(names)})" if names else "no movie (an array of time, rows and columns)"
        hint = f"add the right one, such as `dataset: {names[0]}`" if names else "give another folder as `path`"
        return refused(path, _FORMAT, [f"the store holds {found}: {hint}"])
    return _read(path, names[0], attributes, multiscale, layout)


def _read(
    path: Path, name: str, attributes: Mapping[str, Any], multiscale: Mapping[str, Any], layout: Layout
) -> RawRecording:
    """The recording of one array."""
    array = zarr.open_array(path / name, mode="r")
    kind = _OME if multiscale else _FORMAT
    told_axes = _told_axes(array, multiscale)
    axes, problem = name_axes(array.shape, layout, told_axes)
    if axes is None:
        return refused(path, kind, [problem])
    images = ArrayFile(path, axes, array.shape, array.dtype, ZarrArray(path, name), inside=name)
    order, problems, notes = order_of_images(images, layout)
    if told_axes is None:
        problems += pixel_problems([images], replace(layout, dataset=None))
    labels = [str(channel.get("label", "")) for channel in _ome(attributes).get("omero", {}).get("channels", [])]
    named = len(labels) == order.shape[2] and all(labels) and len(set(labels)) == len(labels)
    channels = labels if named else numbered_channels(order.shape[2])
    told = _scales(multiscale, order.shape[1])
    return RawRecording(
        path, kind, (images,), order, tuple(channels), metadata=told, problems=tuple(problems), notes=tuple(notes)
    )


def _ome(attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    """Metadata of OME-Zarr, which versions from 0.5 on keep under `ome`."""
    return attributes.get("ome", attributes)


def _multiscale(attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    """The image of OME-Zarr at full and smaller sizes; empty for other groups."""
    multiscales = _ome(attributes).get("multiscales") or [{}]
    return multiscales[0]


def _told_axes(array: zarr.Array, multiscale: Mapping[str, Any]) -> str | None:
    """Letters of the axes that OME-Zarr, zarr 3 or xarray name."""
    named = [axis["name"] if isinstance(axis, Mapping) else axis for axis in multiscale.get("axes", [])]
    names: Any = named or getattr(array.metadata, "dimension_names", None) or array.attrs.get("_ARRAY_DIMENSIONS")
    if not names or len(names) != array.ndim:
        return None
    return letters([str(name) for name in names])


def _scales(multiscale: Mapping[str, Any], n_planes: int) -> dict[str, Told]:
    """Frame rate, pixel size and distance of the planes from the scales of the axes, where these have a unit."""
    steps = [1.0] * len(multiscale.get("axes", []))
    levels = multiscale.get("datasets") or [{}]
    for change in [*levels[0].get("coordinateTransformations", []), *multiscale.get("coordinateTransformations", [])]:
        if change.get("type") == "scale":
            steps = [step * float(scale) for step, scale in zip(steps, change["scale"], strict=True)]
    found = {}
    for axis, step in zip(multiscale.get("axes", []), steps, strict=True):
        if isinstance(axis, Mapping) and axis.get("unit") in _MICROMETRES | _SECONDS:
            found[str(axis["name"]).lower()] = step * (_MICROMETRES | _SECONDS)[axis["unit"]]
    told, source = {}, "OME-Zarr, scale of the axes"
    if found.get("t"):
        told["frame_rate_hz"] = Told(1 / found["t"], source)
    if found.get("y") and found.get("x"):
        told["pixel_size_um"] = Told((found["y"], found["x"]), source)
    return told | stepped_depths(found.get("z", 0.0), n_planes, source)
