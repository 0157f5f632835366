"""Tables of users are read whatever program saved them, and what is wrong with them is named by line."""

from pathlib import Path

import numpy as np
import pytest

from rsc2p_kedro.datasets.curation import read_curation
from rsc2p_kedro.datasets.frame_times import read_frame_times
from rsc2p_kedro.datasets.seeds import read_seeds
from rsc2p_kedro.datasets.user_tables import Column, TableError, read_table

TEXT = "component_id,decision,note\n3,reject,Gefäß\n5,accept,\n"
DECISIONS = {"component_id": [3, 5], "decision": ["reject", "accept"], "note": ["Gefäß", ""]}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_encodings_of_spreadsheets_are_read(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "curation.csv"
    path.write_bytes(TEXT.encode(encoding))
    assert read_curation(path).iloc[:, :3].to_dict("list") == DECISIONS


@pytest.mark.parametrize("separator", [";", "\t", ", "])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_separators_of_spreadsheets_are_read(tmp_path: Path, separator: str, end: str) -> None:
    path = tmp_path / "curation.csv"
    path.write_bytes(TEXT.replace(",", separator).replace("\n", end).encode())
    assert read_curation(path).iloc[:, :3].to_dict("list") == DECISIONS


def test_quoted_texts_keep_their_separators_and_lines(tmp_path: Path) -> None:
    path = tmp_path / "curation.csv"
    path.write_text('component_id,decision,note\n3,reject,"a, b\nc"\n1.5,accept,\n')
    with pytest.raises(TableError, match=r"line 4: component_id '1.5' should be a whole number"):
        read_curation(path)
    path.write_text('component_id,decision,note\n3.0,reject,"a, b\nc"\n\n')
    assert read_curation(path).iloc[:, :3].to_dict("list") == {
        "component_id": [3],
        "decision": ["reject"],
        "note": ["a, b\nc"],
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "It is empty: its first line should name the columns"),
        (b" \n\n", "It is empty"),
        (b"PK\x03\x04rest", "It is a workbook: save the sheet as 'CSV UTF-8'"),
        (b"component_id,decision\n1,acc\0\0\0\0", "Line 2 holds characters that are no text"),
        (TEXT.encode("utf-16-le"), "Line 1 holds characters that are no text"),
        (b"component_id,decision\n1,accept\n2", "line 3 has 1 of 2 values: the table may have been cut off"),
        (b"component_id,decision\n1,accept,a,b\n2,accept", "line 2 has 4 of 2 values: put texts"),
        (b'component_id,decision\n1,accept\n2,"rej', "Line 3 cannot be read"),
        (b"id,decision\n1,accept\n", "Line 1 names no column component_id, but id, decision"),
        (b"component_id,decision,decision\n1,accept,reject\n", "Line 1 names decision twice"),
        (b"component_id,decision\n1.7,accept\n", "line 2: component_id '1.7' should be a whole number"),
        (b"component_id,decision\nyes,accept\n", "line 2: component_id 'yes' should be a number"),
        (b"component_id,decision\n-1,accept\n", "line 2: component_id '-1' should be 0 or more"),
        (b"component_id,decision\n1e999,accept\n", "line 2: component_id '1e999' should be a whole number"),
        (b"component_id,decision\n1,accept\n2,accept\n1,reject\n", "line 4: component_id '1' occurs on line 2 already"),
        (b"component_id,decision\n1,maybe\n", "line 2: decision 'maybe' should be accept or reject"),
        (b"component_id,decision\n1,\n", r"line 2: decision \(empty\) should be accept or reject"),
    ],
)
def test_what_is_wrong_is_named_with_file_line_and_remedy(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "curation.csv"
    path.write_bytes(content)
    with pytest.raises(TableError, match=rf"curation\.csv should be a CSV table.*{message}"):
        read_curation(path)


def test_all_tables_are_read_by_the_same_rules(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes("y_px;x_px\r\n1,5;2\r\n".encode("utf-16"))
    with pytest.raises(TableError, match=r"line 2: y_px '1,5' should be a number, with a decimal point"):
        read_seeds(path)
    path.write_bytes(b"time_s\n0\n0.1\n0.2\n0.")  # half-written
    with pytest.raises(TableError, match=r"times should increase, but do not on line 5"):
        read_frame_times(path, frame_rate_hz=10)
    path.write_bytes(b"time_s\n0\n0.1\nnan\n")
    with pytest.raises(TableError, match=r"line 4: time_s 'nan' should be a number"):
        read_frame_times(path, frame_rate_hz=10)


def test_columns_come_in_their_order_with_the_lines_as_index(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("note, b ,a\nx,2,1e1\n\n,3,.5\n")
    table = read_table(path, [Column("a"), Column("b", "whole number", most=3)], expected="a table")
    assert list(table.columns) == ["a", "b"]
    assert list(table.index) == [2, 4]
    np.testing.assert_array_equal(table.to_numpy(), [[10, 2], [0.5, 3]])
    with pytest.raises(TableError, match="line 4: b '3' should be 2 or less"):
        read_table(path, [Column("b", most=2)], expected="a table")
