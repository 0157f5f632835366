"""The user's manual decisions on components, which take precedence over all thresholds."""

from pathlib import Path

import numpy as np
import pandas as pd

from rsc2p_kedro.core.schemas import CurationTable
from rsc2p_kedro.datasets.read_only import ReadOnlyDataset
from rsc2p_kedro.datasets.user_tables import Column, TableError, read_table

EXPECTED = (
    "a CSV table with the columns component_id, decision ('accept' or 'reject') and, if wanted, note, centre_y_px and "
    "centre_x_px"
)
CENTRE = ("centre_y_px", "centre_x_px")
COLUMNS = (
    Column("component_id", "whole number", least=0, unique=True),
    Column("decision", "text", choices=("accept", "reject")),
    Column("note", "text", optional=True),
    *(Column(name, "text", optional=True) for name in CENTRE),
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
           component_id decision          note  centre_y_px  centre_x_px
        0             3   reject  blood vessel          NaN          NaN
        1             5   accept                        NaN          NaN

    Loading gives a checked :class:`~rsc2p_kedro.core.schemas.CurationTable`; the column `note` may be left out of the
    file and is then empty. The curation page adds the centres of the components, by which decisions follow neurons
    when components are extracted again; without them, ids are taken as they are.
    """

    WHY_READ_ONLY = "decisions are made by the user. Save them from the curation page, or edit the table."

    def _read(self) -> pd.DataFrame:
        return read_curation(self._filepath)


def read_curation(path: Path) -> pd.DataFrame:
    """Reads the user's decisions on components.

    Args:
        path: a CSV table with the columns `component_id`, `decision` (`accept` or `reject`) and, if wanted, `note`,
            `centre_y_px` and `centre_x_px`.

    Returns:
        A :class:`~rsc2p_kedro.core.schemas.CurationTable`, one row for each decision; missing notes are "",
        missing centres NaN.

    Raises:
        ValueError: there is no such file, or its content is not as described above; all problems are listed.
    """
    if not path.is_file():
        raise ValueError(f"`curation:` names {path}, which does not exist. Correct the path or remove the line.")
    table = read_table(path, COLUMNS, expected=EXPECTED).reset_index(drop=True)
    try:
        centres = {name: pd.to_numeric(table[name].replace("", np.nan)).astype(float) for name in CENTRE}
    except ValueError as error:
        raise TableError.listing(path, EXPECTED, [f"A centre is no number ({error})"]) from error
    return CurationTable.validate(table.assign(**centres))
