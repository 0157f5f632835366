"""What is true of all recordings, or of all sessions of an animal, is written once in the manifest, under `defaults`.

```yaml
recordings:
  defaults:                              # true of all recordings
    frame_rate_hz: 14.7
    session: {institution: My institute}
  animal_1:
    defaults:                            # true of all sessions of this animal
      subject: {sex: F, date_of_birth: 2019-02-01}
    day_1: {path: data/01_raw/Animal_1/day_1}
```

The value that stands deeper has precedence: that of the session, then that of the animal, then that of all recordings.
Mappings are merged key by key. An empty value (`sex:`) says nothing, so that the one above it holds.
"""

from collections.abc import Iterator, Mapping
from typing import Any

DEFAULTS = "defaults"
"""Reserved key: neither an animal nor a session can have this name."""

OF_ONE_RECORDING = (
    "path",
    "files",
    "frame_times",
    "seeds",
    "curation",
    "session.session_id",
    "session.session_start_time",
)
"""Fields that cannot be true of several recordings."""

OF_ONE_ANIMAL = ("subject.subject_id", "tracking_decisions", "tracking_known")
"""Fields that cannot be true of several animals."""


def with_defaults(manifest: Any) -> Any:
    """Enters defaults into the entries of all recordings.

    Args:
        manifest: {animal: {session: entry}} with `defaults` at both levels, as written by the user.

    Returns:
        The manifest without `defaults`, its entries completed. Values that are not mappings are returned unchanged; the
        check of the manifest reports them.
    """
    if not isinstance(manifest, Mapping):
        return manifest
    of_all = _mapping(manifest.get(DEFAULTS))
    return {
        animal: _complete(sessions, merge(of_all, _mapping(sessions.get(DEFAULTS))))
        if isinstance(sessions, Mapping)
        else sessions
        for animal, sessions in manifest.items()
        if animal != DEFAULTS
    }


def _complete(sessions: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Sessions of one animal with their defaults."""
    return {
        key: merge(defaults, entry) if isinstance(entry, Mapping) else entry
        for key, entry in sessions.items()
        if key != DEFAULTS
    }


def merge(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
    """Merges two mappings key by key, at all levels.

    Args:
        lower: gives the values that `upper` does not have.
        upper: takes precedence. None says nothing where `lower` has a value.

    Returns:
        The merged mapping, in the order of `lower`.
    """
    merged = dict(lower)
    for key, value in upper.items():
        below = merged.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            merged[key] = merge(below, value)
        elif value is not None or key not in merged:
            merged[key] = value
    return merged


def defaults_problems(manifest: Any) -> list[str]:
    """Finds defaults that cannot be meant so, among them an animal or a session with the reserved name.

    Args:
        manifest: as written by the user.

    Returns:
        One line for each problem.
    """
    if not isinstance(manifest, Mapping):
        return []
    problems: list[str] = []
    for name, values, forbidden in _all_defaults(manifest):
        if not isinstance(values, Mapping):
            problems.append(f"{name} should map fields of a recording to their values, is {values!r}.")
            continue
        if any(isinstance(value, Mapping) and "path" in value for value in values.values()):
            problems.append(f"{name}: `{DEFAULTS}` is a reserved key, not an animal: rename the animal.")
            continue
        problems += [
            f"{name}.{field} belongs to a single {'animal' if field in OF_ONE_ANIMAL else 'recording'} and cannot be a "
            f"default: write it in {'that animal' if field in OF_ONE_ANIMAL else 'its entry'} (`{DEFAULTS}` is a "
            "reserved key: rename a session of this name)."
            for field in forbidden
            if _lookup(values, field) is not None
        ]
    return problems


def _all_defaults(manifest: Mapping[str, Any]) -> Iterator[tuple[str, Any, tuple[str, ...]]]:
    """Name, value and forbidden fields of all defaults in a manifest."""
    if manifest.get(DEFAULTS) is not None:
        yield f"recordings.{DEFAULTS}", manifest[DEFAULTS], OF_ONE_RECORDING + OF_ONE_ANIMAL
    for animal, sessions in manifest.items():
        if animal != DEFAULTS and isinstance(sessions, Mapping) and sessions.get(DEFAULTS) is not None:
            yield f"recordings.{animal}.{DEFAULTS}", sessions[DEFAULTS], OF_ONE_RECORDING


def _lookup(values: Mapping[str, Any], field: str) -> Any:
    """Value of a field in dotted form; None if there is none."""
    value: Any = values
    for key in field.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
