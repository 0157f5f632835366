"""Search for recordings on disk, and their addition to the manifest without a change of its existing lines.

A folder of TIFFs is one recording. In a folder of stacks whose names differ in more than numbers, each stack is a
recording. So is a folder of ThorImage, and each file of another format of raw data. Animal and session are named for
the path below the folder that is searched: `Animal_1/day_7` is session `day_7` of animal `animal_1`, and `Animal_1`
without a further folder is its `session_1`.
"""

import io
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from natsort import natsorted
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from rsc2p_kedro.datasets.atomic import replacing
from rsc2p_kedro.datasets.raw import RawRecording, inspect_recording
from rsc2p_kedro.datasets.raw.formats import recordings_in
from rsc2p_kedro.datasets.raw.tiff import tiffs_in

_ENTRY = """\
path: {path}  # {summary}
frame_rate_hz:         # required: frames per second
pixel_size_um:         # size of a pixel in um, [y, x]
decay_time_s: 0.4      # of the indicator; 0.4 for GCaMP6f
subject:
  species:             # in Latin, such as Mus musculus
  sex:                 # M, F, O (other) or U (unknown)
  age:                 # at the session: P90D is 90 days, P12W 12 weeks
session:
  session_start_time:  # with the offset from UTC: 2019-05-06T10:30:00+02:00
"""
"""Entry of a recording in the manifest; the user fills in the empty fields."""

_EMPTY_MANIFEST = re.compile(r"^(recordings:)[ \t]*(?:\{[ \t]*\}|null|~)((?:[ \t]+#[^\r\n]*)?[ \t]*\r?)$", re.MULTILINE)
"""`recordings:` with an empty value (`{}`, `null` or `~`), in which no indented block can follow; keeps its comment."""


class ScanError(ValueError):
    """A folder cannot be searched, or a manifest cannot be extended. The message says why and what to do."""


@dataclass(frozen=True)
class RecordingOnDisk:
    """A recording that was detected on disk.

    Attributes:
        animal: key of the animal in the manifest.
        session: key of the session in the manifest.
        path: folder or TIFF.
        files: its TIFFs, from their headers.
    """

    animal: str
    session: str
    path: Path
    files: RawRecording

    @property
    def name(self) -> str:
        """Name of the recording in the manifest: `animal.session`."""
        return f"{self.animal}.{self.session}"

    @property
    def summary(self) -> str:
        """Number and size of the frames and their dtype, for the user."""
        if not self.files.n_frames:
            return "no readable frames"
        n_files = len(self.files.files)
        size = " x ".join(map(str, self.files.shape))
        return f"{self.files.n_frames} frames of {size} px, {self.files.dtype}, in {n_files} file{'s' * (n_files > 1)}"


def find_recordings(
    root: Path, *, pattern: str | None = None, animal: str | None = None, each_file: bool = False
) -> list[RecordingOnDisk]:
    """Finds all recordings in a folder and its subfolders.

    Args:
        root: a folder, or one TIFF.
        pattern: position of the names in the path below `root`, such as `{animal}/2p/{session}`; `*` stands for any
            characters but `/`. Recordings that do not match are left out. None takes the first level as the animal and
            the others as the session.
        animal: name of the animal of all recordings; all levels of the path then name the session.
        each_file: whether each stack is a recording. If not, stacks in one folder whose names differ in numbers only
            are parts of one recording.

    Returns:
        The recordings in natural order. Hidden folders and zarr stores are skipped.

    Raises:
        ScanError: `root` does not exist, or the pattern contains neither `{animal}` nor `{session}`.
    """
    if not root.exists():
        raise ScanError(f"There is no file or folder {root}: give the folder that contains your TIFFs.")
    expression = _pattern(pattern) if pattern else None
    recordings = []
    for path in _recording_paths(root, each_file):
        names = _names(path, root, expression, animal)
        if names:
            keys = manifest_key(names[0]), manifest_key(names[1])
            recordings.append(RecordingOnDisk(*keys, path, inspect_recording(path)))
    return recordings


def manifest_key(name: str) -> str:
    """Converts the name of a folder or file to a key of the manifest.

    Args:
        name: any text.

    Returns:
        The name in lower case, with `_` for everything but letters a to z, digits, `_` and `-`; `recording` if nothing
        remains.
    """
    return re.sub(r"[^a-z0-9_-]+", "_", name.lower()).strip("_-") or "recording"


