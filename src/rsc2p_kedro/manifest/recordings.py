"""Model of one recording in the manifest.

The manifest is the parameter ``recordings`` with two levels, animal and session, and one entry per recording
(:class:`Recording`). A recording of several planes is expanded to one *unit* for each: the same entry with the number
of its plane. What is registered, extracted and evaluated is a unit; a recording of one plane is its own unit.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PositiveFloat,
    PositiveInt,
    ValidationInfo,
    field_validator,
    model_validator,
)

from rsc2p_kedro.core.parameters import STAGE_PARAMETERS, Acquisition, EngineName, FrozenModel, did_you_mean
from rsc2p_kedro.core.plausibility import check_possible
from rsc2p_kedro.datasets.raw import Layout, RawFrames, RawRecording, as_patterns, inspect_recording, select_frames
from rsc2p_kedro.nwb.metadata import DeviceFields, ImagingPlaneFields, SessionFields, SubjectFields
from rsc2p_kedro.simulation.settings import SimulationSettings


def _check_pattern(pattern: str) -> str:
    if pattern.startswith("/") or ".." in pattern.split("/") or not pattern:
        raise ValueError(f"'{pattern}' should be a pattern relative to `path`, such as 'm_*.tif'.")
    return pattern


Patterns = Annotated[tuple[Annotated[str, AfterValidator(_check_pattern)], ...], BeforeValidator(as_patterns)]
Parameters = TypeVar("Parameters", bound=FrozenModel)

FILES_OF_A_PLANE = ("seeds", "curation", "tracking_decisions", "tracking_known")
"""Fields that name a file of one plane: with several planes, their paths have `{plane}` where its number belongs."""


def of_plane(fields: Mapping[str, Any], plane: int) -> dict[str, Any]:
    """Makes the fields in which the entry of a plane differs from that of its recording.

    Args:
        fields: entry of a recording; paths are texts or paths.
        plane: number of the plane, from 1.

    Returns:
        Its number, and the paths of its files. The table of `exclude_frames` may have `{plane}` as well; without it,
        the same frames are left out of all planes.
    """
    named = {name: fields.get(name) for name in (*FILES_OF_A_PLANE, "exclude_frames")}
    paths = {name: path for name, path in named.items() if isinstance(path, str | Path)}
    return {
        "plane": plane,
        **{name: type(path)(str(path).replace("{plane}", str(plane))) for name, path in paths.items()},
    }


def _is_shared(path: Path | None) -> bool:
    return path is not None and "{plane}" not in str(path)


class Channels(FrozenModel):
    """The channels of a recording. A number instead of a mapping is `n`."""

    functional: str | PositiveInt | None = Field(
        None,
        description="Name, or number from 1, of the channel of the calcium indicator. May be left out if only one.",
    )
    structural: str | PositiveInt | None = Field(
        None, description="Name or number of the channel of a structural marker, such as tdTomato; `null` for none."
    )
    n: PositiveInt | None = Field(
        None, description="Number of channels whose images alternate; `null` takes what the files say, or one."
    )

    @model_validator(mode="after")
    def _check_names(self) -> "Channels":
        if self.structural is not None and self.functional is None:
            raise ValueError("name the functional channel as well: {functional: green, structural: red}.")
        if self.structural is not None and str(self.structural).lower() == str(self.functional).lower():
            raise ValueError(f"functional and structural are both channel {self.functional}: name two channels.")
        return self


def _as_channels(value: Any) -> Any:
    """`channels: 2` means {n: 2}."""
    return {"n": value} if isinstance(value, int) and not isinstance(value, bool) else value


class Recording(FrozenModel):
    """One session of one animal, as the user describes it in the manifest, or one plane of it."""

    animal: str = Field("", description="Key of the animal; filled in from the manifest.")
    session_key: str = Field("", description="Key of the session; filled in from the manifest.")
    plane: PositiveInt | None = Field(
        None, description="Number of the plane, from 1; filled in for each of several planes."
    )
    path: Path = Field(description="Folder or file of the raw data, in any of the formats in docs/formats.md.")
    files: Patterns = Field(
        (),
        description="Patterns of the files in this folder that belong to the recording, such as `m_*.tif`; `*` stands "
        "for any characters but `/`, `**` for any folders. Empty takes all files of the folder.",
    )
    exclude: Patterns = Field((), description="Patterns of files that do not belong to it, such as `*_Preview.tif`.")
    dataset: str | None = Field(
        None, min_length=1, description="Name of the array to read, where a file holds several (HDF5, NWB, zarr, LIF)."
    )
    axes: str | None = Field(
        None,
        pattern="^[TZCYXtzcyx]+$",
        description="A letter for each axis of an array that does not name them: T time, Z plane, C channel, Y row, "
        "X column; `TYX`, for example.",
    )
    frames: tuple[int, int] | None = Field(
        None, description="Index of the first frame to use and of the one after the last; `null` uses all."
    )
    frame_rate_hz: float = Field(
        gt=0, description="Frames per second of each plane [fr]. With several planes this is the rate of volumes."
    )
    channels: Annotated[Channels, BeforeValidator(_as_channels)] = Field(
        default_factory=lambda: Channels.model_validate({}),
        description="Channels, by name or number: `{functional: green, structural: red}`; `n: 2` adds that the images "
        "of two channels alternate. A number alone, `channels: 2`, is `n`. See docs/channels_and_planes.md.",
    )
    planes: PositiveInt | None = Field(
        None, description="Number of planes of a volume, without the flyback; `null` takes what the files say, or one."
    )
    flyback_frames: int | None = Field(
        None, ge=0, description="Images of each channel at the end of a volume that were taken while the focus returns."
    )
    plane_depths_um: tuple[float, ...] | None = Field(
        None,
        description="Depth of each plane in um, in the order of acquisition: below the surface of the brain, or as the "
        "microscope counts.",
    )
    pixel_size_um: tuple[PositiveFloat, PositiveFloat] | None = Field(
        None, description="Size of a pixel in um, (y, x) [dxy]."
    )
    decay_time_s: float = Field(0.4, gt=0, description="Decay time constant of the indicator in s [decay_time].")
    frame_times: Path | None = Field(
        None,
        description="Table with the column `time_s`: seconds from the start of the session, one row for each frame on "
        "disk. For recordings whose frames are not evenly spaced; the NWB file then contains these times.",
    )
    exclude_frames: Literal["auto", "none"] | tuple[tuple[int, int] | Literal["auto"], ...] | Path | None = Field(
        None,
        description="Frames that are left out: `auto` finds bad ones, `none` uses all; a list of `[start, stop]` (and "
        "`auto`, if wanted), or a CSV table with the columns `start` and `stop`. Frames count from the first that is "
        "used, 0; `stop` is the one after the last. `{plane}` in the path of a table gives each plane its own. "
        "`null` is as `ingestion.exclude_frames` says.",
    )
    seeds: Path | None = Field(
        None,
        description="Table of centres or TIFF of masks for `initialization: seeded`; with several planes one for each, "
        "with `{plane}` in its name.",
    )
    curation: Path | None = Field(
        None,
        description="Table of the user's own decisions (component_id, decision, note); with several planes one for "
        "each, with `{plane}` in its name.",
    )
    tracking_decisions: Path | None = Field(
        None,
        description="Table of the user's own decisions on the same neurons over sessions (session_a, component_a, "
        "session_b, component_b, decision); usually under the `defaults` of an animal (docs/tracking.md).",
    )
    tracking_known: Path | None = Field(
        None,
        description="An earlier tracking table, whose ids of neurons are kept; usually under the `defaults` of an "
        "animal (docs/tracking.md).",
    )
    subject: SubjectFields = Field(
        default_factory=SubjectFields, description="Metadata of the animal (docs/nwb_and_dandi.md)."
    )
    session: SessionFields = Field(
        default_factory=SessionFields, description="Metadata of the session (docs/nwb_and_dandi.md)."
    )
    device: DeviceFields = Field(
        default_factory=DeviceFields, description="Metadata of the microscope (docs/nwb_and_dandi.md)."
    )
    imaging_plane: ImagingPlaneFields = Field(
        default_factory=ImagingPlaneFields, description="Metadata of the imaging plane (docs/nwb_and_dandi.md)."
    )
    parameters: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="Parameters of stages that differ for this recording: {stage: {name: value}}."
    )
    simulation: SimulationSettings | None = Field(
        None, description="Settings of a simulated recording with known ground truth; `null` for a real recording."
    )

    @field_validator("path", "frame_times", "seeds", "curation", "tracking_decisions", "tracking_known")
    @classmethod
    def _check_encoding(cls, path: Path | None) -> Path | None:
        try:
            os.fsencode(path or "")
        except UnicodeEncodeError as error:
            raise ValueError(
                f"{str(path)!a} holds characters that the locale of this shell cannot write: set PYTHONUTF8=1"
            ) from error
        return path

    @field_validator("frames")
    @classmethod
    def _check_frames(cls, frames: tuple[int, int] | None) -> tuple[int, int] | None:
        if frames is not None and not 0 <= frames[0] < frames[1]:
            raise ValueError(f"frames should be [start, stop] with 0 <= start < stop, are {list(frames)}.")
        return frames

    @field_validator("exclude_frames")
    @classmethod
    def _check_exclude_frames(cls, wanted: Any) -> Any:
        if isinstance(wanted, Path) and wanted.suffix.lower() != ".csv":
            raise ValueError(f"should be auto, none, a list of [start, stop], or a table (.csv), is '{wanted}'.")
        for item in wanted if isinstance(wanted, tuple) else ():
            if item != "auto" and not 0 <= item[0] < item[1]:
                raise ValueError(f"ranges should be [start, stop] with 0 <= start < stop, one is {list(item)}.")
        return wanted

    @field_validator("frame_rate_hz", "pixel_size_um", "decay_time_s")
    @classmethod
    def _check_units(cls, value: Any, info: ValidationInfo) -> Any:
        if value is not None:
            check_possible(str(info.field_name), *(value if isinstance(value, tuple) else (value,)))
        return value

    @field_validator("parameters")
    @classmethod
    def _check_overrides(cls, overrides: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        checked = {}
        for stage, values in overrides.items():
            if stage not in STAGE_PARAMETERS:
                raise ValueError(f"unknown stage '{stage}'; stages with parameters are {', '.join(STAGE_PARAMETERS)}.")
            model = STAGE_PARAMETERS[stage]
            checked[stage] = model.present_names(values)
            unknown = sorted(set(checked[stage]) - set(model.model_fields))
            hints = [f"{stage} has no parameter {name}.{did_you_mean(name, model.model_fields)}" for name in unknown]
            if hints:
                raise ValueError(" ".join(hints))
        return checked

    @model_validator(mode="after")
    def _check_consistency(self) -> "Recording":
        _ = self.acquisition
        if self.simulation is not None and self.frames is not None:
            raise ValueError("a simulated recording has no `frames`: set `n_frames` of its `simulation` instead.")
        return self

    @model_validator(mode="after")
    def _check_channels_of_simulation(self) -> "Recording":
        named, n = {str(self.channels.functional), str(self.channels.structural)}, self.channels.n
        two, one = named == {"1", "2"} and n == 2, named <= {"1", "None"} and n in (None, 1)
        if self.simulation is not None and not (two if self.has_structural_channel else one):
            raise ValueError(
                "a simulated recording has one channel, or the two of `channels: {functional: 1, structural: 2, n: 2}`."
            )
        return self

    @model_validator(mode="after")
    def _check_planes(self) -> "Recording":
        depths, n = self.plane_depths_um, self.n_planes
        if depths is not None and len(depths) != n:
            raise ValueError(f"plane_depths_um should have a depth for each of {n} planes, has {len(depths)}.")
        shared = [name for name in FILES_OF_A_PLANE if n > 1 and self.plane is None and _is_shared(getattr(self, name))]
        if shared:
            raise ValueError(
                f"each of {n} planes needs its own {' and '.join(shared)}: write `{{plane}}` where the path has the "
                "number of the plane, as in curation_plane_{plane}.csv."
            )
        return self

    @property
    def name(self) -> str:
        """`animal.session`, or `animal.session.plane_k` of one of several planes: the namespace."""
        return self.session_name if self.plane is None else f"{self.session_name}.plane_{self.plane}"

    @property
    def session_name(self) -> str:
        """`animal.session`, whatever the plane."""
        return f"{self.animal}.{self.session_key}"

    @property
    def exclusion_table(self) -> Path | None:
        """The table of frames that are left out, if `exclude_frames` names one."""
        return self.exclude_frames if isinstance(self.exclude_frames, Path) else None

    @property
    def n_planes(self) -> int:
        """Number of planes of a volume."""
        return self.planes or 1

    @property
    def units(self) -> tuple["Recording", ...]:
        """One recording for each plane, in order; the recording itself if there is only one plane."""
        if self.n_planes == 1 or self.plane is not None:
            return (self,)
        return tuple(self.model_copy(update=of_plane(dict(self), plane)) for plane in range(1, self.n_planes + 1))

    @property
    def has_structural_channel(self) -> bool:
        """Whether a structural channel is named."""
        return self.channels.structural is not None

    @property
    def channel_names(self) -> tuple[str, str] | None:
        """Names of the functional and the structural channel; None without a structural channel."""
        if self.channels.structural is None:
            return None
        return str(self.channels.functional), str(self.channels.structural)

    @property
    def plane_delay_s(self) -> float:
        """Time in s from the start of a volume to the start of the frame of this plane."""
        in_volume = self.n_planes + (self.flyback_frames or 0)
        return ((self.plane or 1) - 1) / in_volume / self.frame_rate_hz

    @property
    def layout(self) -> Layout:
        """What the entry says of the files and of the order of their images."""
        return Layout(
            n_channels=self.channels.n,
            n_planes=self.planes,
            flyback_frames=self.flyback_frames,
            files=self.files,
            exclude=self.exclude,
            dataset=self.dataset,
            axes=self.axes,
        )

    def inspect(self) -> RawRecording:
        """Inspects the files of the recording, reading their headers only.

        Returns:
            All its images, what the files tell, and all problems with them.
        """
        return inspect_recording(self.path, layout=self.layout)

    def select(self, raw: RawRecording, *, structural: bool = False) -> RawFrames:
        """Selects the frames of this recording, of its plane and of one channel.

        Args:
            raw: all images of the recording.
            structural: the structural channel instead of the functional one.

        Returns:
            The frames, lazy.

        Raises:
            RecordingError: the recording is incomplete, or has no such frames, plane or channel.
        """
        channel = self.channels.structural if structural else self.channels.functional
        return select_frames(raw, frames=self.frames, channel=channel, plane=self.plane)

    @property
    def acquisition(self) -> Acquisition:
        """Properties of the recording that the algorithms need."""
        return Acquisition(
            frame_rate_hz=self.frame_rate_hz, decay_time_s=self.decay_time_s, pixel_size_um=self.pixel_size_um
        )

    def with_engine(self, engine: EngineName) -> "Recording":
        """Copies the recording with the same engine for all stages.

        Args:
            engine: engine that overrides the parameters of the stages.

        Returns:
            A copy whose own parameters name the engine.
        """
        with_engine = [stage for stage, model in STAGE_PARAMETERS.items() if "engine" in model.model_fields]
        own = {stage: {**self.parameters.get(stage, {}), "engine": engine} for stage in with_engine}
        return self.model_copy(update={"parameters": {**self.parameters, **own}})

    def override(self, parameters: Parameters) -> Parameters:
        """The parameters of a stage for this recording.

        Args:
            parameters: parameters that all recordings share.

        Returns:
            The shared parameters, overridden by those of this recording.

        Raises:
            ValidationError: the combination is not valid.
        """
        stage = next(name for name, model in STAGE_PARAMETERS.items() if isinstance(parameters, model))
        values = {**parameters.model_dump(), **self.parameters.get(stage, {})}
        return type(parameters).model_validate(values)
