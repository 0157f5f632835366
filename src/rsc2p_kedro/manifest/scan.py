"""Finds recordings on disk and adds them to the manifest, without changing a byte of what stands there.

A folder of TIFFs is a recording, and so is each stack in a folder of stacks with unlike names. Names of animal and
session come from the path below the folder that is searched: `Animal_1/day_7` is session `day_7` of animal `animal_1`,
`Animal_1` alone its `session_1`.
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
from rsc2p_kedro.datasets.tiff_frames import RecordingFiles, inspect_recording, tiffs_in

_ENTRY = """\
path: {path}  # {facts}
frame_rate_hz:         # needed: frames per second
pixel_size_um:         # size of a pixel in um, [y, x]
decay_time_s: 0.4      # of the indicator; 0.4 for GCaMP6f
subject:
  species:             # in Latin, such as Mus musculus
  sex:                 # M, F, O (other) or U (unknown)
  age:                 # at the session: P90D is 90 days, P12W 12 weeks
session:
  session_start_time:  # with the offset from UTC: 2019-05-06T10:30:00+02:00
"""

_EMPTY = re.compile(r"^(recordings:)[ \t]*(?:\{[ \t]*\}|null|~)((?:[ \t]+#[^\r\n]*)?[ \t]*\r?)$", re.MULTILINE)


class ScanError(ValueError):
    """A folder cannot be searched or a manifest not be extended. The message says why and what to do."""


@dataclass(frozen=True)
class FoundRecording:
    """A recording on disk.

    Attributes:
        animal: key for the manifest.
        session: key for the manifest.
        path: the folder or the TIFF.
        files: what its headers say.
    """

    animal: str
    session: str
    path: Path
    files: RecordingFiles

    @property
    def name(self) -> str:
        return f"{self.animal}.{self.session}"

    @property
    def facts(self) -> str:
        """Frames, size and kind of pixels, in words."""
        if not self.files.n_frames:
            return "no frame can be read"
        number = len(self.files.files)
        size = " x ".join(map(str, self.files.shape))
        return f"{self.files.n_frames} frames of {size} px, {self.files.dtype}, in {number} file{'s' * (number > 1)}"


def find_recordings(
    root: Path, *, pattern: str | None = None, animal: str | None = None, each_file: bool = False
) -> list[FoundRecording]:
    """All recordings at or below a folder, in natural order.

    Args:
        root: a folder, or one TIFF.
        pattern: where the names stand in the path below `root`, such as `{animal}/2p/{session}`; `*` stands for
            anything but `/`. Recordings that do not fit are left out. None: the first level is the animal, all others
            the session.
        animal: the animal that all recordings are of; levels of the path then name the session.
        each_file: take each stack for a recording of its own. Otherwise stacks in one folder whose names differ in
            numbers alone are parts of one recording.

    Raises:
        ScanError: `root` is not there, or the pattern names neither animal nor session.
    """
    if not root.exists():
        raise ScanError(f"There is nothing at {root}: give the folder that holds your TIFFs.")
    fits = _pattern(pattern) if pattern else None
    found = []
    for path in _candidates(root, each_file):
        names = _names(path, root, fits, animal)
        if names:
            keys = manifest_key(names[0]), manifest_key(names[1])
            found.append(FoundRecording(*keys, path, inspect_recording(path)))
    return found


def manifest_key(name: str) -> str:
    """A name of a folder as a key of the manifest: lower case, letters, digits, `_` and `-`."""
    return re.sub(r"[^a-z0-9_-]+", "_", name.lower()).strip("_-") or "recording"


def _candidates(root: Path, each_file: bool) -> list[Path]:
    if root.is_file():
        return [root]
    found: list[Path] = []
    for folder, inside, _ in os.walk(root):
        inside[:] = natsorted(name for name in inside if not name.startswith(".") and not name.endswith(".zarr"))
        found += _in_folder(Path(folder), Path(folder) == root, each_file)
    return found


def _in_folder(folder: Path, is_root: bool, each_file: bool) -> list[Path]:
    """The recordings that the TIFFs of one folder make up: all together, or each its own."""
    files = tiffs_in(folder)
    alone = len(files) == 1
    patterns = {re.sub(r"\d+", "#", file.name) for file in files}
    if files and (each_file or len(patterns) > 1 or (alone and is_root)) and _all_stacks(files):
        return files
    return [folder] if files else []


def _all_stacks(files: list[Path]) -> bool:
    return all(inspect_recording(file).n_frames > 1 for file in files)


def _pattern(pattern: str) -> re.Pattern[str]:
    if "{animal}" not in pattern and "{session}" not in pattern:
        raise ScanError(
            f"The pattern '{pattern}' names neither {{animal}} nor {{session}}, as in '{{animal}}/{{session}}'."
        )
    text = re.escape(pattern.strip("/")).replace(r"\*", "[^/]*")
    return re.compile(re.sub(r"\\\{(animal|session)\\\}", r"(?P<\1>[^/]+)", text))


def _names(path: Path, root: Path, fits: re.Pattern[str] | None, animal: str | None) -> tuple[str, str] | None:
    """Names of animal and session from a path, or none where it does not fit the pattern."""
    place = path if path.is_dir() else path.with_suffix("")
    parts = place.relative_to(root).parts if path != root else ()
    names: dict[str, str] = {}
    if fits:
        match = fits.fullmatch("/".join(parts))
        if not match:
            return None
        names = match.groupdict()
    elif animal is None and parts:
        names, parts = {"animal": parts[0]}, parts[1:]
    session = names.get("session") or ("_".join(parts) if parts and not fits else "session_1")
    top = root.resolve()
    return animal or names.get("animal") or (top.name if top.is_dir() else top.stem), session


def new_recordings(
    found: Iterable[FoundRecording], manifest: Mapping[str, Mapping[str, Any]], project: Path
) -> list[FoundRecording]:
    """Those that the manifest does not hold yet, under keys that it does not hold yet.

    Args:
        found: recordings on disk.
        manifest: {animal: {session: facts}}; what has a `path` is known.
        project: the folder that relative paths start from.
    """
    known = {(project / str(facts["path"])).resolve() for facts in _all_facts(manifest) if facts.get("path")}
    taken = {(animal, session) for animal, sessions in manifest.items() for session in sessions or {}}
    new = []
    for recording in found:
        if recording.path.resolve() not in known:
            free = _free_key(recording, taken)
            taken.add((recording.animal, free))
            new.append(replace(recording, session=free))
    return new


def _all_facts(manifest: Mapping[str, Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [
        facts for sessions in manifest.values() for facts in (sessions or {}).values() if isinstance(facts, Mapping)
    ]


def _free_key(recording: FoundRecording, taken: set[tuple[str, str]]) -> str:
    session, number = recording.session, 2
    while (recording.animal, session) in taken:
        session, number = f"{recording.session}_{number}", number + 1
    return session


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest that a file holds, unchecked; empty where there is no file.

    Raises:
        ScanError: the file is no YAML, or `recordings` not two levels of mappings.
    """
    return _plain(_parse(_text(path), path))


