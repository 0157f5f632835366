"""Parameters: one frozen pydantic model per stage, validated before any node runs.

Three kinds of facts are kept apart: properties of the *data* (:class:`Acquisition`, from the recording's entry in the
manifest), settings of the *algorithms* (one model per stage, from ``conf/<env>/parameters_<stage>.yml``) and resources
of the *machine* (:class:`Compute`). Units are part of the names. Each description states the effect of a larger or
smaller value and ends with CaImAn's name for the parameter in brackets, where CaImAn has it. The default settings of
the algorithms are those of the original notebook.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, StrictInt, field_validator, model_validator

from rsc2p_kedro.core.strict_types import check_conversion

EngineName = Literal["embedded", "caiman"]
ComponentClass = Literal["soma", "process", "out_of_focus", "other", "silent"]
_ENGINE = "Engine of this stage: `embedded`, or `caiman` for the user's own CaImAn (docs/engines.md)."

logger = logging.getLogger(__name__)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Suggests known names for one that does not exist.

    Args:
        name: the name that was given.
        known: all names that exist.

    Returns:
        A sentence with up to three similar names and a leading space, or "" where none is similar.
    """
    close = get_close_matches(name, sorted(set(known)), n=3)
    return f" Did you mean {' or '.join(close)}?" if close else ""


