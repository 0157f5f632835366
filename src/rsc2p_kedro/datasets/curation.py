"""The user's manual decisions on components, which take precedence over all thresholds."""

from pathlib import Path

import pandas as pd

from rsc2p_kedro.core.schemas import CurationTable
from rsc2p_kedro.datasets.read_only import ReadOnlyDataset
from rsc2p_kedro.datasets.user_tables import Column, read_table

EXPECTED = "a CSV table with the columns component_id, decision ('accept' or 'reject') and, if wanted, note"
COLUMNS = (
    Column("component_id", "whole number", least=0, unique=True),
    Column("decision", "text", choices=("accept", "reject")),
    Column("note", "text", optional=True),
)


class CurationDataset(ReadOnlyDataset[pd.DataFrame]):
    """Decisions of the user on components, as a CSV table.

    Examples:
        ```yaml
        animal_1.day_7.curation:
          type: rsc2p_kedro.datasets.CurationDataset
          filepath: data/01_raw/animal_1/curation.csv
        ```

        >>> path = tmp_path / "curation.csv"
        >>> _ = path.write_text("component_id,decision,note\\n3,reject,blood vessel\\n5,accept,\\n")
        >>> CurationDataset(filepath=path).load()
           component_id decision          note
        0             3   reject  blood vessel
        1             5   accept

    Loading gives a checked :class:`~rsc2p_kedro.core.schemas.CurationTable`; the column `note` may be left out of the
    file and is then empty.
    """

    WHY_READ_ONLY = "decisions are made by the user. Save them from the curation page, or edit the table."

    def _read(self) -> pd.DataFrame:
        return read_curation(self._filepath)


def read_curation(path: Path) -> pd.DataFrame:
    """Reads the user's decisions on components.

    Args:
        path: a CSV table with the columns `component_id`, `decision` (`accept` or `reject`) and, if wanted, `note`.

    Returns:
        A :class:`~rsc2p_kedro.core.schemas.CurationTable`, one row for each decision; missing notes are "".

    Raises:
        ValueError: there is no such file, or its content is not as described above; all problems are listed.
    """
    if not path.is_file():
        raise ValueError(f"`curation:` names {path}, which does not exist. Correct the path or remove the line.")
    return CurationTable.validate(read_table(path, COLUMNS, expected=EXPECTED).reset_index(drop=True))
