"""An NWB file exists only if it is complete and valid."""

import os
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from kedro.io import DatasetError
from pynwb import NWBHDF5IO
from tests.nwb.example import T, example

from rsc2p_kedro.datasets.nwb_file import NWBFileDataset
from rsc2p_kedro.nwb.acquisition import Links
from rsc2p_kedro.nwb.inspection import COLUMNS, inspect_file

NAME = "sub-animal-1/sub-animal-1_ses-day-7_ophys.nwb"


def dataset(folder: Path, **options: Any) -> NWBFileDataset:
    return NWBFileDataset(filepath=folder / NAME, **options)


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skips the validators (2 s per file) in tests that are not about the content of files."""
    monkeypatch.setattr("rsc2p_kedro.datasets.nwb_file.inspect_file", lambda path: pd.DataFrame(columns=COLUMNS))


def leftovers(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.rglob("*") if p.is_file() and p.name != Path(NAME).name)


@contextmanager
def old_file_stays(folder: Path) -> Iterator[None]:
    """Saves a file before the block, and checks after it that the file is unchanged."""
    dataset(folder).save(example(n=2).build())
    before = (folder / NAME).read_bytes()
    yield
    assert (folder / NAME).read_bytes() == before


def test_file_is_there_after_saving_and_open_until_released(tmp_path: Path) -> None:
    nwb = dataset(tmp_path)
    sample = example()
    assert not nwb.exists()
    nwb.save(sample.build())
    assert nwb.exists()
    assert leftovers(tmp_path) == []
    movie = nwb.load().acquisition["TwoPhotonSeries"].data
    np.testing.assert_array_equal(movie[3].T, sample.results.movie[3].compute())
    nwb.release()
    assert not movie  # a closed HDF5 dataset


@pytest.mark.usefixtures("unchecked")
def test_loaded_file_closes_with_its_context(tmp_path: Path) -> None:
    dataset(tmp_path).save(example(n=0).build())
    nwb = dataset(tmp_path).load()
    with nwb.read_io:
        assert nwb.session_id == "day-7"
    assert not nwb.acquisition["TwoPhotonSeries"].data


@pytest.mark.usefixtures("unchecked")
def test_saving_over_a_file_that_is_open_replaces_it(tmp_path: Path) -> None:
    nwb = dataset(tmp_path)
    nwb.save(example(n=5).build())
    nwb.load()
    nwb.save(example(n=3).build())
    assert len(nwb.load().processing["ophys"]["ImageSegmentation"]["PlaneSegmentation"]) == 3
    nwb.release()


def test_missing_file_and_data_of_another_type_are_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"no NWB file at .*: run the stage `export` first"):
        dataset(tmp_path).load()
    with pytest.raises(DatasetError, match="from an NWBFile, got DataFrame"):
        dataset(tmp_path).save(pd.DataFrame({"a": [1]}))
    assert leftovers(tmp_path) == []


def test_name_must_be_that_of_subject_and_session(tmp_path: Path) -> None:
    nwb = NWBFileDataset(filepath=tmp_path / "sub-other/sub-other_ses-day-7_ophys.nwb")
    with pytest.raises(DatasetError, match=r"should end in .*sub-animal-1_ses-day-7_ophys.nwb"):
        nwb.save(example().build())
    assert leftovers(tmp_path) == []


def test_file_that_validators_refuse_is_not_written_and_the_old_one_stays(tmp_path: Path) -> None:
    with old_file_stays(tmp_path), pytest.raises(DatasetError, match="Experimenter is missing") as error:
        dataset(tmp_path).save(example(parameters={"experimenter": None, "keywords": None}).build())
    assert "keywords" in str(error.value)
    assert leftovers(tmp_path) == []


def test_suggestions_are_only_logged_where_on_issue_asks_for_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    answers = {"best_practice_suggestion": "warn"}
    dataset(tmp_path, on_issue=answers).save(example(parameters={"experimenter": None}).build())
    assert "Experimenter is missing" in caplog.text
    assert inspect_file(tmp_path / NAME)["check"].tolist() == ["check_experimenter_exists"]


def test_measures_that_happen_to_be_0_and_1_do_not_refuse_a_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sample = example(n=2)
    sample.results.component_table["event_rate_hz"] = [0.0, 1.0]
    dataset(tmp_path).save(sample.build())
    assert "happen to be 0 and 1" in caplog.text


def test_unknown_response_to_issues_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="'error' or 'warn'"):
        dataset(tmp_path, on_issue="ignore")


@pytest.mark.usefixtures("unchecked")
def test_written_file_cannot_be_saved_again(tmp_path: Path) -> None:
    nwb = example(n=0).build()
    dataset(tmp_path).save(nwb)
    with pytest.raises(DatasetError, match="build it again"):
        dataset(tmp_path / "other").save(nwb)


def test_metadata_beyond_ascii_come_back(tmp_path: Path) -> None:
    texts = {"experimenter": ["Ramón y Cajal, Santiago", "Müller, Jörg"], "lab": "Лаборатория 神経"}
    dataset(tmp_path).save(example(n=0, parameters=texts).build())
    with NWBHDF5IO(tmp_path / NAME, "r") as io:
        nwb = io.read()
        assert tuple(nwb.experimenter) == tuple(texts["experimenter"])
        assert nwb.lab == texts["lab"]


def test_raw_movie_can_be_links_relative_to_the_file(tmp_path: Path) -> None:
    files = (tmp_path / "raw" / "one.tif", tmp_path / "raw" / "two.tif")
    (tmp_path / "raw").mkdir()
    for file in files:
        file.touch()
    links = Links(files, (0, 50), T)
    dataset(tmp_path).save(example(n=0, parameters={"raw": "external"}, links=links).build())
    with NWBHDF5IO(tmp_path / NAME, "r") as io:
        series = io.read().acquisition["TwoPhotonSeries"]
        assert list(series.external_file[:]) == ["../raw/one.tif", "../raw/two.tif"]
        assert list(series.starting_frame) == [0, 50]
        assert series.num_samples == T


def test_links_to_files_that_are_not_there_are_refused_and_the_old_file_stays(tmp_path: Path) -> None:
    files = tuple(tmp_path / "raw" / name for name in ("one.tif", "two.tif", "three.tif"))
    (tmp_path / "raw").mkdir()
    files[0].touch()
    nwb = example(n=0, parameters={"raw": "external"}, links=Links(files, (0, 50, 60), T)).build()
    with (
        old_file_stays(tmp_path),
        pytest.raises(
            DatasetError, match=r"links to .*two\.tif and 1 more, which cannot be found\. Restore the raw data"
        ),
    ):
        dataset(tmp_path).save(nwb)


@pytest.mark.usefixtures("unchecked")
def test_folder_beyond_ascii_and_with_spaces(tmp_path: Path) -> None:
    folder = tmp_path / "Meßdaten, día 7"
    dataset(folder).save(example(n=0).build())
    assert dataset(folder).exists()


@pytest.fixture
def nobody() -> Iterator[Path]:
    """A folder that is read-only for the user who runs the test; the superuser becomes another user meanwhile."""
    with tempfile.TemporaryDirectory() as folder:  # pytest's own folders cannot be entered by other users
        for path in (Path(folder), (Path(folder) / NAME).parent):
            path.mkdir(exist_ok=True)
            path.chmod(0o555)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)
        yield Path(folder)
        os.seteuid(user)
        for path in (Path(folder), (Path(folder) / NAME).parent):
            path.chmod(0o755)


@pytest.mark.skipif(os.name != "posix", reason="folders that are closed to users are POSIX's")
def test_target_without_write_permission_is_one_clear_error(nobody: Path) -> None:
    with pytest.raises(DatasetError, match=r"(?i)permission denied"):
        dataset(nobody).save(example(n=0).build())


def _run(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A script in a process of its own, where `save` saves an example file without the validators."""
    begin = f"""
        import os, resource, signal, sys
        sys.path.insert(0, {str(Path(__file__).parents[2])!r})
        import pandas as pd
        from tests.nwb.example import example
        from rsc2p_kedro.datasets import nwb_file
        nwb_file.inspect_file = lambda path: pd.DataFrame(columns={COLUMNS!r})
        sample = example(n=2)
        def save():
            nwb_file.NWBFileDataset(filepath={str(folder / NAME)!r}).save(sample.build())
    """
    code = textwrap.dedent(begin) + textwrap.dedent(script)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.skipif(sys.platform != "linux", reason="limits on the size of files are set as Linux does")
