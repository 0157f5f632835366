"""Base class of datasets that are read and never written: files provided by the user, and reports on files."""

from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Generic, NoReturn, TypeVar

import pandas as pd
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


def read_csv(path: Path, columns: str, **options: Any) -> pd.DataFrame:
    """Reads a CSV table that a user has written.

    Args:
        path: the table.
        columns: the columns it should have, in words, for the error.
        **options: of `pandas.read_csv`.

    Returns:
        The table as pandas reads it.

    Raises:
        ValueError: the file is empty or is not a CSV table.
    """
    try:
        return pd.read_csv(path, **options)
    except ValueError as error:  # pandas' EmptyDataError and ParserError, and UnicodeDecodeError, are ValueErrors
        raise ValueError(
            f"{path}: expected a CSV table with {columns}, but it cannot be read as one ({error}). "
            "Save the table as CSV, in UTF-8."
        ) from error
