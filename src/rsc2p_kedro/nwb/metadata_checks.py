"""Checks of the metadata of recordings before anything is computed, with the YAML lines that would complete them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml
from pydantic import ValidationError

from rsc2p_kedro.core.problems import group_problems
from rsc2p_kedro.nwb.inspection import inspect_metadata
from rsc2p_kedro.nwb.metadata import (
    Fields,
    NwbParameters,
    RecordingLike,
    RecordingMetadata,
    StudyFields,
    dandi_path,
    merge_metadata,
    response_to,
)

REQUIRED: dict[str, tuple[str, str]] = {
    "subject.subject_id": ("a name for the animal", "mouse-17"),
    "subject.species": ("Latin name, such as Mus musculus", "Mus musculus"),
    "subject.sex": ("M, F, O (other) or U (unknown)", "U"),
    "subject.age": ("at the session, such as P90D; or give date_of_birth", "P90D"),
    "session.session_id": ("a name for the session", "day-7"),
    "session.session_start_time": ("such as 2019-05-06T10:30:00+02:00", "2019-05-06T10:30:00+02:00"),
    "session.session_description": ("what was done in the session", "Imaging."),
    "device.name": ("name of the microscope", "Microscope"),
    "imaging_plane.description": ("the plane, such as layer 2/3 of retrosplenial cortex", "One plane."),
    "imaging_plane.indicator": ("the calcium indicator, such as GCaMP6f", "GCaMP6f"),
    "imaging_plane.location": ("brain region, for mice a term of the Allen CCF such as RSPagl", "RSPagl"),
    "imaging_plane.excitation_wavelength_nm": ("wavelength of the laser in nm", "920"),
    "imaging_plane.emission_wavelength_nm": ("wavelength of the emitted light in nm", "510"),
}
"""Fields without which NWB or DANDI refuse a file: the meaning of each, and a stand-in.

