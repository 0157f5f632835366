"""Checks of the metadata of recordings before anything is computed, with the YAML lines that would complete them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml
from pydantic import ValidationError

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
    "subject.species": ("Latin name of the species", "Mus musculus"),
    "subject.sex": ("M, F, O (other) or U (unknown)", "U"),
    "subject.age": ("age at the session (or a date_of_birth)", "P90D"),
    "session.session_id": ("a name for the session", "day-7"),
    "session.session_start_time": ("start of the session, with the UTC offset", "2019-05-06T10:30:00+02:00"),
    "session.session_description": ("what was done in the session", "Two-photon imaging of one plane."),
    "device.name": ("the microscope", "Microscope"),
    "imaging_plane.description": ("description of the plane", "One plane in layer 2/3 of retrosplenial cortex."),
    "imaging_plane.indicator": ("the calcium indicator", "GCaMP6f"),
    "imaging_plane.location": ("brain region, for mice a term of the Allen CCF", "RSPagl"),
    "imaging_plane.excitation_wavelength_nm": ("wavelength of the laser in nm", "920"),
    "imaging_plane.emission_wavelength_nm": ("wavelength of the emitted light in nm", "510"),
}
"""Fields without which NWB or DANDI refuse a file: the meaning of each, and an example."""

RECOMMENDED: dict[str, tuple[str, str]] = {
    "device.description": ("description of the microscope", "A two-photon microscope with a resonant scanner."),
    "session.experimenter": ("one or more names, each 'Last, First'", '["Sun, Weilun"]'),
    "session.institution": ("institution of the experimenters", "University of Somewhere"),
    "session.experiment_description": ("purpose of the experiment", "Coding of space in retrosplenial cortex."),
    "session.keywords": ("keywords for searching", "[retrosplenial cortex, two-photon, calcium imaging]"),
}
"""Fields that nwbinspector suggests; required too where `on_issue` responds to suggestions with `error`."""


STRUCTURAL: dict[str, tuple[str, str]] = {
    "imaging_plane.structural_label": ("what the structural channel shows", "tdTomato"),
    "imaging_plane.structural_emission_wavelength_nm": ("wavelength of its emitted light in nm", "580"),
}
"""Fields that are required of recordings with a structural channel."""

FIELDS = REQUIRED | RECOMMENDED | STRUCTURAL


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
    required = REQUIRED | (RECOMMENDED if response_to("BEST_PRACTICE_SUGGESTION", shared.on_issue) == "error" else {})
    required |= STRUCTURAL if metadata.channel_names is not None else {}
    missing = [path for path in required if _is_missing(metadata, path)]
    problems = [f"{path}: is missing ({required[path][0]})." for path in missing]
    contradictions = _contradictions(metadata)
    if shared.raw == "external" and (metadata.n_planes > 1 or metadata.channel_names is not None):
        contradictions.append(
            "raw: `external` links whole files, which contain several planes or channels; use `raw: embed` or `none`."
        )
    if contradictions or shared.on_issue == "warn":
        return problems + contradictions
    return problems + inspect_metadata(_with_examples(metadata, missing), shared.on_issue)


def _with_examples(metadata: RecordingMetadata, missing: Iterable[str]) -> RecordingMetadata:
    """Metadata with examples in the place of missing fields, so that the others can be inspected."""
    tree = metadata.model_dump()
    for path in missing:
        part, name = path.split(".")
        tree[part][name] = _example(path)
    return RecordingMetadata.model_validate(tree)


def _example(path: str) -> Any:
    return yaml.safe_load(FIELDS[path][1])


METADATA_PARTS = ("subject", "session", "device", "imaging_plane")
"""Parts of a recording's entry in the manifest that hold metadata."""


def validate_leniently(model: type[Fields], values: Mapping[str, Any]) -> tuple[Fields | None, list[Any]]:
    """Validates a model even if some of its metadata are invalid, so that these do not hide other problems.

    Args:
        model: a recording, or `NwbParameters`: a model that has `METADATA_PARTS`.
        values: as given in YAML.

    Returns:
        The model, with examples (or None) in place of invalid metadata, or None where values other than metadata are
        invalid; and the list of errors as pydantic reports them.
    """
    try:
        return model.model_validate(values), []
    except ValidationError as error:
        errors = error.errors()
    corrected = {key: dict(value) if isinstance(value, Mapping) else value for key, value in values.items()}
    for detail in errors:
        _replace_by_example(corrected, [str(step) for step in detail["loc"]])
    try:
        return model.model_validate(corrected), errors
    except ValidationError:
        return None, errors


