"""Application of the user's manual decisions to the component table.

Ids are numbered anew whenever components are extracted, so a decision belongs to the neuron at the centre that it was
made for, and follows it to its present id.
"""

import logging

import numpy as np
import pandas as pd

SAME_CENTRE_PX = 4.0
"""Largest distance of the centres of one neuron in two extractions: the half-width of a neuron. Chosen by hand."""

logger = logging.getLogger(__name__)


def match_decisions(component_table: pd.DataFrame, decisions: pd.DataFrame) -> pd.DataFrame:
    """Finds the present components that the user's decisions are about.

    Args:
        component_table: a :class:`~rsc2p_kedro.core.schemas.ComponentTable`.
        decisions: a :class:`~rsc2p_kedro.core.schemas.CurationTable`, made for these components or earlier ones.

    Returns:
        The decisions with present ids, in the order of the table. Those on neurons that were not found again are left
        out, with a warning.

    Raises:
        ValueError: a decision without a centre is about an id that does not exist, or two decisions that contradict
            each other are about the same component now.
    """
    _check_ids_alone(component_table, decisions)
    centres = component_table[["centre_y_px", "centre_x_px"]].to_numpy(float)
    ids = component_table["component_id"].to_numpy()
    matched: dict[int, dict] = {}
    lost: list[str] = []
    for record in decisions.to_dict("records"):
        component = _present_id(record, ids, centres)
        if component is None:
            lost.append(f"{record['decision']} ({record['centre_y_px']:.0f}, {record['centre_x_px']:.0f})")
        elif matched.get(component, record)["decision"] != record["decision"]:
            raise ValueError(
                f"Two decisions of the curation table, made for earlier components, are about component {component} "
                "now, and contradict each other. Remove one of them, or decide again on the curation page."
            )
        else:
            matched.setdefault(component, {**record, "component_id": component})
    if lost:
        logger.warning(
            "Decisions on neurons that were not found again are not applied; decision and centre (y, x) in px: %s.",
            ", ".join(lost),
        )
    return pd.DataFrame([*matched.values()], columns=decisions.columns)


def _present_id(record: dict, ids: np.ndarray, centres: np.ndarray) -> int | None:
    """Id of the component that a decision is about; None if there is none at its centre."""
    if pd.isna(record["centre_y_px"]):
        return int(record["component_id"])
    distances = np.linalg.norm(centres - [record["centre_y_px"], record["centre_x_px"]], axis=1)
    same_id = distances[ids == record["component_id"]]
    if same_id.size and same_id[0] <= SAME_CENTRE_PX:
        return int(record["component_id"])
    nearest = int(distances.argmin()) if distances.size else -1
    return int(ids[nearest]) if distances.size and distances[nearest] <= SAME_CENTRE_PX else None


def _check_ids_alone(component_table: pd.DataFrame, decisions: pd.DataFrame) -> None:
    """Warns of decisions that name components by their id alone, and refuses those whose id does not exist."""
    alone = decisions.loc[decisions["centre_y_px"].isna(), "component_id"]
    unknown = sorted(set(alone) - set(component_table["component_id"]))
    if unknown:
        raise ValueError(
            f"The curation table has decisions on components {unknown}, which do not exist in these results. Make a "
            "curation table from the curation page of these results, or remove `curation:` from the manifest."
        )
    if len(alone):
        logger.warning(
            "The curation table names %d components by their id alone. If components were extracted again since it was "
            "made, its decisions apply to other cells: check them on the curation page and save the table there, with "
            "the centres.",
            len(alone),
        )


def curate(component_table: pd.DataFrame, decisions: pd.DataFrame) -> pd.DataFrame:
    """Applies the user's decisions to a table of components.

    Args:
        component_table: a :class:`~rsc2p_kedro.core.schemas.ComponentTable`, with the decisions of the evaluation.
        decisions: a :class:`~rsc2p_kedro.core.schemas.CurationTable`, made for these components or earlier ones.

    Returns:
        A copy of the table in which `accepted`, `curated` and `reason` of the components that the user decided on hold
        that decision; the reason keeps that of the evaluation.

    Raises:
        ValueError: as :func:`match_decisions`.
    """
    curated = component_table.set_index("component_id")
    for record in match_decisions(component_table, decisions).to_dict("records"):
        component, accepted = int(record["component_id"]), record["decision"] == "accept"
        verb, note = ("accepted" if accepted else "rejected"), (f" ({record['note']})" if record["note"] else "")
        earlier_reason = curated.loc[component, "reason"]
        curated.loc[component, ["accepted", "curated"]] = [accepted, True]
        curated.loc[component, "reason"] = f"{verb}: by the user{note}; was {earlier_reason!s}"
    return curated.reset_index()[component_table.columns]
