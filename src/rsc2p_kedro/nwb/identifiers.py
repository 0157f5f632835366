"""Names that DANDI gives to files: ids of subject and session, and the path made from them."""

import re
from collections.abc import Mapping
from typing import Any


def to_dandi_id(key: str) -> str:
    """Turns a key of the manifest into an id that DANDI accepts.

    Args:
        key: of an animal or a session, such as `animal_1`.

    Returns:
        The key with `-` in the place of all characters that DANDI does not accept: `animal-1`. It may be empty.
    """
    return re.sub(r"[^A-Za-z0-9.+-]+", "-", key).strip("-.")


def dandi_ids(animal: str, session: str, recording: Mapping[str, Any]) -> tuple[str, str]:
    """Determines the ids of subject and session of a recording.

    Args:
        animal: key of the animal in the manifest.
        session: key of the session in the manifest.
        recording: its entry in the manifest, which may name `subject.subject_id` and `session.session_id`.

    Returns:
        The ids that the entry names, else those made from the keys.
    """
    subject, about = recording.get("subject") or {}, recording.get("session") or {}
    return str(subject.get("subject_id") or to_dandi_id(animal)), str(about.get("session_id") or to_dandi_id(session))


def dandi_path(subject_id: str, session_id: str) -> str:
    """Names the NWB file of a session as DANDI does.

    Args:
        subject_id: id of the animal.
        session_id: id of the session.

    Returns:
        The path below the folder of the dandiset.
    """
    return f"sub-{subject_id}/sub-{subject_id}_ses-{session_id}_ophys.nwb"
