"""One TIFF of a recording: its header, its problems and its images.

TIFF, BigTIFF, OME-TIFF and ImageJ stacks (also those with a single image file directory for all images) are read,
compressed or not. Pixels of uncompressed files are read directly from their position in the file, others with tifffile.
"""

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

from rsc2p_kedro.datasets.raw.recording import ImageFile, unreadable
from rsc2p_kedro.datasets.raw.tiff_directories import Directories, Page, PageKind


@dataclass(frozen=True)
class AxisLabels:
    """The axes that a stack names, slowest first, without those of the image.

    Attributes:
        writer: of the label: `ImageJ` or `tifffile`.
        axes: one letter for each axis: `T`, `Z`, `C`, or `Q` where the axis has a size but no meaning.
        sizes: of the axes.
    """

    writer: str
    axes: str
    sizes: tuple[int, ...]


@dataclass(frozen=True)
class FirstPage:
    """Tags of the first page of a TIFF that tell of the recording; empty where they are missing.

    Attributes:
        description: ImageDescription.
        software: Software.
        artist: Artist.
        pixels_per_unit: XResolution and YResolution; None if they are missing or zero.
        kind: `OME` or `ImageJ`, if the description is of that kind.
    """

    description: str = ""
    software: str = ""
    artist: str = ""
    pixels_per_unit: tuple[float, float] | None = None
    kind: str = ""


@dataclass(frozen=True, eq=False)
class TIFFFile(ImageFile):
    """The content of the header of one file.

    Attributes:
        path: the file.
        shape: (H, W) of its images.
        dtype: of its pixels, with the byte order of the file.
        offsets: (n,) int64, for each image the offset in bytes of its pixels or, if the file is not `plain`, of its
            image file directory.
        plain: whether the pixels of each image are uncompressed, in order and contiguous.
        problems: problems of the file, one text each.
        notes: what the user should know although the file can be used.
        labels: axes that the file names; None if it names none.
        descriptions: (n, 2) int64, for each page the offset and the number of bytes of its ImageDescription, which may
            be 0. Empty for stacks with a single directory.
    """

    path: Path
    shape: tuple[int, ...] = ()
    dtype: np.dtype = field(default_factory=lambda: np.dtype("V"))
    offsets: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    plain: bool = False
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    labels: AxisLabels | None = None
    descriptions: NDArray[np.int64] = field(default_factory=lambda: np.empty((0, 2), np.int64))

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
            raise unreadable(self.path, images, error, unit="pages") from error

    def page_descriptions(self, most: int = 1000) -> list[str]:
        """Reads the ImageDescription of each page, in which microscopes write the time of a frame.

        Args:
            most: number of bytes of a description that are read.

        Returns:
            One text for each page.
        """
        texts = []
        with self.path.open("rb", buffering=0) as stream:
            for offset, n_bytes in self.descriptions.tolist():
                stream.seek(offset)
                texts.append(stream.read(min(n_bytes, most)).decode("latin-1"))
        return texts

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


def inspect_file(path: Path) -> TIFFFile:
    """Reads the header of a file.

    Args:
        path: of a TIFF.

    Returns:
        The content of the header. A file that is not a readable TIFF has no images and a problem.
    """
    if not path.exists():
        return TIFFFile(path, problems=("is a link to a file that is not there: copy the file itself",))
    try:
        with tifffile.TiffFile(path) as tif:
            return _read_header(path, tif)
    except Exception as error:  # damaged headers raise errors of many kinds
        return TIFFFile(path, problems=(f"cannot be read as TIFF ({error}): copy it again, or remove it",))


def first_page(path: Path) -> FirstPage:
    """Reads the tags of the first page that tell of the recording.

    Args:
        path: of a TIFF.

    Returns:
        The tags; all empty if the file cannot be read.
    """
    try:
        status = path.stat()
        return _first_page(path, status.st_mtime_ns, status.st_size)
    except Exception:  # damaged headers raise errors of many kinds; `inspect_file` says which
        return FirstPage()