The stand-in takes the place of a missing value while the others are checked. It is never shown, so that no one can take
it for an answer."""

RECOMMENDED: dict[str, tuple[str, str]] = {
    "device.description": ("description of the microscope", "A microscope."),
    "session.experimenter": ("Last, First; several as a list", '["A, B"]'),
    "session.institution": ("where it was recorded", "Institution"),
    "session.experiment_description": ("purpose of the experiment", "Experiment."),
    "session.keywords": ("words for searching, as a list", "[imaging]"),
}
"""Fields that nwbinspector suggests; required too where `on_issue` responds to suggestions with `error`."""

OF_SESSION = ("session.session_id", "session.session_start_time")
"""Fields that differ between sessions."""

OF_ANIMAL = ("subject.subject_id", "subject.sex", "subject.age")
"""Fields that differ between animals."""

STRUCTURAL: dict[str, tuple[str, str]] = {
    "imaging_plane.structural_label": ("what the structural channel shows", "tdTomato"),
    "imaging_plane.structural_emission_wavelength_nm": ("wavelength of its emitted light in nm", "580"),
}
"""Fields that are required of recordings with a structural channel."""

FIELDS = REQUIRED | RECOMMENDED | STRUCTURAL
"""Fields of metadata that may be missing: meaning and stand-in."""

MEANINGS = {
    "frame_rate_hz": "frames per second",
    **{path: meaning for path, (meaning, _) in FIELDS.items()},
}
"""Meaning of every field that may be missing."""


def _is_missing(metadata: RecordingMetadata, path: str) -> bool:
    part, name = path.split(".")
    if path == "subject.age" and metadata.subject.date_of_birth is not None:
        return False
    return not getattr(getattr(metadata, part), name)


def _contradictions(metadata: RecordingMetadata) -> list[str]:
    """Fields that contradict each other, or that need another field."""
    problems = []
    birth, start = metadata.subject.date_of_birth, metadata.session.session_start_time
    if birth is not None and start is not None and birth > start.date():
        problems.append(f"subject.date_of_birth: {birth} is after the session ({start.date()}); correct one of them.")
    if metadata.imaging_plane.origin_um is not None and metadata.imaging_plane.reference_frame is None:
        problems.append("imaging_plane.reference_frame: is missing; origin_um has no meaning without it.")
    if metadata.device.model_name is not None and metadata.device.manufacturer is None:
        problems.append("device.manufacturer: is missing; NWB requires it where a model_name is given.")
    return problems


def missing_metadata(shared: NwbParameters, recording: RecordingLike) -> list[str]:
    """Finds metadata without which the NWB file of a recording is not written.

    Args:
        shared: metadata of all recordings.
        recording: with its own metadata.

    Returns:
        Names of the missing fields, as `part.field`.
    """
    return _missing(shared, merge_metadata(shared, recording))


def given_metadata(shared: NwbParameters) -> list[str]:
    """Finds the metadata that are given for all recordings.

    Args:
        shared: metadata of all recordings.

    Returns:
        Names of the fields of recordings that need not be given again, as `part.field`.
    """
    of_study = {f"session.{name}" for name in StudyFields.model_fields if getattr(shared, name)}
    return [
        path
        for path in REQUIRED | RECOMMENDED
        if path in of_study or getattr(getattr(shared, path.split(".")[0]), path.split(".")[1])
    ]


def _missing(shared: NwbParameters, metadata: RecordingMetadata) -> list[str]:
    required = REQUIRED | (RECOMMENDED if response_to("BEST_PRACTICE_SUGGESTION", shared.on_issue) == "error" else {})
    required |= STRUCTURAL if metadata.channel_names is not None else {}
    return [path for path in required if _is_missing(metadata, path)]


def metadata_problems(shared: NwbParameters, recording: RecordingLike) -> list[str]:
    """Finds metadata of a recording that are missing, contradict each other or would be refused by nwbinspector.

    Fields that are given go through nwbinspector's own checks, so that its messages about the finished file (about a
    location that is not in the Allen CCF, for example) are known before anything is computed.

    Args:
        shared: metadata of all recordings.
        recording: with its own metadata.

    Returns:
        One line for each problem, as `part.field: problem`; empty where the metadata are complete and valid.
    """
    metadata = merge_metadata(shared, recording)
    missing = _missing(shared, metadata)
    problems = [f"{path}: is missing ({MEANINGS[path]})." for path in missing]
    contradictions = _contradictions(metadata)
    if shared.raw == "external" and (metadata.n_planes > 1 or metadata.channel_names is not None):
        contradictions.append(
            "raw: `external` links whole files, which contain several planes or channels; use `raw: embed` or `none`."
        )
    if contradictions or shared.on_issue == "warn":
        return problems + contradictions
    return problems + inspect_metadata(_with_stand_ins(metadata, missing), shared.on_issue)


def _with_stand_ins(metadata: RecordingMetadata, missing: Iterable[str]) -> RecordingMetadata:
    """Metadata with stand-ins for missing fields, so that the others can be inspected."""
    tree = metadata.model_dump()
    for path in missing:
        part, name = path.split(".")
        tree[part][name] = _stand_in(path)
    return RecordingMetadata.model_validate(tree)


def _stand_in(path: str) -> Any:
    return yaml.safe_load(FIELDS[path][1])


METADATA_PARTS = ("subject", "session", "device", "imaging_plane")
"""Parts of a recording's entry in the manifest that hold metadata."""


def validate_leniently(model: type[Fields], values: Mapping[str, Any]) -> tuple[Fields | None, list[Any]]:
    """Validates a model even if some of its metadata are invalid, so that these do not hide other problems.

    Args:
        model: a recording, or `NwbParameters`: a model that has `METADATA_PARTS`.
        values: as given in YAML.

    Returns:
        The model, with stand-ins (or None) in place of invalid metadata and of a missing frame rate, or None where
        other values are invalid; and the list of errors as pydantic reports them.
    """
    try:
        return model.model_validate(values), []
    except ValidationError as error:
        errors = error.errors()
    corrected = {key: dict(value) if isinstance(value, Mapping) else value for key, value in values.items()}
    for detail in errors:
        _replace_by_stand_in(corrected, [str(step) for step in detail["loc"]])
    try:
        return model.model_validate(corrected), errors
    except ValidationError:
        return None, errors