class FrozenModel(BaseModel):
    """A pydantic model that cannot be changed after validation, and rejects unknown keys and values of another kind.

    Values of another kind are booleans and texts for numbers, for example: :mod:`~rsc2p_kedro.core.strict_types`.

    Attributes:
        renamed: present name of each field by its former name. Former names are accepted for one release, with a
            warning that gives the present name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)
    renamed: ClassVar[dict[str, str]] = {}

    @classmethod
    def present_names(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """Replaces former names of fields by their present names, with a warning for each.

        conf/base holds every parameter under its present name, so a former name in a user's own file arrives together
        with the default under the present name, and takes precedence over it.

        Args:
            values: values by present or former names.

        Returns:
            The values by present names.

        Raises:
            ValueError: a value is given under both names, they differ, and neither is the default.
        """
        present = {name: value for name, value in values.items() if name not in cls.renamed}
        for former in sorted(values.keys() & cls.renamed.keys()):
            name, value = cls.renamed[former], values[former]
            default = cls.model_fields[name].default
            if present.get(name, default) not in (value, default):
                raise ValueError(
                    f"{former} ({value!r}) is the former name of {name} ({present[name]!r}): keep only the latter."
                )
            logger.warning(
                "The parameter %s is now called %s; the next release will refuse the old name.", former, name
            )
            present[name] = value
        return present

    @field_validator("*", mode="wrap")
    @classmethod
    def _keep_kind(cls, given: Any, validate: Callable[[Any], Any]) -> Any:
        """Refuses values that would be converted to another kind."""
        value = validate(given)
        check_conversion(given, value)
        return value

    @model_validator(mode="before")
    @classmethod
    def _accept_former_names(cls, values: Any) -> Any:
        """Replaces former names before validation."""
        return cls.present_names(values) if cls.renamed and isinstance(values, Mapping) else values


class Acquisition(FrozenModel):
    """Facts of a recording that the algorithms need."""

    frame_rate_hz: float = Field(gt=0, le=10_000, description="Frames per second of the imaging plane [fr].")
    decay_time_s: float = Field(
        0.4,
        gt=0,
        le=60,
        description="Decay time constant of the calcium indicator in s, 0.4 for GCaMP6f [decay_time].",
    )
    pixel_size_um: tuple[PositiveFloat, PositiveFloat] | None = Field(
        None,
        description="Size of a pixel in um as (y, x). Only figures and NWB files use it: all algorithms work in "
        "pixels [dxy].",
    )

    @property
    def decay_time_frames(self) -> float:
        """Decay time constant in frames."""
        return self.decay_time_s * self.frame_rate_hz


class Jobs(FrozenModel):
    """Number of jobs that a cluster of a queue system keeps, between which it follows the work that is left."""

    minimum: int = Field(0, ge=0, description="Jobs that are kept even when there is nothing to do.")
    maximum: int = Field(10, ge=1, description="Jobs at most. More finish sooner, if the file system keeps up.")


class Cluster(FrozenModel):
    """Where recordings run beside one another, with Dask (docs/clusters.md)."""

    type: str = Field(
        "local",
        pattern=r"^(local|dask_jobqueue\.\w+Cluster)$",
        description="`local` starts worker processes on this machine; `dask_jobqueue.SLURMCluster`, or another class "
        "of dask-jobqueue, starts them as jobs of a queue system.",
    )
    scheduler: str | None = Field(
        None,
        pattern=r"^\w+://.+",
        description="Address of a Dask scheduler that runs already, such as `tcp://host:8786`; it and its workers are "
        "left as they are. Excludes all that describes a cluster to start.",
    )
    n_workers: int | None = Field(
        None,
        ge=1,
        description="Of `local`: number of worker processes; `null` takes as many as cores and memory allow.",
    )
    threads_per_worker: int | None = Field(
        None, ge=1, description="Of `local`: cores of each worker; `null` divides all cores between the workers."
    )
    memory_limit: str | None = Field(
        None,
        description="Of `local`: memory of each worker, such as `4GB`; `null` divides the memory of the machine. A "
        "worker that needs more is ended, and its recording is tried once more elsewhere.",
    )
    cores: int | None = Field(None, ge=1, description="Of a queue system: cores of each job.")
    memory: str | None = Field(None, description="Of a queue system: memory of each job, such as `32GB`.")
    walltime: str | None = Field(None, description="Of a queue system: longest time of a job, such as `04:00:00`.")
    queue: str | None = Field(None, description="Of a queue system: queue or partition.")
    account: str | None = Field(None, description="Of a queue system: account that is charged.")
    jobs: Jobs = Field(
        Jobs.model_validate({}), description="Of a queue system: number of jobs, as `{minimum: 0, maximum: 10}`."
    )
    options: dict[str, Any] = Field(
        {},
        description="Further arguments of the cluster's class, such as `{interface: ib0, job_extra_directives: "
        "[--exclude=node7]}`.",
    )
    recording_memory_gb: float | None = Field(
        None,
        gt=0,
        description="Memory in GB that one recording (or plane) needs; `null` estimates it from `memory_gb`. It "
        "decides how many recordings a worker takes at once.",
    )
    retries: int = Field(
        1,
        ge=0,
        description="How often a recording that failed, or whose worker ended, is tried again within one run. Finished "
        "steps are not repeated.",
    )

    @model_validator(mode="after")
    def _one_kind(self) -> "Cluster":
        """Refuses settings of another kind of cluster, which would have no effect."""
        given = {name for name in self.model_fields_set if getattr(self, name) != type(self).model_fields[name].default}
        kind, useless = (
            ("scheduler", given - {"scheduler", *_OF_TASKS})
            if self.scheduler
            else ("type: local", given & {*_OF_QUEUE})
            if self.type == "local"
            else (f"type: {self.type}", given & {"n_workers", "threads_per_worker", "memory_limit"})
        )
        if useless:
            raise ValueError(f"{', '.join(sorted(useless))}: has no effect with `{kind}`; remove it")
        if not self.scheduler and self.type != "local" and (self.cores is None or self.memory is None):
            raise ValueError(f"`{kind}` needs `cores` and `memory` of a job, such as `cores: 8, memory: 32GB`")
        return self


_OF_TASKS = ("recording_memory_gb", "retries")
_OF_QUEUE = ("cores", "memory", "walltime", "queue", "account", "jobs")


class Compute(FrozenModel):
    """Resources of the machine. None of these parameters changes a result by a single bit."""

    threads: int | None = Field(
        None,
        ge=1,
        description="Number of threads that process blocks of a movie; `null` uses all cores. More threads are faster "
        "and need more memory.",
    )
    block_frames: int = Field(
        64,
        ge=1,
        description="Number of frames in the block that one thread processes. Larger blocks need more memory and are, "
        "up to a point, faster.",
    )
    memory_gb: float = Field(
        1.0,
        gt=0,
        description="Limit in GB on the memory for pixels of a movie, whatever the length of the recording.",
    )
    hash_raw_files: bool = Field(
        False,
        description="Compare raw files by their content to see whether they have changed, instead of by name, size and "
        "time, for data that are copied without their times. It reads all raw data at each run; all results are made "
        "again when it is switched on.",
    )
    show_progress: bool = Field(True, description="Show progress bars during long computations.")
    cluster: Cluster | None = Field(
        None,
        description="Run recordings beside one another on a cluster, such as `{type: local, n_workers: 2}`; `null` "
        "runs one after the other in this process. Its settings: docs/clusters.md.",
    )


class CaimanSettings(FrozenModel):
    """Location of the user's CaImAn, for stages with `engine: caiman` (docs/engines.md)."""

    python: str | None = Field(
        None,
        description="Path of the Python interpreter of CaImAn's environment; `null` means that CaImAn is installed in "
        "the environment of this project. The two environments need not share any library.",
    )
    scratch_folder: str | None = Field(
        None,
        description="Folder for CaImAn's memory-mapped movies (float32), which are deleted afterwards; `null` uses the "
        "system's folder for temporary files.",
    )


