"""A table of sessions (CSV), as laboratories keep it in a spreadsheet: one row a session, one column a field.

Columns are `animal`, `session`, and fields of a recording's entry in dotted form: `path`, `frame_rate_hz`,
`subject.sex`, `session.session_start_time`, `parameters.evaluation.min_snr`. Empty cells say nothing.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from rsc2p_kedro.core.parameters import STAGE_PARAMETERS, did_you_mean
from rsc2p_kedro.datasets.user_tables import decode
from rsc2p_kedro.manifest.recordings import Recording
from rsc2p_kedro.nwb.metadata_checks import METADATA_PARTS

KEYS = ("animal", "session")
"""Columns that name a recording; instead of them, or beside them, `path` does."""


class TableError(ValueError):
    """A table cannot be read or entered into the manifest. The message lists all problems, and what to do."""

    @classmethod
    def listing(cls, path: Path, problems: Sequence[str]) -> "TableError":
        """Makes an error that lists problems.

        Args:
            path: the table.
            problems: one text each.

        Returns:
            The error.
        """
        return cls(f"{path.name} cannot be imported, nothing was written:\n" + "\n".join(f"  - {p}" for p in problems))


@dataclass(frozen=True)
class Row:
    """One session.

    Attributes:
        line: number of the row in the table, as a spreadsheet shows it.
        animal: name of the animal; empty if the table does not give it.
        session: name of the session; likewise.
        fields: values by the field of the manifest in dotted form, as the manifest takes them.
    """

    line: int
    animal: str
    session: str
    fields: Mapping[str, Any]


def columns() -> list[str]:
    """Lists the columns that a table may have.

    Returns:
        Their names.
    """
    names = [*KEYS]
    for name, field in Recording.model_fields.items():
        if name in METADATA_PARTS:
            model: Any = field.annotation
            names += [f"{name}.{inner}" for inner in model.model_fields]
        elif name == "parameters":
            names += [
                f"parameters.{stage}.{inner}" for stage, m in STAGE_PARAMETERS.items() for inner in m.model_fields
            ]
        elif name not in ("animal", "session_key", "simulation", "plane"):
            inside = field.annotation if isinstance(field.annotation, type) else None
            is_model = inside is not None and issubclass(inside, BaseModel)
            names += [f"{name}.{inner}" for inner in inside.model_fields] if inside and is_model else []
            names.append(name)
    return names


def read_sessions(path: Path) -> list[Row]:
    """Reads and checks a table of sessions.

    Args:
        path: CSV with commas, semicolons or tabs, in UTF-8, UTF-16 or the encoding of Excel on Windows.

    Returns:
        Its rows; empty ones are left out.

    Raises:
        TableError: the file is no such table, a column is unknown or there twice, a row names no recording, or a value
            is not valid. The message lists all problems.
    """
    header, *rows = _cells(path)
    names = [cell.strip() for cell in header]
    problems = _header_problems(names, rows)
    if problems:
        raise TableError.listing(path, problems)
    found = []
    for line, cells in enumerate(rows, start=2):
        values = {name: cell.strip() for name, cell in zip(names, cells, strict=False) if name and cell.strip()}
        if len(cells) > len(names) and any(cell.strip() for cell in cells[len(names) :]):
            problems.append(
                f"row {line} has {len(cells)} cells, the header {len(names)}: put texts with a separator in quotes."
            )
        elif values:
            row, own = _row(line, values)
            problems += own
            found.append(row)
    if problems:
        raise TableError.listing(path, problems)
    return found


def _cells(path: Path) -> list[list[str]]:
    """All cells of a table.

    Raises:
        TableError: the file is not a table of text.
    """
    text = _decode(path)
    lines = text.splitlines()
    if lines and lines[0].lower().startswith("sep="):  # a hint that Excel understands
        text = "\n".join(lines[1:])
    first = text.splitlines()[0] if text.strip() else ""
    if not first:
        raise TableError.listing(
            path, ["it is empty: the first row should name the columns, such as animal,session,path."]
        )
    delimiter = max("\t;,", key=first.count)
    return list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))


def _decode(path: Path) -> str:
    """Text of a file in any of the encodings that spreadsheets write.

    Raises:
        TableError: there is no such file, or it is not text.
    """
    if not path.is_file():
        raise TableError(f"There is no file {path}: give the table of your sessions, saved as CSV.")
    text = decode(path.read_bytes())
    if text is None:
        raise TableError.listing(path, ["it is a workbook: save the sheet as 'CSV UTF-8' and import that file."])
    if "\x00" in text or "\ufffd" in text:
        raise TableError.listing(path, ["its encoding is unknown: save the table as 'CSV UTF-8'."])
    return text


def _header_problems(names: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Problems of the names of the columns."""
    known = columns()
    problems = [
        f"there is no field {name} in the manifest.{did_you_mean(name, known)}"
        for name in dict.fromkeys(names)
        if name and name not in known
    ]
    problems += [
        f"the column {name} is there twice." for name in dict.fromkeys(names) if name and names.count(name) > 1
    ]
    nameless = [i for i, name in enumerate(names) if not name and any(len(row) > i and row[i].strip() for row in rows)]
    problems += [f"column {index + 1} has values but no name." for index in nameless]
    if "path" not in names and not set(KEYS) <= set(names):
        problems.append(
            "the columns `animal` and `session`, or `path`, are needed to know which recording a row describes."
        )
    return problems


