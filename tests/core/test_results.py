"""Records are consistent by construction."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp

from rsc2p_kedro.core.results import ComponentQuality, Components, DeltaFOverF, MotionCorrection, SpikeInference

N, T, H, W = 3, 10, 4, 5


@pytest.fixture
def components() -> Components:
    footprints = np.zeros((H * W, N), np.float32)
    footprints[[0, 7, 13], [0, 1, 2]] = 1
    per_component, traces = np.ones(N, np.float32), np.ones((N, T), np.float32)
    return Components(
        shape=(H, W), ids=np.array([4, 2, 9]), footprints=sp.csc_array(footprints), traces=traces, spikes=traces,
        residual_traces=-traces, background_footprints=sp.csc_array(np.ones((H * W, 1), np.float32)),
        background_traces=np.ones((1, T), np.float32), baseline=per_component, noise=per_component,
        ar_coefficients=per_component[:, None], lam=per_component, pixel_noise=np.ones((H, W), np.float32),
    )  # fmt: skip


def test_all_problems_of_components_are_in_one_message(components: Components) -> None:
    with pytest.raises(ValueError, match="Components is inconsistent") as error:
        replace(
            components,
            ids=np.array([1, 1, 2]),
            footprints=-components.footprints,
            noise=np.ones(2, np.float32),
            baseline=np.full(N, np.nan, np.float32),
            n_fitted_background=2,
        )
    for problem in ("ids are not unique", "negative", r"noise should have shape (3,)", "baseline holds NaN", "0 to 1"):
        assert problem in str(error.value)


def test_silent_components_are_marked_and_selected(components: Components) -> None:
    assert components.is_silent.tolist() == [False] * N
    some = replace(components, silent=np.array([True, False, True]))
    assert some.select(np.array([2, 1])).is_silent.tolist() == [True, False]
    assert components.select(np.array([2, 1])).silent is None
    for wrong in (np.ones(2, bool), np.ones(N)):
        with pytest.raises(ValueError, match="silent should"):
            replace(components, silent=wrong)
    with pytest.raises(ValueError, match="neuron_half_width_px should be positive"):
        replace(components, neuron_half_width_px=0.0)


def test_selected_components_keep_their_ids_and_the_background(components: Components) -> None:
    selected = components.select(np.array([2, 0]))
    np.testing.assert_array_equal(selected.ids, [9, 4])
    np.testing.assert_array_equal(selected.footprints.toarray(), components.footprints.toarray()[:, [2, 0]])
    assert selected.background_footprints is components.background_footprints
    assert components.select(components.ids > 3).n_components == 2
    assert components.select(np.zeros(N, bool)).n_frames == T


def test_shifts_of_another_length_are_rejected() -> None:
    shifts = np.zeros((T, 2), np.float32)
    motion = MotionCorrection(
        template=np.zeros((H, W), np.float32), shifts=shifts, patch_shifts=np.zeros((T, 0, 2), np.float32),
        patch_centres=np.zeros((0, 2), np.float32), valid_mask=np.ones((H, W), bool),
        peak_quality=np.zeros(T, np.float32), registered=np.ones(T, bool),
    )  # fmt: skip
    assert (motion.n_frames, motion.piecewise) == (T, False)
    with pytest.raises(ValueError, match=r"patch_shifts should have shape \(9, 0, 2\), has \(10, 0, 2\)"):
        replace(motion, shifts=shifts[1:])


def test_quality_dff_and_spikes_are_checked() -> None:
    measures, traces = np.ones(N, np.float32), np.ones((N, T), np.float32)
    with pytest.raises(ValueError, match="there should be 3 reasons, there are 1"):
        ComponentQuality(
            snr=measures, r_value=measures, accepted=np.ones(N, bool), reasons=("accepted: snr",),
            n_transients=np.ones(N, np.int64),
        )  # fmt: skip
    quality = ComponentQuality(
        snr=measures, r_value=measures, accepted=np.ones(N, bool), reasons=("accepted: snr",) * N,
        n_transients=np.ones(N, np.int64), component_class=("soma", "silent", "other"),
        class_probabilities=np.eye(4, dtype=np.float32)[[0, 0, 3]],
    )  # fmt: skip
    for problem, change in {
        "given together": {"component_class": None},
        "unknown classes: neuron": {"component_class": ("neuron",) * N},
        "there should be 3 classes": {"component_class": ("soma",)},
        "sum to 1": {"class_probabilities": np.full((N, 4), 0.5, np.float32)},
        "should have shape": {"class_probabilities": np.ones((N, 1), np.float32)},
    }.items():
        with pytest.raises(ValueError, match=problem):
            replace(quality, **change)
    with pytest.raises(ValueError, match="f0 should be above 0"):
        DeltaFOverF(dff=traces, f0=0 * traces, guarded=np.zeros(N, bool))
    with pytest.raises(ValueError, match="rates should not be below 0"):
        SpikeInference(
            rates=-traces, event_probability=traces, decay_time_s=measures, transient_amplitude=measures, noise=measures
        )
