"""Ids of neurons over the sessions of an animal: what each session reads of them, and the user's own decisions."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from kedro.io import AbstractDataset, DatasetError
from numpy.typing import NDArray

from rsc2p_kedro.core.schemas import TrackedIdTable, TrackingDecisionTable
from rsc2p_kedro.core.tracking import UNTRACKED
from rsc2p_kedro.datasets.atomic import replacing
from rsc2p_kedro.datasets.read_only import ReadOnlyDataset
from rsc2p_kedro.datasets.user_tables import Column, TableError, read_table

NOT_YET = "the sessions of the animal have not been tracked yet"
REJECTED = "not accepted"
EXPECTED = (
    "a CSV table with the columns session_a, component_a, session_b, component_b, decision ('same' or 'different') "
    "and, if wanted, note"
)
COLUMNS = (
    Column("session_a", "text"),
    Column("component_a", "whole number", least=0),
    Column("session_b", "text"),
    Column("component_b", "whole number", least=0),
    Column("decision", "text", choices=("same", "different")),
    Column("note", "text", optional=True),
)


class TrackedIdsDataset(AbstractDataset[pd.DataFrame, pd.DataFrame]):
    """Ids of the neurons of one session, as a CSV table that the tracking writes and the export reads.

    Examples:
        ```yaml
        "{animal}.{session}.tracked_ids":
          type: rsc2p_kedro.datasets.TrackedIdsDataset
          filepath: data/07_model_output/{animal}/{session}/tracked_ids.csv
        ```

        >>> dataset = TrackedIdsDataset(filepath=tmp_path / "tracked_ids.csv")
        >>> len(dataset.load())
        0

    A table that does not exist yet is empty. Saving the same table again leaves the file as it is, so that a session
    whose ids have not changed stays fresh when another session of the animal is added.
    """

    def __init__(self, *, filepath: str | Path, metadata: dict[str, Any] | None = None) -> None:
        """Stores the path; nothing is read yet.

        Args:
            filepath: the file.
            metadata: ignored by Kedro, read by plugins.
        """
        self._filepath = Path(filepath)
        self.metadata = metadata

    def load(self) -> pd.DataFrame:
        text = self._filepath.read_text(encoding="utf-8") if self._filepath.is_file() else self._empty()
        try:
            table = pd.read_csv(io.StringIO(text), keep_default_na=False, dtype={"tracked_id": str})
            return TrackedIdTable.validate(table)
        except ValueError as error:
            raise DatasetError(
                f"{self._filepath} is no table of tracked ids ({error}). Delete it and run the stage `tracking` again."
            ) from error

    def save(self, data: pd.DataFrame) -> None:
        text = TrackedIdTable.validate(data).to_csv(index=False, lineterminator="\n")
        if self._filepath.is_file() and self._filepath.read_bytes() == text.encode():
            return
        with replacing(self._filepath) as temporary:
            temporary.write_bytes(text.encode())

    def _empty(self) -> str:
        return ",".join(TrackedIdTable.to_schema().columns) + "\n"

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self._filepath.as_posix()}

    def _exists(self) -> bool:
        return self._filepath.is_file()


class TrackingDecisionsDataset(ReadOnlyDataset[pd.DataFrame]):
    """Decisions of the user on pairs of components of different sessions, as a CSV table.

    Examples:
        ```yaml
        "{animal}.{session}.tracking_decisions":
          type: rsc2p_kedro.datasets.TrackingDecisionsDataset
          filepath: "{recording.tracking_decisions}"
        ```

        >>> path = tmp_path / "decisions.csv"
        >>> _ = path.write_text(
        ...     "session_a,component_a,session_b,component_b,decision\\nday_1,3,day_2,8,same\\n"
        ... )
        >>> TrackingDecisionsDataset(filepath=path).load()[["session_b", "decision"]]
          session_b decision
        0     day_2     same
    """

    WHY_READ_ONLY = "decisions are made by the user. Edit the table."

    def _read(self) -> pd.DataFrame:
        return read_tracking_decisions(self._filepath)


def read_tracking_decisions(path: Path) -> pd.DataFrame:
    """Reads the user's decisions on neurons over sessions.

    Args:
        path: a CSV table with the columns `session_a`, `component_a`, `session_b`, `component_b`, `decision` (`same` or
            `different`) and, if wanted, `note`.

    Returns:
        A :class:`~rsc2p_kedro.core.schemas.TrackingDecisionTable`; missing notes are "".

    Raises:
        ValueError: there is no such file, or its content is not as described above; all problems are listed.
    """
    if not path.is_file():
        raise ValueError(f"`tracking_decisions:` names {path}, which does not exist. Correct the path or remove it.")
    table = read_table(path, COLUMNS, expected=EXPECTED)
    same = table.index[table["session_a"] == table["session_b"]]
    if len(same):
        lines = [f"line {line} names one session twice, {table.loc[line, 'session_a']}" for line in same]
        raise TableError.listing(path, EXPECTED, lines)
    return TrackingDecisionTable.validate(table.reset_index(drop=True))


class KnownNeuronsDataset(ReadOnlyDataset[pd.DataFrame]):
    """An earlier tracking table, whose ids of neurons are kept.

    Examples:
        ```yaml
        "{animal}.{session}.tracking_known":
          type: rsc2p_kedro.datasets.KnownNeuronsDataset
          filepath: "{recording.tracking_known}"
        ```
    """

    WHY_READ_ONLY = "it is an earlier result. Copy a tracking table to its place to keep the ids in that one."

    def _read(self) -> pd.DataFrame:
        return read_known_neurons(self._filepath)


def read_known_neurons(path: Path) -> pd.DataFrame:
    """Reads the ids of neurons from an earlier tracking table.

    Args:
        path: a CSV table with the columns `session`, `component_id` and `neuron_id`; others are ignored.

    Returns:
        These columns, one row for each component.

    Raises:
        ValueError: there is no such file, or its content is not as described above; all problems are listed.
    """
    if not path.is_file():
        raise ValueError(f"`tracking_known:` names {path}, which does not exist. Correct the path or remove the line.")
    columns = (Column("session", "text"), Column("component_id", "whole number", least=0), Column("neuron_id", "text"))
    expected = "an earlier tracking table, with the columns session, component_id and neuron_id"
    return read_table(path, columns, expected=expected).reset_index(drop=True)


def with_tracked_ids(component_table: pd.DataFrame, tracked_ids: pd.DataFrame | None) -> pd.DataFrame:
    """Adds the ids of neurons over sessions to a table of components.

    Args:
        component_table: a :class:`~rsc2p_kedro.core.schemas.ComponentTable`.
        tracked_ids: a :class:`~rsc2p_kedro.core.schemas.TrackedIdTable`; None where the animal has one session only.

    Returns:
        The table with the columns `tracked_id`, `tracking_probability` and `tracking_reason`; without them for None.
    """
    if tracked_ids is None:
        return component_table
    found = tracked_ids.set_index("component_id").reindex(component_table["component_id"])
    accepted = component_table["accepted"].to_numpy(bool)
    reason = np.where(accepted, NOT_YET, REJECTED)
    known = found["tracked_id"].notna().to_numpy() & accepted
    return component_table.assign(
        tracked_id=np.where(known, found["tracked_id"], UNTRACKED),
        tracking_probability=np.where(known, found["tracking_probability"].astype(float), 0.0),
        tracking_reason=np.where(known, found["tracking_reason"], reason),
    )


def tracks(catalog: Any, field: str, *, min_sessions: int = 2) -> dict[str, dict[str, NDArray[np.float32]]]:
    """Collects dF/F of the same neurons over the sessions of an animal.

    Args:
        catalog: Kedro's catalog.
        field: `animal`, or `animal.plane_k` of recordings with several planes.
        min_sessions: leave out neurons that were found in fewer sessions.

    Returns:
        By the id of a neuron and the name of a session, its dF/F (T,) there.
    """
    table = catalog.load(f"{field}.tracking_table")
    table = table[table["n_sessions"] >= min_sessions]
    animal, _, plane = field.partition(".")
    collected: dict[str, dict[str, NDArray[np.float32]]] = {name: {} for name in table["neuron_id"]}
    for session, rows in table.groupby("session", sort=False):
        recording = ".".join(part for part in (animal, str(session), plane) if part)
        dff, ids = catalog.load(f"{recording}.dff").dff, catalog.load(f"{recording}.components").ids
        position = {int(component): k for k, component in enumerate(ids)}
        for neuron, component in zip(rows["neuron_id"], rows["component_id"], strict=True):
            collected[neuron][str(session)] = dff[position[int(component)]]
    return collected
