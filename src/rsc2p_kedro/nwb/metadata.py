"""Metadata of a recording for NWB and DANDI, merged from its own entry and those that all recordings share.

All fields are optional where they are read, because a field may be given in the recording's entry of the manifest or,
for all recordings, in ``conf/<env>/parameters_nwb.yml``. What is missing after the two are merged is found by
:func:`~rsc2p_kedro.nwb.metadata_checks.missing_metadata`; a recording that lacks metadata is not exported. Facts that
only the user knows (the start of the session, the subject) have no default.

Invalid values are refused as soon as they are read: a time without a UTC offset, a species that is not a binomial name,
an id that cannot be part of a file name, a placeholder such as ``<Last, First>`` or ``TODO``.
"""

import re
from datetime import UTC, date, datetime, time
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, Protocol, TypeVar, get_args
from uuid import NAMESPACE_URL, uuid5

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from rsc2p_kedro.core.parameters import FrozenModel
from rsc2p_kedro.nwb import identifiers

Fields = TypeVar("Fields", bound=FrozenModel)

_ID = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?")
_SPECIES = re.compile(r"[A-Z][a-z]* [a-z]+|http://purl\.obolibrary\.org/obo/NCBITaxon_\d+")
_DURATION = re.compile(
    r"P(?=.)(\d+(\.\d+)?Y)?(\d+(\.\d+)?M)?(\d+(\.\d+)?W)?(\d+(\.\d+)?D)?(T(?=\d)(\d+H)?(\d+M)?(\d+(\.\d+)?S)?)?"
)
_WEIGHT = re.compile(r"\d+(\.\d+)? (kg|g|mg|ug|μg|ng|pg)")
_NAME = re.compile(r"[\w\s\-.']+,\s+[\w\s\-.']+")
_DOI = re.compile(r"(?:doi:\s*|https?://(?:dx\.)?doi\.org/)?(10\.\d{4,9}/\S+)", re.IGNORECASE)


_PLACEHOLDER = re.compile(
    r"<[^<>]*>|\.{2,}|\u2026|\?+|-+|_+|x{3,}|to ?do|tb[ad]|fix ?me|(please )?fill (me )?in|change ?me|placeholder"
    r"|example|(enter |insert )?your .*|lorem ipsum.*",
    re.IGNORECASE | re.DOTALL,
)


def is_placeholder(value: Any) -> bool:
    """Tells whether a value stands for one that is still to be given.

    Args:
        value: as given in YAML.

    Returns:
        Whether it is a text such as `<your name>`, `TODO` or `...`, or a list with one.
    """
    if isinstance(value, list | tuple):
        return any(is_placeholder(part) for part in value)
    return isinstance(value, str) and _PLACEHOLDER.fullmatch(value.strip()) is not None


class MetadataFields(FrozenModel):
    """Base of all metadata: no placeholder passes as a value."""

    @field_validator("*", mode="before")
    @classmethod
    def _is_no_placeholder(cls, value: Any) -> Any:
        if is_placeholder(value):
            raise ValueError("is a placeholder: write your own value, or remove the line.")
        return value


def _quoted_in_yaml(value: Any) -> Any:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        raise ValueError(f"is the number {value}; put it in quotes, so that leading zeros are kept.")
    return value


def _is_id(value: str) -> str:
    if not _ID.fullmatch(value):
        raise ValueError(
            f"'{value}' cannot be part of a DANDI file name: use letters and digits, and `-` between them (no `_`, "
            "`/`, dots or spaces)."
        )
    return value


def _is_name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError(f"'{value}' should be 'Last, First', such as 'Ramón y Cajal, Santiago'.")
    return value


def _as_doi(value: str) -> str:
    match = _DOI.fullmatch(value.strip())
    if match is None:
        raise ValueError(f"'{value}' is not a DOI; write it as 'doi:10.<number>/<suffix>'.")
    return f"doi:{match[1]}"


