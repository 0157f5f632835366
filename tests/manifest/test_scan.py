from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
import yaml

from rsc2p_kedro.datasets.raw import Told
from rsc2p_kedro.manifest import inspection, scan
from rsc2p_kedro.manifest.defaults import with_defaults
from rsc2p_kedro.manifest.inspection import Inspection, ScanCache
from rsc2p_kedro.manifest.manifest_file import extend_manifest, read_manifest, session_fields
from rsc2p_kedro.manifest.naming import manifest_key
from rsc2p_kedro.manifest.recordings import Recording
from rsc2p_kedro.manifest.scan import RecordingOnDisk, ScanError, find_recordings, new_recordings

FRAMES = np.zeros((3, 16, 16), np.uint16)


def singles(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number, frame in enumerate(FRAMES, start=1):
        tifffile.imwrite(folder / f"frame_{number}.tif", frame)
    return folder


def stack(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, FRAMES, photometric="minisblack", metadata={"axes": "TYX"})
    return path


def names(root: Path, **options) -> dict[str, str]:
    return {item.name: item.path.relative_to(root).as_posix() for item in find_recordings(root, **options).recordings}


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
    assert [recording.name for recording in find_recordings(path).recordings] == ["mouse_2.session_1"]


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
    (recording,) = find_recordings(tmp_path).recordings
    assert "average.tif" in recording.inspection.problems[0]


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
    (recording,) = find_recordings(singles(tmp_path / "Animal_1")).recordings
    assert recording.inspection.summary == "3 frames of 16 x 16 px, uint16, in 3 files"


@pytest.mark.parametrize(("name", "key"), [("Animal_1", "animal_1"), ("M.5 (left)", "m_5_left"), ("Ñ", "recording")])
def test_manifest_key(name, key):
    assert manifest_key(name) == key


# -- parts, acquisitions and what is no recording -------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["m", "m_1", "m_2"], {"a.session_1": "A"}),
        (["x_00001_00001", "x_00001_00002"], {"a.session_1": "A"}),
        (
            ["x_00001_00001", "x_00001_00002", "x_00002_00001"],
            {"a.x_00001": "A/x_00001_*.tif", "a.x_00002_00001": "A/x_00002_00001.tif"},
        ),
        (["m_20240101", "m_20240102"], {"a.m_20240101": "A/m_20240101.tif", "a.m_20240102": "A/m_20240102.tif"}),
        (["2024-01-01_m_1", "2024-01-01_m_2"], {"a.session_1": "A"}),
        (["day_1", "day_2"], {"a.day_1": "A/day_1.tif", "a.day_2": "A/day_2.tif"}),
        (["s_MMStack_Pos0.ome", "s_MMStack_Pos0_1.ome"], {"a.session_1": "A"}),
        (["s_Pos0.ome", "s_Pos1.ome"], {"a.s_pos0": "A/s_Pos0.ome.tif", "a.s_pos1": "A/s_Pos1.ome.tif"}),
        (["m1", "m2", "before"], {"a.m": "A/m*.tif", "a.before": "A/before.tif"}),
        (["m", "m_1", "mean"], {"a.m": "A/m.tif,m_1.tif", "a.mean": "A/mean.tif"}),
    ],
)
def test_parts_of_a_movie_are_one_recording_and_acquisitions_are_not(tmp_path, files, expected):
    for name in files:
        stack(tmp_path / "A" / f"{name}.tif")
    found = find_recordings(tmp_path).recordings
    places = {one.name: "/".join([one.path.relative_to(tmp_path).as_posix(), *[",".join(one.files)] * bool(one.files)])
              for one in found}  # fmt: skip
    assert places == expected
    assert sum(one.inspection.n_frames for one in found) == 3 * len(files)
    assert not [problem for one in found for problem in one.inspection.problems]


def test_five_digits_count_acquisitions_if_scanimage_wrote_the_files(tmp_path, monkeypatch):
    for number in (1, 2):
        stack(tmp_path / "A" / f"x_0000{number}.tif")
    assert set(names(tmp_path)) == {"a.session_1"}
    monkeypatch.setattr(scan, "_is_scanimage", lambda file: True)
    assert set(names(tmp_path)) == {"a.x_00001", "a.x_00002"}


