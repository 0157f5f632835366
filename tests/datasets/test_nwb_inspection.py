"""The inspection of an NWB file that was written."""

from pathlib import Path

import pandas as pd
import pytest
from kedro.io import DatasetError
from tests.nwb.example import example

from rsc2p_kedro.core.schemas import InspectionTable
from rsc2p_kedro.datasets import NWBInspectionDataset
from rsc2p_kedro.nwb.inspection import COLUMNS
from rsc2p_kedro.nwb.writing import write_nwb

NAME = "sub-animal-1/sub-animal-1_ses-day-7_ophys.nwb"


def test_messages_about_a_file_are_a_table_and_empty_where_it_is_in_order(tmp_path: Path) -> None:
    path = tmp_path / NAME
    path.parent.mkdir()
    for parameters, checks in (({}, []), ({"institution": None}, ["check_institution"])):
        write_nwb(example(n=2, parameters=parameters).build(), path, show_progress=False)
        table = InspectionTable.validate(NWBInspectionDataset(filepath=path).load())
        assert table["check"].tolist() == checks


def test_messages_of_dandi_are_logged_and_in_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / NAME
    path.parent.mkdir()
    path.touch()
    message = dict.fromkeys(COLUMNS, "") | {"importance": "ERROR", "message": "no such subject"}
    monkeypatch.setattr("rsc2p_kedro.datasets.nwb_inspection.dandi_messages", lambda _: pd.DataFrame([message]))
    monkeypatch.setattr("rsc2p_kedro.datasets.nwb_inspection.inspect_file", lambda _: pd.DataFrame(columns=COLUMNS))
    assert NWBInspectionDataset(filepath=path).load()["message"].tolist() == ["no such subject"]
    assert "DANDI's validator reports [ERROR]: no such subject" in caplog.text


def test_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    dataset = NWBInspectionDataset(filepath=tmp_path / NAME)
    assert not dataset.exists()
    with pytest.raises(DatasetError, match=r"no NWB file at .*run the stage `export` first"):
        dataset.load()


def test_inspection_is_never_written(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="Save the file with NWBFileDataset"):
        NWBInspectionDataset(filepath=tmp_path / NAME).save(pd.DataFrame({"check": ["a"]}))
