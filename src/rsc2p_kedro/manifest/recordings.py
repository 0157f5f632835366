"""The manifest: which recordings there are, and what is known of each.

The parameter ``recordings`` is two levels deep: animal, session, facts (see :class:`Recording`).
"""

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import Field, PositiveFloat, ValidationError, field_validator, model_validator

from rsc2p_kedro.core.parameters import STAGE_PARAMETERS, Acquisition, ExtractionParameters, FrozenModel
from rsc2p_kedro.datasets.frame_times import read_frame_times
from rsc2p_kedro.nwb.identifiers import dandi_ids
from rsc2p_kedro.nwb.metadata import DeviceFields, ImagingPlaneFields, SessionFields, SubjectFields
from rsc2p_kedro.nwb.metadata_checks import MetadataError, check_metadata, shared_problems, validate_leniently
from rsc2p_kedro.simulation.settings import SimulationSettings

Parameters = TypeVar("Parameters", bound=FrozenModel)
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


_HOW_TO_START = """There is no recording to work on.
  - To see the project at work on simulated recordings: kedro run --env demo (or: make demo)
  - To add your own: kedro recordings scan DIR, with DIR the folder that holds your TIFFs. It writes
    conf/local/parameters_recordings.yml; fill it in, then: kedro recordings check; kedro run."""


class ManifestError(ValueError):
    """The manifest of recordings is not as it should be. The message lists every problem."""


