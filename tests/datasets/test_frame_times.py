"""Times of frames are read completely, and all problems with them are listed."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from kedro.io import DatasetError

from rsc2p_kedro.datasets import FrameTimesDataset
from rsc2p_kedro.datasets.frame_times import check_frame_times, read_frame_times
from rsc2p_kedro.manifest.checks import stage_problems
from rsc2p_kedro.manifest.recordings import Recording


def table(folder: Path, times: object, column: str = "time_s") -> Path:
    path = folder / "times.csv"
    pd.DataFrame({column: times}).to_csv(path, index=False)
    return path


def test_times_come_back_as_they_were(tmp_path: Path) -> None:
    times = np.cumsum(np.random.default_rng(0).uniform(0.06, 0.08, 50))
    np.testing.assert_array_equal(read_frame_times(table(tmp_path, times), frame_rate_hz=14.3, n_frames=50), times)


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ([0, 0.1, 0.2], "row for each of 4 frames, there are 3"),
        ([0, 0.1, "x", 0.3], "line 4: time_s 'x' should be a number"),
        ([0, 0.1, 0.05, 0.2], "do not on line 4 and 0 more"),
        ([-1, 0, 0.1, 0.2], "line 2: time_s '-1.0' should be 0 or more"),
        ([0, 100, 200, 300], "0.01 Hz, but `frame_rate_hz` is 10"),
    ],
)
def test_invalid_times_are_refused_with_the_reason(tmp_path: Path, times: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_frame_times(table(tmp_path, times), frame_rate_hz=10, n_frames=4)


def test_missing_file_or_column_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="which does not exist"):
        read_frame_times(tmp_path / "none.csv", frame_rate_hz=10)
    with pytest.raises(ValueError, match="Line 1 names no column time_s, but t"):
        read_frame_times(table(tmp_path, [0.0], "t"), frame_rate_hz=10)


def test_too_few_times_are_found_before_the_run(tmp_path: Path) -> None:
    entry = {
        "path": tmp_path,
        "frame_rate_hz": 10,
        "frames": [0, 60],
        "frame_times": table(tmp_path, np.arange(50) / 10),
    }
    (problem,) = stage_problems(Recording.model_validate(entry), {})
    assert "row for each of 60 frames, there are 50" in problem


def test_dataset_gives_the_times_and_is_never_written(tmp_path: Path) -> None:
    times = np.arange(20) / 10
    dataset = FrameTimesDataset(filepath=table(tmp_path, times), frame_rate_hz=10)
    np.testing.assert_array_equal(dataset.load(), times)
    with pytest.raises(DatasetError, match="times of frames come from the microscope"):
        dataset.save(times + 1)
    np.testing.assert_array_equal(dataset.load(), times)


def test_dataset_names_what_is_wrong_with_a_file(tmp_path: Path) -> None:
    missing = FrameTimesDataset(filepath=tmp_path / "none.csv", frame_rate_hz=10)
    assert not missing.exists()
    with pytest.raises(DatasetError, match="which does not exist"):
        missing.load()
    with pytest.raises(DatasetError, match="which is 10 Hz, but `frame_rate_hz` is 20"):
        FrameTimesDataset(filepath=table(tmp_path, np.arange(20) / 10), frame_rate_hz=20).load()


def test_times_must_cover_all_frames() -> None:
    times = np.arange(20) / 10
    assert check_frame_times(times, 20) is times
    with pytest.raises(ValueError, match=r"times\.csv: there should be a row for each of 21 frames, there are 20"):
        check_frame_times(times, 21, source=Path("times.csv"))
