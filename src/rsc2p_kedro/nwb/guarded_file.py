"""A file for HDF5 to write to, which keeps a full disk from crashing the process.

HDF5 holds changes to its metadata in memory and writes them when objects are closed. Once a write fails, every later
one fails too, in places that cannot raise: hundreds of tracebacks, and often a segmentation fault, which would end a
run over many recordings. Writes to this file therefore never fail: after the first failure, HDF5's metadata are held in
memory, where HDF5 reads them back unchanged and can close the file. The caller checks for a failure from time to time,
and then discards the file.
"""

import io
from pathlib import Path
from typing import Any

_LARGE = 1_000_000  # bytes; HDF5's metadata come in smaller blocks, and larger ones (data) are never read back


class GuardedFile(io.RawIOBase):
    """A new file, for ``h5py.File(guarded, "w")``."""

    def __init__(self, path: Path) -> None:
        """Opens the file for writing.

        Args:
            path: of the file; a file that exists there is overwritten.

        Raises:
            OSError: the file cannot be opened.
        """
        self._path, self._stream = path, path.open("w+b", buffering=0)
        self._error: OSError | None = None
        self._held: list[tuple[int, bytes]] = []

    def check(self) -> None:
        """Raises the first failure, if there was any.

        Raises:
            OSError: a write failed; with the size of the file at that point.
        """
        if self._error is not None:
            raise self._error

    def write(self, data: Any) -> int:
        """Writes all of a buffer; after a failure, keeps it in memory if it is small and drops it otherwise.

        Args:
            data: a buffer of bytes.

        Returns:
            The size of the buffer, always.
        """
        whole, start = memoryview(data).cast("B"), self._stream.tell()
        rest = whole
        try:
            while len(rest) and self._error is None:
                rest = rest[self._stream.write(rest) :]
        except OSError as error:
            self._record_failure(error)
        if self._error is not None:
            if len(whole) <= _LARGE:
                self._held.append((start, bytes(whole)))
            self._stream.seek(start + len(whole))
        return len(whole)

    def _record_failure(self, error: OSError) -> None:
        message = f"{error.strerror}, {self._stream.tell() / 1e6:.1f} MB into the file"
        self._error = OSError(error.errno, message, str(self._path))

    def readinto(self, buffer: Any) -> int:
        """Fills a buffer from the file and from the blocks held in memory, past the end of the file with zeros.

        Args:
            buffer: to fill.

        Returns:
            The size of the buffer, always.
        """
        wanted, start = memoryview(buffer).cast("B"), self._stream.tell()
        n_read = self._stream.readinto(wanted) or 0
        wanted[n_read:] = bytes(len(wanted) - n_read)
        for place, held in self._held:
            low, high = max(place, start), min(place + len(held), start + len(wanted))
            if low < high:
                wanted[low - start : high - start] = held[low - place : high - place]
        self._stream.seek(start + len(wanted))
        return len(wanted)

    def truncate(self, size: int | None = None) -> int:
        """Changes the size of the file; does nothing after a failure.

        Args:
            size: in bytes; None takes the current position.

        Returns:
            The requested size.
        """
        try:
            if self._error is None:
                self._stream.truncate(size)
        except OSError as error:
            self._record_failure(error)
        return self._stream.tell() if size is None else size

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()

    def close(self) -> None:
        if hasattr(self, "_stream"):  # absent if the file could not be opened
            self._stream.close()
        super().close()
