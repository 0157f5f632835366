from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
import yaml

from rsc2p_kedro.manifest.scan import (
    ScanError,
    extend_manifest,
    find_recordings,
    manifest_key,
    new_recordings,
    read_manifest,
)

FRAMES = np.zeros((3, 16, 16), np.uint16)


def singles(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number, frame in enumerate(FRAMES, start=1):
        tifffile.imwrite(folder / f"frame_{number}.tif", frame)
    return folder


def stack(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, FRAMES, photometric="minisblack")
    return path


def names(root: Path, **options) -> dict[str, str]:
    return {item.name: item.path.relative_to(root).as_posix() for item in find_recordings(root, **options)}


# -- search -------------------------------------------------------------------------------------------------


def test_animals_sessions_and_stacks(tmp_path):
    singles(tmp_path / "Animal_1" / "day_7")
    singles(tmp_path / "Animal_1" / "day_10")
    singles(tmp_path / "Animal 2")
    singles(tmp_path / "Animal_3" / "day 1" / "site B")
    stack(tmp_path / "rec.tif")
    (tmp_path / ".hidden").mkdir()
    stack(tmp_path / ".hidden" / "no.tif")
    assert names(tmp_path) == {
        "rec.session_1": "rec.tif",
        "animal_2.session_1": "Animal 2",
        "animal_1.day_7": "Animal_1/day_7",
        "animal_1.day_10": "Animal_1/day_10",
        "animal_3.day_1_site_b": "Animal_3/day 1/site B",
    }


def test_recordings_in_other_formats_are_found_next_to_tiffs(tmp_path):
    with h5py.File(tmp_path / "mouse.h5", "w") as file:
        file["movie"] = np.zeros((20, 16, 16), np.uint16)
    with h5py.File(tmp_path / "signals.h5", "w") as file:
        file["wheel"] = np.zeros(20)
    stack(tmp_path / "rec_a.tif")
    thor = tmp_path / "Animal_1" / "day_7"
    thor.mkdir(parents=True)
    (thor / "Experiment.xml").write_text("<ThorImageExperiment/>")
    (thor / "Image_0001_0001.raw").write_bytes(b"")
    stack(thor / "ChanA_Preview.tif")
    assert names(tmp_path) == {
        "mouse.session_1": "mouse.h5",
        "rec_a.session_1": "rec_a.tif",
        "animal_1.day_7": "Animal_1/day_7",
    }


def test_folder_that_is_itself_a_recording(tmp_path):
    assert names(singles(tmp_path / "Animal_1")) == {"animal_1.session_1": "."}
    path = stack(tmp_path / "Mouse.2.tif")
    assert [recording.name for recording in find_recordings(path)] == ["mouse_2.session_1"]


def test_numbered_stacks_are_parts_of_one_recording_unless_each_file(tmp_path):
    for number in (1, 2):
        stack(tmp_path / "Animal_1" / f"part_{number}.tif")
    assert names(tmp_path) == {"animal_1.session_1": "Animal_1"}
    assert names(tmp_path, each_file=True) == {
        "animal_1.part_1": "Animal_1/part_1.tif",
        "animal_1.part_2": "Animal_1/part_2.tif",
    }


def test_stacks_with_different_names_are_recordings(tmp_path):
    stack(tmp_path / "Animal_1" / "baseline.tif")
    stack(tmp_path / "Animal_1" / "after.tif")
    assert set(names(tmp_path)) == {"animal_1.baseline", "animal_1.after"}


def test_other_image_among_frames_is_reported(tmp_path):
    singles(tmp_path / "Animal_1")
    tifffile.imwrite(tmp_path / "Animal_1" / "average.tif", FRAMES[0])
    (recording,) = find_recordings(tmp_path)
    assert "average.tif" in recording.files.problems[0]


def test_pattern_and_animal(tmp_path):
    singles(tmp_path / "2p" / "day_7" / "Animal_1" / "frames")
    singles(tmp_path / "elsewhere")
    assert names(tmp_path, pattern="*/{session}/{animal}/frames") == {"animal_1.day_7": "2p/day_7/Animal_1/frames"}
    assert set(names(tmp_path / "2p", animal="M 5")) == {"m_5.day_7_animal_1_frames"}
    with pytest.raises(ScanError, match="neither"):
        find_recordings(tmp_path, pattern="day_7")
    with pytest.raises(ScanError, match="There is no file or folder"):
        find_recordings(tmp_path / "nowhere")


def test_summary(tmp_path):
    (recording,) = find_recordings(singles(tmp_path / "Animal_1"))
    assert recording.summary == "3 frames of 16 x 16 px, uint16, in 3 files"


@pytest.mark.parametrize(("name", "key"), [("Animal_1", "animal_1"), ("M.5 (left)", "m_5_left"), ("Ñ", "recording")])
def test_manifest_key(name, key):
    assert manifest_key(name) == key


# -- manifest -----------------------------------------------------------------------------------------------


@pytest.fixture
def raw(tmp_path) -> Path:
    for folder in ("Animal_1/day_7", "Animal_1/day_8", "007", "on"):
        singles(tmp_path / "raw" / folder)
    return tmp_path / "raw"


def extend(path: Path, raw: Path) -> dict:
    new = new_recordings(find_recordings(raw), read_manifest(path), raw.parent)
    extend_manifest(path, new, raw.parent)
    return yaml.safe_load(path.read_text())["recordings"]


def test_new_manifest_has_empty_fields_for_the_user(tmp_path, raw):
    path = tmp_path / "conf" / "local" / "parameters_recordings.yml"
    manifest = extend(path, raw)
    assert set(manifest) == {"animal_1", "007", "on"}
    assert list(manifest["animal_1"]) == ["day_7", "day_8"]
    entry = manifest["animal_1"]["day_7"]
    assert entry["path"] == "raw/Animal_1/day_7"
    assert entry["frame_rate_hz"] is None
    assert entry["session"] == {"session_start_time": None}
    assert "# 3 frames of 16 x 16 px" in path.read_text()
    assert [file.name for file in path.parent.iterdir()] == [path.name]


WRITTEN = [
    # as written by a scan, with fields filled in
    """\
# mine
recordings:
  animal_1:
    day_7:
      path: raw/Animal_1/day_7
      frame_rate_hz: 14.7   # measured
      subject: {species: "Mus musculus",
                sex: U}
    # the end of animal_1

  # animals to come
nwb:
  lab: ours
""",
    # other indentation, quotes, a text block, no newline at the end
    """\
"other": 1
recordings:

      animal_1:
          'day_7':
              path:   ./raw/Animal_1/day_7
              session:
                  notes: |
                      first
                      # not a comment

                      last
      zebra: {day_1: {path: elsewhere, frame_rate_hz: 3}}
# end""",
    # line ends of Windows
    "recordings:\r\n  animal_1:\r\n    day_7:\r\n      path: raw/Animal_1/day_7\r\n",
    # unusual characters in comments, trailing blanks
    "recordings:   # µm\n  animal_1:  \n    day_7: {path: raw/Animal_1/day_7}   \n\n\n",
]


@pytest.mark.parametrize("text", WRITTEN)
def test_existing_lines_are_kept_to_the_byte(tmp_path, raw, text):
    path = tmp_path / "parameters_recordings.yml"
    path.write_bytes(text.encode())
    old = yaml.safe_load(text)["recordings"]
    new = extend(path, raw)
    assert list(new["animal_1"]) == ["day_7", "day_8"]
    assert {"007", "on"} < set(new)
    for animal in old:
        for session in old[animal]:
            assert new[animal][session] == old[animal][session]
    kept = iter(path.read_bytes().split(b"\n"))
    assert all(line in kept for line in text.encode().split(b"\n")), "old lines in their order"


EMPTY = ["recordings: {}\n", "recordings:\n", "# notes\nrecordings: {}  # none yet\n", "# notes\n", ""]


@pytest.mark.parametrize("text", EMPTY)
def test_manifest_without_recordings(tmp_path, raw, text):
    path = tmp_path / "parameters_recordings.yml"
    path.write_text(text)
    assert len(extend(path, raw)["animal_1"]) == 2
    assert path.read_text().startswith(text.replace(" {}", "").rstrip("\n"))


def test_second_scan_changes_nothing(tmp_path, raw):
    path = tmp_path / "parameters_recordings.yml"
    extend(path, raw)
    before = path.read_bytes()
    extend(path, raw)
    assert path.read_bytes() == before


def test_same_key_for_another_folder_gets_a_number(tmp_path, raw):
    path = tmp_path / "parameters_recordings.yml"
    path.write_text("recordings:\n  animal_1:\n    day_7:\n      path: somewhere/else\n")
    assert set(extend(path, raw)["animal_1"]) == {"day_7", "day_7_2", "day_8"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("recordings: {animal_1: {day_7: {path: x}}}\n", "indented blocks"),
        ("recordings:\n  animal_1: {day_3: {path: x}}\n", "indented blocks"),
        ("recordings: [a, b]\n", "should map"),
        ("recordings:\n  a: 1\n   b: 2\n", "not valid YAML"),
    ],
)
def test_manifest_that_cannot_be_extended_is_not_changed(tmp_path, raw, text, message):
    path = tmp_path / "parameters_recordings.yml"
    path.write_text(text)
    with pytest.raises(ScanError, match=message):
        extend(path, raw)
    assert path.read_text() == text
