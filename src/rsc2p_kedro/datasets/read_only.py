"""Base class of datasets that are read and never written: files provided by the user, and reports on files."""

from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Generic, NoReturn, TypeVar

from kedro.io import AbstractDataset, DatasetError

Loaded = TypeVar("Loaded")


class ReadOnlyDataset(AbstractDataset[NoReturn, Loaded], Generic[Loaded]):
    """A dataset that can be loaded but not saved.

    A subclass reads its file in `_read`; a `ValueError` raised there reaches the user as a `DatasetError` with the same
    text.

    Attributes:
        WHY_READ_ONLY: reason that nothing can be saved and what to do instead, for the error message.
    """

    WHY_READ_ONLY: ClassVar[str]

    def __init__(self, *, filepath: str | Path, metadata: dict[str, Any] | None = None) -> None:
        """Stores the path; nothing is read yet.

        Args:
            filepath: the file to read.
            metadata: ignored by Kedro, read by plugins.
        """
        self._filepath = Path(filepath)
        self.metadata = metadata

    @abstractmethod
    def _read(self) -> Loaded:
        """The content of the file."""

    def load(self) -> Loaded:
        try:
            return self._read()
        except ValueError as error:
            raise DatasetError(str(error)) from error

    def save(self, data: NoReturn) -> None:
        raise DatasetError(f"{type(self).__name__} ({self._filepath}) cannot be saved: {self.WHY_READ_ONLY}")

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self._filepath.as_posix()}

    def _exists(self) -> bool:
        return self._filepath.is_file()