def yaml_to_add(missing: Mapping[tuple[str, str], Sequence[str]], others: Iterable[tuple[str, str]] = ()) -> str:
    """Writes the YAML lines that add missing fields, with placeholders, each field once and as high up as it may stand.

    Fields of the study, the microscope and the plane that all recordings lack become defaults of all recordings; those
    of the subject, defaults of the animal. Animals, and sessions, that lack the same fields are shown once.

    Args:
        missing: names of the missing fields of each recording, by the keys of animal and session.
        others: keys of the recordings that lack nothing.

    Returns:
        The lines, from `recordings:` on; empty where no field is missing.
    """
    lacking = {**missing, **{keys: () for keys in others if keys not in missing}}
    if not any(lacking.values()):
        return ""
    lines, alone = ["recordings:"], len(lacking) == 1
    of_all = [] if alone else _common(lacking.values(), OF_SESSION + OF_ANIMAL)
    if of_all:
        lines += [f"  defaults:  # of all {len(lacking)} recordings", *_fields(of_all, 4)]
    animals: dict[tuple[str, ...], list[str]] = {}
    for animal in dict.fromkeys(animal for animal, _ in lacking):
        own = {keys[1]: [p for p in paths if p not in of_all] for keys, paths in lacking.items() if keys[0] == animal}
        animals.setdefault(tuple(_lines_of_animal(own, alone)), []).append(animal)
    for block, alike in animals.items():
        lines += [f"  {_yaml_key(alike[0])}:{_likewise(alike, 'animals')}", *block] if block else []
    return "\n".join(lines)


def _lines_of_animal(missing: Mapping[str, Sequence[str]], alone: bool) -> list[str]:
    """Lines for the missing fields of the sessions of one animal; a recording that is alone needs no defaults."""
    of_animal = [] if alone else _common(missing.values(), OF_SESSION)
    lines = ["    defaults:", *_fields(of_animal, 6)] if of_animal else []
    sessions: dict[tuple[str, ...], list[str]] = {}
    for session, paths in missing.items():
        sessions.setdefault(tuple(path for path in paths if path not in of_animal), []).append(session)
    for paths, alike in sessions.items():
        if paths:
            lines += [f"    {_yaml_key(alike[0])}:{_likewise(alike, 'sessions')}", *_fields(paths, 6)]
    return lines


def _common(missing: Iterable[Sequence[str]], differing: Sequence[str]) -> list[str]:
    """Fields that all recordings lack and that need not differ between them."""
    first, *rest = missing
    return [path for path in first if path not in differing and all(path in paths for paths in rest)]


def _likewise(alike: Sequence[str], what: str) -> str:
    """Comment that names the other animals or sessions with the same lines."""
    return f"  # and each of {alike[0]} ... {alike[-1]} ({len(alike)} {what})" if len(alike) > 1 else ""


def _fields(paths: Iterable[str], indent: int) -> list[str]:
    """Lines of fields with placeholders, those of each part of an entry together."""
    parts: dict[str, list[str]] = {}
    for path in paths:
        part, _, name = path.rpartition(".")
        parts.setdefault(part, []).append(f"{name}: <{MEANINGS[path]}>")
    lines = parts.pop("", [])
    for part, fields in parts.items():
        name, _, placeholder = fields[0].partition(": ")
        one_line = f'{part}: {{{name}: "{placeholder}"}}'
        lines += [one_line] if len(fields) == 1 else [f"{part}:", *(f"  {field}" for field in fields)]
    return [" " * indent + line for line in lines]


def _yaml_key(key: str) -> str:
    """A key of the manifest, in quotes where YAML would not read it as text."""
    return key if yaml.safe_load(key) == key else f'"{key}"'


class MetadataError(ValueError):
    """Metadata are missing or invalid. The message tells each kind of problem once, and the lines to add.

    Attributes:
        problems: problems of each recording, by its name.
        missing: names of the missing fields, by the keys of animal and session.
        invalid: problems of each recording other than missing fields, by its name.
    """

    def __init__(
        self,
        problems: Mapping[tuple[str, str], Sequence[str]],
        env: str | None = None,
        others: Iterable[tuple[str, str]] = (),
    ) -> None:
        """Composes the message.

        Args:
            problems: as returned by :func:`metadata_problems`, by the keys of animal and session.
            env: environment whose files the message names. None means `local`.
            others: keys of the recordings without problems.
        """
        self.problems = {f"{animal}.{session}": list(lines) for (animal, session), lines in problems.items()}
        self.missing = {keys: split_missing(lines)[0] for keys, lines in problems.items()}
        self.invalid = {name: split_missing(lines)[1] for name, lines in self.problems.items()}
        title = "The metadata for NWB and DANDI are incomplete or invalid."
        listed = "\n".join(f"  - {line}" for line in group_problems(self.invalid))
        how = how_to_add(yaml_to_add(self.missing, others), env)
        super().__init__("\n\n".join(part for part in (title, listed, how) if part))