@pytest.mark.usefixtures("unchecked")
def test_full_disk_is_one_clear_error_and_leaves_the_old_file(tmp_path: Path) -> None:
    script = """
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        for limit in (700_000, 100_000, 500):  # among movies and structures, and at the very start
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
            try:
                save()
            except nwb_file.DatasetError as error:
                assert "File too large" in str(error) and "Make room on the disk" in str(error), error
            else:
                raise AssertionError(limit)
        print("all reported")
    """
    with old_file_stays(tmp_path):
        process = _run(script, tmp_path)
    assert (process.returncode, process.stdout) == (0, "all reported\n"), process.stderr
    assert "Traceback" not in process.stderr
    assert leftovers(tmp_path) == []


def test_parent_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "sub-animal-1").write_text("in the way")
    with pytest.raises(DatasetError, match="sub-animal-1"):
        dataset(tmp_path).save(example(n=0).build())


def test_failing_to_read_the_movie_leaves_nothing_behind(tmp_path: Path) -> None:
    def broken(block: np.ndarray) -> np.ndarray:
        raise OSError("the disk is gone")

    sample = example(n=0)
    object.__setattr__(sample.results, "movie", sample.results.movie.map_blocks(broken, dtype=np.uint16))
    with pytest.raises(DatasetError, match="the disk is gone"):
        dataset(tmp_path).save(sample.build())
    assert leftovers(tmp_path) == []
    assert not dataset(tmp_path).exists()


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX's")
@pytest.mark.usefixtures("unchecked")
def test_killed_writing_leaves_the_old_file_and_the_next_save_clears_up(tmp_path: Path) -> None:
    script = """
        def kill(block):
            os.kill(os.getpid(), signal.SIGKILL)
        movie = sample.results.movie
        object.__setattr__(sample.results, "movie", movie.map_blocks(kill, meta=movie._meta))
        save()
    """
    with old_file_stays(tmp_path):
        process = _run(script, tmp_path)
    assert process.returncode == -signal.SIGKILL, process.stderr
    assert len(leftovers(tmp_path)) == 1
    dataset(tmp_path).save(example(n=3).build())
    assert leftovers(tmp_path) == []