class IngestionParameters(FrozenModel):
    """Conversion of raw frames into a chunked movie."""

    chunk_frames: int = Field(64, ge=1, description="Number of frames in one chunk of the stored movie.")
    chunk_px: int = Field(128, ge=16, description="Height and width in px of one chunk of the stored movie.")
    line_offset: Annotated[StrictInt, Field(ge=-64, le=64)] | Literal["auto", "none"] = Field(
        "auto",
        description="Offset of bidirectional line scanning (bidirectional phase): displacement in px of the content of "
        "odd rows (1, 3, ...) along x, positive to the right; odd rows are moved by minus this. `auto` estimates it "
        "from the movie and changes nothing where it finds none; `none` leaves the rows as they are.",
    )
    exclude_frames: Literal["auto", "none"] = Field(
        "auto",
        description="`auto` leaves out frames that are blank, saturated, flashed, have bands of photostimulation, lost "
        "focus or could not be registered (docs/results.md); `none` uses all frames and only tells of them. Frames of "
        "one recording are given by `exclude_frames` in its entry of the manifest, which takes precedence.",
    )


class MotionCorrectionParameters(FrozenModel):
    """Motion correction after NoRMCorre (Pnevmatikakis & Giovannucci 2017, doi 10.1016/j.jneumeth.2017.07.031)."""

    engine: EngineName = Field("embedded", description=_ENGINE)
    channel: Literal["functional", "structural"] = Field(
        "functional",
        description="Channel that motion is estimated from; the shifts are applied to both. A structural channel does "
        "not change with activity, but may show fewer structures.",
    )
    piecewise: bool = Field(
        True,
        description="Estimate piecewise-rigid motion in patches after the rigid motion of the whole frame [pw_rigid].",
    )
    patch_stride_px: int = Field(
        48,
        ge=8,
        description="Distance between the centres of neighbouring patches in px. A larger stride gives fewer patches, "
        "whose shifts are less noisy but coarser [strides].",
    )
    patch_overlap_px: int = Field(
        24,
        ge=0,
        description="Overlap of neighbouring patches in px; a patch is stride + overlap px wide [overlaps].",
    )
    max_shift_px: int = Field(
        6,
        ge=1,
        description="Largest rigid shift in px along each axis, inclusive. A larger limit finds larger motion, and "
        "needs more photons to find it reliably [max_shifts].",
    )
    max_deviation_px: int = Field(
        3,
        ge=1,
        description="Largest deviation in px of a patch's shift from the rigid shift, inclusive [max_deviation_rigid].",
    )
    template_frames: int = Field(
        200,
        ge=1,
        description="Number of frames, evenly spaced over the recording, that the template is computed from. More "
        "frames give a less noisy template and take longer [num_splits_to_process_rig].",
    )
    template_refinements: int = Field(
        2,
        ge=1,
        le=10,
        description="Number of refinements of the template: at most this many rigid ones, which stop once all sampled "
        "frames are registered, followed by this many piecewise ones [niter_rig].",
    )
    high_pass_sigma_px: float = Field(
        4.0,
        gt=0,
        description="Standard deviation in px of the Gaussian high-pass filter. A smaller value suppresses more of the "
        "out-of-focus fluorescence (about a neuron's half-width for one-photon data), but uses less of the signal "
        "[gSig_filt].",
    )
    smoothing: Literal["adaptive", "none"] = Field(
        "adaptive",
        description="`adaptive` smooths patch shifts over space and time according to their estimated noise; `none` "
        "treats each frame independently.",
    )
    min_peak_quality: float = Field(
        5.0,
        ge=0,
        description="Frames whose cross-correlation peak is fewer than this many standard deviations above its "
        "surroundings count as not registered. A higher threshold excludes more frames.",
    )
    corrected_dtype: Literal["raw", "float32"] = Field(
        "raw",
        description="Data type of the corrected movie: `raw` keeps that of the raw movie and rounds to integers where "
        "it has them (a third of the storage; rounding adds a variance of 1/12); `float32` keeps the interpolated "
        "values.",
    )


DEFAULT_HALF_WIDTH_PX = 4.0
"""Half-width of a neuron in px where it is needed before it can be measured: in the smoothing of motion."""