def split_missing(problems: Iterable[str]) -> tuple[list[str], list[str]]:
    """Separates missing fields from other problems.

    Args:
        problems: one line each, as `part.field: problem`.

    Returns:
        Names of the missing fields that a line of YAML adds, and the other problems.
    """
    missing, others = [], []
    for problem in problems:
        path, _, text = problem.partition(": ")
        if path in MEANINGS and text.startswith("is missing"):
            missing.append(path)
        else:
            others.append(problem)
    return missing, others


def how_to_add(lines: str, env: str | None) -> str:
    """Says where lines of YAML belong.

    Args:
        lines: as returned by :func:`yaml_to_add`.
        env: environment whose files the message names. None means `local`.

    Returns:
        The lines with a sentence above them; empty where there are none.
    """
    if not lines:
        return ""
    place = f"conf/{env or 'local'}/parameters_recordings.yml"
    how = f"Missing. Complete {place} by these lines (no key may occur twice), with your own values for <...>:"
    return f"{how}\n\n{lines}"


def _replace_by_stand_in(values: dict[str, Any], loc: Sequence[str]) -> None:
    """Replaces an invalid or missing value by a stand-in, or removes it where there is none."""
    if list(loc) == ["frame_rate_hz"]:
        values["frame_rate_hz"] = 1.0
        return
    if len(loc) > 1 and loc[0] in METADATA_PARTS and isinstance(values.get(loc[0]), dict):
        part, name, path = values[loc[0]], loc[1], f"{loc[0]}.{loc[1]}"
    elif loc and loc[0] in StudyFields.model_fields:
        part, name, path = values, loc[0], f"session.{loc[0]}"
    else:
        return
    part.pop(name, None)
    if path in FIELDS:
        part[name] = _stand_in(path)


def shared_problems(shared: NwbParameters | Mapping[str, Any]) -> tuple[NwbParameters | None, list[str]]:
    """Validates the metadata that all recordings share.

    Args:
        shared: the model, or the values as given in YAML.

    Returns:
        The model (see :func:`validate_leniently`) or None, and one line for each invalid value.
    """
    if isinstance(shared, NwbParameters):
        return shared, []
    model, errors = validate_leniently(NwbParameters, shared)
    return model, [f"{'.'.join(map(str, ('nwb', *e['loc'])))}: {e['msg']}, given {e['input']!r}." for e in errors]


def examine_metadata(
    shared: NwbParameters | Mapping[str, Any], recordings: Iterable[RecordingLike]
) -> dict[tuple[str, str], list[str]]:
    """Finds the problems of the metadata of all recordings, and recordings that share a file.

    Invalid values among the shared metadata are reported by :func:`shared_problems` instead.

    Args:
        shared: metadata of all recordings, as a model or as given in YAML.
        recordings: to be exported.

    Returns:
        One line for each problem, see :func:`metadata_problems`, by the keys of animal and session; recordings without
        problems have an empty list.
    """
    shared = shared_problems(shared)[0] or NwbParameters.model_validate({})
    problems: dict[tuple[str, str], list[str]] = {}
    owners: dict[str, str] = {}
    for recording in recordings:
        lines = metadata_problems(shared, recording)
        path = str(dandi_path(merge_metadata(shared, recording))).casefold()
        name = f"{recording.animal}.{recording.session_key}"
        if owners.setdefault(path, name) != name:
            lines.append(
                f"session.session_id: would be written to the file of {owners[path]}; give one of them another id."
            )
        problems[recording.animal, recording.session_key] = lines
    return problems


def check_metadata(
    shared: NwbParameters | Mapping[str, Any], recordings: Iterable[RecordingLike], *, env: str | None = None
) -> None:
    """Checks that the metadata of all recordings are complete and that no two recordings share a file.

    Args:
        shared: metadata of all recordings, as a model or as given in YAML.
        recordings: to be exported.
        env: environment whose files the message names. None means `local`.

    Raises:
        MetadataError: with all problems of all recordings, and the YAML lines to add.
    """
    problems = examine_metadata(shared, recordings)
    found = {keys: lines for keys, lines in problems.items() if lines}
    if found:
        raise MetadataError(found, env, [keys for keys in problems if keys not in found])
