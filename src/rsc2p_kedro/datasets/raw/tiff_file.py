"""One TIFF of a recording: its header, its problems and its frames.

TIFF, BigTIFF, OME-TIFF and ImageJ stacks (also those with a single image file directory for all frames) are read,
compressed or not. Pixels of uncompressed files are read directly from their position in the file, others with tifffile.
"""

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tifffile
from numpy.typing import NDArray

from rsc2p_kedro.datasets.raw.recording import ImageFile, RecordingError

_MAX_CHANNELS = 8
"""Maximum number of channels of a microscope. ImageJ stacks with more are movies whose time axis was mislabelled."""


@dataclass(frozen=True, eq=False)
class TIFFFile(ImageFile):
    """The content of the header of one file.

    Attributes:
        path: the file.
        shape: (H, W) of its frames.
        dtype: of its pixels, with the byte order of the file.
        offsets: (n,) int64, for each frame the offset in bytes of its pixels or, if the file is not `plain`, of its
            image file directory.
        plain: whether the pixels of each frame are uncompressed, in order and contiguous.
        problems: problems of the file, one text each.
    """

    path: Path
    shape: tuple[int, ...] = ()
    dtype: np.dtype = field(default_factory=lambda: np.dtype("V"))
    offsets: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    plain: bool = False
    problems: tuple[str, ...] = ()

    @property
    def n_images(self) -> int:
        """Number of images in the file."""
        return len(self.offsets)

    def read(self, images: Sequence[int], out: NDArray) -> None:
        """Reads some images of the file.

        Args:
            images: indices of the images in the file.
            out: (len(images), H, W), filled with the images.

        Raises:
            RecordingError: the file is missing, shorter than according to its header, or damaged.
        """
        try:
            (self._read_plain if self.plain else self._read_decoded)(images, out)
        except Exception as error:  # decoders raise errors of many kinds on damaged data
            problem = (
                f"{self.path.name} cannot be read (pages {images[0]} to {images[-1]}: {error}): "
                "copy it again from where it was recorded"
            )
            raise RecordingError(self.path, [problem]) from error

    def _read_plain(self, pages: Sequence[int], out: NDArray) -> None:
        buffer = np.empty(self.shape, self.dtype)
        with self.path.open("rb", buffering=0) as stream:
            for image, page in zip(out, pages, strict=True):
                stream.seek(self.offsets[page])
                if stream.readinto(buffer.data.cast("B")) != buffer.nbytes:  # type: ignore[attr-defined]
                    raise EOFError("the file is truncated")
                image[...] = buffer

    def _read_decoded(self, pages: Sequence[int], out: NDArray) -> None:
        with tifffile.TiffFile(self.path) as tif:
            for image, page in zip(out, pages, strict=True):
                tif.filehandle.seek(int(self.offsets[page]))
                image[...] = tifffile.TiffPage(tif, index=page).asarray(maxworkers=1)


class _PageKind(NamedTuple):
    """Properties that all pages of a file should share."""

    shape: tuple[int, ...]
    dtype: Any
    samples: int
    plain: bool


def inspect_file(path: Path) -> TIFFFile:
    """Reads the header of a file.

    Args:
        path: of a TIFF.

    Returns:
        The content of the header. A file that is not a readable TIFF has no frames and a problem.
    """
    try:
        with tifffile.TiffFile(path) as tif:
            return _read_header(path, tif)
    except Exception as error:  # damaged headers raise errors of many kinds
        return TIFFFile(path, problems=(f"cannot be read as TIFF ({error}): copy it again, or remove it",))


