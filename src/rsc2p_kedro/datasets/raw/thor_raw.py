"""Raw files of ThorImage: `Image_0001_0001.raw` (or `Image_001_001.raw`) next to `Experiment.xml`.

The file holds unsigned 16-bit pixels without a header, image by image: the channels of a plane, plane by plane, then
the images of the flyback. If several channels are enabled and disabled ones are saved as well, the file has room for
all four detectors.
"""

from pathlib import Path

import numpy as np
from natsort import natsorted
from numpy.typing import NDArray

from rsc2p_kedro.datasets.raw.flat_file import FlatFile, complete_frames
from rsc2p_kedro.datasets.raw.recording import Layout, RawRecording, arrange, numbered_channels, refused
from rsc2p_kedro.datasets.raw.thor_experiment import (
    DETECTORS,
    FILE_NAME,
    ExperimentError,
    ThorExperiment,
    read_experiment,
)

_FORMAT = "ThorImage raw"
_DTYPE = np.dtype("<u2")


def is_raw_file(path: Path) -> bool:
    """Tells whether a file holds the pixels of a recording of ThorImage.

    Args:
        path: of the file.

    Returns:
        Whether it is named `Image_*.raw` and `Experiment.xml` lies next to it.
    """
    return (
        path.suffix.lower() == ".raw"
        and path.name.lower().startswith("image_")
        and path.is_file()
        and (path.parent / FILE_NAME).is_file()
    )


def read(path: Path, layout: Layout) -> RawRecording | None:
    """Inspects a raw recording of ThorImage.

    Args:
        path: the folder of `Experiment.xml`, or the raw file in it.
        layout: what the user says of the order of the images; overrides what `Experiment.xml` tells.

    Returns:
        The recording; None if this is not one of ThorImage, or one with TIFFs.
    """
    files = natsorted(filter(is_raw_file, path.glob("*.[rR][aA][wW]"))) if path.is_dir() else [path]
    if not files or not is_raw_file(files[0]):
        return None
    if len(files) > 1:
        names = ", ".join(file.name for file in files)
        return refused(path, _FORMAT, [f"there are several raw files ({names}): give the path of one as `path`"])
    try:
        experiment = read_experiment(files[0].parent / FILE_NAME)
    except ExperimentError as error:
        return refused(path, _FORMAT, [f"{FILE_NAME} {error}"])
    n_images, notes = complete_frames(files[0], experiment.shape, _DTYPE)
    file = FlatFile(files[0], experiment.shape, _DTYPE, n_images)
    order, problems, more_notes = _order(experiment, n_images, layout)
    if not n_images:
        problems.append(f"{files[0].name} is empty: copy it again from where it was recorded")
    channels = experiment.channels
    if layout.n_channels not in (None, len(channels)):
        channels = DETECTORS[: order.shape[2]] if layout.n_channels == len(DETECTORS) else ()
        channels = channels or numbered_channels(order.shape[2])
    return RawRecording(
        path,
        _FORMAT,
        (file,),
        order,
        channels,
        metadata=experiment.metadata,
        problems=tuple(problems),
        notes=(*notes, *more_notes),
    )


def _order(experiment: ThorExperiment, n_images: int, layout: Layout) -> tuple[NDArray[np.int64], list[str], list[str]]:
    """The order (T, Z, C) of the images, problems and notes."""
    problems = []
    if not experiment.streaming and experiment.n_planes > 1 and layout.n_planes is None:
        problems.append(
            f"{FILE_NAME} describes stacks of {experiment.n_planes} planes that were not streamed: if they are planes "
            f"of one movie, add `planes: {experiment.n_planes}` in the manifest; a single stack is no movie"
        )
    saved = _saved_channels(experiment, n_images)
    if layout.n_channels is None and not saved:
        enabled = len(experiment.channels)
        problems.append(
            f"{FILE_NAME} does not say whether the {len(DETECTORS) - enabled} disabled channels are in the file too: "
            f"add `channels: {enabled}` in the manifest if they are not, or `channels: {len(DETECTORS)}` if they are"
        )
    n_saved = layout.n_channels or saved or len(experiment.channels)
    n_planes = layout.n_planes or experiment.n_planes
    flyback = experiment.flyback_frames if layout.flyback_frames is None else layout.flyback_frames
    order, notes = arrange(n_images, Layout(n_saved, n_planes, flyback))
    if layout.n_channels is None and n_saved > len(experiment.channels):
        order = order[:, :, experiment.detectors]
    return order, problems, notes


def _saved_channels(experiment: ThorExperiment, n_images: int) -> int:
    """Number of channels in the file, with those that are saved but disabled; 0 if it is uncertain."""
    enabled, planned = len(experiment.channels), experiment.n_images
    if enabled == 1 or experiment.only_enabled_channels:
        return enabled
    fitting = [n for n in {enabled, len(DETECTORS)} if planned is not None and n_images == planned * n]
    return fitting[0] if len(fitting) == 1 else 0
