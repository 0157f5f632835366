"""Zarr arrays of movies on disk, whose chunks are all there and sound, or reading them is refused.

Zarr reads a chunk that is missing as zeros and, without checksums, one with flipped bytes as other pixels. Here each
chunk ends with its CRC-32C, black chunks are written too, and a chunk that is missing or damaged is an error that names
its file.
"""

import itertools
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from kedro.io import DatasetError
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, Crc32cCodec

METADATA = "zarr.json"
"""The file that makes a folder a zarr array."""

_NAMED = 3
"""Number of files that an error names; it counts the others."""


def create_store(folder: Path, shape: tuple[int, ...], chunks: tuple[int, ...], dtype: np.dtype) -> zarr.Array:
    """Creates a zarr array for a movie, with lossless compression (blosc, lz4, bit shuffle) and checksums.

    Args:
        folder: of the array; there must be none yet.
        shape: (T, H, W).
        chunks: frames, rows and columns in a chunk.
        dtype: of the pixels.

    Returns:
        The array, open for writing.
    """
    return zarr.create_array(
        folder,
        shape=shape,
        chunks=chunks,
        dtype=dtype,
        filters=None,
        compressors=[BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle"), Crc32cCodec()],
        dimension_names=("time", "y", "x"),
        config={"write_empty_chunks": True},  # so that a chunk that is not there is missing, not black
    )


class StoredMovie:
    """A movie (T, H, W) in a zarr array that is complete when it is opened.

    Attributes:
        shape: (T, H, W).
        chunks: frames, rows and columns in a chunk.
        dtype: of the pixels.
        ndim: 3.
    """

    ndim = 3

    def __init__(self, folder: Path) -> None:
        """Opens the array for reading and counts its chunks.

        Args:
            folder: of the array.

        Raises:
            FileNotFoundError: there is no such folder.
            DatasetError: the array cannot be opened, or chunks are missing; the message names the files.
        """
        self._folder = folder
        if not folder.is_dir():
            raise FileNotFoundError(folder)
        if not (folder / METADATA).is_file():
            raise self._refusal([METADATA], "is missing")
        try:
            self._array = zarr.open_array(folder, mode="r", zarr_format=3)
        except Exception as error:  # JSON that is damaged raises almost anything
            raise self._refusal([METADATA], f"cannot be read ({type(error).__name__}: {error})") from error
        self.shape, self.chunks, self.dtype = self._array.shape, self._array.chunks, self._array.dtype
        present = _files(folder)
        missing = [key for key in self._keys((slice(None),) * self.ndim) if key not in present]
        if missing:
            n_chunks = math.prod(-(-size // chunk) for size, chunk in zip(self.shape, self.chunks, strict=True))
            raise self._refusal(missing, f"is missing ({len(missing)} of {n_chunks} chunks of the movie are)")

    def __getitem__(self, index: Any) -> NDArray:
        """Reads part of the movie.

        Args:
            index: slices and numbers for (T, H, W), as in NumPy.

        Returns:
            The part.

        Raises:
            DatasetError: a chunk is missing or damaged; the message names its file.
        """
        keys = list(self._keys(index))
        missing = [key for key in keys if not (self._folder / key).is_file()]  # removed since the movie was opened
        if missing:
            raise self._refusal(missing, "has been removed while the movie was in use")
        try:
            return np.asarray(self._array[index])
        except Exception as error:
            damaged = [key for key in keys if not self._is_readable(key)]
            if not damaged:
                raise
            raise self._refusal(damaged, f"is damaged ({error})") from error

    def _keys(self, index: Any) -> Iterator[str]:
        """Paths, relative to the folder, of the chunks that hold a part of the movie."""
        index = index if isinstance(index, tuple) else (index,)
        index = (*index, *(slice(None),) * (self.ndim - len(index)))
        ranges = []
        for part, size, chunk in zip(index, self.shape, self.chunks, strict=True):
            positions = range(size)[part] if isinstance(part, slice) else np.atleast_1d(np.arange(size)[part])
            ranges.append(sorted({int(position) // chunk for position in positions}))
        return (self._array.metadata.encode_chunk_key(place) for place in itertools.product(*ranges))

    def _is_readable(self, key: str) -> bool:
        place = [int(number) for number in key.split("/")[-self.ndim :]]
        try:
            self._array[tuple(slice(i * n, (i + 1) * n) for i, n in zip(place, self.chunks, strict=True))]
        except Exception:
            return False
        return True

    def _refusal(self, keys: list[str], what: str) -> DatasetError:
        files = ", ".join(str(self._folder / key) for key in keys[:_NAMED])
        others = f" and {len(keys) - _NAMED} more" if len(keys) > _NAMED else ""
        return DatasetError(
            f"{files}{others} {what}. Nothing is read from a movie with missing or damaged files: restore them from a "
            f"copy, or delete the folder {self._folder} and run the stage that writes it again."
        )


def _files(folder: str | Path, prefix: str = "") -> set[str]:
    """Relative paths of all files below a folder, with slashes."""
    found: set[str] = set()
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                found |= _files(entry.path, f"{prefix}{entry.name}/")
            else:
                found.add(f"{prefix}{entry.name}")
    return found
