"""Datasets of kedro-datasets for tables, figures and texts, whose saves to a local disk are whole or not there."""

from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from kedro_datasets.matplotlib import MatplotlibDataset
from kedro_datasets.pandas import CSVDataset
from kedro_datasets.text import TextDataset

from rsc2p_kedro.datasets.atomic import replacing


class AtomicSave:
    """Mixed in before a dataset of kedro-datasets, makes its saves to a local disk atomic.

    The dataset saves itself as it always does, but to a temporary sibling. Object stores need no help: there, a file
    appears when it is complete.
    """

    def save(self, data: Any) -> None:
        dataset: Any = self
        if dataset._protocol != "file":
            super().save(data)  # type: ignore[misc]
            return
        with replacing(Path(dataset._get_save_path())) as temporary:
            unversioned = dataset._copy(_filepath=PurePosixPath(temporary), _version=None)
            super(AtomicSave, unversioned).save(data)  # type: ignore[misc]
        dataset._invalidate_cache()


class AtomicCSVDataset(AtomicSave, CSVDataset):
    """A table as CSV, saved whole or not at all.

    Examples:
        ```yaml
        "{animal}.{session}.frame_table":
          type: rsc2p_kedro.datasets.AtomicCSVDataset
          filepath: data/02_intermediate/{animal}/{session}/frame_table.csv
          versioned: true
          validator: rsc2p_kedro.core.schemas.FrameTable
        ```
    """

    # pandas reads UTF-8 everywhere, and brings its own line ends; a locale may write neither.
    DEFAULT_FS_ARGS: ClassVar[dict[str, Any]] = {"open_args_save": {"mode": "w", "encoding": "utf-8", "newline": ""}}


class AtomicFigureDataset(AtomicSave, MatplotlibDataset):
    """A matplotlib figure as an image file, saved whole or not at all. Loading gives the bytes of the image."""

    def load(self) -> bytes:  # type: ignore[override]
        with self._fs.open(str(self._get_load_path()), mode="rb") as image:
            return image.read()


class AtomicTextDataset(AtomicSave, TextDataset):
    """A text, such as a page of HTML, saved whole or not at all."""

    DEFAULT_FS_ARGS: ClassVar[dict[str, Any]] = {
        "open_args_save": {"mode": "w", "encoding": "utf-8"},
        "open_args_load": {"mode": "r", "encoding": "utf-8"},
    }
