"""Tables of frames that a user excludes."""

import pytest

from rsc2p_kedro.datasets.frame_ranges import read_frame_ranges


def table(tmp_path, text):
    path = tmp_path / "frames.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_single_frames_are_ranges_of_one(tmp_path):
    ranges = read_frame_ranges(table(tmp_path, "frame\n3\n9\n"))
    assert ranges.to_numpy().tolist() == [[3, 4, ""], [9, 10, ""]]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("start,stop\n5,3\n1,2\n", "line 2: stop should be greater than start"),
        (
            "start,stop\n1,2\nx,3\n1.5,2\n",
            "line 3: start 'x' should be a number.*line 4: start '1.5' should",
        ),
        ("start,stop\n-1,3\n", "line 2: start '-1' should be 0 or more"),
        ("begin,end\n1,2\n", "no column start and no column stop, but begin, end"),
        ("", "It is empty"),
    ],
)
def test_anything_else_is_refused(tmp_path, text, words):
    with pytest.raises(ValueError, match=words):
        read_frame_ranges(table(tmp_path, text))


def test_missing_table_is_named(tmp_path):
    with pytest.raises(ValueError, match="does not exist"):
        read_frame_ranges(tmp_path / "nothing.csv")