def extend_manifest(path: Path, recordings: Iterable[FoundRecording], project: Path) -> str:
    """Adds recordings to the file of the manifest, each with comments on what to fill in.

    Lines are only ever put between those that are there; none of them is changed, except an empty `recordings: {}`. The
    file is replaced as a whole or not at all.

    Args:
        path: the file; made where there is none.
        recordings: what to add, see :func:`new_recordings`.
        project: the folder that paths are written relative to, where they lie in it.

    Returns:
        The new text of the file.

    Raises:
        ScanError: the file is no YAML, or written so that nothing can be put between its lines.
    """
    before = _text(path)
    added = list(recordings)
    known = _plain(_parse(before, path))
    text = _extended(before, added, project, path)
    if text is None or not _holds(text, path, known, added):
        raise ScanError(
            f"{path} is written in a way that nothing can be put between its lines (in braces, say). Write its animals "
            "and sessions as indented blocks, or keep them in another file, then scan again."
        )
    if added:
        with replacing(path) as temporary:
            temporary.write_bytes(text.encode("utf-8"))
    return text


def _extended(text: str, added: list[FoundRecording], project: Path, path: Path) -> str | None:
    """The text with all new recordings, or none where it stops being YAML."""
    try:
        for recording in added:
            text = _insert(text, recording, project, path)
    except ScanError:
        return None
    return text


