"""Files of a recording are chosen by patterns, so that raw data need not be moved or renamed."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from pydantic import ValidationError

from rsc2p_kedro.datasets import RawRecordingDataset
from rsc2p_kedro.datasets.raw import Layout, RecordingError, inspect_recording, read_frames
from rsc2p_kedro.datasets.raw.numbering import numbering_problems
from rsc2p_kedro.manifest.recordings import Recording


@pytest.fixture
def folder(tmp_path) -> Path:
    """Two acquisitions in two parts each, a preview, and a part in a subfolder; each file has its own brightness."""
    names = ["m_1_1", "m_1_2", "m_2_1", "m_2_2", "m_Preview", "more/m_1_3"]
    for value, name in enumerate(names):
        path = tmp_path / f"{name}.tif"
        path.parent.mkdir(exist_ok=True)
        tifffile.imwrite(path, np.full((10, 20, 24), value, np.uint16), photometric="minisblack")
    return tmp_path


def brightness(folder: Path, **layout: tuple[str, ...]) -> list[int]:
    frames = read_frames(folder, layout=Layout(**layout))
    return frames.movie[::10, 0, 0].compute().tolist()


def test_patterns_choose_the_files_in_natural_order(folder):
    assert brightness(folder, files=("m_1_*.tif",)) == [0, 1]
    assert brightness(folder, files=("m_?_1.tif",)) == [0, 2]
    assert brightness(folder, files=("m_2_2.tif", "m_2_1.tif")) == [2, 3]
    assert brightness(folder, exclude=("*_Preview.tif", "m_2_*")) == [0, 1]
    assert brightness(folder, files=("**/m_1_*.tif",), exclude=("m_1_2.tif",)) == [0, 5]
    assert brightness(folder, files=("**/m_1_*.tif",), exclude=("more/*",)) == [0, 1]


def test_files_in_subfolders_are_named_with_their_folder(folder):
    frames = read_frames(folder, layout=Layout(files=("m_1_*.tif", "more/m_1_*.tif")))
    assert frames.files[::10] == ("m_1_1.tif", "m_1_2.tif", "more/m_1_3.tif")


def test_a_pattern_that_nothing_matches_says_so(folder):
    with pytest.raises(RecordingError, match="correct `files` and `exclude`"):
        read_frames(folder, layout=Layout(files=("x*.tif",)))


def test_patterns_of_the_manifest_reach_the_dataset(folder):
    dataset = RawRecordingDataset(filepath=folder, files="m_1_*.tif", exclude=["m_1_2.tif"])
    assert dataset.exists()
    assert dataset.load().n_frames == 10


@pytest.mark.parametrize("pattern", ["/data/*.tif", "../*.tif", ""])
def test_patterns_are_relative_to_the_path(pattern):
    with pytest.raises(ValidationError, match="relative to `path`"):
        Recording(path="x", frame_rate_hz=1, files=pattern)


def test_one_pattern_needs_no_list():
    recording = Recording(path="x", frame_rate_hz=1, files="*.tif", exclude=["a.tif", "b.tif"])
    assert recording.layout == Layout(files=("*.tif",), exclude=("a.tif", "b.tif"))


@pytest.mark.parametrize(
    "names", [["m.tif", "m_1.tif", "m_2.tif"], ["m.ome.tif", "m_1.ome.tif"], ["m.tif", "m (2).tif", "m (3).tif"]]
)
def test_the_first_part_of_a_movie_may_have_no_number(names):
    assert numbering_problems(names) == []


def test_another_file_without_number_is_a_problem():
    assert "average.tif" in numbering_problems(["average.tif", "m_1.tif", "m_2.tif"])[0]
    assert "gaps, 2 missing" in numbering_problems(["m.tif", "m_1.tif", "m_3.tif", "m_4.tif"])[0]


def test_parts_are_read_in_the_order_of_their_numbers(tmp_path):
    for value, name in enumerate(["m", "m_1", "m_2", "m_10"]):
        tifffile.imwrite(tmp_path / f"{name}.tif", np.full((5, 20, 24), value, np.uint16), photometric="minisblack")
    names = [file.path.name for file in inspect_recording(tmp_path).files]
    assert names == ["m.tif", "m_1.tif", "m_2.tif", "m_10.tif"]
