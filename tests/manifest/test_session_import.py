"""A spreadsheet of sessions is entered into the manifest, whose own lines stay as they are."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
import yaml

from rsc2p_kedro.manifest.session_import import enter_sessions
from rsc2p_kedro.manifest.session_table import TableError, columns, read_sessions
from rsc2p_kedro.manifest.yaml_edit import LayoutError, set_values

MANIFEST = """\
# mine
recordings:
  defaults: {frame_rate_hz: 14.7}
  animal_1:
    defaults:
      subject:
        sex: F   # all females
    day_1:
      path: raw/a1   # 20 frames
      decay_time_s: 0.7
      session:
        session_start_time:  # to be filled in
    day_2: {path: raw/a2, subject: {sex: M}}
  # the end
nwb:
  lab: ours
"""
START = "2019-05-06T10:30:00+02:00"


@pytest.fixture
def project(tmp_path) -> Path:
    for name in ("a1", "a2", "new"):
        (tmp_path / "raw" / name).mkdir(parents=True)
        tifffile.imwrite(tmp_path / "raw" / name / "m.tif", np.zeros((20, 16, 16), np.uint16), photometric="minisblack")
    (tmp_path / "manifest.yml").write_text(MANIFEST)
    return tmp_path


def enter(project: Path, text: str | bytes, *, overwrite: bool = False):
    table = project / "sessions.csv"
    table.write_bytes(text if isinstance(text, bytes) else text.encode())
    return enter_sessions(table, read_sessions(table), project / "manifest.yml", project, overwrite=overwrite)


def problems(project: Path, text: str | bytes, **options) -> str:
    with pytest.raises(TableError) as caught:
        enter(project, text, **options)
    assert (project / "manifest.yml").read_text() == MANIFEST
    return str(caught.value)


def test_values_are_written_where_they_belong_and_all_lines_and_comments_stay(project):
    rows = f"""animal,session,session.session_start_time,subject.sex,subject.age,frame_rate_hz,session.experimenter
