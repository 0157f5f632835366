"""What is valid but probably wrong is told, and what is sound is not."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile

from rsc2p_kedro.manifest.doubts import recording_doubts, shared_data
from rsc2p_kedro.manifest.recordings import Recording


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Twenty frames, written an hour ago."""
    (tmp_path / "raw").mkdir()
    for number in range(20):
        tifffile.imwrite(tmp_path / "raw" / f"frame_{number:02d}.tif", np.zeros((32, 32), np.uint16))
    age(tmp_path / "raw")
    return tmp_path / "raw"


def age(folder: Path) -> None:
    for path in (*folder.iterdir(), folder):
        if path.exists():
            status = path.stat()
            os.utime(path, (status.st_atime - 3600, status.st_mtime - 3600))


def recording(path: Path, name: str = "a.1", **fields) -> Recording:
    animal, _, session = name.partition(".")
    entry = {"animal": animal, "session_key": session, "path": path, "frame_rate_hz": 10, **fields}
    return Recording.model_validate(entry)


def test_a_sound_recording_raises_no_doubt(raw):
    assert recording_doubts(recording(raw, pixel_size_um=[1.2, 1.2])) == []
    assert recording_doubts(recording(raw.parent / "not copied yet")) == []


def test_a_recording_that_changed_just_now_may_be_incomplete(raw):
    tifffile.imwrite(raw / "frame_20.tif", np.zeros((32, 32), np.uint16))
    (line,) = recording_doubts(recording(raw))
    assert "If it is still being recorded or copied, wait" in line
    age(raw)
    os.utime(raw / "frame_20.tif")  # grows, while nothing is added to the folder
    assert len(recording_doubts(recording(raw))) == 1


def test_times_of_more_frames_than_there_are_are_told(raw):
    pd.DataFrame({"time_s": np.arange(23) / 10}).to_csv(raw.parent / "times.csv", index=False)
    (line,) = recording_doubts(recording(raw, frame_times=raw.parent / "times.csv"))
    assert "has 23 times, but there are 20 frames on disk" in line


def test_metadata_that_promise_more_frames_than_there_are_are_told(tmp_path):
    images = np.arange(60 * 32 * 32, dtype=np.uint16).reshape(60, 32, 32)
    tifffile.imwrite(tmp_path / "whole.ome.tif", images, metadata={"axes": "TYX"})
    with tifffile.TiffFile(tmp_path / "whole.ome.tif") as whole:
        description = whole.pages[0].description
    (tmp_path / "raw").mkdir()
    with tifffile.TiffWriter(tmp_path / "raw" / "part.ome.tif", ome=False) as part:
        for number in range(50):
            text = description if number == 0 else None
            part.write(images[number], description=text, metadata=None, photometric="minisblack")
    age(tmp_path / "raw")
    (line,) = recording_doubts(recording(tmp_path / "raw"))
    assert "promise 60 frames, 10 of them are not complete" in line


def test_two_animals_cannot_have_the_same_frames(tmp_path):
    first, second = recording(tmp_path, "a.1"), recording(tmp_path / "." / "x" / "..", "b.1")
    problems, doubts = shared_data([first, second])
    assert list(problems) == ["b.1"]
    assert "is the data of a.1 too" in problems["b.1"][0]
    assert doubts == {}
    parts = [recording(tmp_path, "a.1", frames=[0, 50]), recording(tmp_path, "b.1", frames=[50, 99])]
    assert shared_data(parts) == ({}, {})
    assert shared_data([recording(tmp_path / "a"), recording(tmp_path / "b", "b.1")]) == ({}, {})


def test_two_sessions_of_one_animal_may_be_two_analyses_of_the_same_frames(tmp_path):
    problems, doubts = shared_data([recording(tmp_path, "a.1"), recording(tmp_path, "a.2")])
    assert problems == {}
    assert "if this is not meant" in doubts["a.2"][0]
    simulated = [recording(tmp_path, name, simulation={"n_frames": 50}) for name in ("a.1", "a.2")]
    assert list(shared_data(simulated)[0]) == ["a.2"]