@pytest.mark.skipif(os.name != "posix", reason="sends itself ctrl-C as POSIX does")
@pytest.mark.usefixtures("unchecked")
def test_ctrl_c_at_any_moment_ends_cleanly_and_leaves_the_old_file(tmp_path: Path) -> None:
    script = """
        import random
        from pathlib import Path
        from rsc2p_kedro.nwb import guarded_file
        writes, at, interrupted = [], 0, 0
        write = guarded_file.GuardedFile.write
        def write_and_press(self, data):  # within the calls of HDF5, where an exception would break it
            writes.append(1)
            if len(writes) == at:
                os.kill(os.getpid(), signal.SIGINT)
            return write(self, data)
        guarded_file.GuardedFile.write = write_and_press
        nwb_file.write_nwb(sample.build(), Path(COUNTED), show_progress=False)
        for at in random.Random(0).sample(range(1, len(writes) + 1), 12):
            writes.clear()
            try:
                save()
            except KeyboardInterrupt:
                interrupted += 1
        print(interrupted)
    """
    with old_file_stays(tmp_path):
        process = _run(script.replace("COUNTED", repr(str(tmp_path / "counted.nwb"))), tmp_path)
    assert (process.returncode, process.stdout) == (0, "12\n"), process.stderr
    assert "Traceback" not in process.stderr
    (tmp_path / "counted.nwb").unlink()
    assert leftovers(tmp_path) == []


@pytest.mark.usefixtures("unchecked")
def test_damaged_file_is_named(tmp_path: Path) -> None:
    dataset(tmp_path).save(example(n=0).build())
    path = tmp_path / NAME
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DatasetError, match=rf"{Path(NAME).name}.*delete it and run the stage `export` again"):
        dataset(tmp_path).load()