def _one_or_many(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


Response = Literal["error", "warn"]
Importance = Literal["critical", "best_practice_violation", "best_practice_suggestion"]
OnIssue = Response | dict[Importance, Response]
Text = Annotated[str, Field(min_length=1)]
Identifier = Annotated[str, BeforeValidator(_quoted_in_yaml), AfterValidator(_is_id)]
Wavelength = Annotated[float, Field(gt=10, lt=10_000)]
Names = Annotated[tuple[Annotated[str, AfterValidator(_is_name)], ...], BeforeValidator(_one_or_many)]
Dois = Annotated[tuple[Annotated[str, AfterValidator(_as_doi)], ...], BeforeValidator(_one_or_many)]
Texts = Annotated[tuple[Text, ...], BeforeValidator(_one_or_many)]


class SubjectFields(MetadataFields):
    """The animal."""

    subject_id: Identifier | None = Field(default=None, description="`null` uses the animal's key in the manifest.")
    species: Text | None = Field(default=None, description="In Latin, such as `Mus musculus`.")
    sex: Literal["M", "F", "O", "U"] | None = Field(default=None, description="Male, female, other, unknown.")
    age: Text | None = Field(default=None, description="At the session, ISO 8601: P90D, P12W, or a range, P8W/P12W.")
    date_of_birth: date | None = Field(default=None, description="Instead of, or beside, the age.")
    strain: Text | None = None
    genotype: Text | None = None
    weight: Text | None = Field(default=None, description="With its unit, such as `25 g`.")
    description: Text | None = None

    @field_validator("species")
    @classmethod
    def _species_is_binomial(cls, value: str | None) -> str | None:
        if value is not None and not _SPECIES.fullmatch(value):
            raise ValueError(f"'{value}' is not a Latin binomial name; write, for example, 'Mus musculus'.")
        return value

    @field_validator("age")
    @classmethod
    def _age_is_duration(cls, value: str | None) -> str | None:
        bounds = [] if value is None else value.split("/")
        if len(bounds) > 2 or not all(_DURATION.fullmatch(b) or (i and not b) for i, b in enumerate(bounds)):
            raise ValueError(
                f"'{value}' is not an ISO 8601 duration; write 'P90D' (days), 'P12W' (weeks) or 'P8W/P12W'."
            )
        return value

    @field_validator("weight")
    @classmethod
    def _weight_has_unit(cls, value: str | None) -> str | None:
        if value is not None and not _WEIGHT.fullmatch(value):
            raise ValueError(f"'{value}' should be a number, a space and a unit, such as '25 g'.")
        return value


class StudyFields(MetadataFields):
    """The study: people, place and purpose; usually the same for all recordings."""

    experimenter: Names | None = Field(default=None, description="One or more, each 'Last, First'.")
    institution: Text | None = None
    lab: Text | None = None
    experiment_description: Text | None = Field(default=None, description="Purpose of the experiment.")
    keywords: Texts | None = None
    related_publications: Dois | None = Field(default=None, description="DOIs of papers and of the raw data.")
    protocol: Text | None = None
    surgery: Text | None = None
    virus: Text | None = None
    pharmacology: Text | None = None


class SessionFields(StudyFields):
    """The session, and fields of the study that differ in it."""

    session_id: Identifier | None = Field(default=None, description="`null` uses the session's key in the manifest.")
    session_start_time: datetime | None = Field(
        default=None, description="Date and time with the offset from UTC: 2019-05-06T10:30:00+02:00."
    )
    session_description: Text | None = Field(default=None, description="What was done in this session.")
    notes: Text | None = None

    @field_validator("session_start_time")
    @classmethod
    def _start_time_is_aware(cls, value: datetime | None) -> datetime | None:
        if value is None:
            return value
        if value.tzinfo is None:
            raise ValueError(
                f"{value.isoformat()} has no offset from UTC, and NWB would silently assume the time zone of the "
                f"computer that exports; add the offset of the clock, for example {value.isoformat()}+02:00."
            )
        if not datetime(1980, 1, 1, tzinfo=UTC) < value <= datetime.now(UTC):
            raise ValueError(
                f"{value.isoformat()} is before 1980 or in the future; give the time at which the session began."
            )
        return value


class DeviceFields(MetadataFields):
    """The microscope."""

    name: Text | None = None
    description: Text | None = None
    manufacturer: Text | None = None
    model_name: Text | None = None
    model_number: Text | None = None
    serial_number: Text | None = None

    @field_validator("name", "model_name")
    @classmethod
    def _name_fits_a_path(cls, value: str | None) -> str | None:
        if value is not None and re.search(r"[/:]", value):
            raise ValueError(f"'{value}' holds '/' or ':', which NWB does not allow in names; use '-' instead.")
        return value


class ImagingPlaneFields(MetadataFields):
    """The imaging plane: its location, the indicator and the wavelengths."""

    description: Text | None = None
    indicator: Text | None = Field(default=None, description="Such as `GCaMP6f`.")
    location: Text | None = Field(
        default=None, description="For mice a term of the Allen CCF: RSPagl, RSPd or RSPv in retrosplenial cortex."
    )
    excitation_wavelength_nm: Wavelength | None = None
    emission_wavelength_nm: Wavelength | None = None
    optical_channel: Text | None = Field(default=None, description="The filter and detector of the channel.")
    structural_label: Text | None = Field(
        default=None, description="What the structural channel shows, if there is one, such as `tdTomato`."
    )
    structural_emission_wavelength_nm: Wavelength | None = None
    structural_optical_channel: Text | None = Field(
        default=None, description="The filter and detector of the structural channel."
    )
    origin_um: tuple[float, float, float] | None = Field(
        default=None, description="Position (x, y, z) of the first pixel in the reference frame."
    )
    reference_frame: Text | None = Field(default=None, description="Origin and axes to which `origin_um` refers.")


class NwbParameters(StudyFields):
    """Metadata that all recordings share, and how files are written. A recording's own fields take precedence."""

    subject: SubjectFields = Field(default_factory=SubjectFields)
    session: SessionFields = Field(default_factory=SessionFields)
    device: DeviceFields = Field(default_factory=DeviceFields)
    imaging_plane: ImagingPlaneFields = Field(default_factory=ImagingPlaneFields)
    raw: Literal["embed", "external", "none"] = Field(
        "embed",
        description="The raw movie: in the file, as links to the TIFFs (many readers cannot follow them), or left out.",
    )
    corrected: Literal["embed", "none"] = Field("none", description="The motion-corrected movie. It doubles the file.")
    rois: Literal["all", "accepted"] = Field("all", description="Which components become ROIs.")
    compression: Literal["gzip", "blosc"] = Field(
        "gzip", description="gzip is read everywhere. blosc is faster, and its readers need hdf5plugin."
    )
    on_issue: OnIssue = Field(
        "error",
        description="Response to messages of nwbinspector: refuse the file and its metadata (error), or log a warning "
        "(warn). One for all messages, or one for each importance: {critical: error, best_practice_violation: error, "
        "best_practice_suggestion: warn}. Files that break the schema are always refused.",
    )

    @model_validator(mode="after")
    def _ids_belong_to_recordings(self) -> "NwbParameters":
        if self.subject.subject_id is not None or self.session.session_id is not None:
            raise ValueError(
                "subject_id and session_id cannot be shared by all recordings: give them in each recording's own entry."
            )
        return self

    @model_validator(mode="after")
    def _corrected_has_its_original(self) -> "NwbParameters":
        if self.corrected == "embed" and self.raw == "none":
            raise ValueError(
                "`corrected: embed` needs `raw: embed` or `external`: in NWB a corrected movie points to its original."
            )
        return self


def response_to(importance: str, on_issue: OnIssue) -> Response:
    """Determines the response to a message of a validator.

    Args:
        importance: as nwbinspector names it. Anything that is not in `Importance` (a breach of the schema, a check that
            failed) is always an error.
        on_issue: one response for all messages, or one for each importance; those that are left out are errors.

    Returns:
        `error` or `warn`.
    """
    name = importance.lower()
    if name not in get_args(Importance):
        return "error"
    if isinstance(on_issue, str):
        return on_issue
    return {str(key): response for key, response in on_issue.items()}.get(name, "error")


class RecordingLike(Protocol):
    """The properties of a recording that its metadata depend on (see `rsc2p_kedro.manifest.recordings.Recording`)."""

    @property
    def animal(self) -> str:
        """Key of the animal in the manifest."""

    @property
    def session_key(self) -> str:
        """Key of the session in the manifest."""

    @property
    def frames(self) -> tuple[int, int] | None:
        """First frame that is used and the one after the last; None uses all."""

    @property
    def frame_rate_hz(self) -> float:
        """Frames per second."""

    @property
    def pixel_size_um(self) -> tuple[float, float] | None:
        """Height and width of a pixel, if known."""

    @property
    def n_planes(self) -> int:
        """Number of planes of a volume."""

    @property
    def plane_depths_um(self) -> tuple[float, ...] | None:
        """Depth of each plane below the surface of the brain, if known."""

    @property
    def channel_names(self) -> tuple[str, str] | None:
        """Names of the functional and the structural channel; None without a structural channel."""

    @property
    def subject(self) -> SubjectFields:
        """The animal."""

    @property
    def session(self) -> SessionFields:
        """The session."""

    @property
    def device(self) -> DeviceFields:
        """The microscope."""

    @property
    def imaging_plane(self) -> ImagingPlaneFields:
        """The imaging plane."""

    @property
    def simulation(self) -> Any:
        """Parameters of the simulation; None for a real recording."""


class RecordingMetadata(FrozenModel):
    """The merged metadata of one recording, as they are written to its NWB file."""

    subject: SubjectFields
    session: SessionFields
    device: DeviceFields
    imaging_plane: ImagingPlaneFields
    frame_rate_hz: float = Field(gt=0)
    first_frame: int = Field(0, ge=0, description="Number of frames of the session before the first one that is used.")
    pixel_size_um: tuple[float, float] | None = Field(default=None, description="(y, x)")
    n_planes: int = Field(1, ge=1, description="Number of planes of a volume.")
    plane_depths_um: tuple[float, ...] | None = Field(default=None, description="Depth of each in um.")
    channel_names: tuple[str, str] | None = Field(
        default=None, description="Functional and structural channel; none without a structural channel."
    )
    simulated: bool = False

    @property
    def subject_id(self) -> str:
        """Id of the animal, as in the name of the file."""
        return str(self.subject.subject_id)

    @property
    def session_id(self) -> str:
        """Id of the session, as in the name of the file."""
        return str(self.session.session_id)

    @property
    def start_time(self) -> datetime:
        """Start of the session, with its UTC offset.

        Raises:
            ValueError: the start time is missing.
        """
        if self.session.session_start_time is None:
            raise ValueError(
                f"Session {self.session_id} of {self.subject_id} has no session_start_time: add it to the recording's "
                "entry, for example 2019-05-06T10:30:00+02:00."
            )
        return self.session.session_start_time

    @property
    def birth_time(self) -> datetime | None:
        """Midnight of the date of birth, in the time zone of the session."""
        born = self.subject.date_of_birth
        return None if born is None else datetime.combine(born, time(), tzinfo=self.start_time.tzinfo)

    @property
    def identifier(self) -> str:
        """UUID made of the study (publications, institution, lab) and the session: the same at every export."""
        study = [*(self.session.related_publications or ()), self.session.institution, self.session.lab]
        return str(uuid5(NAMESPACE_URL, "\n".join(map(str, [*study, self.subject_id, self.session_id]))))


def _overlay(*layers: FrozenModel) -> dict[str, Any]:
    """Fields of several models; values of earlier models take precedence."""
    merged: dict[str, Any] = {}
    for layer in layers:
        for name in type(layer).model_fields:
            if merged.get(name) is None:
                merged[name] = getattr(layer, name)
    return merged


def _merge(model: type[Fields], *layers: FrozenModel) -> Fields:
    values = _overlay(*layers)
    return model.model_validate({name: values.get(name) for name in model.model_fields})


def _mark_as_simulated(metadata: RecordingMetadata) -> RecordingMetadata:
    """Metadata of a simulated recording, marked as such in subject, session and keywords."""
    note = "SIMULATED, no animal was imaged."
    subject, session = metadata.subject, metadata.session
    keywords = dict.fromkeys((*(session.keywords or ()), "simulated data"))
    about_subject = f"{note} {subject.description or ''}".strip()
    about_session = f"{note} {session.session_description or ''}".strip()
    return metadata.model_copy(
        update={
            "simulated": True,
            "subject": subject.model_copy(update={"description": about_subject}),
            "session": session.model_copy(update={"session_description": about_session, "keywords": tuple(keywords)}),
        }
    )


def merge_metadata(shared: NwbParameters, recording: RecordingLike) -> RecordingMetadata:
    """Merges the metadata of a recording with those that all recordings share.

    The recording's own fields take precedence. Among shared ones, `session` takes precedence over the fields of the
    study: for `lab`, the order is the recording's `session.lab`, the shared `session.lab`, the shared `lab`.

    Args:
        shared: metadata of all recordings.
        recording: with its own metadata.

    Returns:
        The merged metadata, which may be incomplete. Ids that were not given are made from the keys of the manifest,
        and a simulated recording is marked as such.
    """
    ids = SubjectFields(subject_id=identifiers.to_dandi_id(recording.animal) or None)
    session_ids = SessionFields(session_id=identifiers.to_dandi_id(recording.session_key) or None)
    metadata = RecordingMetadata(
        subject=_merge(SubjectFields, recording.subject, shared.subject, ids),
        session=_merge(SessionFields, recording.session, shared.session, shared, session_ids),
        device=_merge(DeviceFields, recording.device, shared.device),
        imaging_plane=_merge(ImagingPlaneFields, recording.imaging_plane, shared.imaging_plane),
        frame_rate_hz=recording.frame_rate_hz,
        first_frame=recording.frames[0] if recording.frames else 0,
        pixel_size_um=recording.pixel_size_um,
        n_planes=recording.n_planes,
        plane_depths_um=recording.plane_depths_um,
        channel_names=recording.channel_names,
    )
    return metadata if recording.simulation is None else _mark_as_simulated(metadata)


def dandi_path(metadata: RecordingMetadata) -> PurePosixPath:
    """Names the NWB file of a recording as DANDI does.

    Args:
        metadata: with the ids of subject and session.

    Returns:
        `sub-<id>/sub-<id>_ses-<id>_ophys.nwb`, below the folder of the dandiset.
    """
    return PurePosixPath(identifiers.dandi_path(metadata.subject_id, metadata.session_id))
