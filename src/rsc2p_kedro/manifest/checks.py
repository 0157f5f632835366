"""Checks of the manifest and of parameters: everything that is wrong is reported at once, before any computing."""

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
    did_you_mean,
)
from rsc2p_kedro.datasets.frame_times import read_frame_times
from rsc2p_kedro.datasets.tiff_frames import inspect_recording
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

OTHER_PARAMETERS = ("recordings", "only_recordings")


class ManifestError(ValueError):
    """The manifest of recordings is not as it should be. The message lists every problem."""

    @classmethod
    def listing(cls, problems: Iterable[str]) -> "ManifestError":
        """An error that lists problems.

        Args:
            problems: one line each.

        Returns:
            The error.
        """
        return cls("The manifest of recordings has errors:\n" + "\n".join(f"  - {problem}" for problem in problems))


def examine_manifest(manifest: Any) -> tuple[list[Recording], list[str]]:
    """The recordings of a manifest, in its order, and what is wrong with it.

    Args:
        manifest: {animal: {session: facts}}, as the configuration loader gives it; None: no recordings.

    Returns:
        The recordings, and one line for each problem. Recordings with wrong values are left out; those with wrong
        metadata for NWB are there, with examples in the place of these, so that the rest of their metadata can be
        checked.
    """
    problems: list[str] = []
    recordings: list[Recording] = []
    for animal, sessions in _mapping(manifest or {}, "recordings", "animal", problems).items():
        for session, facts in _mapping(sessions, f"recordings.{animal}", "session", problems).items():
            name = f"recordings.{animal}.{session}"
            known = {**_mapping(facts, name, "fact", problems), "animal": animal, "session_key": session}
            recording, wrong = validate_leniently(Recording, known)
            recordings += [] if recording is None else [recording]
            problems += [_describe(name, detail) for detail in wrong]
    return recordings, problems + _repeated_ids(recordings)


def parse_manifest(manifest: Any, nwb: Mapping[str, Any] | None = None) -> list[Recording]:
    """The recordings of a manifest, in its order.

    Args:
        manifest: {animal: {session: facts}}, as the configuration loader gives it; None: no recordings.
        nwb: the metadata that all recordings share; None: these are not checked.

    Returns:
        The recordings.

    Raises:
        ManifestError: lists everything that is wrong, of all recordings, and what is missing besides for NWB.
    """
    recordings, problems = examine_manifest(manifest)
    problems += shared_problems(nwb)[1] if nwb is not None else []
    if problems:
        error = str(ManifestError.listing(problems))
        raise ManifestError("\n\n".join([error, *_missing_besides(recordings, nwb)]))
    return recordings


def _missing_besides(recordings: list[Recording], nwb: Mapping[str, Any] | None) -> list[str]:
    """What is missing for NWB, reported together with what is wrong, so that one look at the manifest is enough."""
    if nwb is None:
        return []
    try:
        check_metadata(nwb, recordings)
    except MetadataError as error:
        return [str(error)]
    return []


def misspelled_groups(parameters: Mapping[str, Any]) -> dict[str, list[str]]:
    """Top-level parameters that look like misspelled names of known ones; other unknown names may be the user's own.

    Args:
        parameters: all parameters of an environment.

    Returns:
        One problem under each such name.
    """
    known = [*CHECKED_PARAMETERS, *OTHER_PARAMETERS]
    hints = {key: did_you_mean(key, known) for key in parameters if key not in known}
    return {key: [f"{key}: there is no such group of parameters.{hint}"] for key, hint in hints.items() if hint}