def yaml_to_add(problems: Sequence[str]) -> str:
    """Writes the YAML lines that add missing metadata, with examples for their values.

    Args:
        problems: as returned by :func:`metadata_problems`.

    Returns:
        The lines to add to a recording's entry, each part once; empty where no field is missing.
    """
    fields, parts = FIELDS, dict[str, list[str]]()
    for path in (problem.split(":")[0] for problem in problems):
        if path in fields:
            part, name = path.split(".")
            meaning, example = fields[path]
            parts.setdefault(part, []).append(f"  {name}: {example}  # {meaning}")
    return "\n".join(line for part, lines in parts.items() for line in (f"{part}:", *lines))


def _yaml_key(key: str) -> str:
    """A key of the manifest, in quotes where YAML would not read it as text."""
    return key if yaml.safe_load(key) == key else f'"{key}"'


class MetadataError(ValueError):
    """Metadata are missing or invalid. The message lists all problems of all recordings, and the lines to add.

    Attributes:
        problems: problems of each recording, by its name.
    """

    def __init__(self, problems: Mapping[tuple[str, str], Sequence[str]], env: str | None = None) -> None:
        """Composes the message.

        Args:
            problems: as returned by :func:`metadata_problems`, by the keys of animal and session.
            env: environment whose files the message names. None means `local`.
        """
        self.problems = {f"{animal}.{session}": list(lines) for (animal, session), lines in problems.items()}
        title = "The metadata for NWB and DANDI are incomplete or invalid."
        super().__init__("\n\n".join([title, *self._parts(problems), self._hint(env)]))

    @staticmethod
    def _parts(problems: Mapping[tuple[str, str], Sequence[str]]) -> list[str]:
        parts = []
        for (animal, session), lines in problems.items():
            listed = "\n".join(f"  - {line}" for line in lines)
            example = "\n".join(f"      {line}" for line in yaml_to_add(lines).splitlines())
            where = f"recordings:\n  {_yaml_key(animal)}:\n    {_yaml_key(session)}"
            how = "Add to the existing entry (no key may occur twice in a file), with your own values"
            entry = f"\n  {how}:\n\n{where}:\n{example}"
            parts.append(f"{animal}.{session}:\n{listed}" + (entry if example else ""))
        return parts

    @staticmethod
    def _hint(env: str | None) -> str:
        folder = f"conf/{env or 'local'}"
        return (
            f"Recordings are in {folder}/parameters_recordings.yml. Metadata that all of them share can be given once, "
            f"under `nwb:` in {folder}/parameters_nwb.yml. With `on_issue: warn` there, only the fields that NWB and "
            "DANDI require are mandatory."
        )


def _replace_by_example(values: dict[str, Any], loc: Sequence[str]) -> None:
    """Replaces an invalid value of the metadata by its example, or removes it where there is none."""
    if len(loc) > 1 and loc[0] in METADATA_PARTS and isinstance(values.get(loc[0]), dict):
        part, name, path = values[loc[0]], loc[1], f"{loc[0]}.{loc[1]}"
    elif loc and loc[0] in StudyFields.model_fields:
        part, name, path = values, loc[0], f"session.{loc[0]}"
    else:
        return
    part.pop(name, None)
    if path in FIELDS:
        part[name] = _example(path)


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


def check_metadata(
    shared: NwbParameters | Mapping[str, Any], recordings: Iterable[RecordingLike], *, env: str | None = None
) -> None:
    """Checks that the metadata of all recordings are complete and that no two recordings share a file.

    Invalid values among the shared metadata are reported by :func:`shared_problems` instead.

    Args:
        shared: metadata of all recordings, as a model or as given in YAML.
        recordings: to be exported.
        env: environment whose files the message names. None means `local`.

    Raises:
        MetadataError: with all problems of all recordings, and the YAML lines to add.
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
        if lines:
            problems[recording.animal, recording.session_key] = lines
    if problems:
        raise MetadataError(problems, env)