def test_previews_reference_images_and_results_are_ignored_and_listed(tmp_path):
    singles(tmp_path / "A" / "day_1")
    tifffile.imwrite(tmp_path / "A" / "day_1" / "ChanA_Preview.tif", FRAMES[0])
    for folder in ("References", "suite2p/plane0", "caiman_results", "02_intermediate", "movie.zarr", "derivatives"):
        stack(tmp_path / "A" / "day_1" / folder / "x.tif")
    found = find_recordings(tmp_path)
    (recording,) = found.recordings
    assert (recording.name, recording.exclude) == ("a.day_1", ("ChanA_Preview.tif",))
    assert recording.inspection.n_frames == 3
    assert recording.inspection.problems == ()
    ignored = {path.name for path, _ in found.ignored}
    assert ignored == {
        "ChanA_Preview.tif", "References", "suite2p", "caiman_results", "02_intermediate", "derivatives", "movie.zarr"
    }  # fmt: skip


def test_links_to_folders_are_followed_once_and_without_end(tmp_path):
    stack(tmp_path / "elsewhere" / "day_1" / "m.tif")
    (tmp_path / "elsewhere" / "again").symlink_to(tmp_path / "elsewhere")
    root = tmp_path / "root"
    stack(root / "A" / "day_2" / "m.tif")
    (root / "A" / "up").symlink_to(root)
    (root / "B").symlink_to(tmp_path / "elsewhere")
    (root / "C").symlink_to(tmp_path / "elsewhere" / "day_1")
    assert set(names(root)) == {"a.day_2", "b.day_1"}


def test_files_of_acquisitions_are_known_by_their_patterns(tmp_path):
    for name in ("x_00001_00001", "x_00001_00002", "x_00002_00001"):
        stack(tmp_path / "raw" / "A" / f"{name}.tif")
    path = tmp_path / "m.yml"
    entries = extend(path, tmp_path / "raw")
    assert entries["a"]["x_00001"] == {
        "path": "raw/A", "files": "x_00001_*.tif", "session": {"session_start_time": None}
    }  # fmt: skip
    before = path.read_text()
    extend(path, tmp_path / "raw")
    assert path.read_text() == before
    joined = tmp_path / "joined.yml"
    joined.write_text('recordings:\n  a:\n    all:\n      path: raw/A\n      files: "x_*.tif"\n')
    extend(joined, tmp_path / "raw")
    assert joined.read_text().count("path:") == 1


# -- NeuroBlueprint -------------------------------------------------------------------------------------------


def test_names_of_neuroblueprint(tmp_path):
    root = tmp_path / "rawdata"
    stack(root / "sub-001_id-M7" / "ses-02_date-20240102" / "funcimg" / "m.tif")
    stack(root / "sub-001_id-M7" / "ses-03_datetime-20240103T104500" / "funcimg" / "run 1" / "m.tif")
    path = tmp_path / "m.yml"
    for top in (root, root / "sub-001_id-M7"):
        assert set(names(top)) == {"sub-001.ses-02_date-20240102", "sub-001.ses-03_datetime-20240103t104500_run_1"}
    animal = extend(path, root)["sub-001"]
    assert animal["defaults"]["subject"]["subject_id"] == "001"
    first, second = (entry["session"] for key, entry in animal.items() if key != "defaults")
    assert first == {"session_id": "02", "session_start_time": None}
    assert second == {"session_id": "03-run-1", "session_start_time": None}
    text = path.read_text()
    assert "# 2024-01-02 (folder ses-02_date-20240102), to be completed: such as 2019-05-06T10:30:00+02:00" in text
    assert "# 2024-01-03T10:45:00 (folder ses-03_datetime-20240103T104500), to be completed" in text
    assert "# folder sub-001_id-M7" in text


# -- what files tell ------------------------------------------------------------------------------------------


def told(**metadata) -> RecordingOnDisk:
    fields = {name.replace("__", "."): Told(value, f"header, {name}") for name, value in metadata.items()}
    return RecordingOnDisk("a", "1", Path("raw"), Inspection("Format", 1, 20, shape=(8, 8), metadata=fields))