def _recording_paths(root: Path, each_file: bool) -> list[Path]:
    """Paths of all recordings below a folder: folders of TIFFs, or single stacks."""
    if root.is_file():
        return [root]
    paths: list[Path] = []
    for name, subfolders, _ in os.walk(root):
        subfolders[:] = natsorted(sub for sub in subfolders if not sub.startswith(".") and not sub.endswith(".zarr"))
        folder = Path(name)
        others = recordings_in(folder)
        paths += others
        files = [] if others == [folder] else tiffs_in(folder)
        names_without_numbers = {re.sub(r"\d+", "#", file.name) for file in files}
        single_file = len(files) == 1 and folder == root
        may_be_stacks = each_file or len(names_without_numbers) > 1 or single_file
        if may_be_stacks and all(inspect_recording(file).n_frames > 1 for file in files):
            paths += files
        elif files:
            paths.append(folder)
    return paths


def _pattern(pattern: str) -> re.Pattern[str]:
    """Regular expression of a pattern, with groups for animal and session.

    Raises:
        ScanError: the pattern contains neither.
    """
    if "{animal}" not in pattern and "{session}" not in pattern:
        raise ScanError(
            f"The pattern '{pattern}' contains neither {{animal}} nor {{session}}; write, for example, "
            "'{animal}/{session}'."
        )
    text = re.escape(pattern.strip("/")).replace(r"\*", "[^/]*")
    return re.compile(re.sub(r"\\\{(animal|session)\\\}", r"(?P<\1>[^/]+)", text))


def _names(path: Path, root: Path, expression: re.Pattern[str] | None, animal: str | None) -> tuple[str, str] | None:
    """Names of animal and session from a path; None if it does not match the expression."""
    named_path = path if path.is_dir() else path.with_suffix("")
    parts = named_path.relative_to(root).parts if path != root else ()
    names: dict[str, str] = {}
    if expression:
        match = expression.fullmatch("/".join(parts))
        if not match:
            return None
        names = match.groupdict()
    elif animal is None and parts:
        names, parts = {"animal": parts[0]}, parts[1:]
    session = names.get("session") or ("_".join(parts) if parts and not expression else "session_1")
    top = root.resolve()
    return animal or names.get("animal") or (top.name if top.is_dir() else top.stem), session


def new_recordings(
    recordings: Iterable[RecordingOnDisk], manifest: Mapping[str, Mapping[str, Any]], project: Path
) -> list[RecordingOnDisk]:
    """Selects the recordings that the manifest does not contain yet.

    Args:
        recordings: recordings on disk.
        manifest: {animal: {session: entry}}; a recording is known if the `path` of an entry is its path.
        project: folder that relative paths of the manifest start from.

    Returns:
        The new recordings. A session whose key is taken gets a number: `day_7_2`.
    """
    known, taken = set(), set()
    for animal, sessions in manifest.items():
        for session, entry in (sessions or {}).items():
            taken.add((animal, session))
            if isinstance(entry, Mapping) and entry.get("path"):
                known.add((project / str(entry["path"])).resolve())
    new = []
    for recording in recordings:
        if recording.path.resolve() not in known:
            session, number = recording.session, 2
            while (recording.animal, session) in taken:
                session, number = f"{recording.session}_{number}", number + 1
            taken.add((recording.animal, session))
            new.append(replace(recording, session=session))
    return new


def read_manifest(path: Path) -> dict[str, Any]:
    """Reads the recordings of a manifest file without validating them.

    Args:
        path: YAML file with the key `recordings`, or with the animals only.

    Returns:
        {animal: {session: entry}} with keys of text; empty if the file does not exist.

    Raises:
        ScanError: the file is not valid YAML, or `recordings` is not a mapping of animals to mappings of sessions.
    """
    return _plain(_parse(_read_text(path), path))


def extend_manifest(path: Path, recordings: Iterable[RecordingOnDisk], project: Path) -> str:
    """Adds recordings to a manifest file, with comments on the fields that the user has to fill in.

    New lines are inserted between the existing ones, none of which is changed, except an empty `recordings: {}`. The
    file is replaced as a whole or not at all.

    Args:
        path: the file; created if it does not exist.
        recordings: recordings to add, see :func:`new_recordings`.
        project: folder of the project; paths inside it are written relative to it.

    Returns:
        The new text of the file.

    Raises:
        ScanError: the file is not valid YAML, or its layout (such as braces) has no place for new lines.
    """
    before, added = _read_text(path), list(recordings)
    known = _plain(_parse(before, path))
    text = before
    try:
        for recording in added:
            text = _insert(text, recording, project, path)
        complete = _is_complete(_plain(_parse(text, path)), known, added)
    except ScanError:  # the inserted lines do not fit the layout of the file
        complete = False
    if not complete:
        raise ScanError(
            f"New lines cannot be inserted into {path}, because of its layout (braces, for example). Write animals and "
            "sessions as indented blocks, or keep them in another file, then scan again."
        )
    if added:
        with replacing(path) as temporary:
            temporary.write_bytes(text.encode("utf-8"))
    return text


