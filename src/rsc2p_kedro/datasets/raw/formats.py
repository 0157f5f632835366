"""The formats that can be read, and the choice of the reader for a recording."""

from collections.abc import Callable
from pathlib import Path

from natsort import natsorted

from rsc2p_kedro.datasets.raw import (
    femtonics,
    hdf5,
    imagej,
    leica,
    nikon,
    nwb,
    olympus,
    ome,
    prairieview,
    scanbox,
    scanimage,
    thor_raw,
    thorimage,
    tiff,
    zarr_array,
    zeiss,
)
from rsc2p_kedro.datasets.raw.recording import Layout, RawRecording, refused

Reader = Callable[[Path, Layout], RawRecording | None]

READERS: tuple[Reader, ...] = (
    thor_raw.read,
    scanbox.read,
    nwb.read,
    femtonics.read,
    hdf5.read,
    zarr_array.read,
    nikon.read,
    leica.read,
    zeiss.read,
    olympus.read,
    thorimage.read,
    prairieview.read,
    scanimage.read,
    ome.read,
    imagej.read,
    tiff.read,
)
"""Readers of the formats, most specific first. Each returns None for a path that is not of its format; the last one
takes everything, and says what is wrong with what it cannot read."""


def inspect_recording(path: Path, *, layout: Layout | None = None) -> RawRecording:
    """Inspects the files of a recording, reading their headers only.

    Args:
        path: folder or file of the recording.
        layout: what the user says of the order of the images.

    Returns:
        Its files, the order of their images, what they tell, and all problems with them. Damaged files are a problem.
    """
    found = (_read_with(reader, path, layout or Layout()) for reader in READERS)
    return next(recording for recording in found if recording is not None)


def _read_with(reader: Reader, path: Path, layout: Layout) -> RawRecording | None:
    """What a reader finds. Damaged files raise errors of many kinds, and shall not keep others from being read."""
    try:
        return reader(path, layout)
    except Exception as error:
        name = reader.__module__.rpartition(".")[2]
        problem = (
            f"the files cannot be read as those of {name} ({type(error).__name__}: {error}): copy them again from "
            "where they were recorded. If other programs open them, please report this message"
        )
        return refused(path, name, [problem])


RAW_SUFFIXES: frozenset[str] = tiff.SUFFIXES.union(
    hdf5.SUFFIXES,
    (module.SUFFIX for module in (scanbox, nwb, femtonics, nikon, leica, zeiss, olympus)),
    (".raw", ".zarr"),
)
"""Endings of the names of files that may be raw data; :func:`is_raw_file` looks into those that may be others."""


def is_raw_file(path: Path) -> bool:
    """Tells whether a file is raw data, or part of them, from its name and, where that is not enough, its content.

    Args:
        path: of a file, or of a folder that is a zarr store.

    Returns:
        Whether a reader would take it as a recording. Results, signals and settings in the same formats are not.
    """
    suffix = path.suffix.lower()
    if path.name.startswith(".") or suffix not in RAW_SUFFIXES:
        return False
    if suffix == ".zarr":
        return zarr_array.is_ome(path)
    if not path.is_file():
        return False
    decided = {".raw": thor_raw.is_raw_file, nwb.SUFFIX: nwb.holds_movie}
    decided |= dict.fromkeys(hdf5.SUFFIXES, hdf5.holds_movie)
    return decided[suffix](path) if suffix in decided else True


def recordings_in(folder: Path) -> list[Path]:
    """Lists the recordings in a folder that are not TIFFs, without those in its subfolders.

    Args:
        folder: to search.

    Returns:
        In natural order: the folder itself, if it is a recording of ThorImage; else each file that is a recording.
    """
    raw = [path for path in folder.iterdir() if path.suffix.lower() not in tiff.SUFFIXES and is_raw_file(path)]
    if any(path.suffix.lower() == ".raw" for path in raw):
        return [folder]
    return natsorted(raw, key=lambda path: path.name)
