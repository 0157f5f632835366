"""Our parameters in CaImAn's names: one table a model, every field in exactly one place.

A field either has targets in CaImAn's parameter groups, or is read by this project on either side of CaImAn, or cannot
be honoured: then the reason stands here, and the engine tells it with every result that it makes.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from rsc2p_kedro.core.parameters import (
    Acquisition,
    Compute,
    EvaluationParameters,
    ExtractionParameters,
    FrozenModel,
    MotionCorrectionParameters,
)

Groups = dict[str, dict[str, Any]]


class Target(NamedTuple):
    """A place in CaImAn's parameters, and what stands there for a value of ours."""

    group: str
    key: str
    convert: Callable[[Any], Any] = lambda value: value


class Unheard(NamedTuple):
    """A parameter that CaImAn cannot honour, wherever its value is one of those given (none: whatever it is)."""

    reason: str
    values: tuple[Any, ...] | None = None


def _both_axes(value: int) -> list[int]:
    return [value, value]


TARGETS: dict[type[FrozenModel], dict[str, tuple[Target, ...]]] = {
    Acquisition: {
        "frame_rate_hz": (Target("data", "fr"),),
        "decay_time_s": (Target("data", "decay_time"),),
        "pixel_size_um": (Target("data", "dxy", lambda size: list(size or (1.0, 1.0))),),
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
            Target("init", "gSig", _both_axes),
            Target("init", "gSiz", lambda half: _both_axes(2 * half + 1)),
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
"""Where each parameter goes in CaImAn's groups."""

ELSEWHERE: dict[type[FrozenModel], dict[str, str]] = {
    MotionCorrectionParameters: {
        "engine": "brought us here",
        "corrected_dtype": "corrected frames are rounded here, after CaImAn",
        "smoothing": "`none` is what CaImAn does",
    },
    ExtractionParameters: {
        "engine": "brought us here",
        "initialization": "`greedy_roi` is `init.method_init`; `seeded` gives CaImAn masks (`Ain`), without patches",
    },
    EvaluationParameters: {
        "engine": "brought us here",
        "dff_percentile": "`quantileMin` of CaImAn's detrend_df_f, which is given as an argument",
        "dff_window_s": "`frames_window` of CaImAn's detrend_df_f, in frames",
        "dff_dark_level": "taken off the background that CaImAn's detrend_df_f is given",
        "spike_delay": "spikes are inferred from traces after any engine",
        "spike_supralinearity": "spikes are inferred from traces after any engine",
    },
    Compute: {
        "threads": "`patch.n_processes`: processes of CaImAn",
        "block_frames": "frames that are read at once while the movie is written for CaImAn",
        "memory_gb": "pixels that are held at once while the movie is written for CaImAn",
        "show_progress": "CaImAn has no bars: each step is a line in the log",
    },
}
"""What this project reads itself around CaImAn."""

UNHEARD: dict[type[FrozenModel], dict[str, Unheard]] = {
    MotionCorrectionParameters: {
        "template_frames": Unheard("CaImAn takes every 1/50 of the recording, and then all of it"),
        "high_pass_sigma_px": Unheard("CaImAn's gSig_filt is another filter, made for one-photon movies; it stays off"),
        "smoothing": Unheard("in CaImAn each frame stands alone", ("adaptive",)),
        "min_peak_quality": Unheard("CaImAn takes every frame for registered"),
    },
    ExtractionParameters: {
        "initialization": Unheard("CaImAn looks for a fixed number a patch (greedy_roi)", ("adaptive",)),
        "min_peak_to_noise": Unheard("CaImAn has no such rule: components are judged in evaluation"),
        "background_spacing": Unheard("CaImAn's background is of low rank, over the whole frame"),
    },
}
"""What CaImAn cannot honour, and why."""

FIXED: Groups = {
    # shifts_opencv: the shifts that come back are those of the patches, not of a finer grid made from them.
    # border_nan: pixels without source take the nearest one, as in this project's own corrected movies.
    "motion": {"shifts_opencv": True, "border_nan": "copy", "nonneg_movie": True},
    "init": {"method_init": "greedy_roi"},
    # The notebook's: patches, with one background each, only initialize; everything else is done on the whole frame.
    "patch": {"only_init": True, "nb_patch": 1},
    "temporal": {"method_deconvolution": "oasis"},
}
"""What CaImAn is always told."""


def caiman_groups(*models: FrozenModel, processes: int) -> Groups:
    """CaImAn's parameters in its groups, ready for JSON.

    Args:
        models: what is known: of the recording and of the stage, at most one of each kind.
        processes: that CaImAn may use.
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
    """Which of these parameters, as they are, CaImAn cannot honour, and why: {name (value): reason}."""
    return {
        f"{name} ({getattr(model, name)})": one.reason
        for model in models
        for name, one in UNHEARD.get(type(model), {}).items()
        if one.values is None or getattr(model, name) in one.values
    }
