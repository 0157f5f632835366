"""Comparison of two runs: equal results agree, template offsets are removed, and differences are measured."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp

from rsc2p_kedro.core.results import ComponentQuality, Components, DeltaFOverF, MotionCorrection
from rsc2p_kedro.core.schemas import EngineAgreementTable
from rsc2p_kedro.engines import comparison
from rsc2p_kedro.engines.cost import StepCost

STEPS = ("estimate_motion", "fit_components")
H, W, T = 40, 60, 80
CENTRES = ((8, 10), (20, 30), (30, 50), (12, 44))


def make_run(engine: str = "embedded", *, dy: int = 0, dx: int = 0, piecewise: bool = True) -> comparison.EngineRun:
    """Run with four components; `dy` and `dx` move the template, and with it shifts and footprints."""
    rng = np.random.default_rng(0)
    n = len(CENTRES)
    images = np.zeros((n, H, W), np.float32)
    for image, (y, x) in zip(images, CENTRES, strict=True):
        image[y + dy : y + dy + 6, x + dx : x + dx + 5] = 30**-0.5
    traces, per = rng.random((n, T)).astype(np.float32), np.ones(n, np.float32)
    shifts = (rng.normal(size=(T, 2)) + np.array([dy, dx])).astype(np.float32)
    centres = np.array([[y, x] for y in (10, 30) for x in (10, 30, 50)], np.float32)
    patches = shifts[:, None] + centres[None] * np.float32(0.01) * np.sin(np.arange(T, dtype=np.float32))[:, None, None]
    components = Components(
        shape=(H, W), ids=np.arange(n), footprints=sp.csc_array(images.reshape(n, -1).T), traces=traces, spikes=traces,
        residual_traces=0 * traces, background_footprints=sp.csc_array((H * W, 1), dtype=np.float32),
        background_traces=np.ones((1, T), np.float32), baseline=per, noise=per,
        ar_coefficients=np.ones((n, 1), np.float32), lam=per, pixel_noise=np.ones((H, W), np.float32),
    )  # fmt: skip
    return comparison.EngineRun(
        engine=engine,
        motion=MotionCorrection(
            template=np.zeros((H, W), np.float32),
            shifts=shifts,
            patch_shifts=patches.astype(np.float32) if piecewise else np.zeros((T, 0, 2), np.float32),
            patch_centres=centres if piecewise else np.zeros((0, 2), np.float32),
            valid_mask=np.ones((H, W), bool),
            peak_quality=np.ones(T, np.float32),
            registered=np.ones(T, bool),
            provenance={"version": "1"},
        ),
        components=components,
        quality=ComponentQuality(per, per, np.ones(n, bool), ("accepted: snr",) * n, np.ones(n, np.int64)),
        dff=DeltaFOverF(traces, np.ones_like(traces), np.zeros(n, bool)),
        costs=[StepCost(step, 1.5, 2.0, 0.25 * (i + 1)) for i, step in enumerate(STEPS)],
    )


@pytest.mark.parametrize("piecewise", [True, False])
def test_a_run_agrees_with_itself_at_another_template_position(piecewise):
    first, second = make_run(piecewise=piecewise), make_run("caiman", dy=-2, dx=3, piecewise=piecewise)
    agreement = comparison.compare_runs(first, second)
    np.testing.assert_allclose(agreement.offset_px, [2, -3], atol=1e-5)
    assert agreement.matched.tolist() == [[i, i] for i in range(4)]
    np.testing.assert_allclose(agreement.iou, 1)
    for values in (agreement.trace_correlation, agreement.spike_correlation, agreement.dff_correlation):
        np.testing.assert_allclose(values, 1, rtol=1e-6)
    assert agreement.rigid_shift_difference_px < 1e-5
    assert agreement.local_shift_difference_px < 1e-5


def test_components_that_only_one_engine_accepts_are_not_matched():
    first, second = make_run(), make_run("caiman")
    second = replace(second, quality=replace(second.quality, accepted=np.array([True, False, True, False])))
    agreement = comparison.compare_runs(first, second)
    assert agreement.matched.tolist() == [[0, 0], [2, 2]]
    table = comparison.agreement_table(first, second, agreement)
    EngineAgreementTable.validate(table)
    rows = table.set_index("measure")
    assert rows.loc["accepted", ["embedded", "caiman", "both"]].tolist() == [4, 2, 2]
    assert rows.loc["accepted_by_other", ["embedded", "caiman"]].tolist() == [0.5, 1]
    assert rows.loc["extracted_by_other", ["embedded", "caiman"]].tolist() == [1, 1]
    assert rows.loc["total_time", "caiman"] == pytest.approx(1.5 * len(STEPS))
    assert rows.loc["cpu_time", "embedded"] == pytest.approx(2.0 * len(STEPS))
    assert rows.loc["peak_memory", "caiman"] == pytest.approx(0.5)


def test_the_difference_of_shifts_is_measured():
    first, second = make_run(piecewise=False), make_run("caiman", piecewise=False)
    moved = second.motion.shifts.copy()
    moved[::2, 0] += 0.4
    agreement = comparison.compare_runs(first, replace(second, motion=replace(second.motion, shifts=moved)))
    assert agreement.rigid_shift_difference_px == pytest.approx(0.2 / np.sqrt(2), rel=1e-5)


def test_local_shifts_are_linear_between_patch_centres():
    motion = make_run().motion
    values = comparison.local_shifts(motion) - motion.shifts[:, None]
    at_10 = 0.01 * 14.5 * np.sin(np.arange(T))  # the second row of points lies at y = 14.5
    np.testing.assert_allclose(values.reshape(T, 4, 4, 2)[:, 1, 0, 0], at_10, atol=1e-6)


def test_runs_without_accepted_components_can_be_compared():
    first, second = make_run(), make_run("caiman")
    none_accepted = replace(second, quality=replace(second.quality, accepted=np.zeros(4, bool)))
    agreement = comparison.compare_runs(first, none_accepted)
    EngineAgreementTable.validate(comparison.agreement_table(first, none_accepted, agreement))
    assert np.isnan(agreement.iou).sum() == len(agreement.matched) == 0