class Recording(FrozenModel):
    """One session of one animal, as the user describes it in the manifest."""

    animal: str = Field("", description="Key of the animal; filled in from the manifest.")
    session_key: str = Field("", description="Key of the session; filled in from the manifest.")
    path: Path = Field(description="A folder of TIFFs (one frame or many pages each), or one TIFF.")
    frames: tuple[int, int] | None = Field(None, description="First frame and the one after the last; none: all.")
    frame_rate_hz: float = Field(gt=0, description="Frames per second [fr].")
    pixel_size_um: tuple[PositiveFloat, PositiveFloat] | None = Field(
        None, description="Size of a pixel in um, (y, x) [dxy]."
    )
    decay_time_s: float = Field(0.4, gt=0, description="Decay time constant of the indicator in s [decay_time].")
    frame_times: Path | None = Field(
        None,
        description="Table with the column `time_s`: seconds from the start of the session, one row for each frame on "
        "disk. For recordings whose frames do not follow one rate; the NWB file then holds these times.",
    )
    seeds: Path | None = Field(None, description="Table of centres or TIFF of masks for `initialization: seeded`.")
    curation: Path | None = Field(None, description="Table of the user's own decisions (component_id, decision, note).")
    subject: SubjectFields = Field(default_factory=SubjectFields)
    session: SessionFields = Field(default_factory=SessionFields)
    device: DeviceFields = Field(default_factory=DeviceFields)
    imaging_plane: ImagingPlaneFields = Field(default_factory=ImagingPlaneFields)
    parameters: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="Parameters of stages that differ for this recording: {stage: {name: value}}."
    )
    simulation: SimulationSettings | None = Field(None, description="Make this recording up, with a known truth.")

    @field_validator("frames")
    @classmethod
    def _frames_in_order(cls, frames: tuple[int, int] | None) -> tuple[int, int] | None:
        if frames is not None and not 0 <= frames[0] < frames[1]:
            raise ValueError(f"frames should be [start, stop] with 0 <= start < stop, are {list(frames)}.")
        return frames

    @field_validator("parameters")
    @classmethod
    def _overrides_are_known(cls, overrides: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for stage, values in overrides.items():
            if stage not in STAGE_PARAMETERS:
                raise ValueError(f"unknown stage '{stage}'; stages with parameters are {', '.join(STAGE_PARAMETERS)}.")
            unknown = sorted(
                set(values) - set(STAGE_PARAMETERS[stage].model_fields) - set(STAGE_PARAMETERS[stage].renamed)
            )
            if unknown:
                known = ", ".join(STAGE_PARAMETERS[stage].model_fields)
                raise ValueError(f"{stage} has no parameter {', '.join(unknown)}; it has {known}.")
        return overrides

    @model_validator(mode="after")
    def _is_consistent(self) -> "Recording":
        _ = self.acquisition
        if self.simulation is not None and self.frames is not None:
            raise ValueError("a simulated recording takes no `frames`: set `n_frames` of its `simulation` instead.")
        return self

    @property
    def name(self) -> str:
        """`animal.session`, the namespace of the recording."""
        return f"{self.animal}.{self.session_key}"

    @property
    def acquisition(self) -> Acquisition:
        """What the algorithms need to know."""
        return Acquisition(
            frame_rate_hz=self.frame_rate_hz, decay_time_s=self.decay_time_s, pixel_size_um=self.pixel_size_um
        )

    def override(self, parameters: Parameters) -> Parameters:
        """The parameters of a stage with those of this recording laid over them."""
        stage = next(name for name, model in STAGE_PARAMETERS.items() if isinstance(parameters, model))
        values = {**parameters.model_dump(), **self.parameters.get(stage, {})}
        return type(parameters).model_validate(values)


def examine_manifest(manifest: Any) -> tuple[list[Recording], list[str]]:
    """The recordings of a manifest, in its order, and what is wrong with it.

    Recordings with wrong values are left out; those with wrong metadata for NWB are there, with examples in the place
    of these, so that the rest of their metadata can be judged.

    Args:
        manifest: {animal: {session: facts}}, as the configuration loader gives it; none: no recordings.
    """
    problems: list[str] = []
    recordings: list[Recording] = []
    for animal, sessions in _mapping(manifest or {}, "recordings", "animal", problems).items():
        for session, facts in _mapping(sessions, f"recordings.{animal}", "session", problems).items():
            name = f"recordings.{animal}.{session}"
            known = {**_mapping(facts, name, "fact", problems), "animal": animal, "session_key": session}
            recording, wrong = validate_leniently(Recording, known)
            recordings += [] if recording is None else [recording]
            problems += [_in_words(name, detail) for detail in wrong]
    return recordings, problems + _repeated_ids(recordings)


def parse_manifest(manifest: Any, nwb: Mapping[str, Any] | None = None) -> list[Recording]:
    """The recordings of a manifest, in its order.

    Args:
        manifest: {animal: {session: facts}}, as the configuration loader gives it; none: no recordings.
        nwb: the metadata that all recordings share; none: these are not looked at.

    Raises:
        ManifestError: lists everything that is wrong, of all recordings, and what is missing besides for NWB.
    """
    recordings, problems = examine_manifest(manifest)
    problems += shared_problems(nwb)[1] if nwb is not None else []
    if problems:
        text = "The manifest of recordings needs mending:\n" + "\n".join(f"  - {p}" for p in problems)
        raise ManifestError("\n\n".join([text, *_missing_besides(recordings, nwb)]))
    return recordings


def _missing_besides(recordings: list[Recording], nwb: Mapping[str, Any] | None) -> list[str]:
    """What is missing for NWB, told together with what is wrong, so that it need not be told later."""
    if nwb is None:
        return []
    try:
        check_metadata(nwb, recordings)
    except MetadataError as error:
        return [str(error)]
    return []


def stage_problems(recording: Recording, parameters: Mapping[str, Any]) -> list[str]:
    """What is wrong with the parameters of the stages once those of a recording are laid over them, and with its seeds
    and the times of its frames.

    Args:
        recording: its overrides, seeds, curation and times.
        parameters: of all stages, by their names, as mappings or models; what is missing has its defaults.
    """
    problems: list[str] = []
    for stage, model in STAGE_PARAMETERS.items():
        shared = parameters.get(stage) or {}
        try:
            shared = shared if isinstance(shared, model) else model.model_validate(shared)
        except ValidationError:
            continue  # that is said of the stage, once, and not of every recording
        try:
            settled = recording.override(shared)
        except ValidationError as error:
            problems += [f"parameters.{stage}: {detail['msg']}" for detail in error.errors()]
            continue
        if isinstance(settled, ExtractionParameters):
            problems += _seed_problems(recording, settled.initialization == "seeded")
    return problems + _time_problems(recording)


def _time_problems(recording: Recording) -> list[str]:
    """What is wrong with the table of the times of frames, where there is one."""
    if recording.frame_times is None:
        return []
    try:
        read_frame_times(
            recording.frame_times, frame_rate_hz=recording.frame_rate_hz, n_frames=_frames_to_come(recording)
        )
    except ValueError as error:
        return [f"frame_times: {error}"]
    return []


def _frames_to_come(recording: Recording) -> int | None:
    """Frames that will be read, counted from the first on disk; none where there are none on disk (yet)."""
    if recording.simulation is not None:
        return recording.simulation.n_frames
    if recording.frames is not None:
        return recording.frames[1]
    from rsc2p_kedro.datasets.tiff_frames import inspect_recording

    return inspect_recording(recording.path).n_frames or None


def _seed_problems(recording: Recording, seeded: bool) -> list[str]:
    if seeded and recording.seeds is None:
        return ["seeds: are missing; `initialization: seeded` takes centres (CSV) or masks (TIFF)."]
    if recording.seeds is not None and not seeded:
        return ["seeds: are there and would not be used; set `initialization: seeded` for the recording."]
    return []


def explain_how_to_start(recordings: dict[str, Any] | None) -> None:
    """Tells who runs with an empty manifest how to add recordings, and how to see the demo.

    Raises:
        ManifestError: always.
    """
    raise ManifestError(_HOW_TO_START)


def _mapping(value: Any, name: str, key_is: str, problems: list[str]) -> Mapping[str, Any]:
    """A level of the manifest, or an empty one where it is not a mapping with usable keys (which is noted)."""
    if not isinstance(value, Mapping):
        problems.append(f"{name} should map each {key_is} to what is known of it, is {value!r}.")
        return {}
    if key_is == "fact":
        return value
    bad = [key for key in value if not (isinstance(key, str) and _KEY.fullmatch(key))]
    problems += [
        f"{name}: the {key_is} key {key!r} should be letters, digits, `_` and `-` only (quote numbers)." for key in bad
    ]
    return {key: part for key, part in value.items() if key not in bad}


def _in_words(name: str, detail: Any) -> str:
    """One problem that pydantic found, with the key to look for and what was given."""
    where = ".".join([name, *map(str, detail["loc"])])
    given = "" if detail["type"] == "missing" else f", given {detail['input']!r}"
    own = detail["type"] == "extra_forbidden" and len(detail["loc"]) == 1
    names = [name for name in Recording.model_fields if name not in ("animal", "session_key")]
    allowed = f" Allowed are {', '.join(names)}." if own else ""
    return f"{where}: {detail['msg']}{given}.{allowed}"


def _repeated_ids(recordings: list[Recording]) -> list[str]:
    """Recordings that would be written to one and the same NWB file."""
    names = {
        recording.name: dandi_ids(recording.animal, recording.session_key, recording.model_dump())
        for recording in recordings
    }
    return [
        f"subject_id '{ids[0]}' with session_id '{ids[1]}' stands for more than one recording: "
        f"{', '.join(name for name, other in names.items() if other == ids)}. Give each a session_id of its own."
        for ids, count in Counter(names.values()).items()
        if count > 1
    ]
