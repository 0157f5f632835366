"""The file of the manifest: recordings are added without a change of its existing lines.

Each value that a scan fills in carries a comment with where it was read. What only the user knows is left empty, once
for all recordings, once for each animal and once for each session, as far as it differs between them.
"""

import io
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from rsc2p_kedro.datasets.atomic import replacing
from rsc2p_kedro.datasets.raw import Told
from rsc2p_kedro.manifest.defaults import DEFAULTS
from rsc2p_kedro.manifest.inspection import Inspection
from rsc2p_kedro.manifest.recordings import Recording
from rsc2p_kedro.manifest.scan import RecordingOnDisk, ScanError
from rsc2p_kedro.nwb.metadata_checks import MEANINGS, OF_ANIMAL, OF_SESSION, STRUCTURAL

Fields = Mapping[str, Told]
"""Fields of an entry in dotted form, with values and comments. A value of None is left empty for the user."""

_EMPTY_MANIFEST = re.compile(r"^(recordings:)[ \t]*(?:\{[ \t]*\}|null|~)((?:[ \t]+#[^\r\n]*)?[ \t]*\r?)$", re.MULTILINE)
"""`recordings:` with an empty value (`{}`, `null` or `~`), in which no indented block can follow; keeps its comment."""

_OF_ALL: Fields = {
    "frame_rate_hz": Told(None, "frames per second"),
    "pixel_size_um": Told(None, "size of a pixel in um, [y, x]"),
    "decay_time_s": Told(0.4, "of the indicator; 0.4 for GCaMP6f"),
    **{
        path: Told(None, text)
        for path, text in MEANINGS.items()
        if path not in (*OF_ANIMAL, *OF_SESSION, *STRUCTURAL, "frame_rate_hz")
    },
}
"""Fields that are left for the user to fill in for all recordings."""

_OF_ANIMAL: Fields = {
    "subject.sex": Told(None, MEANINGS["subject.sex"]),
    "subject.date_of_birth": Told(None, "such as 2019-02-01; or instead the age at the session, age: P90D"),
}
"""Fields that are left for the user to fill in for each animal."""

START = "session.session_start_time"

_WIDE = 40
"""Characters of a field and its value up to which comments are aligned."""


def read_manifest(path: Path) -> dict[str, Any]:
    """Reads the recordings of a manifest file without validating them.

    Args:
        path: YAML file with the key `recordings`, or with the animals only.

    Returns:
        {animal: {session: entry}} with keys of text, without defaults; empty if the file does not exist.

    Raises:
        ScanError: the file is not valid YAML, or `recordings` is not a mapping of animals to mappings of sessions.
    """
    return _plain(parse_manifest_text(read_text(path), path))


def extend_manifest(
    path: Path, recordings: Iterable[RecordingOnDisk], project: Path, known: Collection[str] = ()
) -> str:
    """Adds recordings to a manifest file, with comments on the fields that the user has to fill in.

    New lines are inserted between the existing ones, none of which is changed, except an empty `recordings: {}`. The
    file is replaced as a whole or not at all. A manifest without recordings gets defaults of all of them, a new animal
    its own.

    Args:
        path: the file; created if it does not exist.
        recordings: recordings to add, see :func:`~rsc2p_kedro.manifest.scan.new_recordings`.
        project: folder of the project; paths inside it are written relative to it.
        known: fields that need not be asked for, as they are given for all recordings elsewhere.

    Returns:
        The new text of the file.

    Raises:
        ScanError: the file is not valid YAML, or its layout (such as braces) has no place for new lines.
    """
    added = list(recordings)
    text = extended_text(read_text(path), added, project, path, known)
    if added:
        write_text(path, text)
    return text


def extended_text(
    before: str, added: Sequence[RecordingOnDisk], project: Path, path: Path, known: Collection[str] = ()
) -> str:
    """Adds recordings to the text of a manifest, as :func:`extend_manifest` does to a file.

    Args:
        before: the text.
        added: recordings to add.
        project: folder of the project.
        path: the file, for messages.
        known: fields that need not be asked for.

    Returns:
        The new text.

    Raises:
        ScanError: the text is not valid YAML, or its layout has no place for new lines.
    """
    old = _plain(parse_manifest_text(before, path))
    try:
        text = _insert(before, added, project, path, known) if added else before
        complete = _is_complete(_plain(parse_manifest_text(text, path)), old, added)
    except ScanError:  # the inserted lines do not fit the layout of the file
        complete = False
    if not complete:
        raise ScanError(
            f"New lines cannot be inserted into {path}, because of its layout (braces, for example). Write animals and "
            "sessions as indented blocks, or keep them in another file, then scan again."
        )
    return text