def _read_header(path: Path, tif: tifffile.TiffFile) -> TIFFFile:
    """The frames of an open file, and the problems with them."""
    tif.pages.useframes = False  # tifffile's frames are assumed to have the shape of the first page
    size = path.stat().st_size
    kinds: Counter[_PageKind] = Counter()
    starts, ends = [], []
    for page in tif.pages:
        assert isinstance(page, tifffile.TiffPage)
        kinds[_PageKind(tuple(page.shape), page.dtype, page.samplesperpixel, page.is_final)] += 1
        starts.append(page.dataoffsets[0] if page.is_final else page.offset)
        segments = zip(page.dataoffsets, page.databytecounts, strict=True)
        ends.append(max((start + n_bytes for start, n_bytes in segments), default=size + 1))
    usual = kinds.most_common(1)[0][0]
    offsets = np.array(starts, np.int64)
    n_frames, n_channels = _described_frames_and_channels(tif)
    if n_frames > len(offsets) == 1 and usual.plain:  # ImageJ: a single directory for a whole stack
        n_bytes = int(np.prod(usual.shape)) * usual.dtype.itemsize
        offsets = offsets[0] + n_bytes * np.arange(n_frames)
        ends.append(int(offsets[-1]) + n_bytes)
    problems = _page_problems(kinds)
    if max(ends) > size or n_frames > len(offsets) or _has_broken_chain(tif):
        problems.append("is truncated: copy it again from where it was recorded")
    if n_channels > 1:
        problems.append(f"holds {n_channels} channels: save the channel of the indicator as a separate stack")
    dtype = usual.dtype.newbyteorder(tif.byteorder) if usual.dtype is not None else np.dtype("V")
    return TIFFFile(path, usual.shape, dtype, offsets, usual.plain, tuple(problems))


def _page_problems(kinds: Counter[_PageKind]) -> list[str]:
    """Problems with the pages of a file, from the number of pages of each kind."""
    problems = []
    if len({(kind.shape, kind.dtype) for kind in kinds}) > 1:
        listed = ", ".join(f"{n} of {kind.shape} {kind.dtype}" for kind, n in kinds.items())
        problems.append(f"mixes pages of several kinds ({listed}): keep the frames of one recording only")
    elif len({kind.plain for kind in kinds}) > 1:
        problems.append("mixes compressed and uncompressed pages: save it again in one way")
    usual = kinds.most_common(1)[0][0]
    if usual.samples > 1 or len(usual.shape) != 2:
        problems.append(
            f"is in colour or has several samples per pixel {usual.shape}: save the channel of the indicator as grey"
        )
    elif usual.dtype is None or usual.dtype.kind not in "uif":
        problems.append(f"has pixels of kind {usual.dtype}: save as integers or floats")
    return problems


def _described_frames_and_channels(tif: tifffile.TiffFile) -> tuple[int, int]:
    """Numbers of frames and channels according to the description of a file; 0 where it does not give them."""
    first = tif.pages.first
    if first.is_imagej:
        sizes = {key: int(n) for key, n in re.findall(r"(images|channels)=(\d+)", first.description)}
        n_frames = sizes.get("images", 0)
        return n_frames, _true_channels(sizes.get("channels", 0), n_frames)
    if first.is_ome:  # its frames may be in several files
        n_channels, n_planes, n_times = (
            int((re.findall(rf'{size}="(\d+)"', first.description) or ["1"])[0]) for size in ("SizeC", "SizeZ", "SizeT")
        )
        return 0, _true_channels(n_channels, n_channels * n_planes * n_times)
    if first.is_shaped:
        description = re.search(r"\{.*\}", first.description)
        shape = json.loads(description[0]).get("shape", []) if description else []
        return int(np.prod(shape[:-2])) if len(shape) > 2 and first.samplesperpixel == 1 else 0, 0
    return 0, 0


def _true_channels(channels: int, images: int) -> int:
    """Number of channels of a stack, or 0 where frames are only labelled as channels, as tifffile does by default."""
    return 0 if channels == images > _MAX_CHANNELS else channels


def _has_broken_chain(tif: tifffile.TiffFile) -> bool:
    """Whether the last image file directory that could be read points to another one."""
    tif.filehandle.seek(tif.pages.next_page_offset or 0)
    return any(tif.filehandle.read(tif.tiff.offsetsize))
