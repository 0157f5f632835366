"""Parameters of this project in CaImAn's names and groups.

Every field of a parameter model is in exactly one table: it has targets in CaImAn's groups (`TARGETS`), or this project
applies it before or after CaImAn (`APPLIED_OUTSIDE`), or CaImAn cannot honour it (`NOT_HONOURED`). The reason for the
latter is logged and written into the provenance of every result.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from rsc2p_kedro.core.parameters import (
    DEFAULT_HALF_WIDTH_PX,
    Acquisition,
    Compute,
    EvaluationParameters,
    ExtractionParameters,
    FrozenModel,
    MotionCorrectionParameters,
)

Groups = dict[str, dict[str, Any]]


class Target(NamedTuple):
    """A parameter of CaImAn that a field sets.

    Attributes:
        group: CaImAn's parameter group.
        key: name within the group.
        convert: converts the value of the field to CaImAn's.
    """

    group: str
    key: str
    convert: Callable[[Any], Any] = lambda value: value


class NotHonoured(NamedTuple):
    """A field that CaImAn cannot honour.

    Attributes:
        reason: what CaImAn does instead, for the user.
        values: values of the field that CaImAn cannot honour. None means all values.
    """

    reason: str
    values: tuple[Any, ...] | None = None


def _in_px(half_width: float | str) -> int:
    """Half-width in whole px. The engine measures `auto` before a fit; other tasks do not use the size."""
    return max(1, round(DEFAULT_HALF_WIDTH_PX if isinstance(half_width, str) else half_width))


def _both_axes(value: int) -> list[int]:
    """CaImAn has one value per axis where this project has one for both."""
    return [value, value]


TARGETS: dict[type[FrozenModel], dict[str, tuple[Target, ...]]] = {
    Acquisition: {
        "frame_rate_hz": (Target("data", "fr"),),
        "decay_time_s": (Target("data", "decay_time"),),
    },
    MotionCorrectionParameters: {
        "piecewise": (Target("motion", "pw_rigid"),),
        "patch_stride_px": (Target("motion", "strides", _both_axes),),
        "patch_overlap_px": (Target("motion", "overlaps", _both_axes),),
        "max_shift_px": (Target("motion", "max_shifts", _both_axes),),
        "max_deviation_px": (Target("motion", "max_deviation_rigid"),),
        "template_refinements": (Target("motion", "niter_rig"),),
    },
    ExtractionParameters: {
        "patch_half_width_px": (Target("patch", "rf"),),
        "patch_overlap_px": (Target("patch", "stride"),),
        "components_per_patch": (Target("init", "K"),),
        "neuron_half_width_px": (
            Target("init", "gSig", lambda half: _both_axes(_in_px(half))),
            Target("init", "gSiz", lambda half: _both_axes(2 * _in_px(half) + 1)),
        ),
        "merge_threshold": (Target("merging", "merge_thr"),),
        "ar_order": (Target("preprocess", "p"), Target("temporal", "p")),
        "n_background": (Target("init", "nb"),),
        "nonnegative_baseline": (Target("temporal", "bas_nonneg"),),
        "spatial_downsampling": (Target("init", "ssub"), Target("patch", "p_ssub")),
        "temporal_downsampling": (Target("init", "tsub"), Target("patch", "p_tsub")),
        "rolling_sum": (Target("init", "rolling_sum"),),
        "rolling_length": (Target("init", "rolling_length"),),
    },
    EvaluationParameters: {
        "min_snr": (Target("quality", "min_SNR"),),
        "lowest_snr": (Target("quality", "SNR_lowest"),),
        "min_r_value": (Target("quality", "rval_thr"),),
        "lowest_r_value": (Target("quality", "rval_lowest"),),
        "use_classifier": (Target("quality", "use_cnn"),),
        "min_classifier_score": (Target("quality", "min_cnn_thr"),),
        "lowest_classifier_score": (Target("quality", "cnn_lowest"),),
    },
}
"""Fields that set parameters of CaImAn."""

APPLIED_OUTSIDE: dict[type[FrozenModel], dict[str, str]] = {
    Acquisition: {
        "pixel_size_um": "figures and NWB files use it; CaImAn's algorithms work in pixels and do not read its `dxy`",
    },
    MotionCorrectionParameters: {
        "engine": "selects CaImAn",
        "channel": "selects the movie that CaImAn registers",
        "corrected_dtype": "corrected frames are rounded after CaImAn",
        "smoothing": "`none` corresponds to CaImAn",
    },
    ExtractionParameters: {
        "engine": "selects CaImAn",
        "initialization": "`greedy_roi` is `init.method_init`; `seeded` gives CaImAn masks (`Ain`), without patches",
    },
    EvaluationParameters: {
        "engine": "selects CaImAn",
        "dff_percentile": "`quantileMin`, an argument of CaImAn's detrend_df_f",
        "dff_window_s": "`frames_window`, an argument of CaImAn's detrend_df_f, in frames",
        "dff_within_files": "CaImAn's detrend_df_f is called for each trial",
        "dff_dark_level": "subtracted from the background before CaImAn's detrend_df_f",
        "spike_delay": "spikes are inferred from the traces of any engine",
        "spike_supralinearity": "spikes are inferred from the traces of any engine",
    },
    Compute: {
        "threads": "`patch.n_processes`: number of processes of CaImAn",
        "block_frames": "least number of frames read at once while the movie is written for CaImAn",
        "memory_gb": "memory for pixels while the movie is written for CaImAn",
        "hash_raw_files": "CaImAn reads no raw files",
        "cluster": "where recordings are processed, whatever the engine",
        "show_progress": "CaImAn has no progress bars: the log has one line per step",
    },
}
"""Fields that this project applies before or after CaImAn, and how."""

NOT_HONOURED: dict[type[FrozenModel], dict[str, NotHonoured]] = {
    MotionCorrectionParameters: {
        "template_frames": NotHonoured(
            "CaImAn makes its first template from about 50 frames spread over the recording, the later ones from all"
        ),
        "high_pass_sigma_px": NotHonoured("CaImAn's gSig_filt is another filter, for one-photon movies; it stays off"),
        "smoothing": NotHonoured("CaImAn registers each frame independently", ("adaptive",)),
        "min_peak_quality": NotHonoured("CaImAn treats every frame as registered"),
    },
    ExtractionParameters: {
        "initialization": NotHonoured(
            "CaImAn initializes a fixed number of components per patch (greedy_roi)", ("adaptive",)
        ),
        "min_peak_to_noise": NotHonoured("CaImAn has no such threshold: it rejects components in evaluation only"),
        "background_spacing": NotHonoured("CaImAn's background is of low rank, over the whole frame"),
        "find_silent": NotHonoured("CaImAn finds neurons by their activity only"),
    },
    EvaluationParameters: {
        "accept": NotHonoured("CaImAn does not classify components: its thresholds and its CNN decide alone"),
        "min_soma_probability": NotHonoured("CaImAn does not classify components"),
        "dff_neuropil": NotHonoured("CaImAn's detrend_df_f leaves the whole background in F0"),
    },
}
"""Fields that CaImAn cannot honour, and why."""

FIXED: Groups = {
    # shifts_opencv: the shifts are those of the patches, not of a finer grid interpolated from them.
    # border_nan: pixels whose source is outside the frame take the nearest pixel, as in the embedded engine.
    "motion": {"shifts_opencv": True, "border_nan": "copy", "nonneg_movie": True},
    "init": {"method_init": "greedy_roi"},
    # As in the original notebook: patches, with one background each, only initialize components; the fit itself uses
    # the whole frame.
    "patch": {"only_init": True, "nb_patch": 1},
    "temporal": {"method_deconvolution": "oasis"},
}
"""Parameters of CaImAn that have the same value in every request."""


def caiman_groups(*models: FrozenModel, processes: int) -> Groups:
    """Converts parameters to CaImAn's groups.

    Args:
        *models: parameters of the recording and of the stage, at most one of each model. Fields without a target are
            ignored.
        processes: number of processes that CaImAn uses.

    Returns:
        {group: {key: value}}, as `CNMFParams(params_dict=...)` takes it and JSON can hold it.
    """
    groups: Groups = {group: dict(values) for group, values in FIXED.items()}
    groups["patch"]["n_processes"] = processes
    for model in models:
        for name, targets in TARGETS.get(type(model), {}).items():
            for target in targets:
                groups.setdefault(target.group, {})[target.key] = target.convert(getattr(model, name))
        if isinstance(model, ExtractionParameters) and model.initialization == "seeded":
            groups["patch"] |= {"rf": None, "only_init": False}
    return groups


def not_honoured(*models: FrozenModel) -> Mapping[str, str]:
    """Lists the parameters that CaImAn cannot honour at their present values.

    Args:
        *models: parameters of stages.

    Returns:
        {"name (value)": reason}, empty if CaImAn honours all.
    """
    return {
        f"{name} ({getattr(model, name)})": entry.reason
        for model in models
        for name, entry in NOT_HONOURED.get(type(model), {}).items()
        if entry.values is None or getattr(model, name) in entry.values
    }