def _row(line: int, values: Mapping[str, str]) -> tuple[Row, list[str]]:
    """A row with its values as the manifest takes them, and its problems."""
    problems, fields = [], {}
    for name, text in values.items():
        if name not in KEYS:
            try:
                fields[name] = convert(name, text)
            except ValueError as error:
                problems.append(f"row {line}, {name}: {error}")
    row = Row(line, values.get("animal", ""), values.get("session", ""), fields)
    if "path" not in fields and not (row.animal and row.session):
        problems.append(f"row {line} names no recording: `animal` and `session`, or `path`, are empty.")
    return row, problems


def convert(name: str, value: Any) -> Any:
    """Converts a value to what the manifest takes in a field.

    Args:
        name: of the field, in dotted form.
        value: text of a cell, or a value of YAML. A cell may hold several values as a list of YAML or separated by `;`.

    Returns:
        The value with numbers and lists as such, times and dates in ISO 8601.

    Raises:
        ValueError: the field does not take the value; says why.
    """
    candidates = [value]
    if isinstance(value, str):
        with suppress(yaml.YAMLError):
            candidates.append(yaml.safe_load(value))
        candidates += [[part.strip() for part in value.split(";")]] if ";" in value else []
    if name.startswith("parameters."):  # taken as they are, and checked with the stage
        candidates = candidates[-1:]
    message = ""
    for candidate in candidates:
        try:
            checked = Recording.model_validate(merged({"path": "x", "frame_rate_hz": 1.0}, {name: candidate}))
        except ValidationError as error:
            detail = error.errors()[0]
            message = message or f"{detail['msg'].removeprefix('Value error, ').rstrip('.')}, given {value!r}."
            continue
        result: Any = checked.model_dump(mode="json")
        for key in name.split("."):
            result = result[key]
        files = ("path", "frame_times", "seeds", "curation", "tracking_decisions", "tracking_known")
        return str(value) if name in files else result
    raise ValueError(message)


def merged(entry: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    """Enters fields in dotted form into a nested entry.

    Args:
        entry: of a recording; it is not changed.
        fields: values by dotted name.

    Returns:
        A new entry.
    """
    result = dict(entry)
    for name, value in fields.items():
        first, _, rest = name.partition(".")
        inner = result.get(first)
        result[first] = merged(inner if isinstance(inner, Mapping) else {}, {rest: value}) if rest else value
    return result
