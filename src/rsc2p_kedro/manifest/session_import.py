"""Entry of a table of sessions into the manifest, without a change of what it says already."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from rsc2p_kedro.core.parameters import did_you_mean
from rsc2p_kedro.core.problems import group_problems
from rsc2p_kedro.datasets.raw import inspect_recording
from rsc2p_kedro.manifest.defaults import with_defaults
from rsc2p_kedro.manifest.inspection import Inspection
from rsc2p_kedro.manifest.manifest_file import extended_text, parse_manifest_text, read_manifest, read_text
from rsc2p_kedro.manifest.naming import manifest_key
from rsc2p_kedro.manifest.scan import RecordingOnDisk
from rsc2p_kedro.manifest.session_table import Row, TableError, convert
from rsc2p_kedro.manifest.yaml_edit import Keys, LayoutError, set_values


@dataclass(frozen=True)
class Import:
    """What the import of a table changes.

    Attributes:
        text: new text of the manifest.
        added: names of the recordings that are new.
        written: names of the fields that are written, by the name of the recording.
        unchanged: number of values that the manifest has already.
    """

    text: str
    added: tuple[str, ...]
    written: Mapping[str, tuple[str, ...]]
    unchanged: int


def enter_sessions(table: Path, rows: Sequence[Row], manifest: Path, project: Path, *, overwrite: bool) -> Import:
    """Enters the rows of a table into the text of a manifest; the file is not written.

    Args:
        table: the table, for messages.
        rows: its rows.
        manifest: file of the manifest, which need not exist.
        project: folder that relative paths start from.
        overwrite: whether a value of the table replaces another one in the manifest. If not, such values are problems.

    Returns:
        The new text, and what is new in it.

    Raises:
        TableError: a row describes no recording, two rows the same one, or values differ from those of the manifest.
            Lists all problems.
    """
    entries = read_manifest(manifest)
    places, problems = _places(rows, entries, project)
    new, missing = _new_recordings(places, entries, project)
    problems += missing
    if problems:
        raise TableError.listing(table, problems)
    text = extended_text(read_text(manifest), new, project, manifest)
    own = yaml.safe_load(text) if text else {}
    values, unchanged, conflicts = _changes(places, own.get("recordings") or {}, project)
    if conflicts and not overwrite:
        differ = group_problems(conflicts)
        raise TableError.listing(table, [*differ, "Correct the table or the manifest, or give --overwrite."])
    try:
        text = set_values(text, values) if values else text
    except LayoutError as error:
        raise TableError.listing(table, [f"{manifest.name} cannot be changed, as {error}"]) from error
    _check_written(text, values, own, table)
    written: dict[str, tuple[str, ...]] = {}
    for _, animal, session, *field in values:
        written[f"{animal}.{session}"] = (*written.get(f"{animal}.{session}", ()), ".".join(field))
    return Import(text, tuple(recording.name for recording in new), written, unchanged)


def _places(
    rows: Sequence[Row], entries: Mapping[str, Any], project: Path
) -> tuple[dict[tuple[str, str], Row], list[str]]:
    """The row of each recording, and problems of rows that describe none or the same one."""
    paths = {
        (project / str(entry["path"])).resolve(): (animal, session)
        for animal, sessions in entries.items()
        for session, entry in sessions.items()
        if isinstance(entry, Mapping) and entry.get("path")
    }
    places: dict[tuple[str, str], Row] = {}
    problems = []
    for row in rows:
        if row.animal and row.session:
            key = _known_key(row.animal, entries), row.session
            key = key[0], _known_key(row.session, entries.get(key[0], {}))
        else:
            path = row.fields["path"]
            found = paths.get((project / path).resolve())
            if found is None:
                hint = did_you_mean(str(path), [str(known) for known in paths])
                problems.append(
                    f"row {row.line}: no recording of the manifest has the path {path}.{hint} Add the columns `animal` "
                    "and `session` to enter new recordings, or scan first."
                )
                continue
            key = found
        if key in places:
            problems.append(f"rows {places[key].line} and {row.line} both describe {'.'.join(key)}.")
        places[key] = row
    return places, problems


def _known_key(name: str, known: Mapping[str, Any]) -> str:
    """The key of the manifest for a name: as written, or as a scan would make it."""
    return name if name in known else manifest_key(name)


def _new_recordings(
    places: Mapping[tuple[str, str], Row], entries: Mapping[str, Any], project: Path
) -> tuple[list[RecordingOnDisk], list[str]]:
    """Recordings that the manifest does not have yet, and problems with them."""
    new, problems = [], []
    for (animal, session), row in places.items():
        if session in entries.get(animal, {}):
            continue
        path = project / str(row.fields.get("path", ""))
        if "path" not in row.fields:
            names = [f"{a}.{s}" for a, sessions in entries.items() for s in sessions]
            hint = did_you_mean(f"{animal}.{session}", names)
            problems.append(f"row {row.line}: there is no recording {animal}.{session} yet, and `path` is empty.{hint}")
        elif not path.exists():
            problems.append(f"row {row.line}: there is no file or folder {path}.")
        else:
            new.append(RecordingOnDisk(animal, session, path, Inspection.of(inspect_recording(path))))
    return new, problems


def _changes(
    places: Mapping[tuple[str, str], Row], own: Mapping[str, Any], project: Path
) -> tuple[dict[Keys, Any], int, dict[str, list[str]]]:
    """Values to be written by their keys, the number of values that are there already, and those that differ."""
    own = {str(animal): {str(key): entry for key, entry in (part or {}).items()} for animal, part in own.items()}
    complete = with_defaults(own)
    values: dict[Keys, Any] = {}
    unchanged, conflicts = 0, dict[str, list[str]]()
    for (animal, session), row in places.items():
        for field, value in row.fields.items():
            keys = ("recordings", animal, session, *field.split("."))
            present = _get(own[animal][session] or {}, field)
            there = _get(complete[animal][session] or {}, field)
            same_path = field == "path" and there and (project / value).resolve() == (project / there).resolve()
            if same_path or _is_same(field, value, there):
                unchanged += 1
                continue
            if present is not None:
                line = f"{field}: the table has {value!r}, the manifest {present!r}."
                conflicts.setdefault(f"{animal}.{session}", []).append(line)
            values[keys] = value
    return values, unchanged, conflicts


def _get(entry: Mapping[str, Any], field: str) -> Any:
    """Value of a field in dotted form; None if there is none."""
    value: Any = entry
    for key in field.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _is_same(field: str, value: Any, present: Any) -> bool:
    """Whether the manifest has a value already, if written in another way."""
    if present is None:
        return False
    try:
        return bool(convert(field, present) == value)
    except ValueError:
        return False


def _check_written(text: str, values: Mapping[Keys, Any], before: Mapping[str, Any], table: Path) -> None:
    """Makes sure that the text has the new values, and the same keys as before besides.

    Raises:
        TableError: it does not, because of an unusual layout.
    """
    manifest = parse_manifest_text(text, table)
    plain = {str(a): {str(s): entry for s, entry in (part or {}).items()} for a, part in manifest.items()}
    wrong = [
        keys
        for keys, value in values.items()
        if not _is_same(".".join(keys[3:]), value, _get(plain, ".".join(keys[1:])))
    ]
    kept = {str(animal) for animal in before.get("recordings") or {}} <= set(plain)
    if wrong or not kept:
        raise TableError.listing(
            table, [f"the manifest has an unusual layout at {'.'.join(wrong[0] if wrong else ())}: write it as blocks."]
        )
