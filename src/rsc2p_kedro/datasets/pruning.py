"""Which stored versions can be removed: all but the newest, and those that kept results were made of.

What a result was made of is read from the record beside it (`<name>.made.json`, with the version of each input). Of a
result without one, every version that was there when it was saved may have been an input, and is kept.
"""

import json
import os
import re
import shutil
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from rsc2p_kedro.datasets.atomic import record_path, recover
from rsc2p_kedro.datasets.zarr_store import METADATA

_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d\.\d\d\.\d\d\.\d{3}Z")  # Kedro's names of versions; they sort by time

_REMOVED = ".removed"
"""Ending of hidden folders that are being removed."""

NEWEST = ""
"""Reason to keep the newest versions, and results without versions."""


@dataclass(frozen=True)
class StoredDataset:
    """Where a dataset is stored.

    Attributes:
        name: in the catalog, without the way it is loaded (`nwb@pynwb`).
        path: file or folder; of a dataset with versions, the folder that contains them.
        versioned: whether it has versions.
        inputs: names of the datasets that its node loads.
    """

    name: str
    path: Path
    versioned: bool
    inputs: tuple[str, ...] = ()

    def versions(self) -> list[str]:
        """Versions that are stored.

        Returns:
            Their names, the newest first.
        """
        try:
            folders = list(self.path.iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return []
        names = [folder.name for folder in folders if (folder / self.path.name).exists()]
        return sorted((name for name in names if not name.startswith(".")), reverse=True)

    def results(self, newest: int | None = None) -> "list[Result]":
        """What is stored of it.

        Args:
            newest: number of versions; None takes all.

        Returns:
            The results, the newest first.
        """
        if self.versioned:
            return [Result(self.name, version) for version in self.versions()[:newest]]
        return [Result(self.name, None)] if self.path.exists() else []

    def place(self, version: str | None) -> Path:
        """File or folder of a version.

        Args:
            version: None for datasets without versions.

        Returns:
            The path.
        """
        return self.path if version is None else self.path / version / self.path.name


class Result(NamedTuple):
    """A stored result: a version of a dataset; None for datasets without versions."""

    dataset: str
    version: str | None


@dataclass(frozen=True)
class Removable:
    """Something that can be removed.

    Attributes:
        dataset: that it belongs to.
        what: a version, or what else it is, in words.
        paths: files and folders.
    """

    dataset: str
    what: str
    paths: tuple[Path, ...]

    @property
    def n_bytes(self) -> int:
        """Size of all files."""
        return sum(size_of(path) for path in self.paths)


def kept_results(stored: Mapping[str, StoredDataset], keep: int) -> dict[Result, str]:
    """Finds the results to keep, and why.

    Args:
        stored: datasets, by name. Those in memory are not among them.
        keep: number of newest versions of each dataset.

    Returns:
        For each result to keep, `NEWEST` or the reason, in words.
    """
    reasons: dict[Result, str] = {}
    pending = deque((result, NEWEST) for dataset in stored.values() for result in dataset.results(keep))
    while pending:
        result, reason = pending.popleft()
        if result not in reasons:
            reasons[result] = reason
            pending.extend(_made_of(result, stored))
    return reasons


def _made_of(result: Result, stored: Mapping[str, StoredDataset]) -> Iterator[tuple[Result, str]]:
    """Results that a result was made of, or may have been made of, with the reason to keep them."""
    dataset = stored[result.dataset]
    path = dataset.place(result.version)
    label = f"{dataset.name} {result.version or ''}".strip()
    recorded = _recorded_inputs(path)
    for name, version in recorded.items():
        if name in stored and stored[name].place(version).exists():
            yield Result(name, version), f"{label} was made of it"
    saved = datetime.fromtimestamp(path.stat().st_mtime, UTC).strftime("%Y-%m-%dT%H.%M.%S.999Z")
    for name in dataset.inputs:
        if name in stored and name not in recorded:
            for other in stored[name].results():
                if not (_TIMESTAMP.fullmatch(other.version or "") and str(other.version) > saved):
                    yield other, f"{label} does not tell what it was made of"


def _recorded_inputs(path: Path) -> dict[str, str]:
    """Version of each input that the record beside a result tells; empty without a record."""
    try:
        inputs = json.loads(record_path(path).read_text(encoding="utf-8"))["input_versions"]
        return {str(name): str(version) for name, version in inputs.items()}
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def removables(dataset: StoredDataset, kept: Mapping[Result, str]) -> list[Removable]:
    """What can be removed of a dataset.

    Args:
        dataset: the dataset.
        kept: results to keep, as :func:`kept_results` finds them.

    Returns:
        Versions, the newest first; then what removals that were interrupted have left; then the movie that an earlier
        version of this project stored without versions, once there is one with a version.
    """
    if not dataset.versioned or not dataset.path.is_dir():
        return []
    versions = [result.version for result in dataset.results() if result not in kept]
    found = [Removable(dataset.name, str(version), (dataset.path / str(version),)) for version in versions]
    left = tuple(sorted(dataset.path.glob(f".*{_REMOVED}")))
    if left:
        found.append(Removable(dataset.name, "left by a removal that was interrupted", left))
    if (dataset.path / METADATA).is_file() and dataset.versions():
        paths = tuple(path for name in (METADATA, "c") if (path := dataset.path / name).exists())
        found.append(Removable(dataset.name, "without a version, of an earlier version of this project", paths))
    return found


def remove(removable: Removable) -> None:
    """Removes files and folders; a version vanishes at once, before its files are removed.

    Args:
        removable: what to remove.

    Raises:
        OSError: a file cannot be removed.
    """
    for path in removable.paths:
        if path.is_dir():
            hidden = path if path.name.endswith(_REMOVED) else path.with_name(f".{path.name}{_REMOVED}")
            path.rename(hidden)
            shutil.rmtree(hidden)
        else:
            path.unlink()


def clear_leftovers(datasets: Iterable[StoredDataset]) -> None:
    """Removes what killed runs have left of versions that they were writing.

    Args:
        datasets: the datasets.
    """
    for dataset in datasets:
        if dataset.versioned and dataset.path.is_dir():
            recover(dataset.place("next"))  # looks beside the versions that are there


def size_of(path: Path) -> int:
    """Size of a file, or of all files in a folder.

    Args:
        path: of the file or folder.

    Returns:
        Bytes.
    """
    if not path.is_dir():
        return path.stat().st_size
    return sum((Path(folder) / name).stat().st_size for folder, _, names in os.walk(path) for name in names)


def size_of_old_versions(datasets: Iterable[StoredDataset]) -> int:
    """Size of all versions but the newest.

    Args:
        datasets: the datasets; those without versions do not count.

    Returns:
        Bytes. What another process removes in the meantime does not count.
    """
    total = 0
    for dataset in datasets:
        for version in dataset.versions()[1:] if dataset.versioned else ():
            with suppress(OSError):
                total += size_of(dataset.path / version)
    return total


def size_in_words(n_bytes: int) -> str:
    """A size as text.

    Args:
        n_bytes: the size.

    Returns:
        For example `1.2 GB`.
    """
    size, units = float(n_bytes), ("B", "kB", "MB", "GB", "TB")
    for unit in units[:-1]:
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} {units[-1]}"


def inputs_on_disk(name: str, inputs: Mapping[str, Sequence[str]], stored: Iterable[str]) -> tuple[str, ...]:
    """Stored datasets that a dataset is made of; what stands between them in memory is followed to its own inputs.

    Args:
        name: of the dataset.
        inputs: of each dataset that a node makes, the inputs of the node.
        stored: names of datasets that are stored.

    Returns:
        Their names.
    """
    on_disk, found, seen = set(stored), [], {name}
    pending = list(inputs.get(name, ()))
    while pending:
        other = pending.pop(0)
        if other in seen:
            continue
        seen.add(other)
        if other in on_disk:
            found.append(other)
        else:
            pending += inputs.get(other, ())
    return tuple(found)
