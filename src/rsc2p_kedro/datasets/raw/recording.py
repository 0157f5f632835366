"""What a reader of raw data finds: the files of a recording, the order of their images, and what they tell.

Every format comes down to the same things. A *file* holds two-dimensional images. The *order* says which image is which
frame of which plane and channel. The *metadata* are what the files tell of the microscope and the session, each value
with where it was read. One module a format finds these; everything else works on :class:`RawRecording`.
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


class RecordingError(ValueError):
    """Raw data cannot be used. The message lists all problems, the files concerned and what to do.

    Attributes:
        path: folder or file of the recording.
        problems: one text for each problem.
    """

    def __init__(self, path: Path, problems: Sequence[str]) -> None:
        """Keeps the problems; the message is composed when it is shown.

        Args:
            path: folder or file of the recording.
            problems: one text for each problem.
        """
        super().__init__(path, problems)
        self.path, self.problems = path, tuple(problems)

    def __str__(self) -> str:
        return "\n- ".join([f"The recording at {self.path} cannot be used:", *self.problems])


class ImageFile(ABC):
    """A file of two-dimensional images of one shape and dtype.

    Attributes:
        path: the file.
        shape: (H, W) of its images; empty if it cannot be read.
        dtype: of the pixels, in the byte order of the file.
        problems: problems of the file, one text each.
        inside: name of the array within the file, for files that hold several.
    """

    inside: str = ""
    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype
    problems: tuple[str, ...]

    @property
    @abstractmethod
    def n_images(self) -> int:
        """Number of images in the file."""

    @abstractmethod
    def read(self, images: Sequence[int], out: NDArray) -> None:
        """Reads some images of the file. Several threads may read at once.

        Args:
            images: indices of the images in the file.
            out: (len(images), H, W), filled with the images.

        Raises:
            RecordingError: the file is missing, shorter than according to its header, or damaged.
        """


@dataclass(frozen=True)
class Told:
    """A value that the files of a recording tell.

    Attributes:
        value: as the field of the manifest takes it.
        source: where it was read, for the user: `ScanImage header of m_00001.tif, SI.hRoiManager.scanFrameRate`.
    """

    value: Any
    source: str


@dataclass(frozen=True)
class Layout:
    """What the user says of the files of a recording and of the order of their images; None leaves it to the files.

    Attributes:
        n_channels: number of channels that were saved.
        n_planes: number of planes of a volume, without those of the flyback.
        flyback_frames: images (of each channel) at the end of a volume that were taken while the focus went back.
        files: patterns of the files that belong to the recording, relative to its folder; empty means all.
        exclude: patterns of files that do not belong to it.
        dataset: name of the array to read, in files that hold several (HDF5, NWB, zarr, LIF).
        axes: a letter for each axis of an array that does not name them, among T, Z, C, Y (rows) and X (columns).
    """

    n_channels: int | None = None
    n_planes: int | None = None
    flyback_frames: int | None = None
    files: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    dataset: str | None = None
    axes: str | None = None


@dataclass(frozen=True, eq=False)
class RawRecording:
    """The files of a recording, the order of their images, what they tell, and all problems with them.

    Images are numbered over all files in reading order, from 0.

    Attributes:
        path: folder or file of the recording.
        format: name of the format, for the user: `TIFF`, `ScanImage BigTIFF`.
        files: in reading order.
        order: (T, Z, C) int64, number of the image of each frame, plane and channel. Images that belong to no frame
            (flyback, an incomplete last volume) do not occur.
        channels: (C,) names of the channels; numbers from 1 as text where the files do not name them.
        metadata: what the files tell, by the field of the manifest in dotted form: `frame_rate_hz` (of a plane),
            `pixel_size_um` (y, x), `plane_depths_um`, `flyback_frames`, `session.session_start_time`,
            `imaging_plane.excitation_wavelength_nm`.
        frame_times_s: (T, Z) float64, start of each frame in s from the start of the recording, where the files tell
            it; None where frames are evenly spaced or nothing is told.
        trials: (T,) int64, number of the trial of each frame, where the files tell it (cycles, acquisitions).
        problems: why the recording cannot be used as it is, one text each, with what to do.
        notes: what the user should know although the recording can be used (an incomplete last volume is left out).
    """

    path: Path
    format: str
    files: tuple[ImageFile, ...]
    order: NDArray[np.int64]
    channels: tuple[str, ...] = ("1",)
    metadata: Mapping[str, Told] = field(default_factory=dict)
    frame_times_s: NDArray[np.float64] | None = None
    trials: NDArray[np.int64] | None = field(default=None, kw_only=True)
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        n_images = sum(file.n_images for file in self.files)
        if self.order.ndim != 3 or self.order.shape[2] != len(self.channels):
            raise ValueError(
                f"order should be (T, Z, {len(self.channels)}) for channels {self.channels}, has shape "
                f"{self.order.shape}."
            )
        if self.order.size and not 0 <= self.order.min() <= self.order.max() < n_images:
            raise ValueError(f"order names images outside of the {n_images} images of the files.")
        if self.frame_times_s is not None and self.frame_times_s.shape != self.order.shape[:2]:
            raise ValueError(f"frame_times_s should be {self.order.shape[:2]}, has shape {self.frame_times_s.shape}.")
        if self.trials is not None and len(self.trials) != len(self.order):
            raise ValueError(f"trials should be {len(self.order)}, are {len(self.trials)}.")

    @property
    def n_frames(self) -> int:
        """Number of frames T of each plane and channel."""
        return self.order.shape[0]

    @property
    def n_planes(self) -> int:
        """Number of planes Z."""
        return self.order.shape[1]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape (H, W) of the images of most files."""
        return _most_common(file.shape for file in self.files if file.shape)

    @property
    def dtype(self) -> np.dtype:
        """Type of the pixels of most files, in the byte order of the machine; float32 for the float16 of files."""
        dtype = _most_common(file.dtype.newbyteorder("=") for file in self.files if file.shape)
        return np.dtype(np.float32) if dtype == np.float16 else dtype