def session_fields(recording: RecordingOnDisk, project: Path) -> Fields:
    """Fields of the entry of a recording, as a scan writes them.

    This is the one place that decides what becomes of the values that files and folders tell: each is written with its
    source. A value that the manifest would refuse (a start without offset from UTC, a date without a time, an unknown
    field) is only shown, in a comment, for the user to complete.

    Args:
        recording: found on disk.
        project: folder of the project; paths inside it are written relative to it.

    Returns:
        The fields in dotted form, `path` first and `session.session_start_time` last.
    """
    path, root = recording.path.resolve(), project.resolve()
    shown = path.relative_to(root) if path.is_relative_to(root) else path
    fields = {"path": Told(shown.as_posix(), recording.inspection.summary)}
    for name in ("files", "exclude"):
        patterns = getattr(recording, name)
        if patterns:
            fields[name] = Told(patterns[0] if len(patterns) == 1 else list(patterns), "relative to path")
    told = {name: _usable(name, one, recording.inspection.n_planes) for name, one in recording.told.items()}
    of_planes: Fields = {name: told[name] for name in ("flyback_frames", "plane_depths_um") if name in told}
    fields |= _planes_and_channels(recording.inspection, of_planes)
    fields |= {name: one for name, one in told.items() if name not in fields}
    start = fields.pop(START, Told(None, f"start of the session, {MEANINGS[START]}"))
    return {**fields, START: start}


def _planes_and_channels(found: Inspection, of_planes: Fields) -> Fields:
    """What is told of planes, and the fields in which the user says which channel is which, where there are several."""
    fields = dict[str, Told]()
    if found.n_planes > 1:
        fields["planes"] = Told(found.n_planes, f"as the files tell ({found.format})")
    fields |= of_planes
    if len(found.channels) > 1:
        named = f"{', '.join(found.channels[:-1])} or {found.channels[-1]}"
        fields["channels.functional"] = Told(None, f"the channel of the calcium indicator: {named}")
        fields["channels.structural"] = Told(None, "the channel of a structural marker, if there is one")
    return fields


def _usable(name: str, told: Told, n_planes: int = 1) -> Told:
    """What a file tells, or an empty field with a comment on what it tells if the manifest would refuse it."""
    entry: dict[str, Any] = {"path": "x", "frame_rate_hz": 1.0, "planes": n_planes}
    part, _, field = name.rpartition(".")
    entry |= {part: {field: told.value}} if part else {field: told.value}
    try:
        Recording.model_validate(entry)
    except ValidationError as error:
        unknown = any(detail["type"] == "extra_forbidden" for detail in error.errors())
        needed = f"{told.source}: {told.value}"
        if name == START:
            needed = f"{told.value} ({told.source}), to be completed: {MEANINGS[START]}"
        return Told(None, needed if not unknown else f"{needed} (not a field of the manifest)")
    return told


def field_lines(fields: Fields, indent: int) -> list[str]:
    """Writes fields as lines of YAML, each with its comment.

    Args:
        fields: in dotted form. Those of one part of an entry stand together, where the first of them stands.
        indent: number of blanks before each line.

    Returns:
        The lines.
    """
    parts: dict[str, list[tuple[str, str]]] = {}
    for name, told in fields.items():
        part, _, field = name.rpartition(".")
        value = "" if told.value is None else f" {yaml_inline(told.value)}"
        parts.setdefault(part or name, []).append(
            (f"{'  ' * bool(part)}{field}:{value}", " ".join(told.source.split()))
        )
    lines: list[tuple[str, str]] = []
    for part, own in parts.items():
        lines += own if own[0][0][0] != " " else [(f"{part}:", ""), *own]
    width = max((len(line) for line, comment in lines if comment and len(line) <= _WIDE), default=0)
    return [" " * indent + (f"{line:<{width}}  # {comment}" if comment else line) for line, comment in lines]


def yaml_inline(value: Any) -> str:
    """Writes a value as YAML on one line, in quotes where YAML would read a text as something else.

    Args:
        value: text, number, truth value, list, or mapping.

    Returns:
        The text.
    """
    return yaml.safe_dump(value, width=10_000, allow_unicode=True, default_flow_style=True).splitlines()[0]


