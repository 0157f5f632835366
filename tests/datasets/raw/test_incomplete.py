"""Files that are missing, or change while they are read, are named."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from rsc2p_kedro.datasets.raw import RecordingError, inspect_recording, read_frames


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(20):
        tifffile.imwrite(tmp_path / f"frame_{number:02d}.tif", np.full((16, 24), number, np.uint16))
    return tmp_path


@pytest.mark.parametrize("name", ["frame_20.tif", "frame_07.tif"])
def test_a_link_to_a_missing_file_is_named_even_if_it_is_the_last_one(folder, name):
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(folder / "elsewhere" / name)
    with pytest.raises(RecordingError, match=f"{name} is a link to a file that is not there"):
        read_frames(folder)


def test_a_file_that_changes_after_it_was_inspected_is_named(folder):
    movie = read_frames(folder).movie
    np.testing.assert_array_equal(movie[5].compute(), np.full((16, 24), 5))
    tifffile.imwrite(folder / "frame_05.tif", np.full((16, 24), 99, np.uint16), description="longer than before")
    with pytest.raises(RecordingError, match=r"frame_05\.tif changed while it was read: wait until it is complete"):
        movie.compute()


def test_half_precision_is_read_as_single(tmp_path):
    pixels = np.random.default_rng(0).normal(50, 9, (20, 16, 24)).astype(np.float16)
    tifffile.imwrite(tmp_path / "movie.tif", pixels, photometric="minisblack")
    assert inspect_recording(tmp_path).dtype == np.float32
    movie = read_frames(tmp_path).movie
    assert movie.dtype == np.float32
    np.testing.assert_array_equal(movie.compute(), pixels)
