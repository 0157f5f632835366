"""Names of animals and sessions from the paths of recordings, also in folders of NeuroBlueprint.

NeuroBlueprint (https://neuroblueprint.neuroinformatics.dev) names folders `rawdata/sub-001_id-M7/ses-02_date-20240101`:
pairs of a key and a value, joined by `_`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from rsc2p_kedro.datasets.raw import Told
from rsc2p_kedro.nwb.identifiers import to_dandi_id

_DATATYPES = {"funcimg", "anat", "ephys", "behav", "micr", "ophys"}
"""Folders of NeuroBlueprint and BIDS below a session, which name no recording."""


@dataclass(frozen=True)
class Names:
    """Names of a recording, and what its path tells of it.

    Attributes:
        animal: name of the animal.
        session: name of the session.
        of_animal: fields of the manifest that are true of the animal.
        of_session: fields that are true of the session.
    """

    animal: str
    session: str
    of_animal: Mapping[str, Told] = field(default_factory=dict)
    of_session: Mapping[str, Told] = field(default_factory=dict)


def manifest_key(name: str) -> str:
    """Converts the name of a folder or file to a key of the manifest.

    Args:
        name: any text.

    Returns:
        The name in lower case, with `_` for everything but letters a to z, digits, `_` and `-`; `recording` if nothing
        remains.
    """
    return re.sub(r"[^a-z0-9_-]+", "_", name.lower()).strip("_-") or "recording"


def names_in_neuroblueprint(parts: Sequence[str]) -> Names | None:
    """Reads the names of subject and session in a path of NeuroBlueprint.

    Args:
        parts: names of the folders of a recording, from the root of the disk; last the file, without its ending.

    Returns:
        The names, and ids and date as far as the folders tell them; None if the path is not of NeuroBlueprint.
    """
    subjects = [i for i, part in enumerate(parts) if re.match(r"sub-[A-Za-z0-9]", part)]
    sessions = [i for i, part in enumerate(parts) if re.match(r"ses-[A-Za-z0-9]", part)]
    if not subjects or not sessions or sessions[-1] < subjects[-1]:
        return None
    subject, session = parts[subjects[-1]], parts[sessions[-1]]
    rest = [part for part in parts[sessions[-1] + 1 :] if part not in _DATATYPES]
    subject_id, session_id = _entities(subject)["sub"], _entities(session)["ses"]
    of_session = {"session.session_id": Told(to_dandi_id("-".join([session_id, *rest])), f"folder {session}")}
    start = _start_of(session)
    return Names(
        f"sub-{subject_id}",
        "_".join([session, *rest]),
        {"subject.subject_id": Told(to_dandi_id(subject_id), f"folder {subject}")},
        of_session | ({"session.session_start_time": Told(start, f"folder {session}")} if start else {}),
    )


def _entities(name: str) -> dict[str, str]:
    """Pairs of key and value in the name of a folder."""
    return dict(part.split("-", 1) for part in name.split("_") if "-" in part)


def _start_of(session: str) -> str:
    """Date, and time where it is told, of a session from the name of its folder; empty if it tells none."""
    entities = _entities(session)
    date, time = entities.get("date", ""), entities.get("time", "")
    if "datetime" in entities:
        date, _, time = entities["datetime"].partition("T")
    for text, pattern, timespec in ((f"{date}T{time}", "%Y%m%dT%H%M%S", "seconds"), (date, "%Y%m%d", "")):
        try:
            found = datetime.strptime(text, pattern)
        except ValueError:
            continue
        return found.isoformat(timespec=timespec) if timespec else found.date().isoformat()
    return ""