@lru_cache(maxsize=16)
def _first_page(path: Path, mtime_ns: int, size: int) -> FirstPage:
    """The tags, kept for the readers that look at the same file one after the other."""
    with tifffile.TiffFile(path) as tif:
        page = tif.pages.first
        ratios = [page.tags.valueof(name, (0, 1)) for name in ("XResolution", "YResolution")]
        per_unit = [numerator / denominator if denominator else 0.0 for numerator, denominator in ratios]
        is_ome = page.is_ome or "<OME" in page.description[:1000]  # the end may be missing, as in a damaged file
        kind = "OME" if is_ome else "ImageJ" if page.is_imagej else ""
        artist = str(page.tags.valueof("Artist", "") or "")
        told = (per_unit[0], per_unit[1]) if all(per_unit) else None
        return FirstPage(page.description, page.software, artist, told, kind)


def _read_header(path: Path, tif: tifffile.TiffFile) -> TIFFFile:
    """The images of an open file, and the problems with them."""
    size = path.stat().st_size
    directories = Directories(tif, size)
    pages = list(directories)
    kinds = Counter(page.kind for page in pages)
    usual = kinds.most_common(1)[0][0]
    plain = all(page.plain for page in pages)
    offsets = np.array([page.pixels if plain else page.directory for page in pages], np.int64)
    problems, notes, end = _page_problems(kinds), [], max(page.end for page in pages)
    labels, promised = _labels(tif.pages.first)
    if promised > len(pages) == 1 and plain:  # ImageJ: a single directory for a whole stack
        n_bytes = int(np.prod(usual.shape)) * usual.dtype.itemsize
        if not _ends_after_first_image(pages[0], size):
            offsets = offsets[0] + n_bytes * np.arange(promised)
            end = int(offsets[-1]) + n_bytes
    if end > size or directories.broken:
        problems.append("is truncated: copy it again from where it was recorded")
    elif promised > len(offsets):
        notes.append(f"holds {len(offsets)} images, its header promises {promised}: those that are there are used")
    dtype = usual.dtype.newbyteorder(tif.byteorder) if usual.dtype is not None else np.dtype("V")
    descriptions = np.array([page.description for page in pages], np.int64).reshape(-1, 2)
    if len(pages) != len(offsets):
        descriptions = descriptions[:0]
    return TIFFFile(path, usual.shape, dtype, offsets, plain, tuple(problems), tuple(notes), labels, descriptions)


def _ends_after_first_image(page: Page, size: int) -> bool:
    """Whether nothing but the directory follows the pixels of the only page: the header is that of a longer stack."""
    return page.end == size or page.directory >= page.end


def _page_problems(kinds: Counter[PageKind]) -> list[str]:
    """Problems with the pages of a file, from the number of pages of each kind."""
    problems = []
    if len({(kind.shape, kind.dtype) for kind in kinds}) > 1:
        listed = ", ".join(f"{n} of {kind.shape} {kind.dtype}" for kind, n in kinds.items())
        problems.append(f"mixes pages of several kinds ({listed}): keep the frames of one recording only")
    usual = kinds.most_common(1)[0][0]
    if usual.samples > 1 or len(usual.shape) != 2:
        problems.append(
            f"is in colour or has several samples per pixel {usual.shape}: save the channel of the indicator as grey"
        )
    elif usual.dtype is None or usual.dtype.kind not in "uif":
        problems.append(f"has pixels of kind {usual.dtype}: save as integers or floats")
    return problems


def _labels(page: tifffile.TiffPage) -> tuple[AxisLabels | None, int]:
    """The axes that a stack of ImageJ or tifffile names, and the number of images that its header promises (or 0)."""
    if page.is_imagej:
        sizes = {
            key: int(n) for key, n in re.findall(r"^(images|channels|slices|frames)=(\d+)", page.description, re.M)
        }
        named = [
            (axis, sizes[key]) for key, axis in (("frames", "T"), ("slices", "Z"), ("channels", "C")) if key in sizes
        ]
        labels = AxisLabels("ImageJ", "".join(axis for axis, _ in named), tuple(size for _, size in named))
        return labels, max(sizes.get("images", 1), int(np.prod(labels.sizes)))
    if page.is_shaped and page.samplesperpixel == 1:
        description = re.search(r"\{.*\}", page.description)
        told = json.loads(description[0]) if description else {}
        shape = tuple(told.get("shape", ()))[:-2]
        axes = told.get("axes", "").upper()[:-2]
        axes = axes if len(axes) == len(shape) else "Q" * len(shape)
        return AxisLabels("tifffile", re.sub("[^TZC]", "Q", axes), shape), int(np.prod(shape))
    return None, 0
