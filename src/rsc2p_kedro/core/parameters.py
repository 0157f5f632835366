"""Parameters: one frozen model per stage, checked before any node runs.

Three kinds of fact are kept apart: what is true of the *data* (:class:`Acquisition`, from the recording's entry in the
manifest), how the *algorithms* work (one model per stage, from ``conf/<env>/parameters_<stage>.yml``) and what the
*machine* may use (:class:`Compute`). Units stand in the names. Where CaImAn has the parameter, its name there stands in
brackets in the description. The defaults of the algorithms are those of the notebook this project grew from.
"""

import logging
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, model_validator

EngineName = Literal["embedded", "caiman"]

logger = logging.getLogger(__name__)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint for a name that does not exist.

    Args:
        name: what was given.
        known: names that exist.

    Returns:
        A sentence with up to three similar names and a leading space, or "" where none is similar.
    """
    close = get_close_matches(name, sorted(set(known)), n=3)
    return f" Did you mean {' or '.join(close)}?" if close else ""


class FrozenModel(BaseModel):
    """A record that cannot be changed and refuses keys it does not know.

    Attributes:
        renamed: former names of fields. They are accepted for one release, with a warning that gives the new name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)
    renamed: ClassVar[dict[str, str]] = {}

    @classmethod
    def present_names(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """Values under the present names of their fields, with a warning for each former name.

        conf/base holds every parameter under its present name, so a former name in a user's own file comes together
        with the default under the present one, and has precedence over it.

        Args:
            values: values by present or former names.

        Returns:
            The same by present names.

        Raises:
            ValueError: a value is given under both names, they differ, and neither is the default.
        """
        present = {name: value for name, value in values.items() if name not in cls.renamed}
        for former in sorted(values.keys() & cls.renamed.keys()):
            name, value = cls.renamed[former], values[former]
            default = cls.model_fields[name].default
            if present.get(name, default) not in (value, default):
                raise ValueError(f"{former} ({value!r}) is the former name of {name} ({present[name]!r}): give one.")
            logger.warning(
                "The parameter %s is now called %s; the next release will refuse the old name.", former, name
            )
            present[name] = value
        return present

    @model_validator(mode="before")
    @classmethod
    def _accept_former_names(cls, values: Any) -> Any:
        return cls.present_names(values) if cls.renamed and isinstance(values, Mapping) else values


class Acquisition(FrozenModel):
    """Facts of a recording that the algorithms need."""

    frame_rate_hz: float = Field(gt=0, le=10_000, description="Frames per second of the imaging plane [fr].")
    decay_time_s: float = Field(
        0.4, gt=0, le=60, description="Decay time constant of the indicator in s, 0.4 for GCaMP6f [decay_time]."
    )
    pixel_size_um: tuple[PositiveFloat, PositiveFloat] | None = Field(
        None,
        description="Size of a pixel in um as (y, x). Only figures and NWB use it: all algorithms work in pixels "
        "[dxy].",
    )

    @property
    def decay_time_frames(self) -> float:
        """Decay time constant in frames."""
        return self.decay_time_s * self.frame_rate_hz


class Compute(FrozenModel):
    """What the machine may use. None of these changes a result by a single bit."""

    threads: int | None = Field(
        None,
        ge=1,
        description="Threads that work on blocks of a movie; none: all cores. More is faster and takes more memory.",
    )
    block_frames: int = Field(
        64,
        ge=1,
        description="Frames that one thread holds at once. More takes more memory and is, up to a point, faster.",
    )
    memory_gb: float = Field(
        1.0,
        gt=0,
        description="Memory that the pixels of a movie may take at once, in GB, however long the recording is.",
    )
    show_progress: bool = Field(True, description="Show progress bars for long work.")


class CaimanSettings(FrozenModel):
    """Where the user's CaImAn is, for stages with `engine: caiman` (docs/engines.md)."""

    python: str | None = Field(
        None,
        description="Path of the interpreter of the environment CaImAn is in; none: CaImAn is in the environment of "
        "this project. The two need not share a single library.",
    )
    scratch_folder: str | None = Field(
        None,
        description="Where the movie is written for CaImAn while it works, as float32; none: the system's folder for "
        "temporary files. All is removed afterwards.",
    )


class IngestionParameters(FrozenModel):
    """How raw frames become a movie."""

    chunk_frames: int = Field(64, ge=1, description="Frames in one chunk of the stored movie.")
    chunk_px: int = Field(128, ge=16, description="Height and width in px of one chunk of the stored movie.")


class MotionCorrectionParameters(FrozenModel):
    """Registration by NoRMCorre's scheme (Pnevmatikakis & Giovannucci 2017, doi 10.1016/j.jneumeth.2017.07.031)."""

    engine: EngineName = Field(
        "embedded", description="What does the work: `embedded`, or `caiman`, the user's own CaImAn (docs/engines.md)."
    )
    piecewise: bool = Field(
        True, description="Register patches after the whole frame, for motion that differs by place [pw_rigid]."
    )
    patch_stride_px: int = Field(
        48,
        ge=8,
        description="Distance of neighbouring patches in px. Larger: fewer, steadier, coarser patches [strides].",
    )
    patch_overlap_px: int = Field(
        24, ge=0, description="Overlap of neighbouring patches in px; a patch is stride + overlap wide [overlaps]."
    )
    max_shift_px: int = Field(
        6,
        ge=1,
        description="Largest rigid shift in px along each axis, this value included. Larger finds larger motion, and "
        "needs more light [max_shifts].",
    )
    max_deviation_px: int = Field(
        3,
        ge=1,
        description="Largest deviation in px of a patch from the rigid shift, this value included "
        "[max_deviation_rigid].",
    )
    template_frames: int = Field(
        200,
        ge=1,
        description="Frames, spread evenly over the recording, that the template is made of. More is steadier and "
        "slower [num_splits_to_process_rig].",
    )
    template_refinements: int = Field(
        2,
        ge=1,
        le=10,
        description="Rounds in which the template is made anew from its registered frames: rigidly, until all of them "
        "could be registered or this often, then this often piecewise [niter_rig].",
    )
    high_pass_sigma_px: float = Field(
        4.0,
        gt=0,
        description="Changes of brightness smoother than this sigma in px do not count as motion. Smaller withstands "
        "more glow (one-photon data: about a neuron's half-width) and uses less of the light [gSig_filt].",
    )
    smoothing: Literal["adaptive", "none"] = Field(
        "adaptive",
        description="`adaptive`: patch shifts are smoothed over space and time by as much as their measured noise "
        "asks for. `none`: each frame stands alone.",
    )
    min_peak_quality: float = Field(
        5.0,
        ge=0,
        description="A frame whose correlation peak stands less than this many standard deviations above its noise "
        "counts as not registered. Higher distrusts more frames.",
    )
    corrected_dtype: Literal["raw", "float32"] = Field(
        "raw",
        description="Numbers of the corrected movie. `raw`: those of the movie, rounded if they are integers (about "
        "a third of the storage; rounding adds a variance of 1/12). `float32`: as interpolated.",
    )


class ExtractionParameters(FrozenModel):
    """Constrained non-negative matrix factorization (Pnevmatikakis et al. 2016, doi 10.1016/j.neuron.2015.11.037)."""

    engine: EngineName = Field(
        "embedded", description="What does the work: `embedded`, or `caiman`, the user's own CaImAn (docs/engines.md)."
    )
    initialization: Literal["adaptive", "greedy_roi", "seeded"] = Field(
        "adaptive",
        description="`greedy_roi`: the notebook's fixed number of components a patch. `adaptive`: the same, stopped "
        "by evidence, "
        "with another look at the residual, and that number as an upper bound. `seeded`: from the user's centres or "
        "masks [method_init].",
    )
    patch_half_width_px: int = Field(15, ge=4, description="Half the width of a patch in px [rf].")
    patch_overlap_px: int = Field(10, ge=0, description="Overlap of neighbouring patches in px [stride_cnmf].")
    components_per_patch: int = Field(
        4, ge=1, description="Components a patch, at most (adaptive) or always (greedy_roi) [K]."
    )
    neuron_half_width_px: int = Field(
        4,
        ge=1,
        description="Half-width of a neuron in px; the kernel is 2 x this + 1 wide [gSig]. The one number to set for "
        "another magnification.",
    )
    merge_threshold: float = Field(
        0.85,
        gt=0,
        le=1,
        description="Overlapping components whose traces correlate above this are merged, the more they overlap at the "
        "less (times 1 - cosine of the footprints). Higher merges fewer [merge_thr].",
    )
    ar_order: Literal[1, 2] = Field(
        1, description="Order of the autoregressive model of calcium: 1 decays, 2 rises and decays [p]."
    )
    n_background: int = Field(
        2,
        ge=0,
        le=10,
        description="Background: 0 none, 1 the static image alone, 2 neuropil as well, more: in finer detail; with "
        "CaImAn components of the whole frame [nb, gnb].",
    )
    nonnegative_baseline: bool = Field(
        True, description="Keep the baseline of each trace from falling below 0 [bas_nonneg]."
    )
    spatial_downsampling: int = Field(
        1, ge=1, le=8, description="Factor by which initialization bins pixels. Faster, coarser [ssub]."
    )
    temporal_downsampling: int = Field(
        1,
        ge=1,
        le=32,
        description="Frames that initialization bins, at least; it takes half a decay where that is more. Faster; "
        "short events fade [tsub].",
    )
    rolling_sum: bool = Field(
        False, description="Look for neurons in running sums over time, which favour long events [rolling_sum]."
    )
    rolling_length: int = Field(
        10, ge=2, description="Bins in a running sum; used where `rolling_sum` is on [rolling_length]."
    )
    min_peak_to_noise: float = Field(
        4.0,
        gt=0,
        description="By how many sd of noise the highest transient of a component must exceed its lowest excursion "
        "(adaptive). Higher: fewer false components, and fewer faint neurons.",
    )
    background_spacing: float = Field(
        5.0,
        ge=2,
        description="Distance of neighbouring tiles of fluctuating neuropil, in neuron half-widths. Smaller follows "
        "finer "
        "neuropil, and takes more of the neurons for it.",
    )


class EvaluationParameters(FrozenModel):
    """Which components are cells. A component is accepted if any upper threshold passes and all lower ones do."""

    renamed: ClassVar[dict[str, str]] = {
        "use_cnn": "use_classifier",
        "min_cnn": "min_classifier_score",
        "lowest_cnn": "lowest_classifier_score",
    }

    engine: EngineName = Field(
        "embedded", description="What does the work: `embedded`, or `caiman`, the user's own CaImAn (docs/engines.md)."
    )
    min_snr: float = Field(
        2.0,
        ge=0,
        description="Transients this exceptional are enough, on CaImAn's scale (2 there is about 6 sd of noise) "
        "[min_SNR].",
    )
    lowest_snr: float = Field(
        0.5, ge=0, description="Transients less exceptional than this are never accepted [SNR_lowest]."
    )
    min_r_value: float = Field(
        0.85,
        ge=-1,
        le=1,
        description="A footprint that agrees this well with the frames of its transients is enough [rval_thr].",
    )
    lowest_r_value: float = Field(
        -1.0, ge=-1, le=1, description="A footprint that agrees less than this is never accepted [rval_lowest]."
    )
    use_classifier: bool = Field(
        False,
        description="Let a learned classifier of shape and trace take part: our own, or CaImAn's CNN with "
        "`engine: caiman` (docs/methods_evaluation.md) [use_cnn].",
    )
    min_classifier_score: float = Field(
        0.99, ge=0, le=1, description="A classifier score that is enough [min_cnn_thr]."
    )
    lowest_classifier_score: float = Field(
        0.1, ge=0, le=1, description="A classifier score below which nothing is accepted [cnn_lowest]."
    )
    spike_delay: float = Field(
        0.045,
        ge=0,
        le=1,
        description="Time from a spike to the middle of the rise of fluorescence, as a share of the decay time: 0.02 "
        "for synthetic dyes, which rise at once. Larger puts spikes earlier.",
    )
    spike_supralinearity: float = Field(
        1.33,
        ge=1,
        le=4,
        description="Fluorescence grows with the number of spikes to this power: above 1 for GCaMP, whose binding of "
        "calcium is cooperative, 1 for synthetic dyes and red indicators. Larger: large rises count for fewer spikes.",
    )
    dff_percentile: float = Field(
        8.0, ge=0, le=50, description="Percentile of the running window that is taken as F0 [quantileMin]."
    )
    dff_window_s: float = Field(
        34.0,
        gt=0,
        description="Width in s of the running window of F0. Shorter follows drift, and eats long transients "
        "[frames_window].",
    )

    dff_dark_level: float | None = Field(
        None,
        description="Counts of a pixel in the dark, which are no light and stay out of F0; none: estimated from how "
        "the noise of pixels grows with their light. Too low: dF/F too small.",
    )

    @model_validator(mode="after")
    def _thresholds_in_order(self) -> "EvaluationParameters":
        for name in ("snr", "r_value", "classifier_score"):
            low, high = getattr(self, f"lowest_{name}"), getattr(self, f"min_{name}")
            if low > high:
                raise ValueError(f"lowest_{name} ({low}) must not exceed min_{name} ({high}).")
        return self


STAGE_PARAMETERS: dict[str, type[FrozenModel]] = {
    "ingestion": IngestionParameters,
    "motion_correction": MotionCorrectionParameters,
    "source_extraction": ExtractionParameters,
    "evaluation": EvaluationParameters,
}
"""The stages whose parameters a recording may override, under `parameters:` in its entry of the manifest."""
