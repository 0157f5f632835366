"""Checks of the manifest and of parameters, which report all problems at once, before any computation."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from rsc2p_kedro.core.commands import command
from rsc2p_kedro.core.parameters import (
    STAGE_PARAMETERS,
    CaimanSettings,
    Compute,
    ExtractionParameters,
    FrozenModel,
    MotionCorrectionParameters,
    did_you_mean,
)
from rsc2p_kedro.core.problems import group_problems
from rsc2p_kedro.datasets.curation import read_curation
from rsc2p_kedro.datasets.frame_ranges import read_frame_ranges
from rsc2p_kedro.datasets.frame_times import read_frame_times
from rsc2p_kedro.datasets.raw import RawRecording
from rsc2p_kedro.datasets.seeds import read_seeds
from rsc2p_kedro.datasets.tracked import read_known_neurons, read_tracking_decisions
from rsc2p_kedro.manifest.recordings import Recording
from rsc2p_kedro.nwb.identifiers import dandi_ids
from rsc2p_kedro.nwb.metadata import NwbParameters
from rsc2p_kedro.nwb.metadata_checks import (
    METADATA_PARTS,
    MetadataError,
    check_metadata,
    shared_problems,
    validate_leniently,
)

_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")

CHECKED_PARAMETERS: dict[str, type[FrozenModel]] = {
    **STAGE_PARAMETERS,
    "compute": Compute,
    "caiman": CaimanSettings,
    "nwb": NwbParameters,
}
"""Top-level parameters and the models that check them, besides the manifest itself."""

REQUIRED_FIELDS = {"path": "folder or file of the raw data", "frame_rate_hz": "frames per second"}
"""Fields of a recording without which it cannot be processed, and their meaning."""

OTHER_PARAMETERS = ("recordings", "only_recordings", "units")


NO_STRUCTURAL_CHANNEL = (
    "motion_correction.channel: is `structural`, but the recording names no structural channel; add `channels: "
    "{functional: green, structural: red}` to its entry, or set `channel: functional` for it."
)


class ManifestError(ValueError):
    """The manifest of recordings is invalid. The message lists all problems."""

    @classmethod
    def listing(cls, problems: Mapping[str, Sequence[str]]) -> "ManifestError":
        """Makes an error that lists problems, each kind once.

        Args:
            problems: one line per problem, by the name of the recording; "" for those that belong to none.

        Returns:
            The error.
        """
        lines = [f"  - {line}" for line in group_problems(problems)]
        return cls("\n".join(["The manifest of recordings has errors:", *lines]))


def examine_manifest(manifest: Any) -> tuple[list[Recording], dict[str, list[str]]]:
    """Validates a manifest without raising an error.

    Args:
        manifest: {animal: {session: entry}}, as the configuration loader returns it. None means no recordings.

    Returns:
        The recordings in the order of the manifest; and one line for each problem, by the name of the recording, or
        under "" where it belongs to none. Recordings with invalid values are left out; those with missing or invalid
        metadata are included, with stand-ins for these, so that the rest can be checked.
    """
    problems: dict[str, list[str]] = {"": []}
    recordings: list[Recording] = []
    for animal, sessions in _mapping(manifest or {}, "recordings", "animal", problems[""]).items():
        for session, entry in _mapping(sessions, f"recordings.{animal}", "session", problems[""]).items():
            values = _mapping(entry, f"recordings.{animal}.{session}", "field", problems[""])
            recording, errors = validate_leniently(Recording, {**values, "animal": animal, "session_key": session})
            recordings += [] if recording is None else [recording]
            problems[f"{animal}.{session}"] = [_describe(detail) for detail in errors]
    problems[""] += _repeated_ids(recordings)
    return recordings, {name: lines for name, lines in problems.items() if lines}


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
    of_all = shared_problems(nwb)[1] if nwb is not None else []
    if problems or of_all:
        problems[""] = [*problems.get("", []), *of_all]
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


def stage_problems(
    recording: Recording, parameters: Mapping[str, Any], *, raw: RawRecording | None = None
) -> list[str]:
    """Validates the parameters of the stages for one recording, its seeds, its frame times and its curation.

    Args:
        recording: the recording, which may have parameters of its own.
        parameters: shared parameters by stage, as mappings or models; missing stages have their defaults.
        raw: its files, if they have been inspected already. None inspects them where they matter.

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
            problems += _seed_problems(recording, own.initialization == "seeded", raw)
        if isinstance(own, MotionCorrectionParameters) and own.channel == "structural":
            problems += [] if recording.has_structural_channel else [NO_STRUCTURAL_CHANNEL]
    return [
        *problems,
        *_time_problems(recording, raw),
        *_exclusion_problems(recording, raw),
        *_curation_problems(recording),
    ]


