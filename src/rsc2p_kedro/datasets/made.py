"""What stands beside each saved result: a small JSON file that tells what the result was made of.

The file is written after the result, and removed before the result is replaced (:func:`~.atomic.replacing`), so that
one that is there always belongs to the result beside it. A result without it counts as stale.
"""

import hashlib
import json
import os
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rsc2p_kedro.core.fingerprints import Making
from rsc2p_kedro.datasets.atomic import record_path, replacing

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
        The record. None if there is none, or none that this version of the project understands.
    """
    try:
        contents = json.loads(record_path(path).read_text(encoding="utf-8"))
        contents.pop("fingerprint")
        return MadeRecord(**{**contents, "making": Making(**contents["making"])})
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
        return None


def describe_files(path: Path, exclude: Collection[Path] = ()) -> dict[str, Any]:
    """Describes files of the user so that a change is noticed, whatever the place they are in.

    Args:
        path: a file, or a folder. A small file is described by its content; a large one, and all files in a folder, by
            name, size and time of the last change. With a large file, those that differ from it only by their ending
            are included, because formats such as .sbx have their header in another file.
        exclude: files that do not belong to it, although they lie in the folder.

    Returns:
        Number and total size of the files, and a hash; `missing` if there are none.
    """
    if path.is_file() and path.stat().st_size <= _HASHED_BYTES:
        contents = path.read_bytes()
        return {"files": 1, "bytes": len(contents), "hash": hashlib.sha256(contents).hexdigest()}
    if path.is_dir():
        files = list(_files_below(path, ""))
    else:
        files = (
            [_description(entry, "") for entry in sorted(path.parent.glob(f"{path.stem}.*"))] if path.exists() else []
        )
    left_out = {os.path.relpath(file, path) for file in exclude}
    files = sorted(file for file in files if file[0] not in left_out)
    if not files:
        return {"missing": True}
    digest = hashlib.sha256(json.dumps(files).encode()).hexdigest()
    return {"files": len(files), "bytes": sum(size for _, size, _ in files), "hash": digest}


def _files_below(folder: Path | str, prefix: str) -> list[tuple[str, int, int]]:
    """Relative name, size and time of all files below a folder, without hidden ones."""
    found: list[tuple[str, int, int]] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                found += _files_below(entry.path, f"{prefix}{entry.name}/")
            else:
                found.append(_description(entry, prefix))
    return found


def _description(entry: os.DirEntry | Path, prefix: str) -> tuple[str, int, int]:
    try:
        status = entry.stat()
    except FileNotFoundError:  # a broken link
        return f"{prefix}{entry.name}", 0, 0
    return f"{prefix}{entry.name}", status.st_size, status.st_mtime_ns
