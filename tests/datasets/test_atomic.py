import os
import socket

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from kedro.io import DataCatalog, DatasetError, Version

from rsc2p_kedro.datasets import AtomicCSVDataset, AtomicFigureDataset, AtomicTextDataset
from rsc2p_kedro.datasets.atomic import replacing


def _leftover(name: str, process: int, role: str) -> str:
    return f".{name}.{socket.gethostname()}-{process}.{role}.tmp"


DEAD = 2**22 + 1  # above any process id of Linux


def test_file_appears_when_the_block_ends(tmp_path):
    target = tmp_path / "deep" / "file.txt"
    with replacing(target) as temporary:
        temporary.write_text("new")
        assert not target.exists()
    assert target.read_text() == "new"
    assert [path.name for path in target.parent.iterdir()] == ["file.txt"]


def test_folder_takes_the_place_of_a_full_one(tmp_path):
    for content in ("old", "new"):
        with replacing(tmp_path / "folder") as temporary:
            temporary.mkdir()
            (temporary / content).touch()
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_interruption_leaves_the_old_content(tmp_path, error):
    (tmp_path / "file.txt").write_text("old")

    def interrupted() -> None:
        with replacing(tmp_path / "file.txt") as temporary:
            temporary.write_text("half of the n")
            raise error

    with pytest.raises(error):
        interrupted()
    assert (tmp_path / "file.txt").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.skipif(os.name != "posix", reason="asks for processes by signal")
def test_leftovers_of_dead_runs_go_and_those_of_living_ones_stay(tmp_path):
    dead, living = _leftover("file.txt", DEAD, "new"), _leftover("file.txt", os.getppid(), "new")
    elsewhere = f".file.txt.another-host-{DEAD}.new.tmp"
    for name in (dead, living, elsewhere):
        (tmp_path / name).touch()
    with replacing(tmp_path / "file.txt") as temporary:
        temporary.touch()
    assert {path.name for path in tmp_path.iterdir()} == {"file.txt", living, elsewhere}


@pytest.mark.skipif(os.name != "posix", reason="asks for processes by signal")
def test_run_killed_between_the_two_renames_loses_nothing(tmp_path):
    old = tmp_path / _leftover("folder", DEAD, "old")
    old.mkdir()
    (old / "old").touch()
    with pytest.raises(RuntimeError), replacing(tmp_path / "folder"):
        raise RuntimeError
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["old"]


def test_table_round_trip_and_failed_save(tmp_path):
    table = pd.DataFrame({"frame": [0, 1], "mean": [0.1, 0.2]})
    dataset = AtomicCSVDataset(filepath=tmp_path / "table.csv")
    dataset.save(table)
    pd.testing.assert_frame_equal(dataset.load(), table)

    class Unprintable:
        def __str__(self) -> str:
            raise RuntimeError("cannot be printed")

    with pytest.raises(DatasetError, match="cannot be printed"):
        dataset.save(pd.DataFrame({"frame": ["x", Unprintable()]}))
    pd.testing.assert_frame_equal(dataset.load(), table)
    assert [path.name for path in tmp_path.iterdir()] == ["table.csv"]


def test_versions_are_kept_and_not_overwritten(tmp_path):
    def dataset(version: str) -> AtomicTextDataset:
        return AtomicTextDataset(filepath=str(tmp_path / "facts.txt"), version=Version(None, version))

    dataset("1").save("1")
    dataset("2").save("2")
    assert dataset("3").load() == "2"
    with pytest.raises(DatasetError, match="must not exist"):
        dataset("2").save("3")
    assert [path.name for path in (tmp_path / "facts.txt" / "2").iterdir()] == ["facts.txt"]


def test_figure_is_saved_and_previewed(tmp_path):
    dataset = AtomicFigureDataset(filepath=(tmp_path / "figure.png").as_posix())
    dataset.save(plt.figure())
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
    assert dataset.preview()
    assert dataset.load() == (tmp_path / "figure.png").read_bytes()


def test_text_round_trip(tmp_path):
    dataset = AtomicTextDataset(filepath=(tmp_path / "page.html").as_posix())
    dataset.save("<p>µm</p>")
    assert dataset.load() == "<p>µm</p>"


def test_catalog_entry_with_versions_and_validator(tmp_path):
    catalog = DataCatalog.from_config(
        {
            "{animal}.{session}.lineage_table": {
                "type": "rsc2p_kedro.datasets.AtomicCSVDataset",
                "filepath": str(tmp_path / "{animal}" / "{session}" / "lineage_table.csv"),
                "load_args": {"keep_default_na": False},
                "versioned": True,
                "validator": "rsc2p_kedro.core.schemas.LineageTable",
            }
        }
    )
    table = pd.DataFrame({"component_id": [1], "event": ["kept"], "parents": [""], "reason": [""]})
    catalog.save("a.s.lineage_table", table)
    pd.testing.assert_frame_equal(catalog.load("a.s.lineage_table"), table)
    with pytest.raises(DatasetError, match="event"):
        catalog.save("a.s.lineage_table", table.assign(event="vanished"))


@pytest.mark.parametrize("content", [b"", b"frame,mean\n0,0.1\n1,0.1,2,3", b"frame,m\xff\xfe\n", b'frame\n"0'])
def test_damaged_table_is_named_with_its_version(tmp_path, content):
    version = "2026-01-01T00.00.00.000Z"
    dataset = AtomicCSVDataset(filepath=str(tmp_path / "table.csv"), version=Version(None, version))
    dataset.save(pd.DataFrame({"frame": [0, 1], "mean": [0.1, 0.2]}))
    (tmp_path / "table.csv" / version / "table.csv").write_bytes(content)
    with pytest.raises(DatasetError, match=rf"table\.csv/{version}/table\.csv is no table .* run the stage"):
        dataset.load()


def test_missing_table_is_named(tmp_path):
    with pytest.raises(DatasetError, match=r"table\.csv"):
        AtomicCSVDataset(filepath=str(tmp_path / "table.csv")).load()
