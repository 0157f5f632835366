"""What the readers of vendors' formats share: optional libraries, and arrays that are read plane by plane.

Each format is read by the library of a permissive licence that is best kept: `nd2`, and `liffile`, `czifile` and
`oirfile` of Christoph Gohlke (all BSD). The readers of bioio for CZI and LIF are built on GPL code.
"""

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rsc2p_kedro.datasets.raw.array_file import ArrayFile, name_axes, order_of_images
from rsc2p_kedro.datasets.raw.recording import Layout, RawRecording, Told, numbered_channels, refused

EXTRA = "microscopes"
"""Optional dependencies of this project that read vendors' formats."""


class MissingLibraryError(ImportError):
    """The library of a format is not installed. The message says how to install it."""


def library(name: str, suffix: str, *, needs: str, python: tuple[int, int] = (3, 11)) -> Any:
    """Imports the library of a format.

    Args:
        name: of the library.
        suffix: of the files it reads.
        needs: something of the library that old versions lack.
        python: oldest version of Python that it runs on.

    Returns:
        The module.

    Raises:
        MissingLibraryError: it is not installed, or too old.
    """
    version = f" (with Python {python[0]}.{python[1]} or later)" if sys.version_info[:2] < python else ""
    try:
        module = import_module(name)
    except ImportError as error:
        message = f"a {suffix} file is read with {name}: pip install 'rsc2p-kedro[{EXTRA}]'{version}"
        raise MissingLibraryError(message) from error
    if not hasattr(module, needs):
        message = f"{name} is too old to read a {suffix} file: pip install --upgrade {name}{version}"
        raise MissingLibraryError(message)
    return module


def own_file(path: Path, suffix: str) -> Path | None:
    """Finds the file of a recording.

    Args:
        path: the file, or a folder that holds no other file of this kind.
        suffix: of the format.

    Returns:
        The file; None if there is none, or several.
    """
    if path.is_dir():
        files = [file for file in path.iterdir() if file.suffix.lower() == suffix and not file.name.startswith(".")]
        return files[0] if len(files) == 1 else None
    return path if path.suffix.lower() == suffix and path.is_file() else None


@dataclass(frozen=True)
class PlaneArray:
    """An array whose planes are read one by one.

    Attributes:
        read: reads a plane (H, W) from its position along each leading axis.
        lengths: of all axes, rows and columns last.
        dtype: of the pixels.
    """

    read: Callable[[tuple[int, ...]], NDArray]
    lengths: tuple[int, ...]
    dtype: np.dtype

    def __getitem__(self, index: tuple[slice, ...]) -> NDArray:
        """Reads the planes of slices of the leading axes."""
        ranges = [range(*part.indices(length)) for part, length in zip(index[:-2], self.lengths[:-2], strict=True)]
        out = np.empty((math.prod(map(len, ranges)), *self.lengths[-2:]), self.dtype)
        for image, position in zip(out, product(*ranges), strict=True):
            image[...] = self.read(position)
        return out.reshape([*map(len, ranges), *self.lengths[-2:]])


def read_file(path: Path, suffix: str, kind: str, read: Callable[[Path], RawRecording]) -> RawRecording | None:
    """Inspects the file of a recording, if there is one.

    Args:
        path: the file, or a folder that holds no other file of this kind.
        suffix: of the format.
        kind: name of the format.
        read: inspects the file.

    Returns:
        What `read` returns, or a recording that says that the file is damaged or its library missing; None if there is
        no file of this format, or several.
    """
    file = own_file(path, suffix)
    if file is None:
        return None
    try:
        return read(file)
    except MissingLibraryError as error:
        return refused(path, kind, [str(error)])
    except Exception as error:  # damaged files raise errors of many kinds
        return refused(path, kind, [f"{file.name} cannot be read ({error}): copy it again"])


def array_recording(
    path: Path,
    kind: str,
    source: Callable[[], Any],
    *,
    file: Path,
    sizes: Mapping[str, int],
    dtype: np.dtype,
    layout: Layout,
    channels: Sequence[str] = (),
    metadata: Mapping[str, Told] | None = None,
    inside: str = "",
) -> RawRecording:
    """Makes the recording of a file whose axes are named.

    Args:
        path: folder or file of the recording.
        kind: name of the format.
        source: opens the array, anew each time, so that threads do not share it.
        file: that holds it.
        sizes: lengths of its axes by their names, in their order.
        dtype: of the pixels.
        layout: what the user says.
        channels: names of the channels, if there are.
        metadata: what the file tells.
        inside: name of the image in the file.

    Returns:
        The recording. Axes that are neither time, planes nor channels are a problem if they are longer than 1.
    """
    told = "".join(name if name in "TZCYX" else "_" for name in sizes)
    others = [name for name, n in sizes.items() if name not in "TZCYX" and n > 1]
    if layout.axes is None and (others or not {"Y", "X"} <= set(sizes)):
        listed = ", ".join(f"{name} ({n})" for name, n in sizes.items())
        problem = f"{file.name} is no movie of time, planes, channels, rows and columns; its axes are {listed}"
        return refused(path, kind, [f"{problem}: save such a movie as its own file"], metadata)
    axes, problem = name_axes(tuple(sizes.values()), layout, told)
    if axes is None:
        return refused(path, kind, [problem], metadata)
    images = ArrayFile(file, axes, tuple(sizes.values()), np.dtype(dtype), source, inside=inside)
    order, problems, notes = order_of_images(images, layout)
    unique = len(set(channels)) == len(channels) == order.shape[2] and all(channels)
    names = tuple(channels) if unique else numbered_channels(order.shape[2])
    return RawRecording(
        path, kind, (images,), order, names, metadata or {}, problems=tuple(problems), notes=tuple(notes)
    )
