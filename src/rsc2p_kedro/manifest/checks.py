"""Checks of the manifest and of parameters, which report all problems at once, before any computation."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from rsc2p_kedro.core.parameters import (
    STAGE_PARAMETERS,
    CaimanSettings,
    Compute,
    ExtractionParameters,
    FrozenModel,
    MotionCorrectionParameters,
    did_you_mean,
)
from rsc2p_kedro.datasets.frame_times import read_frame_times
from rsc2p_kedro.datasets.raw import inspect_recording
from rsc2p_kedro.manifest.commands import command
from rsc2p_kedro.manifest.recordings import Recording
from rsc2p_kedro.nwb.identifiers import dandi_ids
from rsc2p_kedro.nwb.metadata import NwbParameters
from rsc2p_kedro.nwb.metadata_checks import MetadataError, check_metadata, shared_problems, validate_leniently

_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")

CHECKED_PARAMETERS: dict[str, type[FrozenModel]] = {
    **STAGE_PARAMETERS,
    "compute": Compute,
    "caiman": CaimanSettings,
    "nwb": NwbParameters,
}
"""Top-level parameters and the models that check them, besides the manifest itself."""

OTHER_PARAMETERS = ("recordings", "only_recordings", "units")


NO_STRUCTURAL_CHANNEL = (
    "motion_correction.channel: is `structural`, but the recording names no structural channel; add `channels: "
    "{functional: green, structural: red}` to its entry, or set `channel: functional` for it."
)


class ManifestError(ValueError):
    """The manifest of recordings is invalid. The message lists all problems."""

    @classmethod
    def listing(cls, problems: Iterable[str]) -> "ManifestError":
        """Makes an error that lists problems.

        Args:
            problems: one line per problem.

        Returns:
            The error.
        """
        return cls("The manifest of recordings has errors:\n" + "\n".join(f"  - {problem}" for problem in problems))


def examine_manifest(manifest: Any) -> tuple[list[Recording], list[str]]:
    """Validates a manifest without raising an error.

    Args:
        manifest: {animal: {session: entry}}, as the configuration loader returns it. None means no recordings.

    Returns:
        The recordings in the order of the manifest, and one line for each problem. Recordings with invalid values are
        left out; those with invalid metadata for NWB are included, with examples in place of these, so that the rest of
        their metadata can be checked.
    """
    problems: list[str] = []
    recordings: list[Recording] = []
    for animal, sessions in _mapping(manifest or {}, "recordings", "animal", problems).items():
        for session, entry in _mapping(sessions, f"recordings.{animal}", "session", problems).items():
            name = f"recordings.{animal}.{session}"
            values = {**_mapping(entry, name, "field", problems), "animal": animal, "session_key": session}
            recording, errors = validate_leniently(Recording, values)
            recordings += [] if recording is None else [recording]
            problems += [_describe(name, detail) for detail in errors]
    return recordings, problems + _repeated_ids(recordings)


def parse_manifest(manifest: Any, nwb: Mapping[str, Any] | None = None, *, env: str | None = None) -> list[Recording]:
    """Validates a manifest.

    Args:
        manifest: {animal: {session: entry}}, as the configuration loader returns it. None means no recordings.
        nwb: metadata that all recordings share. None does not check them.
        env: environment whose files the message names. None means local.

    Returns:
        The recordings in the order of the manifest.

    Raises:
        ManifestError: lists all problems of all recordings, and the metadata for NWB that are missing as well.
    """
    recordings, problems = examine_manifest(manifest)
    problems += shared_problems(nwb)[1] if nwb is not None else []
    if problems:
        error = str(ManifestError.listing(problems))
        raise ManifestError("\n\n".join([error, *_missing_metadata(recordings, nwb, env)]))
    return recordings


def _missing_metadata(recordings: list[Recording], nwb: Mapping[str, Any] | None, env: str | None) -> list[str]:
    """Message about missing metadata, reported with the invalid values so that both can be corrected together."""
    if nwb is None:
        return []
    try:
        check_metadata(nwb, recordings, env=env)
    except MetadataError as error:
        return [str(error)]
    return []


def misspelled_groups(parameters: Mapping[str, Any]) -> dict[str, list[str]]:
    """Finds top-level parameters whose names resemble known ones; other unknown names may be the user's own.

    Args:
        parameters: all parameters of an environment.

    Returns:
        A list of one problem by each such name.
    """
    known = [*CHECKED_PARAMETERS, *OTHER_PARAMETERS]
    hints = {key: did_you_mean(key, known) for key in parameters if key not in known}
    return {key: [f"{key}: there is no such group of parameters.{hint}"] for key, hint in hints.items() if hint}


def parameter_problems(parameters: Mapping[str, Any]) -> dict[str, list[str]]:
    """Validates the parameters of stages, of the machine and of NWB files.

    Args:
        parameters: all parameters of an environment, as the configuration loader returns them.

    Returns:
        Problems by top-level key; keys without problems are left out.
    """
    problems = misspelled_groups(parameters)
    for key, model in CHECKED_PARAMETERS.items():
        try:
            model.model_validate(parameters.get(key) or {})
        except ValidationError as error:
            problems[key] = [_parameter_problem(key, model, detail) for detail in error.errors()]
    return problems


def _parameter_problem(key: str, model: type[FrozenModel], detail: Any) -> str:
    where = ".".join(map(str, (key, *detail["loc"])))
    if detail["type"] == "extra_forbidden" and len(detail["loc"]) == 1:
        return f"{where}: there is no such parameter.{did_you_mean(str(detail['loc'][0]), model.model_fields)}"
    return f"{where}: {detail['msg']}, given {detail['input']!r}."


def stage_problems(recording: Recording, parameters: Mapping[str, Any]) -> list[str]:
    """Validates the parameters of the stages for one recording, its seeds and its frame times.

    Args:
        recording: the recording, which may have parameters of its own.
        parameters: shared parameters by stage, as mappings or models; missing stages have their defaults.

    Returns:
        One line for each problem.
    """
    problems: list[str] = []
    for stage, model in STAGE_PARAMETERS.items():
        shared = parameters.get(stage) or {}
        try:
            shared = shared if isinstance(shared, model) else model.model_validate(shared)
        except ValidationError:
            continue  # reported once for the stage, not for every recording
        try:
            own = recording.override(shared)
        except ValidationError as error:
            problems += [f"parameters.{stage}: {detail['msg']}" for detail in error.errors()]
            continue
        if isinstance(own, ExtractionParameters):
            problems += _seed_problems(recording, own.initialization == "seeded")
        if isinstance(own, MotionCorrectionParameters) and own.channel == "structural":
            problems += [] if recording.has_structural_channel else [NO_STRUCTURAL_CHANNEL]
    return problems + _time_problems(recording)


def _time_problems(recording: Recording) -> list[str]:
    """Problems of the table of frame times, if the recording has one."""
    if recording.frame_times is None:
        return []
    try:
        read_frame_times(
            recording.frame_times, frame_rate_hz=recording.frame_rate_hz, n_frames=_frames_needed(recording)
        )
    except ValueError as error:
        return [f"frame_times: {error}"]
    return []


def _frames_needed(recording: Recording) -> int | None:
    """Number of frames that will be read, counted from the first on disk. None if there are none on disk (yet)."""
    if recording.simulation is not None:
        return recording.simulation.n_frames
    if recording.frames is not None:
        return recording.frames[1]
    return inspect_recording(recording.path, layout=recording.layout).n_frames or None


def _seed_problems(recording: Recording, seeded: bool) -> list[str]:
    if seeded and recording.seeds is None:
        return ["seeds: are missing, but `initialization: seeded` needs them; give centres (CSV) or masks (TIFF)."]
    if recording.seeds is not None and not seeded:
        return ["seeds: are given, but would not be used; set `initialization: seeded` for the recording."]
    return []


def explain_how_to_start(env: str | None, recordings: dict[str, Any] | None) -> None:
    """Stops a run over an empty manifest, and explains how to add recordings and how to run the demo.

    Args:
        env: environment of the run. None means the default one.
        recordings: the empty manifest.

    Raises:
        ManifestError: always.
    """
    raise ManifestError(
        f"""There are no recordings in environment {env or "local"}.
  - To process simulated recordings: kedro run --env demo (or: make demo)
  - To add your own: {command("recordings scan DIR", env)}, where DIR is the folder of your TIFFs. It writes
    conf/{env or "local"}/parameters_recordings.yml; complete this file, then run
    {command("recordings check", env)} and {command("run", env)}."""
    )


def _mapping(value: Any, name: str, level: str, problems: list[str]) -> Mapping[str, Any]:
    """A level of the manifest without invalid keys, which are added to the problems; empty if it is not a mapping."""
    if not isinstance(value, Mapping):
        problems.append(f"{name} should map each {level} to its entry, is {value!r}.")
        return {}
    if level == "field":
        return value
    invalid = [key for key in value if not (isinstance(key, str) and _KEY.fullmatch(key))]
    problems += [
        f"{name}: the {level} key {key!r} should have letters, digits, `_` and `-` only (put numbers in quotes)."
        for key in invalid
    ]
    return {key: part for key, part in value.items() if key not in invalid}


def _describe(name: str, detail: Any) -> str:
    """Message for an error of pydantic, with the key and the value that was given."""
    where = ".".join([name, *map(str, detail["loc"])])
    given = "" if detail["type"] == "missing" else f", given {detail['input']!r}"
    hint = ""
    if detail["type"] == "extra_forbidden" and len(detail["loc"]) == 1:
        names = [field for field in Recording.model_fields if field not in ("animal", "session_key", "plane")]
        hint = did_you_mean(str(detail["loc"][0]), names) + f" Allowed are {', '.join(names)}."
    return f"{where}: {detail['msg']}{given}.{hint}"


def _repeated_ids(recordings: list[Recording]) -> list[str]:
    """Problems of recordings that would be written to the same NWB file."""
    names = {
        recording.name: dandi_ids(
            recording.animal, recording.session_key, recording.model_dump(include={"subject", "session"})
        )
        for recording in recordings
    }
    return [
        f"subject_id '{ids[0]}' with session_id '{ids[1]}' belongs to more than one recording: "
        f"{', '.join(name for name, other in names.items() if other == ids)}. Give each a different session_id."
        for ids, count in Counter(names.values()).items()
        if count > 1
    ]
