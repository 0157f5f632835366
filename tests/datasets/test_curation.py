"""The user's decisions on components are read as they were written, and problems with them are named."""

import pytest
from kedro.io import DatasetError

from rsc2p_kedro.core.schemas import CurationTable
from rsc2p_kedro.datasets import CurationDataset
from rsc2p_kedro.datasets.curation import read_curation


def test_decisions_are_read_with_their_notes(tmp_path):
    path = tmp_path / "curation.csv"
    path.write_text("component_id,decision,note\n3,reject,blood vessel\n5,accept,\n")
    table = read_curation(path)
    assert table[["component_id", "decision", "note"]].to_numpy().tolist() == [
        [3, "reject", "blood vessel"],
        [5, "accept", ""],
    ]
    assert table[["centre_y_px", "centre_x_px"]].isna().all(axis=None)


def test_centres_are_read(tmp_path):
    path = tmp_path / "curation.csv"
    path.write_text("component_id,decision,note,centre_y_px,centre_x_px\n3,reject,,10,20.5\n5,accept,,,\n")
    assert read_curation(path)["centre_x_px"].fillna(-1).tolist() == [20.5, -1]


@pytest.mark.parametrize("text", ["component_id,decision\n1,maybe\n", "id,decision\n1,accept\n"])
def test_invalid_table_is_refused_with_the_expected_columns(tmp_path, text):
    path = tmp_path / "curation.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match="decision \\('accept' or 'reject'\\)"):
        read_curation(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match="does not exist"):
        read_curation(tmp_path / "none.csv")


def test_dataset_gives_a_checked_table_and_is_never_written(tmp_path):
    path = tmp_path / "curation.csv"
    path.write_text("component_id,decision\n3,reject\n5,accept\n")
    dataset = CurationDataset(filepath=path)
    table = dataset.load()
    assert CurationTable.validate(table)["note"].tolist() == ["", ""]
    with pytest.raises(DatasetError, match="decisions are made by the user"):
        dataset.save(table)
    assert path.read_text().startswith("component_id,decision\n3")


@pytest.mark.parametrize(
    ("text", "message"),
    [(None, "`curation:` names .*which does not exist"), ("component_id,decision\n1,maybe\n", "maybe")],
)
def test_dataset_names_what_is_wrong_with_a_file(tmp_path, text, message):
    dataset = CurationDataset(filepath=tmp_path / "curation.csv")
    if text is not None:
        (tmp_path / "curation.csv").write_text(text)
    assert dataset.exists() == (text is not None)
    with pytest.raises(DatasetError, match=message):
        dataset.load()
