"""The formats that can be read, and the choice of the reader for a recording."""

from collections.abc import Callable
from pathlib import Path

from rsc2p_kedro.datasets.raw import (
    hdf5,
    leica,
    nikon,
    nwb,
    olympus,
    scanbox,
    thor_raw,
    tiff,
    zarr_array,
    zeiss,
)
from rsc2p_kedro.datasets.raw.recording import Layout, RawRecording

READERS: tuple[Callable[[Path, Layout], RawRecording | None], ...] = (
    thor_raw.read,
    scanbox.read,
    nwb.read,
    hdf5.read,
    zarr_array.read,
    nikon.read,
    leica.read,
    zeiss.read,
    olympus.read,
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
        Its files, the order of their images, what they tell, and all problems with them.
    """
    found = (reader(path, layout or Layout()) for reader in READERS)
    return next(recording for recording in found if recording is not None)