def _exclusion_problems(recording: Recording, raw: RawRecording | None) -> list[str]:
    """Problems of the frames that are left out."""
    wanted, n_frames = recording.exclude_frames, None
    try:
        ranges = read_frame_ranges(wanted)["stop"].tolist() if isinstance(wanted, Path) else []
    except ValueError as error:
        return [f"exclude_frames: {error}"]
    ranges += [item[1] for item in wanted if item != "auto"] if isinstance(wanted, tuple) else []
    if ranges:
        needed = _frames_needed(recording, raw)
        n_frames = None if needed is None else needed - (recording.frames[0] if recording.frames else 0)
    if n_frames is not None and max(ranges) > n_frames:
        return [f"exclude_frames: frame {max(ranges) - 1} is named, but the movie has {n_frames} frames, from 0 on."]
    return []


def _time_problems(recording: Recording, raw: RawRecording | None) -> list[str]:
    """Problems of the table of frame times, if the recording has one."""
    if recording.frame_times is None:
        return []
    n_frames, rate = _frames_needed(recording, raw), recording.frame_rate_hz
    return _told("frame_times", lambda path: read_frame_times(path, frame_rate_hz=rate, n_frames=n_frames), recording)


def _curation_problems(recording: Recording) -> list[str]:
    """Problems of the user's decisions and of known neurons, if the recording has some."""
    readers = {
        "curation": read_curation,
        "tracking_decisions": read_tracking_decisions,
        "tracking_known": read_known_neurons,
    }
    given = [name for name in readers if getattr(recording, name) is not None]
    return [problem for name in given for problem in _told(name, readers[name], recording)]


def _told(field: str, read: Callable[[Any], object], recording: Recording) -> list[str]:
    """Problem of reading a file that a recording names in a field, if there is one."""
    try:
        read(getattr(recording, field))
    except (ValueError, OSError) as error:
        return [f"{field}: {error}"]
    return []


def _frames_needed(recording: Recording, raw: RawRecording | None) -> int | None:
    """Number of frames that will be read, counted from the first on disk. None if there are none on disk (yet)."""
    if recording.simulation is not None:
        return recording.simulation.n_frames
    if recording.frames is not None:
        return recording.frames[1]
    return (raw or recording.inspect()).n_frames or None


def _seed_problems(recording: Recording, seeded: bool, raw: RawRecording | None) -> list[str]:
    if seeded and recording.seeds is None:
        return ["seeds: are missing, but `initialization: seeded` needs them; give centres (CSV) or masks (TIFF)."]
    if recording.seeds is not None and not seeded:
        return ["seeds: are given, but would not be used; set `initialization: seeded` for the recording."]
    shape = _frame_shape(recording, raw) if seeded else None
    return _told("seeds", lambda path: read_seeds(path, shape), recording) if seeded else []


def _frame_shape(recording: Recording, raw: RawRecording | None) -> tuple[int, int] | None:
    """(H, W) of the frames. None if there are none on disk (yet)."""
    if recording.simulation is not None:
        return recording.simulation.height_px, recording.simulation.width_px
    raw = raw or recording.inspect()
    return (raw.shape[0], raw.shape[1]) if raw.n_frames and len(raw.shape) == 2 else None


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
  - To process simulated recordings: {command("run", "demo")}
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


def _describe(detail: Any) -> str:
    """Message for an error of pydantic, with the key and the value that was given."""
    where = ".".join(map(str, detail["loc"]))
    if detail["type"] == "missing" or (detail["input"] is None and where in REQUIRED_FIELDS):
        return f"{where}: is missing ({REQUIRED_FIELDS.get(where, 'required')})."
    hint = ""
    if detail["type"] == "extra_forbidden" and len(detail["loc"]) == 1:
        names = [field for field in Recording.model_fields if field not in ("animal", "session_key", "plane")]
        hint = did_you_mean(where, names) + f" Allowed are {', '.join(names)}."
    elif detail["type"] == "extra_forbidden" and detail["loc"][0] in METADATA_PARTS:
        model: Any = Recording.model_fields[str(detail["loc"][0])].annotation
        hint = did_you_mean(str(detail["loc"][1]), model.model_fields)
    message = detail["msg"].removeprefix("Value error, ").rstrip(".")
    given = "" if isinstance(detail["input"], Mapping) else f", given {detail['input']!r}"
    return f"{where}: {message}{given}.{hint}".removeprefix(": ")


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