def _holds(text: str, path: Path, known: dict[str, Any], added: list[FoundRecording]) -> bool:
    """Whether a text says all that it should: what it said before, and what is new."""
    try:
        manifest = _plain(_parse(text, path))
    except ScanError:
        return False
    kept = all(manifest.get(animal, {}).get(key) == facts for animal in known for key, facts in known[animal].items())
    return kept and all(recording.session in manifest.get(recording.animal, {}) for recording in added)


def _text(path: Path) -> str:
    return path.read_bytes().decode("utf-8") if path.exists() else ""


def _parse(text: str, path: Path) -> CommentedMap:
    """`recordings` of a text of YAML, with the places of its keys."""
    try:
        document = YAML().load(io.StringIO(text))
    except Exception as error:
        raise ScanError(f"{path} is no valid YAML, mend it first: {error}") from error
    manifest = document.get("recordings") if isinstance(document, Mapping) else document
    sound = manifest is None or (
        isinstance(manifest, CommentedMap) and all(v is None or isinstance(v, CommentedMap) for v in manifest.values())
    )
    if not sound:
        raise ScanError(f"`recordings` in {path} should map animals to sessions to facts; mend it first.")
    return CommentedMap() if manifest is None else manifest


def _plain(manifest: Mapping[str, Any]) -> dict[str, Any]:
    return {
        str(animal): {str(s): facts for s, facts in (sessions or {}).items()} for animal, sessions in manifest.items()
    }


def _insert(text: str, recording: FoundRecording, project: Path, path: Path) -> str:
    """The text with one more recording, at the end of its animal or, for a new animal, of the manifest."""
    manifest = _parse(text, path)
    newline = "\r\n" if "\r\n" in text else "\n"
    text = _EMPTY.sub(r"\1\2", text)
    if not re.search(r"^recordings:", text, re.MULTILINE):
        text = _ended(text, newline) + f"recordings:{newline}"
    lines = re.findall(r"[^\n]*\n|[^\n]+", _ended(text, newline))
    column = manifest.lc.col if manifest else 2
    if recording.animal in manifest:
        sessions = manifest[recording.animal]
        start, inner, block = manifest.lc.key(recording.animal)[0], sessions.lc.col if sessions else column + 2, []
    else:
        start = next(number for number, line in enumerate(lines) if line.startswith("recordings:"))
        inner, block = column + 2, [f"{' ' * column}{_key(recording.animal)}:"]
    block += [f"{' ' * inner}{_key(recording.session)}:", *_entry(recording, project, inner + 2)]
    end = _end_of_block(lines, start)
    return "".join([*lines[:end], *(line + newline for line in block), *lines[end:]])


def _ended(text: str, newline: str) -> str:
    """The text with an end to its last line."""
    return text if not text or text.endswith("\n") else text + newline


def _key(key: str) -> str:
    """A key in quotes where YAML would take it for a number or a truth value."""
    return yaml.safe_dump(key).splitlines()[0]


def _entry(recording: FoundRecording, project: Path, indent: int) -> list[str]:
    place = recording.path.resolve()
    shown = place.relative_to(project.resolve()) if place.is_relative_to(project.resolve()) else place
    path = yaml.safe_dump(shown.as_posix(), width=10_000, allow_unicode=True).splitlines()[0]
    return [" " * indent + line for line in _ENTRY.format(path=path, facts=recording.facts).splitlines()]


def _end_of_block(lines: list[str], start: int) -> int:
    """The line after the last one that belongs to the key at line `start`."""
    column = _indent(lines[start])
    end = start + 1
    for number in range(start + 1, len(lines)):
        stripped = lines[number].strip()
        if stripped and _indent(lines[number]) > column:
            end = number + 1
        elif stripped and not stripped.startswith("#"):
            break
    return end


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))
