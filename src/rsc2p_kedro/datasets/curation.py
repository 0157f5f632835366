"""The user's own decisions on components, which always win."""

from pathlib import Path

import pandas as pd
import pandera.pandas as pa
from pandera.errors import SchemaErrors
from pandera.typing import Series


class CurationTable(pa.DataFrameModel):
    """One row a decision of the user."""

    component_id: Series[int] = pa.Field(ge=0, unique=True)
    decision: Series[str] = pa.Field(isin=["accept", "reject"])
    note: Series[str] = pa.Field(nullable=True)

    class Config:
        strict = True
        coerce = True


def read_curation(path: Path) -> pd.DataFrame:
    """The decisions in a CSV table with the columns component_id, decision (`accept` or `reject`) and note.

    Raises:
        ValueError: there is no such file, or it is no such table; all problems are listed.
    """
    if not path.is_file():
        raise ValueError(f"`curation:` names {path}, where there is no file. Correct the path, or take the line out.")
    table = pd.read_csv(path, dtype={"note": str})
    if "note" not in table:
        table["note"] = ""
    try:
        return CurationTable.validate(table.fillna({"note": ""}), lazy=True)
    except SchemaErrors as error:
        wrong = error.failure_cases[["column", "check", "failure_case", "index"]].to_string(index=False)
        raise ValueError(
            f"{path} should have the columns component_id, decision ('accept' or 'reject') and note:\n{wrong}"
        ) from error


def curate(component_table: pd.DataFrame, decisions: pd.DataFrame) -> pd.DataFrame:
    """A table of components with the user's decisions laid over those of the evaluation.

    Raises:
        ValueError: a decision is about a component that is not there.
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
