"""Messages of validators about a file: pynwb, nwbinspector at its lowest threshold, and DANDI if it is installed."""

import os
import warnings
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pynwb
from nwbinspector import Importance, InspectorMessage, inspect_nwbfile_object

from rsc2p_kedro.nwb.metadata import OnIssue, RecordingMetadata, response_to
from rsc2p_kedro.nwb.session import add_imaging_plane, make_nwb_file

COLUMNS = ["check", "importance", "object_type", "object_name", "location", "message"]
"""Columns of :class:`rsc2p_kedro.core.schemas.InspectionTable`."""

TOLERATED_CHECKS = {
    "check_data_orientation": "there are fewer frames than pixels or ROIs; the axes are correct, as tests of this "
    "project show",
    "check_column_binary_capability": "all values of a measure happen to be 0 and 1; true and false are stored as such",
    "check_single_row": "there is a single ROI, patch, background component or interval of bad frames",
}
"""Checks of nwbinspector that give false alarms, with the reason. Their messages never refuse a file."""

CHECKED_FIELDS = {"check_imaging_plane_location_allen_ccf": "imaging_plane.location"}
"""Checks of nwbinspector that concern a single field of the metadata, and which."""


def _row(message: InspectorMessage) -> dict[str, str]:
    return {
        "check": str(message.check_function_name),
        "importance": message.importance.name,
        "object_type": str(message.object_type),
        "object_name": str(message.object_name),
        "location": str(message.location or "/"),
        "message": message.message,
    }


def _table(rows: Iterable[dict[str, str]]) -> pd.DataFrame:
    return pd.DataFrame(list(rows), columns=COLUMNS, dtype=str)


def schema_messages(io: pynwb.NWBHDF5IO) -> pd.DataFrame:
    """Validates an open file with pynwb, against the schema that pynwb writes.

    Args:
        io: the file, open for reading.

    Returns:
        One row for each breach of the schema, with `COLUMNS`.
    """
    rows = [
        {
            "check": "pynwb.validate",
            "importance": Importance.PYNWB_VALIDATION.name,
            "object_type": "",
            "object_name": str(error.name),
            "location": str(error.location or "/"),
            "message": str(error.reason),
        }
        for error in pynwb.validate(io=io, use_cached_namespaces=False)
    ]
    return _table(rows)


def inspector_messages(nwb: pynwb.NWBFile) -> pd.DataFrame:
    """Inspects a file with nwbinspector at its lowest threshold.

    Args:
        nwb: open, or in memory.

    Returns:
        One row for each message, with `COLUMNS`.
    """
    messages = inspect_nwbfile_object(nwb, importance_threshold=Importance.BEST_PRACTICE_SUGGESTION)
    return _table(_row(message) for message in messages if message is not None)


def dandi_messages(path: Path) -> pd.DataFrame:
    """Validates a file with DANDI's client, offline.

    Args:
        path: at its final place, `<dandiset>/sub-<id>/sub-<id>_ses-<id>_ophys.nwb`, as the name is checked too.

    Returns:
        One row for each message, with `COLUMNS`; none where the client `dandi` is not installed.
    """
    if find_spec("dandi") is None:
        return _table([])
    os.environ.setdefault("DANDI_NO_ET", "1")  # do not ask a server for newer versions
    from dandi.files import dandi_file

    asset = dandi_file(path, dandiset_path=path.parent.parent)
    rows = [
        {
            "check": f"dandi: {error.id}",
            "importance": error.severity.name if error.severity else "",
            "object_type": "",
            "object_name": "",
            "location": str(error.within_asset_paths or "/"),
            "message": str(error.message),
        }
        for error in asset.get_validation_errors()
    ]
    return _table(rows)


def inspect_file(path: Path) -> pd.DataFrame:
    """Validates a file with pynwb and inspects it with nwbinspector.

    Args:
        path: of the file.

    Returns:
        A :class:`rsc2p_kedro.core.schemas.InspectionTable` with one row per message.
    """
    with pynwb.NWBHDF5IO(path, "r", load_namespaces=False) as io:
        return pd.concat([schema_messages(io), inspector_messages(io.read())], ignore_index=True)


def inspect_metadata(metadata: RecordingMetadata, on_issue: OnIssue = "error") -> list[str]:
    """Lists the messages that nwbinspector would have about the metadata of a file, before the file is written.

    Args:
        metadata: complete.
        on_issue: response to messages (see :func:`rsc2p_kedro.nwb.metadata.response_to`).

    Returns:
        Messages to which the response is `error`, each as `field: message`.
    """
    nwb = make_nwb_file(metadata, {})
    add_imaging_plane(nwb, metadata)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        messages = inspector_messages(nwb)
    return [
        f"{CHECKED_FIELDS.get(str(row.check), row.object_type)}: {row.message}"
        for row in messages.itertuples()
        if response_to(str(row.importance), on_issue) == "error"
    ]