def _is_complete(manifest: dict[str, Any], known: dict[str, Any], added: list[RecordingOnDisk]) -> bool:
    """Whether a manifest contains all entries known before, unchanged, and those added."""
    kept = all(manifest.get(animal, {}).get(key) == entry for animal in known for key, entry in known[animal].items())
    return kept and all(recording.session in manifest.get(recording.animal, {}) for recording in added)


def _read_text(path: Path) -> str:
    """Text of a file with its line ends; empty if it does not exist."""
    return path.read_bytes().decode("utf-8") if path.exists() else ""


def _parse(text: str, path: Path) -> CommentedMap:
    """`recordings` of a YAML text, with the positions of its keys.

    Raises:
        ScanError: the text is not valid YAML, or `recordings` is not a mapping of mappings.
    """
    try:
        document = YAML().load(io.StringIO(text))
    except Exception as error:
        raise ScanError(f"{path} is not valid YAML; correct it first: {error}") from error
    manifest = document.get("recordings") if isinstance(document, Mapping) else document
    if manifest is None:
        return CommentedMap()
    if not isinstance(manifest, CommentedMap) or any(
        sessions is not None and not isinstance(sessions, CommentedMap) for sessions in manifest.values()
    ):
        raise ScanError(f"`recordings` in {path} should map animals to sessions, and these to their entries.")
    return manifest


def _plain(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """{animal: {session: entry}} with keys of text."""
    return {
        str(animal): {str(key): entry for key, entry in (sessions or {}).items()}
        for animal, sessions in manifest.items()
    }


def _insert(text: str, recording: RecordingOnDisk, project: Path, path: Path) -> str:
    """The text with one more recording, at the end of its animal or, for a new animal, of the manifest."""
    manifest = _parse(text, path)
    newline = "\r\n" if "\r\n" in text else "\n"
    text = _EMPTY_MANIFEST.sub(r"\1\2", text)
    if text and not text.endswith("\n"):
        text += newline
    if not re.search(r"^recordings:", text, re.MULTILINE):
        text += f"recordings:{newline}"
    lines = re.findall(r"[^\n]*\n", text)  # not splitlines, which splits at other characters as well
    column = manifest.lc.col if manifest else 2
    if recording.animal in manifest:
        sessions = manifest[recording.animal]
        start, inner, block = manifest.lc.key(recording.animal)[0], sessions.lc.col if sessions else column + 2, []
    else:
        start = next(number for number, line in enumerate(lines) if line.startswith("recordings:"))
        inner, block = column + 2, [f"{' ' * column}{_yaml_scalar(recording.animal)}:"]
    block += [f"{' ' * inner}{_yaml_scalar(recording.session)}:", *_entry(recording, project, inner + 2)]
    end = _end_of_block(lines, start)
    return "".join([*lines[:end], *(line + newline for line in block), *lines[end:]])


def _yaml_scalar(text: str) -> str:
    """A text as YAML on one line, in quotes where YAML would read it as a number or a truth value."""
    return yaml.safe_dump(text, width=10_000, allow_unicode=True).splitlines()[0]


def _entry(recording: RecordingOnDisk, project: Path, indent: int) -> list[str]:
    """Lines of the entry of a recording."""
    path, root = recording.path.resolve(), project.resolve()
    shown = path.relative_to(root) if path.is_relative_to(root) else path
    entry = _ENTRY.format(path=_yaml_scalar(shown.as_posix()), summary=recording.summary)
    return [" " * indent + line for line in entry.splitlines()]


def _end_of_block(lines: list[str], start: int) -> int:
    """The line after the last one that belongs to the key at line `start`."""

    def indent(line: str) -> int:
        return len(line) - len(line.lstrip(" "))

    end = start + 1
    for number in range(start + 1, len(lines)):
        stripped = lines[number].strip()
        if stripped and indent(lines[number]) > indent(lines[start]):
            end = number + 1
        elif stripped and not stripped.startswith("#"):
            break
    return end
