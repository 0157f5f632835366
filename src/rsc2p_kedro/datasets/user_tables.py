"""Tables that a user has written: one reader for all, which names file, line and remedy of whatever is wrong.

Spreadsheets save CSV in several encodings and with several separators, and a table may be half-written or edited by
hand. The reader takes what can be told for certain (UTF-8 with or without a mark, UTF-16 with its mark, the encoding of
Windows; commas, semicolons or tabs), and lists everything else that is wrong at once.
"""

import codecs
import csv
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

_MAX_LISTED = 5
"""Number of problems that a message lists one by one."""
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")


class TableError(ValueError):
    """A table cannot be used. The message lists its problems."""

    @classmethod
    def listing(cls, path: Path, expected: str, problems: Sequence[str]) -> "TableError":
        """Makes an error that lists problems.

        Args:
            path: the table.
            expected: what the table should be, in words.
            problems: one text for each problem, without a full stop.

        Returns:
            The error.
        """
        more = [f"and {len(problems) - _MAX_LISTED} more"] if len(problems) > _MAX_LISTED else []
        return cls(f"{path} should be {expected}. {'; '.join([*problems[:_MAX_LISTED], *more])}.")


@dataclass(frozen=True)
class Column:
    """A column that a table should have.

    Attributes:
        name: in the first line of the table.
        kind: of the values; whole numbers may be written as 3 or 3.0.
        least: smallest number allowed; None allows any.
        most: largest number allowed; None allows any.
        choices: texts allowed; empty allows any.
        unique: whether no value may occur twice.
        optional: whether the column may be left out; its texts are then "".
    """

    name: str
    kind: Literal["number", "whole number", "text"] = "number"
    least: float | None = None
    most: float | None = None
    choices: tuple[str, ...] = ()
    unique: bool = False
    optional: bool = False


def read_table(path: Path, columns: Sequence[Column], *, expected: str) -> pd.DataFrame:
    """Reads a table in CSV that a user has written.

    Args:
        path: the table. Its first line names the columns; others than `columns` are ignored, empty lines too.
        columns: the columns it should have.
        expected: what the table should be, in words, for the error.

    Returns:
        The columns in the order of `columns`: float64, int64 or str. The index is the line of each row in the file.

    Raises:
        TableError: the file is not such a table; lists the problems, with line and column.
    """
    rows = _rows(path, expected)
    names = [cell.strip() for cell in rows[0][1]]
    problems = _header_problems(names, columns)
    if problems:
        raise TableError.listing(path, expected, problems)
    body = [(line, cells) for line, cells in rows[1:] if any(cell.strip() for cell in cells)]
    problems = [
        f"line {line} has {len(cells)} of {len(names)} values{_hint_of_length(line == body[-1][0], len(cells), names)}"
        for line, cells in body
        if len(cells) != len(names)
    ]
    if problems:
        raise TableError.listing(path, expected, problems)
    lines, values = [line for line, _ in body], {}
    for column in columns:
        cells = [cells[names.index(column.name)].strip() if column.name in names else "" for _, cells in body]
        values[column.name] = _convert(column, lines, cells, problems)
    if problems:
        raise TableError.listing(path, expected, problems)
    kinds = {"number": "float64", "whole number": "int64", "text": "str"}
    series = {c.name: pd.Series(values[c.name], index=lines, dtype=kinds[c.kind]) for c in columns}
    return pd.DataFrame(series, index=pd.Index(lines, dtype="int64", name="line"))


def column_names(path: Path, *, expected: str) -> list[str]:
    """Reads the names of the columns of a table.

    Args:
        path: the table.
        expected: what the table should be, in words, for the error.

    Returns:
        The names in the first line.

    Raises:
        TableError: the file is no table.
    """
    return [cell.strip() for cell in _rows(path, expected)[0][1]]


