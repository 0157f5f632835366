"""What validators say of a file: pynwb, nwbinspector at its lowest threshold, DANDI where its client is installed."""

import os
import warnings
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pynwb
from nwbinspector import Importance, InspectorMessage, inspect_nwbfile_object

from rsc2p_kedro.nwb.metadata import OnIssue, RecordingMetadata, answer_to

COLUMNS = ["check", "importance", "object_type", "object_name", "location", "message"]

EXPLAINED = {
    "check_data_orientation": "fewer frames than pixels or ROIs; the axes are right, as this project's tests show",
    "check_column_binary_capability": "numbers that happen to be 0 and 1; what is true or false is stored so",
    "check_single_row": "a single ROI, patch or background component",
}
"""Checks that cannot know what we know, and why what they say is no reason to refuse a file."""


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
    """What pynwb's validator finds in an open file, against the schema that pynwb comes with: the one it writes."""
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
    """What nwbinspector says of an open file at its lowest threshold."""
    messages = inspect_nwbfile_object(nwb, importance_threshold=Importance.BEST_PRACTICE_SUGGESTION)
    return _table(_row(message) for message in messages if message is not None)


def dandi_messages(path: Path) -> pd.DataFrame:
    """What DANDI's validator says, offline; empty where the client `dandi` is not installed.

    Args:
        path: at its final place, `<dandiset>/sub-<id>/sub-<id>_ses-<id>_ophys.nwb`, as the name is checked too.
    """
    if find_spec("dandi") is None:
        return _table([])
    os.environ.setdefault("DANDI_NO_ET", "1")  # no question to a server about newer versions
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
    """All messages of pynwb and nwbinspector about a file, as an `InspectionTable`. None: it is in order."""
    with pynwb.NWBHDF5IO(path, "r", load_namespaces=False) as io:
        return pd.concat([schema_messages(io), inspector_messages(io.read())], ignore_index=True)


FIELDS = {"check_imaging_plane_location_allen_ccf": "imaging_plane.location"}
"""Checks of a single field, and which."""


def inspect_metadata(metadata: RecordingMetadata, on_issue: OnIssue = "error") -> list[str]:
    """What nwbinspector will refuse of the metadata of a file that is still to be made, as `field: what is wrong`."""
    from rsc2p_kedro.nwb.build import add_imaging_plane, make_nwb_file

    nwb = make_nwb_file(metadata, {})
    add_imaging_plane(nwb, metadata)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = inspector_messages(nwb)
    return [
        f"{FIELDS.get(str(row.check), row.object_type)}: {row.message}"
        for row in found.itertuples()
        if answer_to(str(row.importance), on_issue) == "error"
    ]