animal_1,day_1,{START},F,P90D,14.7,"Sun, Weilun; Doe, J"
animal_1,day_2,,M,P91D,30,
"""
    result = enter(project, rows)
    manifest = yaml.safe_load(result.text)["recordings"]
    first, second = manifest["animal_1"]["day_1"], manifest["animal_1"]["day_2"]
    assert first == {
        "path": "raw/a1",
        "decay_time_s": 0.7,
        "session": {"session_start_time": START, "experimenter": ["Sun, Weilun", "Doe, J"]},
        "subject": {"age": "P90D"},
    }
    assert second == {"path": "raw/a2", "subject": {"sex": "M", "age": "P91D"}, "frame_rate_hz": 30.0}
    assert (result.unchanged, result.added) == (3, ()), "sex and rate of day_1, sex of day_2"
    assert set(result.written["animal_1.day_1"]) == {
        "session.session_start_time", "subject.age", "session.experimenter"
    }  # fmt: skip
    changed = {"        session_start_time:  # to be filled in", "    day_2: {path: raw/a2, subject: {sex: M}}"}
    assert set(MANIFEST.splitlines()) - set(result.text.splitlines()) == changed
    assert "# to be filled in" in result.text


def test_entering_the_same_table_again_changes_nothing(project):
    rows = f"path,session.session_start_time\nraw/a1,{START}\n"
    (project / "manifest.yml").write_text(enter(project, rows).text)
    again = enter(project, rows)
    assert (again.written, again.text) == ({}, (project / "manifest.yml").read_text())


def test_another_value_is_written_only_if_asked_for(project):
    rows = "animal,session,decay_time_s\nanimal_1,day_1,0.4\n"
    text = problems(project, rows)
    assert "decay_time_s: the table has 0.4, the manifest 0.7. [animal_1.day_1]" in text
    assert "--overwrite" in text
    changed = enter(project, rows, overwrite=True).text
    assert yaml.safe_load(changed)["recordings"]["animal_1"]["day_1"]["decay_time_s"] == 0.4
    assert "path: raw/a1   # 20 frames" in changed


def test_new_recordings_are_added_if_their_files_exist(project):
    rows = "animal,session,path,subject.sex\nMouse 9,day 1,raw/new,M\n"
    result = enter(project, rows)
    assert result.added == ("mouse_9.day_1",)
    entry = yaml.safe_load(result.text)["recordings"]["mouse_9"]["day_1"]
    assert (entry["path"], entry["subject"]) == ("raw/new", {"sex": "M"})
    (project / "manifest.yml").unlink()
    assert yaml.safe_load(enter(project, rows).text)["recordings"]["mouse_9"]["day_1"]["subject"] == {"sex": "M"}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_spreadsheets_write_in_many_ways(project, encoding, separator):
    lines = [["animal", "session", "session.institution"], ["animal_1", "day_1", "Universität"], ["", "", ""]]
    text = "\r\n".join(separator.join(line) for line in lines)
    result = enter(project, text.encode(encoding))
    session = yaml.safe_load(result.text)["recordings"]["animal_1"]["day_1"]["session"]
    assert session == {"session_start_time": None, "institution": "Universität"}


@pytest.mark.parametrize(
    ("table", "messages"),
    [
        ("animal,session,subject.sexx\na,b,F\n", ["no field subject.sexx in the manifest. Did you mean subject.sex"]),
        ("animal,session,path,path\n", ["the column path is there twice"]),
        ("subject.sex\nF\n", ["the columns `animal` and `session`, or `path`, are needed"]),
        ("animal,session,\nanimal_1,day_1,7\n", ["column 3 has values but no name"]),
        ("animal,session,subject.sex\nanimal_1,day_1,F,x\n", ["row 2 has 4 cells, the header 3"]),
        (
            "animal,session,subject.sex,frame_rate_hz\nanimal_1,day_1,male,\"14,7\"\nanimal_1,,F,\n",
            ["row 2, subject.sex: Input should be 'M'", "row 2, frame_rate_hz: ", "row 3 names no recording"],
        ),
        ("path\nraw/a9\n", ["row 2: no recording of the manifest has the path raw/a9"]),
        ("animal,session\nanimal_1,day_3\n", ["no recording animal_1.day_3 yet", "Did you mean animal_1.day_2"]),
        ("animal,session,path\nanimal_1,day_3,raw/none\n", ["row 2: there is no file or folder"]),
        ("animal,session\nanimal_1,day_1\nanimal_1,day_1\n", ["rows 2 and 3 both describe animal_1.day_1"]),
        ("animal,session,session.institution\nanimal_1,day_1,<institution>\n", ["is a placeholder"]),
        (b"PK\x03\x04abc", ["it is a workbook: save the sheet as 'CSV UTF-8'"]),
        ("\n", ["it is empty"]),
        (b"animal\x00,session\n", ["its encoding is unknown"]),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_table_is_said_at_once_and_nothing_is_written(project, table, messages):
    text = problems(project, table)
    for message in messages:
        assert message in text


def test_there_is_no_table(project):
    with pytest.raises(TableError, match="There is no file"):
        read_sessions(project / "none.csv")


def test_columns_are_the_fields_of_the_manifest():
    assert {
        "animal",
        "session",
        "path",
        "subject.sex",
        "imaging_plane.indicator",
        "parameters.evaluation.min_snr",
    } < set(columns())


# -- the editor -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_values_are_set_in_any_layout(newline):
    text = """\
a:
  notes: |
    first

    last
  empty:
  b: {c: 1}   # flow
  d:
    e: "x"  # old

    f: [1,
        2]
# next
g: ~
""".replace("\n", newline)
    values = {
        ("a", "b", "new"): 2, ("a", "d", "e"): "y", ("a", "d", "f"): 3, ("a", "d", "z", "k"): 4,
        ("a", "empty", "k"): "v", ("a", "last"): [1, 2], ("g", "h"): 5, ("i",): 6,
    }  # fmt: skip
    changed = set_values(text, values)
    assert yaml.safe_load(changed) == {
        "a": {
            "notes": "first\n\nlast\n", "empty": {"k": "v"}, "b": {"c": 1, "new": 2},
            "d": {"e": "y", "f": 3, "z": {"k": 4}}, "last": [1, 2],
        },
        "g": {"h": 5}, "i": 6,
    }  # fmt: skip
    for comment in ("# flow", "# old", "# next"):
        assert comment in changed
    assert changed.count("\n") == changed.count(newline)


def test_aliases_and_scalars_are_not_changed():
    text = "a: &x {b: 1}\nc: *x\nd: 3\n"
    with pytest.raises(LayoutError, match="c is an alias"):
        set_values(text, {("c", "b"): 2})
    with pytest.raises(LayoutError, match="'3' stands where"):
        set_values(text, {("d", "b"): 2})
