"""What is missing or wrong in the metadata of recordings, told before any computing, with the YAML lines to add."""

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
    answer_to,
    dandi_path,
    merge_metadata,
)

DEMANDED: dict[str, tuple[str, str]] = {
    "subject.subject_id": ("a name for the animal", "mouse-17"),
    "subject.species": ("the species in Latin", "Mus musculus"),
    "subject.sex": ("M, F, O (other) or U (unknown)", "U"),
    "subject.age": ("age at the session (or a date_of_birth)", "P90D"),
    "session.session_id": ("a name for the session", "day-7"),
    "session.session_start_time": ("when the session began, with its offset from UTC", "2019-05-06T10:30:00+02:00"),
    "session.session_description": ("what was done in the session", "Two-photon imaging of one plane."),
    "device.name": ("the microscope", "Microscope"),
    "imaging_plane.description": ("what the plane is", "One plane in layer 2/3 of retrosplenial cortex."),
    "imaging_plane.indicator": ("the calcium indicator", "GCaMP6f"),
    "imaging_plane.location": ("the brain region, for mice as the Allen CCF calls it", "RSPagl"),
    "imaging_plane.excitation_wavelength_nm": ("wavelength of the laser in nm", "920"),
    "imaging_plane.emission_wavelength_nm": ("wavelength of the emitted light in nm", "510"),
}
"""Fields without which NWB or DANDI refuse a file: what each is, and an example."""

RECOMMENDED: dict[str, tuple[str, str]] = {
    "device.description": ("what it is", "A two-photon microscope with a resonant scanner."),
    "session.experimenter": ("who did it, 'Last, First'", '["Sun, Weilun"]'),
    "session.institution": ("where", "University of Somewhere"),
    "session.experiment_description": ("what the experiment was for", "Coding of space in retrosplenial cortex."),
    "session.keywords": ("words to find it by", "[retrosplenial cortex, two-photon, calcium imaging]"),
}
"""Fields that nwbinspector misses, its suggestions; demanded too where `on_issue` answers these with `error`."""


def _is_missing(metadata: RecordingMetadata, path: str) -> bool:
    part, name = path.split(".")
    if path == "subject.age" and metadata.subject.date_of_birth is not None:
        return False
    return not getattr(getattr(metadata, part), name)


def _contradictions(metadata: RecordingMetadata) -> list[str]:
    """Fields that are there and cannot all be true."""
    problems = []
    born, began = metadata.subject.date_of_birth, metadata.session.session_start_time
    if born is not None and began is not None and born > began.date():
        problems.append(f"subject.date_of_birth: {born} is after the session ({began.date()}).")
    if metadata.imaging_plane.origin_um is not None and metadata.imaging_plane.reference_frame is None:
        problems.append("imaging_plane.reference_frame: is missing; origin_um means nothing without it.")
    if metadata.device.model_name is not None and metadata.device.manufacturer is None:
        problems.append("device.manufacturer: is missing; NWB wants it where there is a model_name.")
    return problems


def missing_metadata(shared: NwbParameters, recording: RecordingLike) -> list[str]:
    """Everything that is missing or contradicts itself, one line each, as `part.field: what is wrong`.

    What is there goes through nwbinspector's own checks too, so that what it would say about a finished file is known
    before any computing (a location, for one, that the Allen CCF does not have).
    """
    metadata = merge_metadata(shared, recording)
    wanted = DEMANDED | (RECOMMENDED if answer_to("BEST_PRACTICE_SUGGESTION", shared.on_issue) == "error" else {})
    missing = [path for path in wanted if _is_missing(metadata, path)]
    problems = [f"{path}: is missing ({wanted[path][0]})." for path in missing]
    contradictions = _contradictions(metadata)
    if contradictions or shared.on_issue == "warn":
        return problems + contradictions
    return problems + inspect_metadata(_with_examples(metadata, missing), shared.on_issue)


def _with_examples(metadata: RecordingMetadata, missing: Iterable[str]) -> RecordingMetadata:
    """Metadata with examples in the place of what is missing, so that the rest can be judged."""
    tree = metadata.model_dump()
    for path in missing:
        part, name = path.split(".")
        tree[part][name] = _example(path)
    return RecordingMetadata.model_validate(tree)


def _example(path: str) -> Any:
    return yaml.safe_load((DEMANDED | RECOMMENDED)[path][1])


METADATA_PARTS = ("subject", "session", "device", "imaging_plane")


def validate_leniently(model: type[Fields], values: Mapping[str, Any]) -> tuple[Fields | None, list[Any]]:
    """A model of values of which some may be wrong, and what is wrong, so that one wrong value does not hide the rest.

    Args:
        model: a recording, or `NwbParameters`: what has `METADATA_PARTS`.
        values: as they stand in YAML.

    Returns:
        The model with examples (or nothing) in the place of wrong metadata, or none where other values are wrong too;
        and pydantic's account of all that is wrong.
    """
    try:
        return model.model_validate(values), []
    except ValidationError as error:
        wrong = error.errors()
    mended = {key: dict(value) if isinstance(value, Mapping) else value for key, value in values.items()}
    for detail in wrong:
        _put_example(mended, [str(step) for step in detail["loc"]])
    try:
        return model.model_validate(mended), wrong
    except ValidationError:
        return None, wrong


