"""A file for HDF5 to write to that keeps a full disk from bringing the process down.

HDF5 holds changes to its structures in memory and writes them when objects are closed. Once a write fails, every later
one fails too, in places that cannot raise: hundreds of tracebacks, and often a segmentation fault, which would end a
run over many recordings. So no write fails here: from the first failure on, structures are held in memory, where HDF5
finds them as it left them, and can close the file. Whoever writes asks now and then whether there was a failure, and
throws the file away.
"""

import io
from pathlib import Path
from typing import Any

_LARGE = 1_000_000  # structures are smaller; data that were written are not read again


class GuardedFile(io.RawIOBase):
    """A new file, for ``h5py.File(guarded, "w")``.

    Args:
        path: of the file; what is there is lost.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._stream = path, path.open("w+b", buffering=0)
        self._error: OSError | None = None
        self._held: list[tuple[int, bytes]] = []

    def check(self) -> None:
        """Raises the first failure, if there was any."""
        if self._error is not None:
            raise self._error

    def write(self, data: Any) -> int:
        """Writes all of a buffer, or pretends to."""
        whole, start = memoryview(data).cast("B"), self._stream.tell()
        rest = whole
        try:
            while len(rest) and self._error is None:
                rest = rest[self._stream.write(rest) :]
        except OSError as error:
            self._note(error)
        if self._error is not None:
            if len(whole) <= _LARGE:
                self._held.append((start, bytes(whole)))
            self._stream.seek(start + len(whole))
        return len(whole)

    def _note(self, error: OSError) -> None:
        message = f"{error.strerror}, {self._stream.tell() / 1e6:.1f} MB into {self._path.name}. Make room on the disk "
        self._error = OSError(error.errno, f"{message}(or raise the quota), and run again")

    def readinto(self, buffer: Any) -> int:
        """Fills a buffer, past the end of the file with zeros."""
        wanted, start = memoryview(buffer).cast("B"), self._stream.tell()
        found = self._stream.readinto(wanted) or 0
        wanted[found:] = bytes(len(wanted) - found)
        for place, held in self._held:
            low, high = max(place, start), min(place + len(held), start + len(wanted))
            if low < high:
                wanted[low - start : high - start] = held[low - place : high - place]
        self._stream.seek(start + len(wanted))
        return len(wanted)

    def truncate(self, size: int | None = None) -> int:
        """Makes the file this long, or pretends to."""
        try:
            if self._error is None:
                self._stream.truncate(size)
        except OSError as error:
            self._note(error)
        return self._stream.tell() if size is None else size

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()

    def close(self) -> None:
        if hasattr(self, "_stream"):  # not where it could not be opened: Python closes what is left of that, too
            self._stream.close()
        super().close()
