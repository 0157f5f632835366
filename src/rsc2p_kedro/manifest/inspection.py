"""What the files of a recording are and tell, as `kedro recordings scan` needs it: small enough to be kept on disk.

Reading the headers of a hundred thousand files takes minutes. A :class:`ScanCache` keeps what was found in each folder,
as long as names, sizes and times of modification of its files stay the same.
"""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rsc2p_kedro import __version__
from rsc2p_kedro.datasets.atomic import replacing
from rsc2p_kedro.datasets.raw import RawRecording, Told

_VERSION = f"{__version__}, 2"
"""Of what is kept; the number is raised when readers find more than before."""


@dataclass(frozen=True)
class Inspection:
    """The files of a recording in numbers, and what they tell.

    Attributes:
        format: name of the format, for the user.
        n_files: number of files.
        n_frames: number of frames of each plane and channel.
        n_planes: number of planes.
        channels: names of the channels.
        shape: (H, W) of the frames; empty if none can be read.
        dtype: of the pixels.
        metadata: values that the files tell, by the field of the manifest in dotted form.
        problems: why the recording cannot be used as it is.
        notes: what the user should know.
    """

    format: str
    n_files: int
    n_frames: int
    n_planes: int = 1
    channels: tuple[str, ...] = ("1",)
    shape: tuple[int, ...] = ()
    dtype: str = ""
    metadata: Mapping[str, Told] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, raw: RawRecording) -> "Inspection":
        """Summarizes what a reader has found.

        Args:
            raw: the recording.

        Returns:
            The summary, with values that YAML and JSON can hold.
        """
        told = {name: Told(_plain(one.value), one.source) for name, one in raw.metadata.items()}
        shape, dtype = (tuple(map(int, raw.shape)), str(raw.dtype)) if raw.n_frames else ((), "")
        sizes = len(raw.files), raw.n_frames, raw.n_planes
        return cls(raw.format, *sizes, raw.channels, shape, dtype, told, raw.problems, raw.notes)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Inspection":
        """Restores a summary.

        Args:
            values: as `dataclasses.asdict` gives them, after JSON has made lists of tuples.

        Returns:
            The summary.
        """
        restored: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
        }
        restored["metadata"] = {name: Told(**told) for name, told in values["metadata"].items()}
        return cls(**restored)

    @property
    def summary(self) -> str:
        """Number and size of the frames and their dtype, for the user."""
        if not self.n_frames:
            return "no readable frames"
        several = [f"{self.n_planes} planes"] * (self.n_planes > 1)
        several += [f"{len(self.channels)} channels"] * (len(self.channels) > 1)
        size = f"{self.n_frames} frames of {' x '.join(map(str, self.shape))} px"
        files = f"in {self.n_files} file{'s' * (self.n_files != 1)}"
        return ", ".join([size, *several, self.dtype, files])


def _plain(value: Any) -> Any:
    """A value as YAML and JSON hold it: numbers, texts, lists; times in ISO 8601."""
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value if isinstance(value, bool | int | float | str | None) else str(value)


@dataclass(frozen=True)
class Found:
    """A recording in a folder.

    Attributes:
        path: folder or file.
        inspection: what its files are and tell.
        files: patterns of its files, if not all files of the folder belong to it.
        exclude: patterns of files that do not belong to it.
    """

    path: Path
    inspection: Inspection
    files: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


class ScanCache:
    """Keeps what was found in folders whose files have not changed since."""

    def __init__(self, path: Path | None, *, reread: bool = False) -> None:
        """Reads what was kept.

        Args:
            path: JSON file, which need not exist; a damaged one is ignored. None keeps nothing.
            reread: whether to read all headers again, and to replace what was kept.
        """
        self._path = path
        self._known: dict[str, Any] = {}
        self._new: dict[str, Any] = {}
        if path is not None and path.is_file() and not reread:
            try:
                kept = json.loads(path.read_text(encoding="utf-8"))
                self._known = kept["folders"] if kept["version"] == _VERSION else {}
            except (ValueError, KeyError, TypeError):
                self._known = {}

    def find(self, folder: Path, option: str, search: Callable[[], list[Found]]) -> list[Found]:
        """Gives what was found in a folder, and searches it only if its files have changed.

        Args:
            folder: the folder.
            option: option of the search that its result depends on.
            search: finds the recordings in the folder.

        Returns:
            The recordings.
        """
        key = f"{folder.resolve()}|{option}"
        digest = _digest(folder)
        kept = self._known.get(key)
        if kept and kept["digest"] == digest:
            return [_from_json(folder, values) for values in kept["found"]]
        found = search()
        kept = [{**asdict(one), "path": one.path.relative_to(folder).as_posix()} for one in found]
        self._new[key] = {"digest": digest, "found": kept}
        return found

    def save(self) -> None:
        """Writes what was found, if anything is new."""
        if self._path is not None and self._new:
            self._known |= self._new
            with replacing(self._path) as temporary:
                temporary.write_text(json.dumps({"version": _VERSION, "folders": self._known}), encoding="utf-8")


def _from_json(folder: Path, values: Mapping[str, Any]) -> Found:
    inspection = Inspection.from_json(values["inspection"])
    return Found(folder / values["path"], inspection, tuple(values["files"]), tuple(values["exclude"]))


def _digest(folder: Path) -> str:
    """Identity of the files of a folder: their names, sizes and times of modification."""
    with os.scandir(folder) as entries:
        states = [(entry.name, entry.stat(follow_symlinks=Path(entry.path).exists())) for entry in entries]
    lines = sorted(f"{name}/{state.st_size}/{state.st_mtime_ns}" for name, state in states)
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()