def yaml_to_add(problems: Sequence[str]) -> str:
    """The lines that fill in what is missing, with examples, as they would stand in a recording's entry."""
    known, parts = DEMANDED | RECOMMENDED, dict[str, list[str]]()
    for path in (problem.split(":")[0] for problem in problems):
        if path in known:
            part, name = path.split(".")
            what, example = known[path]
            parts.setdefault(part, []).append(f"  {name}: {example}  # {what}")
    return "\n".join(line for part, lines in parts.items() for line in (f"{part}:", *lines))


def _yaml_key(key: str) -> str:
    """A key that YAML would take for something else than text, in quotes."""
    return key if yaml.safe_load(key) == key else f'"{key}"'


class MetadataError(ValueError):
    """Metadata are missing or wrong. The message lists all of them for all recordings, and the lines to add.

    Attributes:
        problems: what is wrong, by name of the recording.
    """

    def __init__(self, problems: Mapping[tuple[str, str], Sequence[str]], env: str | None = None) -> None:
        self.problems = {f"{animal}.{session}": list(lines) for (animal, session), lines in problems.items()}
        super().__init__("\n\n".join(["NWB and DANDI need to know more.", *self._parts(problems), self._hint(env)]))

    @staticmethod
    def _parts(problems: Mapping[tuple[str, str], Sequence[str]]) -> list[str]:
        parts = []
        for (animal, session), lines in problems.items():
            wrong = "\n".join(f"  - {line}" for line in lines)
            example = "\n".join(f"      {line}" for line in yaml_to_add(lines).splitlines())
            where = f"recordings:\n  {_yaml_key(animal)}:\n    {_yaml_key(session)}"
            how = "Add inside the entry that is there (no name may stand twice in a file), with your own values"
            entry = f"\n  {how}:\n\n{where}:\n{example}"
            parts.append(f"{animal}.{session}:\n{wrong}" + (entry if example else ""))
        return parts

    @staticmethod
    def _hint(env: str | None) -> str:
        return (
            f"Recordings stand in conf/{env or 'local'}/parameters_recordings.yml. What is true of all of them can "
            f"stand once, under `nwb:` in conf/{env or 'local'}/parameters_nwb.yml. With `on_issue: warn` there, only "
            "what NWB and DANDI insist on is asked for."
        )


def _put_example(values: dict[str, Any], loc: Sequence[str]) -> None:
    """Takes a wrong value out of metadata and, where there is an example for it, puts that in its place."""
    if len(loc) > 1 and loc[0] in METADATA_PARTS and isinstance(values.get(loc[0]), dict):
        part, name, path = values[loc[0]], loc[1], f"{loc[0]}.{loc[1]}"
    elif loc and loc[0] in StudyFields.model_fields:
        part, name, path = values, loc[0], f"session.{loc[0]}"
    else:
        return
    part.pop(name, None)
    if path in DEMANDED | RECOMMENDED:
        part[name] = _example(path)


def shared_problems(shared: NwbParameters | Mapping[str, Any]) -> tuple[NwbParameters | None, list[str]]:
    """The metadata that all recordings share, and what is wrong with them (see :func:`validate_leniently`)."""
    if isinstance(shared, NwbParameters):
        return shared, []
    known, wrong = validate_leniently(NwbParameters, shared)
    return known, [f"{'.'.join(map(str, ('nwb', *d['loc'])))}: {d['msg']}, given {d['input']!r}." for d in wrong]


def check_metadata(
    shared: NwbParameters | Mapping[str, Any], recordings: Iterable[RecordingLike], *, env: str | None = None
) -> None:
    """Stops with the full list when any recording's metadata are not complete, or two recordings would share a file.

    Wrong values among the shared metadata are not told here, but by :func:`shared_problems`.

    Raises:
        MetadataError: with everything that is wrong, for all recordings, and the YAML to add.
    """
    known, _ = shared_problems(shared)
    shared = known or NwbParameters.model_validate({})
    problems: dict[tuple[str, str], list[str]] = {}
    taken: dict[str, str] = {}
    for recording in recordings:
        found = missing_metadata(shared, recording)
        path = str(dandi_path(merge_metadata(shared, recording))).casefold()
        name = f"{recording.animal}.{recording.session_key}"
        if taken.setdefault(path, name) != name:
            found.append(
                f"session.session_id: would be written to the file of {taken[path]}; give one of them another id."
            )
        if found:
            problems[recording.animal, recording.session_key] = found
    if problems:
        raise MetadataError(problems, env)
