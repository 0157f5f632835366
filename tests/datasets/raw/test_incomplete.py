"""Files that are missing, or change while they are read, are named."""

import os
import subprocess
import sys
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


def test_names_beyond_ascii_are_read_in_the_plainest_locale(tmp_path):
    folder = tmp_path / "Mäuse_日"
    folder.mkdir()
    tifffile.imwrite(folder / "Aufnahme_ä.tif", np.ones((20, 16, 24), np.uint16), photometric="minisblack")
    table = folder / "Entscheidungen_ö.csv"
    table.write_text("component_id,decision,note\n3,reject,Gefäß\n", encoding="utf-8")
    script = (
        "import sys; from pathlib import Path; from rsc2p_kedro.datasets.curation import read_curation; "
        "from rsc2p_kedro.datasets.raw import read_frames; "
        "folder = Path(sys.argv[1]); assert read_frames(folder).movie.compute().sum() == 20 * 16 * 24; "
        "assert read_curation(Path(sys.argv[2]))['note'].tolist() == ['Gef\\xe4\\xdf']"
    )
    plain = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-c", script, str(folder), str(table)]
    done = subprocess.run(command, env=plain, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
