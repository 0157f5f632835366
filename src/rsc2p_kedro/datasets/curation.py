"""The user's own decisions on components, which take precedence over every threshold."""

from pathlib import Path

import pandas as pd
from pandera.errors import SchemaErrors

from rsc2p_kedro.core.schemas import CurationTable
from rsc2p_kedro.datasets.read_only import ReadOnlyDataset, read_csv

EXPECTED = "the columns component_id, decision ('accept' or 'reject') and note"


class CurationDataset(ReadOnlyDataset[pd.DataFrame]):
    """Decisions of the user on components, as a CSV table.

    Examples:
        ```yaml
        animal_1.day_7.curation:
          type: rsc2p_kedro.datasets.CurationDataset
          filepath: data/01_raw/animal_1/curation.csv
        ```

        >>> (tmp_path / "curation.csv").write_text("component_id,decision,note\\n3,reject,blood vessel\\n5,accept,\\n")
        >>> CurationDataset(filepath=tmp_path / "curation.csv").load()
           component_id decision          note
        0             3   reject  blood vessel
        1             5   accept

    Loading gives a checked :class:`~rsc2p_kedro.core.schemas.CurationTable`; the column `note` may be left out of the
    file and is then empty.
    """

    WHY_READ_ONLY = "decisions are the user's. Export them from the interactive view, or edit the table."

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
        raise ValueError(f"`curation:` names {path}, where there is no file. Correct the path, or take the line out.")
    table = read_csv(path, EXPECTED, dtype={"note": str})
    if "note" not in table:
        table["note"] = ""
    try:
        return CurationTable.validate(table.fillna({"note": ""}), lazy=True)
    except SchemaErrors as error:
        wrong = error.failure_cases[["column", "check", "failure_case", "index"]].to_string(index=False)
        raise ValueError(f"{path} should have {EXPECTED}:\n{wrong}") from error


def curate(component_table: pd.DataFrame, decisions: pd.DataFrame) -> pd.DataFrame:
    """Applies the user's decisions to a table of components.

    Args:
        component_table: a :class:`~rsc2p_kedro.core.schemas.ComponentTable`, with the decisions of the evaluation.
        decisions: a :class:`~rsc2p_kedro.core.schemas.CurationTable`.

    Returns:
        A copy of the table in which `accepted`, `curated` and `reason` of the components that the user decided on hold
        that decision; the reason keeps that of the evaluation.

    Raises:
        ValueError: a decision is about a component that is not in the table.
    """
    unknown = sorted(set(decisions["component_id"]) - set(component_table["component_id"]))
    if unknown:
        raise ValueError(
            f"The curation table decides on components {unknown}, which are not there: it was made for other results."
        )
    curated = component_table.set_index("component_id")
    for record in decisions.to_dict("records"):
        component, accepted = int(record["component_id"]), record["decision"] == "accept"
        verb, note = ("accepted" if accepted else "rejected"), (f" ({record['note']})" if record["note"] else "")
        was = curated.loc[component, "reason"]
        curated.loc[component, ["accepted", "curated"]] = [accepted, True]
        curated.loc[component, "reason"] = f"{verb}: by the user{note}; was {was!s}"
    return curated.reset_index()[component_table.columns]