def test_values_that_files_tell_are_filled_in_with_their_source(tmp_path):
    recording = told(
        frame_rate_hz=30.01,
        pixel_size_um=[1.5, 1.25],
        session__session_start_time="2024-01-02T10:30:00+01:00",
        device__name="B-scope",
        imaging_plane__excitation_wavelength_nm=920,
    )
    path = tmp_path / "m.yml"
    extend_manifest(path, [recording], tmp_path, known={"device.name", "imaging_plane.indicator"})
    text = path.read_text()
    assert "frame_rate_hz: 30.01  " in text
    assert "# header, frame_rate_hz" in text
    manifest = yaml.safe_load(text)["recordings"]
    assert "frame_rate_hz" not in manifest["defaults"], "all files tell it"
    assert set(manifest["defaults"]["imaging_plane"]) == {"description", "location", "emission_wavelength_nm"}
    entry = Recording.model_validate(with_defaults(manifest)["a"]["1"])
    assert (entry.frame_rate_hz, entry.pixel_size_um, entry.device.name) == (30.01, (1.5, 1.25), "B-scope")
    assert entry.session.session_start_time.isoformat() == "2024-01-02T10:30:00+01:00"


def test_values_that_the_manifest_would_refuse_are_shown_for_the_user_to_complete(tmp_path):
    fields = session_fields(
        told(session__session_start_time="2024-01-02T10:30:00", frame_rate_hz=-1, device__colour="red"), tmp_path
    )
    assert {fields[name].value for name in ("session.session_start_time", "frame_rate_hz", "device.colour")} == {None}
    assert fields["session.session_start_time"].source.startswith("2024-01-02T10:30:00 (header")
    assert fields["device.colour"].source.endswith("red (not a field of the manifest)")


def test_headers_of_files_that_have_not_changed_are_read_once(tmp_path, monkeypatch):
    read = []
    inspect = scan.inspect_recording
    monkeypatch.setattr(scan, "inspect_recording", lambda *a, **k: read.append(a) or inspect(*a, **k))
    singles(tmp_path / "raw" / "A")
    kept = tmp_path / "cache" / "scan.json"
    first = find_recordings(tmp_path / "raw", cache=ScanCache(kept)).recordings
    n_read = len(read)
    assert n_read > 0
    assert find_recordings(tmp_path / "raw", cache=ScanCache(kept)).recordings == first
    assert len(read) == n_read
    tifffile.imwrite(tmp_path / "raw" / "A" / "frame_4.tif", FRAMES[0])
    (changed,) = find_recordings(tmp_path / "raw", cache=ScanCache(kept)).recordings
    assert changed.inspection.n_frames == 4
    find_recordings(tmp_path / "raw", cache=ScanCache(kept, reread=True))
    assert len(read) >= 3 * n_read
    monkeypatch.setattr(inspection, "_VERSION", "another")
    assert ScanCache(kept)._known == {}
    kept.write_text("{")
    assert find_recordings(tmp_path / "raw", cache=ScanCache(kept)).recordings == (changed,)


# -- manifest -----------------------------------------------------------------------------------------------


@pytest.fixture
def raw(tmp_path) -> Path:
    for folder in ("Animal_1/day_7", "Animal_1/day_8", "007", "on"):
        singles(tmp_path / "raw" / folder)
    return tmp_path / "raw"


def extend(path: Path, raw: Path) -> dict:
    new = new_recordings(find_recordings(raw).recordings, read_manifest(path), raw.parent)
    extend_manifest(path, new, raw.parent)
    return yaml.safe_load(path.read_text())["recordings"]


def test_new_manifest_has_empty_fields_for_the_user(tmp_path, raw):
    path = tmp_path / "conf" / "local" / "parameters_recordings.yml"
    manifest = extend(path, raw)
    assert set(manifest) == {"defaults", "animal_1", "007", "on"}
    assert list(manifest["animal_1"]) == ["defaults", "day_7", "day_8"]
    assert manifest["defaults"]["frame_rate_hz"] is None
    assert manifest["defaults"]["subject"] == {"species": None}
    assert manifest["animal_1"]["defaults"] == {"subject": {"sex": None, "date_of_birth": None}}
    entry = manifest["animal_1"]["day_7"]
    assert entry == {"path": "raw/Animal_1/day_7", "session": {"session_start_time": None}}
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
    assert list(extend(path, raw)["animal_1"]) == ["defaults", "day_7", "day_8"]
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


