"""Saves that are whole or not there: write to a temporary sibling, then move it into place.

A killed run leaves at worst a hidden sibling ``.<name>.<host>-<process>.tmp``. The next save to the same place removes
it, if that process is dead.
"""

import os
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from kedro_datasets.json import JSONDataset
from kedro_datasets.matplotlib import MatplotlibDataset
from kedro_datasets.pandas import CSVDataset
from kedro_datasets.text import TextDataset

_A_DAY_S = 86_400


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A path beside `target` to write a file or a folder to; it takes the place of `target` when the block ends well.

    Whatever ends the block early (an error, ctrl-C) leaves `target` as it was. Two processes that save to one place at
    once do not mix: the last one to end wins.

    Args:
        target: file or folder to make or to replace; missing parents are made.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    recover(target)
    temporary, old = _sibling(target, "new"), _sibling(target, "old")
    _remove(temporary)
    try:
        yield temporary
        if target.is_dir():  # os.replace cannot put a folder in the place of a full one
            target.rename(old)
        try:
            temporary.replace(target)
        except BaseException:
            if old.exists():
                old.rename(target)
            raise
        _remove(old)
    finally:
        _remove(temporary)


def recover(target: Path) -> None:
    """Clears away what dead runs have left beside `target`.

    A run that was killed in the instant between moving the old folder away and the new one into place has left both:
    the old one comes back.

    Args:
        target: file or folder that a save may have been writing.
    """
    for leftover in sorted(target.parent.glob(f".{target.name}.*.tmp")):
        if not _is_dead(leftover):
            continue
        if leftover.name.endswith(".old.tmp") and not target.exists():
            leftover.rename(target)
        else:
            _remove(leftover)


def _sibling(target: Path, role: str) -> Path:
    return target.with_name(f".{target.name}.{socket.gethostname()}-{os.getpid()}.{role}.tmp")


def _is_dead(leftover: Path) -> bool:
    """Whether the process that wrote a sibling is gone or, where that cannot be known, whether it is a day old."""
    host, _, process = leftover.name.removesuffix(".tmp").rpartition(".")[0].rpartition("-")
    if os.name != "posix" or not host.endswith(f".{socket.gethostname()}") or not process.isdigit():
        return time.time() - leftover.stat().st_mtime > _A_DAY_S
    try:
        os.kill(int(process), 0)  # signal 0 only asks whether the process is there
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


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
          type: rsc2p_kedro.datasets.atomic.AtomicCSVDataset
          filepath: data/02_intermediate/{animal}/{session}/frame_table.csv
          versioned: true
          validator: rsc2p_kedro.schemas.FrameTable
        ```
    """


class AtomicJSONDataset(AtomicSave, JSONDataset):
    """Anything JSON can say, saved whole or not at all."""


class AtomicFigureDataset(AtomicSave, MatplotlibDataset):
    """A matplotlib figure as an image file, saved whole or not at all. Loading gives the bytes of the image."""

    def load(self) -> bytes:  # type: ignore[override]
        with self._fs.open(str(self._get_load_path()), mode="rb") as image:
            return image.read()


class AtomicTextDataset(AtomicSave, TextDataset):
    """A text, such as a page of HTML, saved whole or not at all."""