def arrange(n_images: int, layout: Layout) -> tuple[NDArray[np.int64], list[str]]:
    """Arranges images that were saved in the order of acquisition: channel by channel, plane by plane.

    Args:
        n_images: number of images in all files.
        layout: numbers of channels, planes and images of the flyback; None means one, one and none.

    Returns:
        The order (T, Z, C) without flyback and without an incomplete last volume, and a note on the latter.
    """
    C, Z, flyback = layout.n_channels or 1, layout.n_planes or 1, layout.flyback_frames or 0
    of_volume = C * (Z + flyback)
    T, rest = divmod(n_images, of_volume)
    order = np.arange(T * of_volume).reshape(T, Z + flyback, C)[:, :Z]
    notes = [f"the last volume is incomplete ({rest} of {of_volume} images) and is left out"] if rest else []
    return order, notes


def refused(path: Path, kind: str, problems: Sequence[str], metadata: Mapping[str, Told] | None = None) -> RawRecording:
    """Makes a recording without frames, for files that cannot be read as they are.

    Args:
        path: folder or file of the recording.
        kind: name of the format.
        problems: why, and what to do.
        metadata: what the files tell nevertheless.

    Returns:
        The recording.
    """
    return RawRecording(
        path, kind, (), np.empty((0, 1, 1), np.int64), metadata=metadata or {}, problems=tuple(problems)
    )


def common_problems(files: Sequence[ImageFile]) -> list[str]:
    """Lists the problems of single files, and shapes and dtypes that differ from those of most files.

    Args:
        files: of one recording.

    Returns:
        Each problem once, with the files that have it.
    """
    affected: dict[str, list[str]] = {}
    for file in files:
        for problem in file.problems:
            affected.setdefault(problem, []).append(file.path.name)
    for name in ("shape", "dtype"):
        values = [(getattr(file, name), file.path.name) for file in files if file.shape]
        usual = _most_common(value for value, _ in values)
        for value, file_name in values:
            if value != usual:
                problem = f"has {name} {value}, most have {usual}: keep the frames of one recording only"
                affected.setdefault(problem, []).append(file_name)
    return [f"{first_few(names)} {problem}" for problem, names in affected.items()]


def numbered_channels(n: int) -> tuple[str, ...]:
    """Names channels that files do not name.

    Args:
        n: number of channels.

    Returns:
        Their numbers from 1, as text.
    """
    return tuple(str(number + 1) for number in range(n))


def told_depths(depths_um: Sequence[float], n_planes: int, source: str) -> dict[str, Told]:
    """Makes the depths of planes that a file tells.

    Args:
        depths_um: depth of each plane in um, as the microscope counts.
        n_planes: number of planes of the recording.
        source: where they were read, for the user.

    Returns:
        The field of the manifest with the depths; nothing if they do not fit the planes, if one is not finite, or if
        the only one is 0, which is how microscopes write that they do not know it.
    """
    depths = tuple(round(float(depth), 6) for depth in depths_um)
    if len(depths) != n_planes or not np.isfinite(depths).all() or depths == (0.0,):
        return {}
    return {"plane_depths_um": Told(depths, f"{source}; 0 is where the microscope counts from")}


def stepped_depths(step_um: float, n_planes: int, source: str, *, start_um: float = 0.0) -> dict[str, Told]:
    """Makes the depths of planes of which a file tells the distance.

    Args:
        step_um: from one plane to the next in um; 0 if it is not told.
        n_planes: number of planes of the recording.
        source: where it was read, for the user.
        start_um: depth of the first plane.

    Returns:
        The field of the manifest with the depths; nothing if there is only one plane.
    """
    if n_planes < 2 or not step_um:
        return {}
    return told_depths([start_um + step_um * number for number in range(n_planes)], n_planes, source)


def unreadable(
    path: Path, images: Sequence[int], error: Exception, *, name: str = "", unit: str = "images"
) -> RecordingError:
    """Makes the error of a file whose images cannot be read.

    Args:
        path: the file.
        images: indices of the images that should have been read.
        error: what happened.
        name: of the file and of what is in it; empty takes that of the file.
        unit: what the format calls its images.

    Returns:
        The error, with what to do.
    """
    problem = (
        f"{name or path.name} cannot be read ({unit} {images[0]} to {images[-1]}: {error}): "
        "copy it again from where it was recorded"
    )
    return RecordingError(path, [problem])


def first_few(names: Sequence[str], most: int = 5) -> str:
    """Lists the first few of many names, for messages.

    Args:
        names: all names.
        most: maximum number of names that are listed.

    Returns:
        The names separated by commas, and the number of the others.
    """
    listed = ", ".join(names[:most])
    return listed if len(names) <= most else f"{listed} and {len(names) - most} more"


def _most_common(values: Iterable[Any]) -> Any:
    counted = Counter(values).most_common(1)
    return counted[0][0] if counted else ()