def test_a_folder_that_its_microscope_describes_is_one_recording(tmp_path, monkeypatch):
    for name in ("x_1", "y_1"):
        stack(tmp_path / "A" / f"{name}.tif")
    assert set(names(tmp_path)) == {"a.x_1", "a.y_1"}
    (tmp_path / "A" / "Experiment.xml").write_text("<x/>")
    assert set(names(tmp_path)) == {"a.x_1", "a.y_1"}, "no reader knows this file"
    inspect = scan.inspect_recording
    monkeypatch.setattr(
        scan, "inspect_recording", lambda path, **k: replace(inspect(path, **k), format="Microscope", problems=())
    )
    assert names(tmp_path) == {"a.session_1": "A"}


# -- damaged files among others ---------------------------------------------------------------------------------


OME_2016 = "http://www.openmicroscopy.org/Schemas/OME/2016-06"


def write_damaged(root: Path) -> None:
    """A folder for each damaged recording."""
    good = stack(root / "good" / "m.tif").read_bytes()
    texts = {
        "empty/m.tif": b"",
        "no_tiff/m.tif": b"text",
        "cut_header/m.tif": good[:6],
        "cut/m.tif": good[: len(good) // 2],
        "no_mat/m.sbx": bytes(100),
        "junk_mat/m.sbx": bytes(100),
        "junk_mat/m.mat": b"junk",
        "mesc/m.mesc": b"junk",
        "thor/Experiment.xml": b"<broken",
        "thor/Image_0001_0001.raw": bytes(100),
        "thor_size/Experiment.xml": b'<ThorImageExperiment><LSM pixelX="x" pixelY="3"/></ThorImageExperiment>',
        "prairie/T.xml": b'<PVScan><Sequence type="TSeries"><Frame relativeTime="abc"><File filename="m.tif"/></Frame>'
        b"</Sequence></PVScan>",
        "zarr/m.zarr/zarr.json": b'{"zarr_format": 3, "node_type": "group", "attributes": {"ome": {"multiscales": '
        b'[{"axes": [{"name": "t"}], "datasets": [{"path": "0"}]}]}}}',
    }
    for name, content in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    tifffile.imwrite(root / "thor_size" / "ChanA_001_001_001_001.tif", FRAMES[0])
    for name in ("hdf5/m.h5", "nwb/m.nwb"):
        (root / name).parent.mkdir()
        with h5py.File(root / name, "w") as file:
            file["movie"] = np.zeros((20, 16, 16))
        (root / name).write_bytes((root / name).read_bytes()[:3000])
    for name, text in {
        "ome": "<OME",
        "ome_size": f'<OME xmlns="{OME_2016}"><Image><Pixels SizeT="x"/></Image></OME>',
        "ome_pixels": f'<OME xmlns="{OME_2016}"><Image/></OME>',
    }.items():
        (root / name).mkdir()
        described = f'<?xml version="1.0"?>{text}'
        options = {"metadata": None, "photometric": "minisblack"}
        tifffile.imwrite(root / name / "m.ome.tif", FRAMES, description=described, **options)
    (root / "link").mkdir()
    (root / "link" / "m.tif").symlink_to("nowhere.tif")


def test_each_damaged_recording_is_told_and_the_others_are_found(tmp_path):
    write_damaged(tmp_path)
    found = {recording.animal: recording.inspection for recording in find_recordings(tmp_path).recordings}
    assert found.pop("good").problems == ()
    assert set(found) == {path.name for path in tmp_path.iterdir()} - {"good"}
    assert {name for name, inspection in found.items() if len(inspection.problems) != 1} == set()
    assert "copy it again" in found["cut"].problems[0]
    assert "as those of prairieview (ValueError: could not convert" in found["prairie"].problems[0]
    manifest = tmp_path / "parameters_recordings.yml"
    text = extend_manifest(manifest, find_recordings(tmp_path).recordings, tmp_path)
    assert set(yaml.safe_load(text)["recordings"]) == {"defaults", "good", *found}


def test_files_of_a_folder_that_is_a_recording_are_not_called_ignored(tmp_path):
    (tmp_path / "A").mkdir()
    (tmp_path / "A" / "Experiment.xml").write_text("<ThorImageExperiment/>")
    (tmp_path / "A" / "Image_0001_0001.raw").write_bytes(b"")
    search = find_recordings(tmp_path)
    assert (len(search.recordings), search.ignored) == (1, ())
