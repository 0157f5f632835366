"""The engine `caiman`, with recorded responses of CaImAn."""

import dataclasses
import json
import logging

import dask.array as da
import numpy as np
import pytest
from tests.engines.caiman import recorded

from rsc2p_kedro.core import parameters as p
from rsc2p_kedro.engines import get_engine
from rsc2p_kedro.engines.caiman import CaimanError, conversions, engine

H, W, T = recorded.H, recorded.W, recorded.T
ACQUISITION, COMPUTE = p.Acquisition(frame_rate_hz=10), p.Compute(threads=2, show_progress=False)


@pytest.fixture
def caiman(monkeypatch) -> recorded.RecordedCaiman:
    recorded_caiman = recorded.RecordedCaiman()
    monkeypatch.setattr(engine, "run_task", recorded_caiman)
    return recorded_caiman


@pytest.fixture
def movie() -> da.Array:
    return da.from_array(np.full((T, H, W), 40, np.uint16), chunks=(16, H, W))


def caiman_engine():
    return get_engine("caiman", p.CaimanSettings())


def components():
    return conversions.components_from_caiman(
        recorded.estimates(),
        (H, W),
        offset=recorded.OFFSET,
        neuron_half_width_px=7,
        provenance={"engine": "caiman"},
    )


def test_motion_has_provenance_and_parameters_that_were_not_honoured(caiman, movie, caplog):
    caiman.outputs["estimate_motion"] = recorded.shifts()
    parameters = p.MotionCorrectionParameters(engine="caiman", max_shift_px=3)
    with caplog.at_level(logging.WARNING):
        motion = caiman_engine().correct_motion(movie, parameters, compute=COMPUTE)
    request = caiman.requests[0][1]
    assert request["groups"]["motion"]["min_mov"] == 40
    assert request["groups"]["motion"]["max_shifts"] == [3, 3]
    assert (motion.patch_stride_px, motion.patch_overlap_px) == (
        parameters.patch_stride_px,
        parameters.patch_overlap_px,
    )
    assert motion.provenance["engine"] == "caiman"
    assert motion.provenance["version"] == "1.12.1"
    assert "smoothing (adaptive)" in json.loads(motion.provenance["not_honoured"])
    assert "smoothing (adaptive)" in caplog.text
    assert p.MotionCorrectionParameters.model_validate_json(motion.provenance["parameters"]) == parameters


def test_rigid_motion_has_no_stride_and_overlap(caiman, movie):
    caiman.outputs["estimate_motion"] = recorded.shifts(piecewise=False)
    parameters = p.MotionCorrectionParameters(engine="caiman", piecewise=False)
    motion = caiman_engine().correct_motion(movie, parameters, compute=COMPUTE)
    assert (motion.patch_stride_px, motion.patch_overlap_px) == (None, None)


def test_size_of_neurons_does_not_change_motion_correction(caiman, movie):
    caiman.outputs["estimate_motion"] = recorded.shifts()
    parameters = p.MotionCorrectionParameters(engine="caiman")
    motions = [
        caiman_engine().correct_motion(movie, parameters, compute=COMPUTE, neuron_half_width_px=half_width)
        for half_width in (4, 8)
    ]
    (_, first), (_, second) = caiman.requests
    assert first["groups"] == second["groups"]
    np.testing.assert_array_equal(motions[0].patch_shifts, motions[1].patch_shifts)


def test_patches_are_those_that_the_motion_was_estimated_with(caiman, movie):
    caiman.outputs["estimate_motion"] = recorded.shifts()
    estimated_with = p.MotionCorrectionParameters(engine="caiman", patch_stride_px=40, patch_overlap_px=12)
    motion = caiman_engine().correct_motion(movie, estimated_with, compute=COMPUTE)
    later = p.MotionCorrectionParameters(engine="caiman", patch_stride_px=64, patch_overlap_px=20, piecewise=False)
    caiman_engine().apply_motion(movie, motion, later).compute()
    group = caiman.requests[-1][1]["groups"]["motion"]
    assert (group["pw_rigid"], group["strides"], group["overlaps"]) == (True, [40, 40], [12, 12])


def test_the_corrected_movie_is_lazy_and_caiman_is_started_once_per_segment(caiman, monkeypatch):
    n = 200
    shifts = np.column_stack([np.arange(n), np.zeros(n)]).astype(np.float32)
    arrays = {"template": np.zeros((H, W)), "shifts_rig": shifts, "peak_quality": np.ones(n)}
    parameters = p.MotionCorrectionParameters(engine="caiman", piecewise=False)
    motion = conversions.motion_from_caiman(arrays, {"engine": "caiman", "parameters": parameters.model_dump_json()})
    monkeypatch.setattr(engine, "_SEGMENT_BYTES", 128 * 4 * H * W)
    long_movie = da.zeros((n, H, W), dtype=np.uint16, chunks=(50, 3, W))
    corrected = caiman_engine().apply_motion(long_movie, motion, parameters)
    assert not caiman.requests
    assert (corrected.dtype, corrected.shape, corrected.chunks[0]) == (np.uint16, (n, H, W), (64, 64, 64, 8))
    np.testing.assert_array_equal(corrected.compute()[:, 2, 3], np.arange(n))
    assert [name for name, _ in caiman.requests] == ["apply_motion"] * 2
    exact = parameters.model_copy(update={"corrected_dtype": "float32"})
    assert float(caiman_engine().apply_motion(long_movie, motion, exact)[130].compute()[0, 0]) == pytest.approx(130.4)


