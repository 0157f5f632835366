"""What NWB and DANDI must know of a recording: shared defaults, merged with what a recording says of itself."""

from rsc2p_kedro.parameters import FrozenModel


class SubjectFields(FrozenModel):
    subject_id: str | None = None
    species: str | None = None
    sex: str | None = None
    age: str | None = None


class SessionFields(FrozenModel):
    session_id: str | None = None
    session_start_time: str | None = None


class DeviceFields(FrozenModel):
    name: str | None = None


class ImagingPlaneFields(FrozenModel):
    indicator: str | None = None
