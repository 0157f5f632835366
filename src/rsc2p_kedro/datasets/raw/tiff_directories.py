"""The chain of image file directories of a TIFF, one for each page.

A stack of tens of thousands of pages is inspected in a second: every directory is read, but tifffile interprets only
those that differ from all before them in what matters (size, dtype, coding).

Structure: TIFF Revision 6.0 (Adobe, 1992), section 2; for BigTIFF https://www.awaresystems.be/imaging/tiff/bigtiff.html.
"""

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import numpy as np
import tifffile

_KIND = (256, 257, 258, 259, 262, 266, 277, 278, 284, 317, 322, 323, 339)
"""Tags on which shape, dtype and coding depend: size, bits, compression, photometric interpretation, fill order,
samples, rows of a strip, planar configuration, predictor, size of a tile, sample format."""
_COMPRESSION, _DESCRIPTION, _OFFSETS, _BYTE_COUNTS = (259,), (270,), (273, 324), (279, 325)
_TYPES = {1: "u1", 2: "u1", 3: "u2", 4: "u4", 7: "u1", 13: "u4", 16: "u8", 18: "u8"}
"""Types of tags that hold integers: byte, ASCII, short, long, undefined, IFD, long8 and IFD8."""


class PageKind(NamedTuple):
    """Properties that all pages of a file should share.

    Attributes:
        shape: of the image, with its samples if it has several.
        dtype: of the pixels; None if it is unknown.
        samples: samples per pixel.
    """

    shape: tuple[int, ...]
    dtype: Any
    samples: int


class Page(NamedTuple):
    """One image file directory.

    Attributes:
        directory: offset of the directory in bytes.
        pixels: offset of the first pixels.
        end: offset of the end of the pixels.
        kind: shape, dtype and samples.
        plain: whether the pixels are uncompressed, in order and contiguous.
        description: offset and number of bytes of the ImageDescription; 0 bytes if there is none.
    """

    directory: int
    pixels: int
    end: int
    kind: PageKind
    plain: bool
    description: tuple[int, int]


class Directories:
    """The image file directories of an open file, in the order of their chain.

    Attributes:
        broken: whether the chain, once it has been followed, ended outside of the file or ran in a circle.
    """

    def __init__(self, tif: tifffile.TiffFile, size: int) -> None:
        """Takes an open file; directories are read when they are iterated over.

        Args:
            tif: the file, whose first page has been read.
            size: of the file in bytes.
        """
        self.broken = False
        self._tif, self._stream, self._size = tif, tif.filehandle, size
        self._byteorder: Literal["little", "big"] = "little" if tif.byteorder == "<" else "big"
        self._count_size, self._entry_size, self._offset_size = (8, 20, 8) if tif.is_bigtiff else (2, 12, 4)
        numbers = (*_KIND, *_DESCRIPTION, *_OFFSETS, *_BYTE_COUNTS)
        self._tags: dict[int, bytes] = {number: int.to_bytes(number, 2, self._byteorder) for number in numbers}
        self._kind_tags = [self._tags[number] for number in _KIND]
        self._kinds: dict[Any, tuple[PageKind, bool]] = {}

    def __iter__(self) -> Iterator[Page]:
        """Follows the chain.

        Yields:
            The directories.
        """
        offset, seen = self._tif.pages.first.offset, set()
        while offset:
            self.broken = offset in seen or offset >= self._size
            if self.broken:
                return
            seen.add(offset)
            self._stream.seek(offset)
            n_bytes = int.from_bytes(self._stream.read(self._count_size), self._byteorder) * self._entry_size
            data = self._stream.read(n_bytes + self._offset_size)
            self.broken = len(data) < n_bytes + self._offset_size
            if self.broken:
                return
            place = offset + self._count_size
            entries = {data[i : i + 2]: (data[i : i + self._entry_size], place + i) for i in self._starts(n_bytes)}
            yield self._page(offset, len(seen) - 1, entries)
            offset = int.from_bytes(data[n_bytes:], self._byteorder)

    def _starts(self, n_bytes: int) -> range:
        return range(0, n_bytes, self._entry_size)

    def _page(self, offset: int, index: int, entries: dict[bytes, tuple[bytes, int]]) -> Page:
        """What a directory says. One that says the same of what matters as one before is not interpreted again."""
        starts, counts = self._integers(entries, _OFFSETS), self._integers(entries, _BYTE_COUNTS)
        key: tuple[Any, ...] = tuple(entries[tag][0] for tag in self._kind_tags if tag in entries)
        if self._integers(entries, _COMPRESSION) in ([], [1]) and starts:
            key = (*key, tuple(start - starts[0] for start in starts), tuple(counts))
        if key not in self._kinds:
            self._kinds[key] = self._interpret(offset, index)
        kind, plain = self._kinds[key]
        end = max((start + n_bytes for start, n_bytes in zip(starts, counts, strict=True)), default=self._size + 1)
        return Page(offset, starts[0] if starts else 0, end, kind, plain, self._place(entries, _DESCRIPTION)[1:])

    def _interpret(self, offset: int, index: int) -> tuple[PageKind, bool]:
        page = self._tif.pages.first
        if index:
            self._stream.seek(offset)
            page = tifffile.TiffPage(self._tif, index=index)
        return PageKind(tuple(page.shape), page.dtype, page.samplesperpixel), page.is_final

    def _place(self, entries: dict[bytes, tuple[bytes, int]], tags: tuple[int, ...]) -> tuple[str, int, int]:
        """Type, offset and number of bytes of the values of the first of some tags that is there."""
        for number in tags:
            if (found := entries.get(self._tags[number])) is None:
                continue
            entry, place = found
            type_ = _TYPES.get(int.from_bytes(entry[2:4], self._byteorder), "")
            n_bytes = int.from_bytes(entry[4 : 4 + self._offset_size], self._byteorder) * int(type_[1:] or 0)
            if n_bytes <= self._offset_size:
                return type_, place + 4 + self._offset_size, n_bytes
            return type_, int.from_bytes(entry[4 + self._offset_size :], self._byteorder), n_bytes
        return "", 0, 0

    def _integers(self, entries: dict[bytes, tuple[bytes, int]], tags: tuple[int, ...]) -> list[int]:
        """Values of the first of some tags that is there."""
        type_, place, n_bytes = self._place(entries, tags)
        if not n_bytes:
            return []
        if n_bytes <= self._offset_size:
            entry = next(entries[tag][0] for tag in map(self._tags.__getitem__, tags) if tag in entries)
            data = entry[4 + self._offset_size :][:n_bytes]
            if n_bytes == int(type_[1:]):
                return [int.from_bytes(data, self._byteorder)]
        else:
            self._stream.seek(place)
            data = self._stream.read(n_bytes)
        values: list[int] = np.frombuffer(data, self._tif.byteorder + type_).tolist()
        return values
