"""OME-TIFF: one file, or several whose OME-XML says which image is where.

The first ImageDescription (or a `*.companion.ome` file, or the file that a `BinaryOnly` element names) holds `Image`
elements. Their `Pixels` tell the sizes SizeC, SizeZ and SizeT and their order; `TiffData` elements place the images in
files (FirstC, FirstZ, FirstT, IFD, PlaneCount, and the name of another file in `UUID`); `Plane` elements tell the time
of an image. (https://docs.openmicroscopy.org/ome-model/latest/ome-tiff/specification.html)
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from natsort import natsorted
from numpy.typing import NDArray

from rsc2p_kedro.datasets.raw.numbering import numbering_problems
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
from rsc2p_kedro.datasets.raw.stacks import (
    MAX_CHANNELS,
    PIXEL_SIZES_UM,
    contradictions,
    missing_files,
    pixel_problems,
    sequence_order,
    slices_problem,
)
from rsc2p_kedro.datasets.raw.tiff import find_files, inspect_files, tiffs_in, typical_tiff
from rsc2p_kedro.datasets.raw.tiff_file import TIFFFile, first_page

_UM = {"µm": 1.0, "μm": 1.0, "um": 1.0, "nm": 1e-3, "Å": 1e-4, "mm": 1e3, "cm": 1e4, "m": 1e6, "in": 25_400.0}
_SECONDS = {"s": 1.0, "ms": 1e-3, "µs": 1e-6, "μs": 1e-6, "ns": 1e-9, "min": 60.0, "h": 3600.0, "d": 86_400.0}
_NM = {"nm": 1.0, "µm": 1e3, "μm": 1e3, "um": 1e3, "m": 1e9, "Å": 0.1}


@dataclass
class _Dataset:
    """One `Image` of OME-XML.

    Attributes:
        source: name of the file with the metadata.
        places: file and page of the image of each (t, z, c).
        sizes: (T, Z, C).
        root: of the XML.
        image: the `Image`.
        channels: their names.
        times_s: (T, Z, C) of the images; NaN where it is not told.
        files: that the metadata name, in order.
    """

    source: str
    places: dict[tuple[int, int, int], tuple[Path, int]]
    sizes: tuple[int, int, int]
    root: ElementTree.Element
    image: ElementTree.Element
    channels: tuple[str, ...]
    times_s: NDArray[np.float64]
    files: list[Path] = field(default_factory=list)


def read(path: Path, layout: Layout) -> RawRecording | None:
    """Inspects OME-TIFFs.

    Args:
        path: a folder, one TIFF, or a companion file. Files that the metadata name are read with it.
        layout: what the user says of the order of the images.

    Returns:
        The recording, with all its problems; None if these are no OME-TIFFs.
    """
    companions = _companions(path)
    file = typical_tiff(path, layout)
    if not companions and (file is None or first_page(file).kind != "OME"):
        return None
    datasets, problems, notes = _datasets(path, companions, layout)
    paths = list(dict.fromkeys(name for dataset in datasets for name in dataset.files))
    problems += missing_files(paths, f"the OME metadata in {datasets[0].source}") if datasets else []
    files = inspect_files(name for name in paths if name.exists())
    problems += common_problems(files)
    kinds = {(dataset.sizes[1:], dataset.channels) for dataset in datasets}
    if len(kinds) > 1:
        problems.append("the files hold different channels or planes: keep the files of one recording only")
    if not datasets or problems:
        first = datasets[0].channels if datasets else ("1",)
        empty = np.empty((0, 1, len(first)), np.int64)
        return RawRecording(path, "OME-TIFF", files, empty, first, problems=tuple(problems))
    starts = np.cumsum([0, *(file.n_images for file in files)])
    places = {file.path: (int(start), file.n_images) for file, start in zip(files, starts, strict=False)}
    table = np.concatenate([_table(dataset, places) for dataset in datasets])
    seconds = np.concatenate([dataset.times_s for dataset in datasets])
    if len(datasets) > 1:
        seconds = np.full(seconds.shape, np.nan)  # each file counts from its own start
    notes += _left_out(table)
    whole = (table >= 0).all(axis=(1, 2))
    return _ordered(path, datasets, files, table[whole], seconds[whole], layout, notes)


def metadata_of(file: Path) -> dict[str, Told]:
    """Reads what the OME-XML of a TIFF tells, for formats that have another description of the order of images.

    Args:
        file: a TIFF.

    Returns:
        Pixel size, start, wavelengths and microscope, by the field of the manifest; empty without readable OME-XML.
    """
    try:
        described, root = _described(file)
        dataset = _dataset(described, file, root, root.findall("{*}Image")[0])
    except (OSError, ElementTree.ParseError, ValueError, IndexError):
        return {}
    return _metadata(dataset, None, dataset.sizes[1])


def _ordered(
    path: Path,
    datasets: list[_Dataset],
    files: tuple[TIFFFile, ...],
    table: NDArray[np.int64],
    seconds: NDArray[np.float64],
    layout: Layout,
    notes: list[str],
) -> RawRecording:
    """The recording of images (T, Z, C) as labelled, unless the labels are doubtful."""
    T, Z, C = table.shape
    first, problems = datasets[0], []
    channels, order, times = first.channels, table, seconds[:, :, 0]
    if T == Z == 1 and C > MAX_CHANNELS:  # how tifffile labels stacks whose axes it is not told
        table, seconds, channels = (table.reshape(-1, 1, 1), seconds.reshape(-1, 1, 1), ("1",))
        T, Z, C = table.shape
    ambiguous = T == 1 and Z > 1
    told = Layout(C if C > 1 else None, Z if Z > 1 and not ambiguous else None)
    problems += contradictions(layout, told, f"the OME metadata in {first.source}")
    if ambiguous and layout.n_planes is None:
        problems.append(slices_problem(Z))
    if Z == 1 or ambiguous:
        order, more = sequence_order(table.reshape(-1, C), layout)
        moments, _ = sequence_order(np.arange(T * Z)[:, None], Layout(1, layout.n_planes, layout.flyback_frames))
        flat = seconds[:, :, 0].ravel()
        times = flat[moments[:, :, 0]] if order.shape[:2] == moments.shape[:2] else np.full(order.shape[:2], np.nan)
        notes = [*notes, *more]
    if C == Z == 1 and not problems:
        problems += pixel_problems(files, layout)
    if order.shape[2] != len(channels):
        channels = numbered_channels(order.shape[2])
    told_times = times if times.size and np.isfinite(times).all() else None
    metadata = _metadata(first, told_times, order.shape[1])
    return RawRecording(
        path, "OME-TIFF", files, order, channels, metadata, told_times, tuple(problems), tuple(dict.fromkeys(notes))
    )


def _companions(path: Path) -> list[Path]:
    """Files of metadata without pixels."""
    found = path.glob("*.companion.ome") if path.is_dir() else [path] if path.name.endswith(".companion.ome") else []
    return natsorted(file for file in found if not file.name.startswith("."))


def _datasets(path: Path, companions: list[Path], layout: Layout) -> tuple[list[_Dataset], list[str], list[str]]:
    """All `Image` elements of the metadata of a folder or file, with problems and notes."""
    datasets: list[_Dataset] = []
    problems: list[str] = []
    failed: dict[str, list[str]] = {}
    known: set[Path] = set()
    sources = companions or find_files(path, layout)[0]
    for file in sources:
        if file in known:
            continue
        try:
            described, root = _described(file)
        except (OSError, ElementTree.ParseError, ValueError) as error:
            failed.setdefault(str(error), []).append(file.name)
            continue
        images = root.findall("{*}Image")
        if len(images) > 1:
            names = first_few([str(image.get("Name") or image.get("ID")) for image in images])
            problems.append(
                f"{described.name} holds {len(images)} series of images, such as positions ({names}): save each as a "
                "file of its own, one recording a series"
            )
        elif images:
            dataset = _dataset(described, file, root, images[0])
            datasets.append(dataset)
            known |= {*dataset.files, file}
    problems += [
        f"the OME metadata of {first_few(names)} cannot be read ({error}): copy the files again"
        for error, names in failed.items()
    ]
    if len(datasets) > 1:
        problems += numbering_problems([dataset.source for dataset in datasets])
    present = tiffs_in(path, layout) if path.is_dir() else []
    unknown = [file.name for file in present if file not in known and not problems]
    notes = [f"the OME metadata do not name {first_few(unknown)}: not used"] if unknown else []
    return datasets, list(dict.fromkeys(problems)), notes


def _described(file: Path) -> tuple[Path, ElementTree.Element]:
    """The file that holds the metadata of a file, and their root.

    Raises:
        ValueError: there are no metadata.
    """
    root = _root(file)
    binary = root.find("{*}BinaryOnly")
    if binary is None:
        return file, root
    described = file.parent / binary.get("MetadataFile", "")
    if not described.is_file():
        raise ValueError(f"they should be in {described.name}, which is missing")
    return described, _root(described)


def _root(file: Path) -> ElementTree.Element:
    """Root of the OME-XML in a TIFF or a companion file."""
    if file.suffix.lower() in (".ome", ".xml"):
        return ElementTree.parse(file).getroot()
    text = first_page(file).description
    if "OME" not in text:
        raise ValueError("its first page has none")
    return ElementTree.fromstring(text)


def _dataset(described: Path, file: Path, root: ElementTree.Element, image: ElementTree.Element) -> _Dataset:
    """Places and times of the images of an `Image`."""
    pixels = next(iter(image.findall("{*}Pixels")))
    C, Z, T = (int(pixels.get(name, "1")) for name in ("SizeC", "SizeZ", "SizeT"))
    elements = pixels.findall("{*}Channel")
    samples = int(elements[0].get("SamplesPerPixel", "1")) if elements else 1
    C = max(1, C // samples)
    names = [element.get("Name") or str(number + 1) for number, element in enumerate(elements[:C])]
    channels = tuple(names) if len(set(names)) == C else numbered_channels(C)
    dataset = _Dataset(described.name, {}, (T, Z, C), root, image, channels, np.full((T, Z, C), np.nan))
    named = {str(uuid.get("FileName")) for uuid in pixels.findall("{*}TiffData/{*}UUID") if uuid.get("FileName")}
    order = pixels.get("DimensionOrder", "XYCZT")[2:]
    for data in pixels.findall("{*}TiffData") or [ElementTree.Element("TiffData")]:
        owner = _owner(data, root, described if described.suffix.lower() != ".ome" else file, file.parent, named)
        for place, page in _placed(data, order, {"C": C, "Z": Z, "T": T}):
            dataset.places[place] = (owner, page)
    dataset.files = list(dict.fromkeys(owner for owner, _ in dataset.places.values()))
    for plane in pixels.findall("{*}Plane"):
        t, z, c = (int(plane.get(name, "0")) for name in ("TheT", "TheZ", "TheC"))
        unit = _SECONDS.get(plane.get("DeltaTUnit", "s"))
        if plane.get("DeltaT") and unit and t < T and z < Z and c < C:
            dataset.times_s[t, z, c] = float(plane.get("DeltaT", "nan")) * unit
    return dataset


def _owner(data: ElementTree.Element, root: ElementTree.Element, file: Path, folder: Path, named: set[str]) -> Path:
    """File that holds the images of a `TiffData`; files may have been renamed if there is one only."""
    uuid = data.find("{*}UUID")
    if uuid is None or not uuid.get("FileName") or (uuid.text or "").strip() == root.get("UUID"):
        return file
    other = folder / str(uuid.get("FileName"))
    return file if len(named) == 1 and not other.exists() else other


def _placed(data: ElementTree.Element, order: str, sizes: dict[str, int]) -> Iterator[tuple[tuple[int, int, int], int]]:
    """(t, z, c) and page of the images of a `TiffData`."""
    lengths = [sizes[axis] for axis in order]
    start = int(np.ravel_multi_index([int(data.get(f"First{axis}", "0")) for axis in order[::-1]], lengths[::-1]))
    ifd = int(data.get("IFD", "0"))
    total = int(np.prod(lengths))
    count = int(data.get("PlaneCount") or (1 if data.get("IFD") is not None else total - start))
    for step in range(min(count, total - start)):
        index = dict(zip(order[::-1], np.unravel_index(start + step, lengths[::-1]), strict=True))
        yield (int(index["T"]), int(index["Z"]), int(index["C"])), ifd + step


def _table(dataset: _Dataset, places: Mapping[Path, tuple[int, int]]) -> NDArray[np.int64]:
    """Numbers of the images (T, Z, C), -1 where there is none, from the first image and the number of each file."""
    table = np.full(dataset.sizes, -1, np.int64)
    for index, (file, page) in dataset.places.items():
        start, n_images = places[file]
        if page < n_images:
            table[index] = start + page
    return table


def _left_out(table: NDArray[np.int64]) -> list[str]:
    """Note on frames whose images are not all there."""
    missing = ~(table >= 0).all(axis=(1, 2))
    n = int(missing.sum())
    what = "volumes" if table[0].size > 1 else "frames"
    return [f"the OME metadata promise {len(table)} {what}, {n} of them are not complete and left out"] if n else []


def _metadata(dataset: _Dataset, times: NDArray[np.float64] | None, n_planes: int) -> dict[str, Told]:
    """Frame rate, pixel size, start, wavelengths and microscope, where the metadata tell them."""
    told: dict[str, Told] = {}
    pixels = next(iter(dataset.image.findall("{*}Pixels")))

    def add(key: str, value: object, element: str) -> None:
        if value:
            told[key] = Told(value, f"OME metadata in {dataset.source}, {element}")

    sizes = [_in_unit(pixels, f"PhysicalSize{axis}", "µm", _UM) for axis in "YX"]
    plausible = all(size and PIXEL_SIZES_UM[0] <= size <= PIXEL_SIZES_UM[1] for size in sizes)
    add("pixel_size_um", tuple(sizes) if plausible else None, "PhysicalSizeX and PhysicalSizeY")
    steps = np.diff(times[:, 0]) if times is not None else np.empty(0)
    increment = _in_unit(pixels, "TimeIncrement", "s", _SECONDS)
    if len(steps) and np.median(steps) > 0:
        add("frame_rate_hz", round(float(1 / np.median(steps)), 6), "DeltaT")
    elif increment and n_planes == dataset.sizes[1]:
        add("frame_rate_hz", round(1 / increment, 6), "TimeIncrement")
    date = dataset.image.findtext("{*}AcquisitionDate") or dataset.image.get("AcquiredDate") or ""
    try:
        start = datetime.fromisoformat(date.strip().removesuffix("-00:00"))  # RFC 3339: the offset is unknown
    except ValueError:
        start = None
    zone = "" if start is None or start.tzinfo else " (offset from UTC is not told)"
    add("session.session_start_time", start, f"AcquisitionDate{zone}")
    channels = pixels.findall("{*}Channel")
    for key, name in (("excitation", "ExcitationWavelength"), ("emission", "EmissionWavelength")):
        found = {_in_unit(channel, name, "nm", _NM) for channel in channels}
        add(f"imaging_plane.{key}_wavelength_nm", next(iter(found)) if len(found) == 1 else None, name)
    fluorophores = {channel.get("Fluor") for channel in channels}
    add("imaging_plane.indicator", next(iter(fluorophores)) if len(fluorophores) == 1 else None, "Fluor")
    _add_instrument(dataset.root, add)
    return told | (_depths(dataset, pixels) if n_planes == dataset.sizes[1] else {})


def _depths(dataset: _Dataset, pixels: ElementTree.Element) -> dict[str, Told]:
    """Depths of the planes: the position of each, or the distance between them."""
    found: dict[int, float] = {}
    for plane in pixels.findall("{*}Plane"):
        scale = _UM.get(plane.get("PositionZUnit", ""))
        if scale and plane.get("PositionZ"):
            found.setdefault(int(plane.get("TheZ", "0")), float(plane.get("PositionZ", "nan")) * scale)
    n_planes, source = dataset.sizes[1], f"OME metadata in {dataset.source}"
    depths = [found[z] for z in range(n_planes) if z in found]
    step = _in_unit(pixels, "PhysicalSizeZ", "µm", _UM) or 0.0
    if len(set(depths)) < n_planes:  # some programs write the position of the stage, the same for all planes
        return stepped_depths(step, n_planes, f"{source}, PhysicalSizeZ")
    return told_depths(depths, n_planes, f"{source}, PositionZ")


def _add_instrument(root: ElementTree.Element, add: Callable[[str, object, str], None]) -> None:
    """Adds what the metadata tell of the microscope and its objective."""
    microscope = root.find("{*}Instrument/{*}Microscope")
    attributes = {} if microscope is None else microscope.attrib
    names = {"manufacturer": "Manufacturer", "model_name": "Model", "serial_number": "SerialNumber"}
    for key, name in names.items():
        add(f"device.{key}", attributes.get(name), f"Microscope {name}")
    objective = root.find("{*}Instrument/{*}Objective")
    if objective is not None:
        lens = [objective.get("Manufacturer"), objective.get("Model")]
        lens += [f"{float(x):g}x"] if (x := objective.get("NominalMagnification")) else []
        lens += [f"NA {x}"] if (x := objective.get("LensNA")) else []
        described = " ".join(part for part in lens if part)
        add("device.description", described and f"objective {described}", "Objective")


def _in_unit(element: ElementTree.Element, name: str, default: str, units: dict[str, float]) -> float | None:
    """Value of an attribute in the unit that counts as 1; None if it is missing, not positive or in other units."""
    scale = units.get(element.get(f"{name}Unit", default))
    value = float(element.get(name) or 0)
    return round(value * scale, 9) if scale and value > 0 else None