class ExtractionParameters(FrozenModel):
    """Source extraction by CNMF (Pnevmatikakis et al. 2016, doi 10.1016/j.neuron.2015.11.037)."""

    engine: EngineName = Field("embedded", description=_ENGINE)
    initialization: Literal["adaptive", "greedy_roi", "seeded"] = Field(
        "adaptive",
        description="`greedy_roi` starts with a fixed number of components per patch. `adaptive` takes at most that "
        "many, stops where candidates are no longer significant, and repeats the search on the residual. `seeded` "
        "starts from the user's centres or masks [method_init].",
    )
    patch_half_width_px: int = Field(15, ge=4, description="Half-width of a patch in px [rf].")
    patch_overlap_px: int = Field(10, ge=0, description="Overlap of neighbouring patches in px [stride_cnmf].")
    components_per_patch: int = Field(
        4,
        ge=1,
        description="Number of components per patch: exact for `greedy_roi`, the maximum of each search for "
        "`adaptive` [K].",
    )
    neuron_half_width_px: Annotated[float, Field(ge=1)] | Literal["auto"] = Field(
        "auto",
        description="Half-width of a neuron in px. `auto` measures it from the movie. A number is a hint with "
        "`adaptive`, which measures as well and takes the measured one if the two differ by more than 25 % and by a "
        "factor of 2 at most; it is used as it is with `greedy_roi` and `seeded` [gSig].",
    )
    merge_threshold: float = Field(
        0.85,
        gt=0,
        le=1,
        description="Overlapping components are merged if their traces correlate above this threshold x (1 - cosine "
        "similarity of their footprints). A higher threshold merges fewer components [merge_thr].",
    )
    ar_order: Literal[1, 2] = Field(
        1,
        description="Order of the autoregressive model of calcium: 1 has an instantaneous rise, 2 a gradual one [p].",
    )
    n_background: int = Field(
        2,
        ge=0,
        le=10,
        description="Background model: 0 is no background, 1 the static image, 2 the static image and local neuropil; "
        "above 2, the neuropil is finer. For CaImAn, the number of background components of the whole frame [nb, gnb].",
    )
    nonnegative_baseline: bool = Field(
        True, description="Constrain the baseline of each trace to be non-negative [bas_nonneg]."
    )
    spatial_downsampling: int = Field(
        1,
        ge=1,
        le=8,
        description="Spatial binning factor of the initialization. A larger factor is faster and coarser [ssub].",
    )
    temporal_downsampling: int = Field(
        1,
        ge=1,
        le=32,
        description="Smallest temporal binning factor of the initialization; bins are at least half a decay time long. "
        "A larger factor is faster and attenuates short transients [tsub].",
    )
    rolling_sum: bool = Field(
        False,
        description="Search for neurons in rolling sums over time, which favour long transients [rolling_sum].",
    )
    rolling_length: int = Field(
        10, ge=2, description="Number of time bins in a rolling sum, if `rolling_sum` is true [rolling_length]."
    )
    min_peak_to_noise: float = Field(
        4.0,
        gt=0,
        description="The largest transient of a component must exceed its largest negative excursion by this many "
        "standard deviations of the noise (`adaptive` only). A higher threshold gives fewer false components and fewer "
        "faint neurons.",
    )
    background_spacing: float = Field(
        4.0,
        ge=2,
        description="Grid spacing of the neuropil background (cubic B-splines) in neuron half-widths. A smaller "
        "spacing follows finer neuropil, but absorbs more of the neurons' signal.",
    )

    find_silent: bool = Field(
        True,
        description="Also find neurons that stay silent, by their shape in the mean image, in the refit. They are "
        "components of class `silent`, which are accepted only if `accept` names that class.",
    )

    @property
    def given_half_width_px(self) -> float | None:
        """Half-width of a neuron in px if it is given, None if it is to be measured."""
        return None if self.neuron_half_width_px == "auto" else self.neuron_half_width_px