def read_text(path: Path) -> str:
    """Reads the text of a file with its line ends.

    Args:
        path: the file.

    Returns:
        The text; empty if the file does not exist.
    """
    return path.read_bytes().decode("utf-8") if path.exists() else ""


def write_text(path: Path, text: str) -> None:
    """Replaces a file as a whole, keeping the line ends of the text.

    Args:
        path: the file.
        text: its new content.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(text.encode("utf-8"))


def parse_manifest_text(text: str, path: Path) -> CommentedMap:
    """Parses `recordings` of a YAML text, with the positions of its keys.

    Args:
        text: the content of a file.
        path: its path, for messages.

    Returns:
        The mapping of animals, with `defaults` where it has them.

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
    """{animal: {session: entry}} with keys of text, without defaults."""
    return {
        str(animal): {str(key): entry for key, entry in (sessions or {}).items() if key != DEFAULTS}
        for animal, sessions in manifest.items()
        if animal != DEFAULTS
    }


def _is_complete(manifest: dict[str, Any], known: dict[str, Any], added: Sequence[RecordingOnDisk]) -> bool:
    """Whether a manifest contains all entries known before, unchanged, and those added."""
    kept = all(manifest.get(animal, {}).get(key) == entry for animal in known for key, entry in known[animal].items())
    return kept and all(recording.session in manifest.get(recording.animal, {}) for recording in added)


def _insert(text: str, added: Sequence[RecordingOnDisk], project: Path, path: Path, known: Collection[str]) -> str:
    """The text with more recordings, at the end of their animals or, for new animals, of the manifest."""
    manifest = parse_manifest_text(text, path)
    newline = "\r\n" if "\r\n" in text else "\n"
    text = _EMPTY_MANIFEST.sub(r"\1\2", text)
    if text and not text.endswith("\n"):
        text += newline
    if not re.search(r"^recordings:", text, re.MULTILINE):
        text += f"recordings:{newline}"
    lines = re.findall(r"[^\n]*\n", text)  # not splitlines, which splits at other characters as well
    top = next(number for number, line in enumerate(lines) if line.startswith("recordings:"))
    column = manifest.lc.col if manifest else 2
    by_animal: dict[str, list[RecordingOnDisk]] = {}
    for recording in added:
        by_animal.setdefault(recording.animal, []).append(recording)
    blocks: list[tuple[int, bool, list[str]]] = []  # where, whether it begins a new animal, lines
    if not manifest:
        fields = _left_for_all(added, known)
        head = " " * column + f"{DEFAULTS}:  # true of all recordings, unless an animal or a session says otherwise"
        blocks.append((top + 1, False, [head, *field_lines(fields, column + 2)]))
    for animal, recordings in by_animal.items():
        place, inner, block = _end_of_block(lines, top), column + 2, list[str]()
        if animal in manifest:
            sessions = manifest[animal]
            place = _end_of_block(lines, manifest.lc.key(animal)[0])
            inner = sessions.lc.col if sessions else inner
        else:
            block = [f"{' ' * column}{yaml_inline(animal)}:", *_animal_defaults(recordings, inner)]
        for recording in recordings:
            block += [f"{' ' * inner}{yaml_inline(recording.session)}:"]
            block += field_lines(session_fields(recording, project), inner + 2)
        blocks.append((place, animal not in manifest, block))
    for place, _, block in sorted(blocks, key=lambda item: item[:2])[::-1]:  # from below, so that places stay true
        lines[place:place] = [line + newline for line in block]
    return "".join(lines)


def _left_for_all(added: Iterable[RecordingOnDisk], known: Collection[str]) -> Fields:
    """Fields that the user fills in once for all recordings: not those that are known or that all files tell."""
    told = [
        {name for name, one in recording.told.items() if _usable(name, one).value is not None} for recording in added
    ]
    given = {*known, *set.intersection(*told)}
    return {name: field for name, field in _OF_ALL.items() if name not in given}


def _animal_defaults(recordings: Sequence[RecordingOnDisk], indent: int) -> list[str]:
    """Lines of the defaults of a new animal: what the names of its folders tell, and what the user knows."""
    told = {name: one for recording in recordings for name, one in recording.of_animal.items()}
    fields = {**told, **{name: field for name, field in _OF_ANIMAL.items() if name not in told}}
    head = " " * indent + f"{DEFAULTS}:  # true of all sessions of this animal"
    return [head, *field_lines(fields, indent + 2)]


def _end_of_block(lines: Sequence[str], start: int) -> int:
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
