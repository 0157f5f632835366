"""What stands beside each saved result: a small JSON file that tells what the result was made of.

The file is written after the result, and removed before the result is replaced (:func:`~.atomic.replacing`), so that
one that is there always belongs to the result beside it. A result without it counts as stale.
"""

import hashlib
import json
import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rsc2p_kedro.core.fingerprints import Making
from rsc2p_kedro.datasets.atomic import RECORD_ENDING, record_path, replacing
from rsc2p_kedro.datasets.raw.recording import Layout
from rsc2p_kedro.datasets.raw.selection import select_files

_HASHED_BYTES = 16 * 2**20
"""Size up to which a single file is compared by its content; hashing it takes some 10 ms. Not tuned."""


@dataclass(frozen=True)
class MadeRecord:
    """What a stored result was made of, and when.

    Attributes:
        making: what it was made of; its fingerprint says whether the result is fresh.
        input_versions: version of each input that has versions.
        made_at: time at which it was saved, ISO 8601 with the offset from UTC.
        files: description of the files of an unversioned folder (:func:`describe_files`), else None.
        provenance: versions of the project, Python and the libraries, and the git commit. They make nothing stale.
    """

    making: Making
    input_versions: Mapping[str, str]
    made_at: str
    files: Mapping[str, Any] | None
    provenance: Mapping[str, Any]


def write_record(path: Path, record: MadeRecord) -> None:
    """Writes what a result was made of beside it, atomically.

    Args:
        path: file or folder of the result.
        record: what it was made of.
    """
    contents = {"fingerprint": record.making.fingerprint, **asdict(record)}
    with replacing(record_path(path)) as temporary:
        temporary.write_text(json.dumps(contents, indent=1, ensure_ascii=False), encoding="utf-8")


def read_record(path: Path) -> MadeRecord | None:
    """Reads what a result was made of.

    Args:
        path: file or folder of the result.

    Returns:
        The record. None if there is none, or none that this version of the project understands, or if it was changed
        by hand.
    """
    try:
        contents = json.loads(record_path(path).read_text(encoding="utf-8"))
        fingerprint = contents.pop("fingerprint")
        record = MadeRecord(**{**contents, "making": Making(**contents["making"])})
        is_whole = record.making.fingerprint == fingerprint and isinstance(record.made_at, str)
        return record if is_whole else None
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError, AttributeError):
        return None


def describe_files(
    path: Path, *, layout: Layout | None = None, ignored: Collection[Path] = (), by_content: bool = False
) -> dict[str, Any]:
    """Describes files of the user so that a change is noticed, whatever the place they are in.

    Args:
        path: a file, or a folder. A small file is described by its content; a large one, and all files in a folder, by
            name, size and time of the last change. With a large file, those that differ from it only by their ending
            are included, because formats such as .sbx have their header in another file.
        layout: patterns of the files that belong to it. None takes all in the folder.
        ignored: files that do not belong to it, although they lie in the folder.
        by_content: describe all files by their content instead of their time, which reads them.

    Returns:
        Number and total size of the files, and a hash; `missing` if there are none.
    """
    if path.is_file() and path.stat().st_size <= _HASHED_BYTES:
        return {"files": 1, "bytes": path.stat().st_size, "hash": _hash_of(path)}
    folder = path if path.is_dir() else path.parent
    if path.is_dir():
        found = _selected(path, layout)
    else:
        found = [file for file in folder.glob(f"{path.stem}.*") if not file.name.endswith(RECORD_ENDING)]
    names = {os.path.relpath(file, folder).replace(os.sep, "/"): file for file in found if file not in ignored}
    if not names or not path.exists():
        return {"missing": True}
    sizes = {name: _size_and_time(file) for name, file in sorted(names.items())}
    parts = [(name, size, _hash_of(names[name]) if by_content else time) for name, (size, time) in sizes.items()]
    digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
    return {"files": len(parts), "bytes": sum(size for _, size, _ in parts), "hash": digest}


def _selected(folder: Path, layout: Layout | None) -> list[Path]:
    """Files of a folder that belong to a recording, without hidden ones."""
    found = [] if layout is not None and layout.files else list(_files_below(folder))
    return found if layout is None else select_files(folder, found, layout)


def _files_below(folder: Path) -> Iterator[Path]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir() and not entry.name.startswith("."):
                yield from _files_below(Path(entry.path))
            elif not entry.name.startswith("."):
                yield Path(entry.path)


def _size_and_time(file: Path) -> tuple[int, int]:
    """Size and time of the last change; zeros for a broken link."""
    try:
        status = file.stat()
    except FileNotFoundError:
        return 0, 0
    return status.st_size, status.st_mtime_ns


def _hash_of(file: Path) -> str:
    """SHA-256 of the content."""
    if not file.is_file():
        return ""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