def parameter_problems(parameters: Mapping[str, Any]) -> dict[str, list[str]]:
    """What is wrong with the parameters of stages, of the machine and of NWB files.

    Args:
        parameters: all parameters of an environment, as the configuration loader gives them.

    Returns:
        Problems by the top-level key they stand under; keys without problems are left out.
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
    """What is wrong with the parameters of the stages for one recording, with its seeds and the times of its frames.

    Args:
        recording: its own parameters, seeds, curation and times.
        parameters: those of all stages, by their names, as mappings or models; missing ones have their defaults.

    Returns:
        One line for each problem.
    """
    problems: list[str] = []
    for stage, model in STAGE_PARAMETERS.items():
        shared = parameters.get(stage) or {}
        try:
            shared = shared if isinstance(shared, model) else model.model_validate(shared)
        except ValidationError:
            continue  # reported of the stage, once, and not of every recording
        try:
            own = recording.override(shared)
        except ValidationError as error:
            problems += [f"parameters.{stage}: {detail['msg']}" for detail in error.errors()]
            continue
        if isinstance(own, ExtractionParameters):
            problems += _seed_problems(recording, own.initialization == "seeded")
    return problems + _time_problems(recording)


def _time_problems(recording: Recording) -> list[str]:
    """What is wrong with the table of frame times, where there is one."""
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
    """Frames that will be read, counted from the first on disk; None where there are none on disk (yet)."""
    if recording.simulation is not None:
        return recording.simulation.n_frames
    if recording.frames is not None:
        return recording.frames[1]
    return inspect_recording(recording.path).n_frames or None


def _seed_problems(recording: Recording, seeded: bool) -> list[str]:
    if seeded and recording.seeds is None:
        return ["seeds: are missing; `initialization: seeded` takes centres (CSV) or masks (TIFF)."]
    if recording.seeds is not None and not seeded:
        return ["seeds: are there and would not be used; set `initialization: seeded` for the recording."]
    return []


def explain_how_to_start(env: str | None, recordings: dict[str, Any] | None) -> None:
    """Stops a run over an empty manifest, and explains how to add recordings and how to see the demo.

    Args:
        env: environment of the run; None: the default one.
        recordings: the empty manifest.

    Raises:
        ManifestError: always.
    """
    raise ManifestError(
        f"""There are no recordings in environment {env or "local"}.
  - To see the project at work on simulated recordings: kedro run --env demo (or: make demo)
  - To add your own: {command("recordings scan DIR", env)}, where DIR is the folder that holds your TIFFs. It writes
    conf/{env or "local"}/parameters_recordings.yml; complete it, then run
    {command("recordings check", env)} and {command("run", env)}."""
    )


def _mapping(value: Any, name: str, key_is: str, problems: list[str]) -> Mapping[str, Any]:
    """A level of the manifest, or an empty one where it is not a mapping with usable keys (which is noted)."""
    if not isinstance(value, Mapping):
        problems.append(f"{name} should map each {key_is} to its entry, is {value!r}.")
        return {}
    if key_is == "fact":
        return value
    bad = [key for key in value if not (isinstance(key, str) and _KEY.fullmatch(key))]
    problems += [
        f"{name}: the {key_is} key {key!r} should be letters, digits, `_` and `-` only (quote numbers)." for key in bad
    ]
    return {key: part for key, part in value.items() if key not in bad}


def _describe(name: str, detail: Any) -> str:
    """One problem that pydantic found, with the key it stands under and what was given."""
    where = ".".join([name, *map(str, detail["loc"])])
    given = "" if detail["type"] == "missing" else f", given {detail['input']!r}"
    hint = ""
    if detail["type"] == "extra_forbidden" and len(detail["loc"]) == 1:
        names = [field for field in Recording.model_fields if field not in ("animal", "session_key")]
        hint = did_you_mean(str(detail["loc"][0]), names) + f" Allowed are {', '.join(names)}."
    return f"{where}: {detail['msg']}{given}.{hint}"


def _repeated_ids(recordings: list[Recording]) -> list[str]:
    """Recordings that would be written to one and the same NWB file."""
    names = {
        recording.name: dandi_ids(
            recording.animal, recording.session_key, recording.model_dump(include={"subject", "session"})
        )
        for recording in recordings
    }
    return [
        f"subject_id '{ids[0]}' with session_id '{ids[1]}' stands for more than one recording: "
        f"{', '.join(name for name, other in names.items() if other == ids)}. Give each a session_id of its own."
        for ids, count in Counter(names.values()).items()
        if count > 1
    ]
