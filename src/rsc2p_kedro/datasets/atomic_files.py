"""Datasets of kedro-datasets for tables, figures and texts, with atomic saves to a local disk."""

from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

import pandas as pd
from kedro.io import DatasetError
from kedro_datasets.matplotlib import MatplotlibDataset
from kedro_datasets.pandas import CSVDataset
from kedro_datasets.text import TextDataset

from rsc2p_kedro.datasets.atomic import replacing


class AtomicSave:
    """Mixin that makes saves of a dataset of kedro-datasets to a local disk atomic; it precedes that dataset's class.

    The dataset saves itself as usual, but to a temporary file beside its target. On object stores a file appears only
    when it is complete, so saves are left as they are.
    """

    def save(self, data: Any) -> None:
        dataset: Any = self
        if dataset._protocol != "file":
            super().save(data)  # type: ignore[misc]
            return
        with replacing(Path(dataset._get_save_path())) as temporary:
            unversioned = dataset._copy(_filepath=PurePosixPath(temporary), _version=None)
            try:
                super(AtomicSave, unversioned).save(data)  # type: ignore[misc]
            except DatasetError as error:
                if isinstance(error.__cause__, OSError):
                    raise error.__cause__ from None  # which `replacing` explains, with the name of the target
                raise
        dataset._invalidate_cache()


class AtomicCSVDataset(AtomicSave, CSVDataset):
    """A table as CSV, saved atomically.

    Examples:
        ```yaml
        "{animal}.{session}.frame_table":
          type: rsc2p_kedro.datasets.AtomicCSVDataset
          filepath: data/02_intermediate/{animal}/{session}/frame_table.csv
          versioned: true
          validator: rsc2p_kedro.core.schemas.FrameTable
        ```
    """

    # Independent of the locale: UTF-8, and the line ends that pandas writes.
    DEFAULT_FS_ARGS: ClassVar[dict[str, Any]] = {"open_args_save": {"mode": "w", "encoding": "utf-8", "newline": ""}}

    def load(self) -> pd.DataFrame:
        try:
            return super().load()
        except DatasetError as error:
            if not isinstance(error.__cause__, ValueError):
                raise
            # An empty or half-written table, or bytes that are no text; all are ValueErrors of pandas.
            reason = str(error.__cause__).strip()
            raise DatasetError(
                f"{self._get_load_path()} is no table or is damaged ({reason}). Restore it from a copy, or delete it "
                "and run the stage that writes it again."
            ) from error


class AtomicFigureDataset(AtomicSave, MatplotlibDataset):
    """A matplotlib figure as an image file, saved atomically. Loading gives the bytes of the image.

    Examples:
        ```yaml
        "{animal}.{session}.{name}_figure":
          type: rsc2p_kedro.datasets.AtomicFigureDataset
          filepath: data/08_reporting/{animal}/{session}/figures/{name}.png
          save_args: {format: png, dpi: 130}
          versioned: true
        ```
    """

    def load(self) -> bytes:  # type: ignore[override]
        with self._fs.open(str(self._get_load_path()), mode="rb") as image:
            return image.read()


class AtomicTextDataset(AtomicSave, TextDataset):
    """A text, such as a page of HTML, saved atomically.

    Examples:
        ```yaml
        "{animal}.{session}.report":
          type: rsc2p_kedro.datasets.AtomicTextDataset
          filepath: data/08_reporting/{animal}/{session}/report.html
        ```
    """

    DEFAULT_FS_ARGS: ClassVar[dict[str, Any]] = {
        "open_args_save": {"mode": "w", "encoding": "utf-8"},
        "open_args_load": {"mode": "r", "encoding": "utf-8"},
    }
