"""Names that DANDI gives to files: ids of subject and session, and the path made of them."""

import re
from collections.abc import Mapping
from typing import Any


def sanitised(key: str) -> str:
    """A manifest key as an id that DANDI takes: `animal_1` becomes `animal-1`."""
    return re.sub(r"[^A-Za-z0-9.+-]+", "-", key).strip("-.")


def dandi_ids(animal: str, session: str, recording: Mapping[str, Any]) -> tuple[str, str]:
    """Ids of subject and session: those that the recording names, else its keys in the manifest, sanitised."""
    subject, about = recording.get("subject") or {}, recording.get("session") or {}
    return str(subject.get("subject_id") or sanitised(animal)), str(about.get("session_id") or sanitised(session))


def dandi_path(subject_id: str, session_id: str) -> str:
    """Path of the NWB file below the folder of the dandiset."""
    return f"sub-{subject_id}/sub-{subject_id}_ses-{session_id}_ophys.nwb"