def decode(data: bytes) -> str | None:
    """Text in any of the encodings that spreadsheets write.

    Args:
        data: content of a file.

    Returns:
        The text, with U+FFFD for what is in none of these encodings; None if the file is a workbook.
    """
    if data.startswith(_WORKBOOKS):
        return None
    try:
        if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return data.decode("utf-16")
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")  # what Excel on Windows calls CSV


def decode_text(path: Path, *, expected: str) -> str:
    """Text of a file in any of the encodings that spreadsheets write.

    Args:
        path: the file.
        expected: what the file should be, in words, for the error.

    Returns:
        The text.

    Raises:
        TableError: the file is a workbook, or in an unknown encoding.
    """
    text = decode(path.read_bytes())
    if text is None:
        raise TableError.listing(path, expected, ["It is a workbook: save the sheet as 'CSV UTF-8'"])
    bad = next((at for at in (text.find("\0"), text.find("\ufffd")) if at >= 0), None)
    if bad is not None:
        line = text.count("\n", 0, bad) + 1
        raise TableError.listing(
            path, expected, [f"Line {line} holds characters that are no text: save it again as 'CSV UTF-8'"]
        )
    return text


def _rows(path: Path, expected: str) -> list[tuple[int, list[str]]]:
    """Number of the line and cells of each row; the first names the columns."""
    text = decode_text(path, expected=expected)
    if not text.strip():
        raise TableError.listing(path, expected, ["It is empty: its first line should name the columns"])
    separator = max(",;\t", key=text.strip().splitlines()[0].count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True, skipinitialspace=True)
    rows, line = [], 1
    try:
        for cells in reader:
            rows.append((line, cells))
            line = reader.line_num + 1
    except csv.Error as error:
        problem = f"Line {line} cannot be read ({error}): close its quotes; if it is the last one, save the table again"
        raise TableError.listing(path, expected, [problem]) from error
    return rows


def _header_problems(names: Sequence[str], columns: Sequence[Column]) -> list[str]:
    """Columns that are missing or there twice."""
    missing = [column.name for column in columns if column.name not in names and not column.optional]
    twice = [column.name for column in columns if names.count(column.name) > 1]
    problems = [f"Line 1 names no column {' and no column '.join(missing)}, but {', '.join(names)}"] if missing else []
    return problems + ([f"Line 1 names {' and '.join(twice)} twice: keep one"] if twice else [])


def _hint_of_length(is_last: bool, n_cells: int, names: Sequence[str]) -> str:
    if n_cells > len(names):
        return ": put texts that contain the separator in quotes, and write decimals with a point"
    return ": the table may have been cut off; save it again" if is_last else ""


def _convert(column: Column, lines: Sequence[int], cells: Sequence[str], problems: list[str]) -> list[Any]:
    """Values of a column; what is wrong with them is added to the problems."""
    parse: Callable[[str], Any] = _as_text if column.kind == "text" else _as_number
    values: list[Any] = []
    first: dict[Any, int] = {}
    for line, cell in zip(lines, cells, strict=True):
        value = parse(cell)
        reason = _fault(column, value)
        if not reason and column.unique and first.setdefault(value, line) != line:
            reason = f"occurs on line {first[value]} already: keep one of the two"
        if reason:
            problems.append(f"line {line}: {column.name} {repr(cell) if cell else '(empty)'} {reason}")
        values.append(value)
    return values


def _as_text(cell: str) -> str:
    return cell


def _as_number(cell: str) -> float | None:
    return float(cell) if _NUMBER.fullmatch(cell) else None


def _fault(column: Column, value: float | str | None) -> str:
    """What is wrong with a value; "" if nothing is."""
    if isinstance(value, str):
        return f"should be {' or '.join(column.choices)}" if column.choices and value not in column.choices else ""
    if value is None:
        return "should be a number, with a decimal point"
    if abs(value) == float("inf") or (column.kind == "whole number" and value != int(value)):
        return f"should be a {column.kind}"
    if column.least is not None and value < column.least:
        return f"should be {column.least:g} or more"
    return f"should be {column.most:g} or less" if column.most is not None and value > column.most else ""
