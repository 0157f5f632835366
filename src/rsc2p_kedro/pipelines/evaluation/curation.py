"""Application of the user's manual decisions to the component table."""

import pandas as pd


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
            f"The curation table has decisions on components {unknown}, which do not exist in these results. Make a "
            "curation table from the curation page of these results, or remove `curation:` from the manifest."
        )
    curated = component_table.set_index("component_id")
    for record in decisions.to_dict("records"):
        component, accepted = int(record["component_id"]), record["decision"] == "accept"
        verb, note = ("accepted" if accepted else "rejected"), (f" ({record['note']})" if record["note"] else "")
        earlier_reason = curated.loc[component, "reason"]
        curated.loc[component, ["accepted", "curated"]] = [accepted, True]
        curated.loc[component, "reason"] = f"{verb}: by the user{note}; was {earlier_reason!s}"
    return curated.reset_index()[component_table.columns]