def test_caiman_does_not_continue_from_results_of_another_engine(movie):
    motion = conversions.motion_from_caiman(recorded.shifts(), {"engine": "embedded"})
    with pytest.raises(CaimanError, match="estimated by engine embedded"):
        caiman_engine().apply_motion(movie, motion, p.MotionCorrectionParameters(engine="caiman"))
    other = dataclasses.replace(components(), provenance={"engine": "embedded"})
    with pytest.raises(CaimanError, match="fitted by engine embedded"):
        caiman_engine().extract_sources(movie, ACQUISITION, p.ExtractionParameters(), compute=COMPUTE, earlier=other)


def test_a_refit_starts_from_the_fit_and_keeps_its_ids(caiman, movie, caplog):
    caiman.outputs = {"fit": recorded.estimates(), "refit": recorded.estimates()}
    parameters = p.ExtractionParameters(engine="caiman", neuron_half_width_px=6)
    fit = caiman_engine().extract_sources(movie, ACQUISITION, parameters, compute=COMPUTE)
    assert fit.lineage == ()
    assert (fit.neuron_half_width_px, fit.n_fitted_background) == (parameters.neuron_half_width_px, 2)
    fit = dataclasses.replace(fit, ids=np.array([5, 3]))
    refit = caiman_engine().extract_sources(movie, ACQUISITION, parameters, compute=COMPUTE, earlier=fit)
    assert refit.ids.tolist() == [5, 3]
    assert (refit.neuron_half_width_px, refit.n_fitted_background) == (parameters.neuron_half_width_px, 2)
    assert {entry.event for entry in refit.lineage} == {"kept"}
    assert caplog.text.count("CaImAn cannot honour these parameters") == 1  # logged for the fit only
    assert "not_honoured" in refit.provenance
    name, request = caiman.requests[1]
    assert name == "refit"
    np.testing.assert_allclose(request["arrays"]["C"], recorded.estimates()["C"], rtol=1e-5)
    assert request["arrays"]["b"].shape == (H * W, 2)


def test_seeded_initialization_needs_seeds_and_passes_masks(caiman, movie):
    caiman.outputs["fit"] = recorded.estimates()
    seeded = p.ExtractionParameters(engine="caiman", initialization="seeded", neuron_half_width_px=4)
    with pytest.raises(CaimanError, match="needs seeds"):
        caiman_engine().extract_sources(movie, ACQUISITION, seeded, compute=COMPUTE)
    caiman_engine().extract_sources(movie, ACQUISITION, seeded, compute=COMPUTE, seeds=np.array([[2.0, 3.0]]))
    assert caiman.requests[0][1]["arrays"]["seeds"].shape == (H * W, 1)


@pytest.mark.parametrize("use_cnn", [False, True])
def test_acceptance_is_caimans_and_the_classifier_gets_the_size_of_neurons(caiman, movie, use_cnn):
    caiman.outputs["evaluate"] = recorded.measures()
    parameters = p.EvaluationParameters(engine="caiman", use_classifier=use_cnn, min_classifier_score=0.8)
    quality = caiman_engine().evaluate(movie, components(), ACQUISITION, parameters, compute=COMPUTE)
    groups = caiman.requests[0][1]["groups"]
    assert (groups["quality"]["use_cnn"], groups["init"]["gSig"]) == (use_cnn, [7, 7])
    assert quality.accepted.tolist() == [True, False]
    assert quality.reasons[0].startswith("accepted: ")
    assert quality.reasons[1] == "rejected: on a threshold, by CaImAn's rule"
    if use_cnn:
        np.testing.assert_allclose(quality.classifier_score, [0.9, 0.2])
    else:
        assert quality.classifier_score is None


def test_dff_has_its_f0_and_flags_components_without_one(caiman):
    caiman.outputs["delta_f_over_f"] = recorded.relative_fluorescence()
    parameters = p.EvaluationParameters(engine="caiman", dff_percentile=20, dff_window_s=3, dff_dark_level=25)
    result = caiman_engine().compute_dff(components(), ACQUISITION, parameters)
    request = caiman.requests[0][1]
    assert (request["percentile"], request["window_frames"]) == (20, 30)
    assert result.guarded.tolist() == [False, True]
    assert result.dark_level == 25.0
    assert np.unique(request["arrays"]["f"][-1]).tolist() == [-25.0]
    assert np.unique(request["arrays"]["b"][:, -1]).tolist() == [1.0]
    assert np.unique(result.f0[0]).tolist() == [10]
    assert not result.dff[1].any()


def test_caiman_is_not_started_without_components(caiman, movie):
    empty = components().select(np.zeros(2, bool))
    parameters = p.EvaluationParameters(engine="caiman")
    assert caiman_engine().evaluate(movie, empty, ACQUISITION, parameters, compute=COMPUTE).reasons == ()
    assert caiman_engine().compute_dff(empty, ACQUISITION, parameters).dff.shape == (0, T)
    extraction = p.ExtractionParameters(engine="caiman")
    assert caiman_engine().extract_sources(movie, ACQUISITION, extraction, compute=COMPUTE, earlier=empty) is empty
    assert not caiman.requests
