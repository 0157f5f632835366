"""Every parameter has a target in CaImAn, is applied outside CaImAn, or cannot be honoured for a given reason."""

import pytest

from rsc2p_kedro.core import parameters as p
from rsc2p_kedro.engines.caiman.mapping import (
    APPLIED_OUTSIDE,
    FIXED,
    NOT_HONOURED,
    TARGETS,
    caiman_groups,
    not_honoured,
)

MODELS = (
    p.Acquisition, p.Compute, p.MotionCorrectionParameters, p.ExtractionParameters, p.EvaluationParameters
)  # fmt: skip

# Keys of CaImAn 1.12.1's parameter groups, as CNMFParams lists them (only groups that this project sets).
CAIMANS_KEYS = {
    "data": {"fnames", "dims", "fr", "decay_time"},
    "motion": {
        "border_nan", "gSig_filt", "max_deviation_rigid", "max_shifts", "min_mov", "niter_rig", "nonneg_movie",
        "num_frames_split", "overlaps", "pw_rigid", "shifts_opencv", "strides",
    },
    "patch": {"n_processes", "nb_patch", "only_init", "p_ssub", "p_tsub", "rf", "stride"},
    "init": {"K", "gSig", "gSiz", "method_init", "nb", "rolling_length", "rolling_sum", "ssub", "tsub"},
    "preprocess": {"p"},
    "temporal": {"bas_nonneg", "method_deconvolution", "p"},
    "merging": {"merge_thr"},
    "quality": {"SNR_lowest", "cnn_lowest", "min_SNR", "min_cnn_thr", "rval_lowest", "rval_thr", "use_cnn"},
}  # fmt: skip

# model, a field with a value that is not its default, and CaImAn's parameters for it
EXPECTED_TARGETS = [
    (p.Acquisition, {"frame_rate_hz": 14.7}, {"data.fr": 14.7}),
    (p.Acquisition, {"decay_time_s": 1.1}, {"data.decay_time": 1.1}),
    (p.MotionCorrectionParameters, {"piecewise": False}, {"motion.pw_rigid": False}),
    (p.MotionCorrectionParameters, {"patch_stride_px": 64}, {"motion.strides": [64, 64]}),
    (p.MotionCorrectionParameters, {"patch_overlap_px": 20}, {"motion.overlaps": [20, 20]}),
    (p.MotionCorrectionParameters, {"max_shift_px": 9}, {"motion.max_shifts": [9, 9]}),
    (p.MotionCorrectionParameters, {"max_deviation_px": 2}, {"motion.max_deviation_rigid": 2}),
    (p.MotionCorrectionParameters, {"template_refinements": 1}, {"motion.niter_rig": 1}),
    (p.ExtractionParameters, {"patch_half_width_px": 20}, {"patch.rf": 20}),
    (p.ExtractionParameters, {"patch_overlap_px": 6}, {"patch.stride": 6}),
    (p.ExtractionParameters, {"components_per_patch": 7}, {"init.K": 7}),
    (p.ExtractionParameters, {"neuron_half_width_px": 6}, {"init.gSig": [6, 6], "init.gSiz": [13, 13]}),
    (p.ExtractionParameters, {"merge_threshold": 0.7}, {"merging.merge_thr": 0.7}),
    (p.ExtractionParameters, {"ar_order": 2}, {"preprocess.p": 2, "temporal.p": 2}),
    (p.ExtractionParameters, {"n_background": 3}, {"init.nb": 3}),
    (p.ExtractionParameters, {"nonnegative_baseline": False}, {"temporal.bas_nonneg": False}),
    (p.ExtractionParameters, {"spatial_downsampling": 2}, {"init.ssub": 2, "patch.p_ssub": 2}),
    (p.ExtractionParameters, {"temporal_downsampling": 3}, {"init.tsub": 3, "patch.p_tsub": 3}),
    (p.ExtractionParameters, {"rolling_sum": True}, {"init.rolling_sum": True}),
    (p.ExtractionParameters, {"rolling_length": 20}, {"init.rolling_length": 20}),
    (p.EvaluationParameters, {"min_snr": 3.0}, {"quality.min_SNR": 3.0}),
    (p.EvaluationParameters, {"lowest_snr": 0.7}, {"quality.SNR_lowest": 0.7}),
    (p.EvaluationParameters, {"min_r_value": 0.8}, {"quality.rval_thr": 0.8}),
    (p.EvaluationParameters, {"lowest_r_value": 0.1}, {"quality.rval_lowest": 0.1}),
    (p.EvaluationParameters, {"use_classifier": True, "engine": "caiman"}, {"quality.use_cnn": True}),
    (p.EvaluationParameters, {"min_classifier_score": 0.9}, {"quality.min_cnn_thr": 0.9}),
    (p.EvaluationParameters, {"lowest_classifier_score": 0.2}, {"quality.cnn_lowest": 0.2}),
]  # fmt: skip


def flat(groups):
    return {f"{group}.{key}": value for group, values in groups.items() for key, value in values.items()}


def make(model, **values):
    return model.model_validate(({"frame_rate_hz": 10.0} if model is p.Acquisition else {}) | values)


@pytest.mark.parametrize("model", MODELS)
def test_every_parameter_is_in_exactly_one_table(model):
    honoured = set(TARGETS.get(model, {})) | set(APPLIED_OUTSIDE.get(model, {}))
    never = {name for name, entry in NOT_HONOURED.get(model, {}).items() if entry.values is None}
    assert honoured | never == set(model.model_fields)
    assert not honoured & never
    assert not set(TARGETS.get(model, {})) & set(APPLIED_OUTSIDE.get(model, {}))


@pytest.mark.parametrize(("model", "values", "expected"), EXPECTED_TARGETS)
def test_a_parameter_sets_its_targets_only(model, values, expected):
    groups, default = (flat(caiman_groups(make(model, **fields), processes=3)) for fields in (values, {}))
    assert {key: groups[key] for key in expected} == expected
    changed = {key for key in groups if groups[key] != default[key]}
    assert changed == set(expected)


def test_every_target_is_tested():
    tested = {(model, name) for model, values, _ in EXPECTED_TARGETS for name in values}
    assert {(model, name) for model, fields in TARGETS.items() for name in fields} <= tested


def test_caiman_has_every_key():
    groups = caiman_groups(*(make(model) for model in MODELS), processes=2)
    for group, values in groups.items():
        assert set(values) <= CAIMANS_KEYS[group], group
    assert groups["patch"]["n_processes"] == 2


def test_seeded_initialization_uses_no_patches():
    groups = caiman_groups(p.ExtractionParameters(initialization="seeded"), processes=1)
    assert (groups["patch"]["rf"], groups["patch"]["only_init"]) == (None, False)
    assert FIXED["patch"]["only_init"] is True  # the table itself has not changed


def test_parameters_that_are_not_honoured_have_their_value_and_a_reason():
    ignored = not_honoured(p.MotionCorrectionParameters(high_pass_sigma_px=3.0, smoothing="none"))
    assert set(ignored) == {"template_frames (200)", "high_pass_sigma_px (3.0)", "min_peak_quality (5.0)"}
    assert all(ignored.values())
    assert "initialization (adaptive)" in not_honoured(p.ExtractionParameters())
    assert not any(
        "initialization" in name for name in not_honoured(p.ExtractionParameters(initialization="greedy_roi"))
    )