class EvaluationParameters(FrozenModel):
    """Component quality and dF/F. Accepted: any upper threshold and all lower ones met, and of a class in `accept`."""

    renamed: ClassVar[dict[str, str]] = {
        "use_cnn": "use_classifier",
        "min_cnn": "min_classifier_score",
        "lowest_cnn": "lowest_classifier_score",
    }

    engine: EngineName = Field("embedded", description=_ENGINE)
    min_snr: float = Field(
        2.0,
        ge=0,
        description="Upper threshold of the signal-to-noise ratio, on CaImAn's scale: 2 corresponds to a transient of "
        "about 6 standard deviations of the noise [min_SNR].",
    )
    lowest_snr: float = Field(
        0.5,
        ge=0,
        description="Lower threshold of the signal-to-noise ratio; components below it are rejected [SNR_lowest].",
    )
    min_r_value: float = Field(
        0.85,
        ge=-1,
        le=1,
        description="Upper threshold of the spatial consistency (`r_value`), the correlation of a footprint with the "
        "mean image of its transients [rval_thr].",
    )
    lowest_r_value: float = Field(
        -1.0,
        ge=-1,
        le=1,
        description="Lower threshold of the spatial consistency; components below it are rejected [rval_lowest].",
    )
    accept: tuple[ComponentClass, ...] | None = Field(
        ("soma",),
        min_length=1,
        description="Classes of components that may be accepted, if they meet the thresholds as well: `soma`, "
        "`process` (dendrites, axons, boutons), `out_of_focus` (somata above or below the plane), `other` (pieces, "
        "vessels, noise) and `silent` (found by their shape in the mean image; thresholds do not apply to them). "
        "`null` does not run the classifier and accepts whatever meets the thresholds. No effect with "
        "`engine: caiman`, which has a classifier of its own (docs/methods_evaluation.md).",
    )
    min_soma_probability: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Lowest probability of the class `soma` at which a component of this class is accepted. A higher "
        "probability gives fewer false neurons and loses more true ones.",
    )
    use_classifier: bool = Field(
        False,
        description="Also use the classifier's score as a measure beside SNR and `r_value`: the probability of `soma`, "
        "or with `engine: caiman` the score of CaImAn's CNN (docs/methods_evaluation.md) [use_cnn].",
    )
    min_classifier_score: float = Field(
        0.99, ge=0, le=1, description="Upper threshold of the classifier score [min_cnn_thr]."
    )
    lowest_classifier_score: float = Field(
        0.1,
        ge=0,
        le=1,
        description="Lower threshold of the classifier score; components below it are rejected [cnn_lowest].",
    )
    spike_delay: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Delay between a spike and the middle of the rise of fluorescence, as a fraction of the decay "
        "time. A larger delay places spikes earlier. `null`: that of the indicator that the metadata name "
        "(`imaging_plane.indicator`), 0 for synthetic dyes and red indicators and 0.045 for all others.",
    )
    spike_supralinearity: float = Field(
        1.33,
        ge=1,
        le=4,
        description="Exponent of the growth of fluorescence with the number of spikes: above 1 for GCaMP, which binds "
        "calcium cooperatively, 1 for synthetic dyes and red indicators. With a larger exponent large transients count "
        "for fewer spikes.",
    )
    dff_percentile: float = Field(
        8.0,
        ge=0,
        le=50,
        description="Percentile of the fluorescence in the running window that F0 is taken from [quantileMin].",
    )
    dff_window_s: float = Field(
        34.0,
        gt=0,
        description="Width in s of the running window for F0. A shorter window follows faster drift, but reduces long "
        "transients [frames_window].",
    )
    dff_within_files: bool = Field(
        False,
        description="Compute F0 within each trial (file, acquisition of ScanImage, cycle of PrairieView), so that a "
        "change of brightness or gain from one to the next does not change dF/F. Trials should be longer than "
        "`dff_window_s`.",
    )
    dff_dark_level: float | None = Field(
        None,
        description="Counts of a pixel without light, also negative, which are excluded from F0; `null` estimates them "
        "from frames without light or from how the noise of the pixels grows with their level, and tells how exact "
        "that is. Too low a level makes dF/F too small, too high a level makes it too large.",
    )
    dff_neuropil: Literal["estimate"] | Annotated[float, Field(ge=0, le=1)] | None = Field(
        None,
        description="Part of the neuropil's light around a component that is excluded from F0, as it is not of the "
        "cell: a number for all (0.7 as in Suite2p), `estimate` for that of each component, or `null` for F0 of all "
        "light under the footprint. A larger part makes dF/F larger. No effect with `engine: caiman`.",
    )

    @model_validator(mode="after")
    def _check_threshold_order(self) -> "EvaluationParameters":
        """Refuses a lower threshold above its upper threshold."""
        for name in ("snr", "r_value", "classifier_score"):
            low, high = getattr(self, f"lowest_{name}"), getattr(self, f"min_{name}")
            if low > high:
                raise ValueError(f"lowest_{name} ({low}) should not exceed min_{name} ({high}); correct one of them.")
        return self


STAGE_PARAMETERS: dict[str, type[FrozenModel]] = {
    "ingestion": IngestionParameters,
    "motion_correction": MotionCorrectionParameters,
    "source_extraction": ExtractionParameters,
    "evaluation": EvaluationParameters,
}
"""Parameter models by stage; a recording may override them under `parameters:` in its entry of the manifest."""
