"""The engine around CaImAn, with what CaImAn gives recorded."""

import dataclasses
import json
import logging

import dask.array as da
import numpy as np
import pytest
from tests.engines.caiman import recorded

from rsc2p_kedro.core import parameters as p
from rsc2p_kedro.engines import get_engine
from rsc2p_kedro.engines.caiman import CaimanError, conversions, engine, worker
from rsc2p_kedro.engines.caiman.exchange import Answer

H, W, T = recorded.H, recorded.W, recorded.T
ACQUISITION, COMPUTE = p.Acquisition(frame_rate_hz=10), p.Compute(threads=2, show_progress=False)


class Recorded:
    """Stands in for CaImAn: notes what it is asked, and answers with what was recorded."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict]] = []
        self.answers: dict[str, dict[str, np.ndarray]] = {}

    def __call__(self, task, settings, *, write_movie=None, **request):
        self.asked.append((task.__name__, request))
        if task is worker.apply_motion:  # gives each frame its own number back, by its shift
            corrected = np.repeat(request["arrays"]["shifts_rig"][:, :1], H * W, axis=1).reshape(-1, H, W)
            return Answer({"corrected": corrected + 0.4}, "1.12.1")
        return Answer(self.answers[task.__name__], "1.12.1")


@pytest.fixture
def caiman(monkeypatch) -> Recorded:
    stand_in = Recorded()
    monkeypatch.setattr(engine, "ask", stand_in)
    return stand_in


@pytest.fixture
def movie() -> da.Array:
    return da.from_array(np.full((T, H, W), 40, np.uint16), chunks=(16, H, W))


def does():
    return get_engine("caiman", p.CaimanSettings())


def components():
    return conversions.components_from_caiman(
        recorded.estimates(),
        (H, W),
        offset=recorded.OFFSET,
        neuron_half_width_px=7,
        provenance={"engine": "caiman"},
    )


def test_motion_is_told_how_it_came_about(caiman, movie, caplog):
    caiman.answers["estimate_motion"] = recorded.shifts()
    parameters = p.MotionCorrectionParameters(engine="caiman", max_shift_px=3)
    with caplog.at_level(logging.WARNING):
        motion = does().correct_motion(movie, parameters, compute=COMPUTE)
    request = caiman.asked[0][1]
    assert request["groups"]["motion"]["min_mov"] == 40
    assert request["groups"]["motion"]["max_shifts"] == [3, 3]
    assert motion.provenance["engine"] == "caiman"
    assert motion.provenance["version"] == "1.12.1"
    assert "smoothing (adaptive)" in json.loads(motion.provenance["not_honoured"])
    assert "smoothing (adaptive)" in caplog.text
    assert p.MotionCorrectionParameters.model_validate_json(motion.provenance["parameters"]) == parameters


def test_the_corrected_movie_is_lazy_and_starts_caiman_once_a_slab(caiman, monkeypatch):
    n = 200
    shifts = np.column_stack([np.arange(n), np.zeros(n)]).astype(np.float32)
    found = {"template": np.zeros((H, W)), "shifts_rig": shifts, "peak_quality": np.ones(n)}
    parameters = p.MotionCorrectionParameters(engine="caiman", piecewise=False)
    motion = conversions.motion_from_caiman(found, {"engine": "caiman", "parameters": parameters.model_dump_json()})
    monkeypatch.setattr(engine, "_SLAB_BYTES", 128 * 4 * H * W)
    long_movie = da.zeros((n, H, W), dtype=np.uint16, chunks=(50, 3, W))
    corrected = does().apply_motion(long_movie, motion, parameters)
    assert not caiman.asked
    assert (corrected.dtype, corrected.shape, corrected.chunks[0]) == (np.uint16, (n, H, W), (64, 64, 64, 8))
    np.testing.assert_array_equal(corrected.compute()[:, 2, 3], np.arange(n))
    assert [name for name, _ in caiman.asked] == ["apply_motion"] * 2
    exact = parameters.model_copy(update={"corrected_dtype": "float32"})
    assert float(does().apply_motion(long_movie, motion, exact)[130].compute()[0, 0]) == pytest.approx(130.4)


def test_caiman_applies_and_refits_only_what_it_has_made(movie):
    motion = conversions.motion_from_caiman(recorded.shifts(), {"engine": "embedded"})
    with pytest.raises(CaimanError, match="by engine embedded"):
        does().apply_motion(movie, motion, p.MotionCorrectionParameters(engine="caiman"))
    other = dataclasses.replace(components(), provenance={"engine": "embedded"})
    with pytest.raises(CaimanError, match="by embedded"):
        does().extract_sources(movie, ACQUISITION, p.ExtractionParameters(), compute=COMPUTE, earlier=other)


def test_a_refit_keeps_ids_and_gets_what_the_fit_gave(caiman, movie, caplog):
    caiman.answers = {"fit": recorded.estimates(), "refit": recorded.estimates()}
    parameters = p.ExtractionParameters(engine="caiman")
    fit = does().extract_sources(movie, ACQUISITION, parameters, compute=COMPUTE)
    assert fit.lineage == ()
    fit = dataclasses.replace(fit, ids=np.array([5, 3]))
    refit = does().extract_sources(movie, ACQUISITION, parameters, compute=COMPUTE, earlier=fit)
    assert refit.ids.tolist() == [5, 3]
    assert {entry.event for entry in refit.lineage} == {"kept"}
    assert caplog.text.count("CaImAn has no part for these parameters") == 1  # said of the fit, true of both
    assert "not_honoured" in refit.provenance
    name, request = caiman.asked[1]
    assert name == "refit"
    np.testing.assert_allclose(request["arrays"]["C"], recorded.estimates()["C"], rtol=1e-5)
    assert request["arrays"]["b"].shape == (H * W, 2)


def test_seeds_are_needed_and_handed_over(caiman, movie):
    caiman.answers["fit"] = recorded.estimates()
    seeded = p.ExtractionParameters(engine="caiman", initialization="seeded")
    with pytest.raises(CaimanError, match="needs seeds"):
        does().extract_sources(movie, ACQUISITION, seeded, compute=COMPUTE)
    does().extract_sources(movie, ACQUISITION, seeded, compute=COMPUTE, seeds=np.array([[2.0, 3.0]]))
    assert caiman.asked[0][1]["arrays"]["seeds"].shape == (H * W, 1)


@pytest.mark.parametrize("use_cnn", [False, True])
def test_acceptance_is_caimans_and_the_classifier_sees_the_size_of_neurons(caiman, movie, use_cnn):
    caiman.answers["evaluate"] = {
        "snr": np.array([3.0, np.inf]),
        "r_value": np.array([0.3, -1.0]),
        "accepted": np.array([True, False]),
        "n_transients": np.array([4, 0]),
        "cnn": np.array([0.9, 0.2]),
    }
    parameters = p.EvaluationParameters(engine="caiman", use_classifier=use_cnn, min_classifier_score=0.8)
    quality = does().evaluate(movie, components(), ACQUISITION, parameters, compute=COMPUTE)
    groups = caiman.asked[0][1]["groups"]
    assert (groups["quality"]["use_cnn"], groups["init"]["gSig"]) == (use_cnn, [7, 7])
    assert quality.accepted.tolist() == [True, False]
    assert quality.reasons[0].startswith("accepted: ")
    assert quality.reasons[1] == "rejected: on a threshold, by CaImAn's rule"
    if use_cnn:
        np.testing.assert_allclose(quality.classifier_score, [0.9, 0.2])
    else:
        assert quality.classifier_score is None


def test_dff_comes_with_its_f0_and_says_where_it_means_nothing(caiman):
    ones = np.ones((2, T))
    caiman.answers["delta_f_over_f"] = {
        "dff": ones * [[0.5], [np.nan]],
        "rest": ones * [[3.0], [1.0]],
        "background_rest": ones * [[7.0], [-2.0]],
    }
    parameters = p.EvaluationParameters(engine="caiman", dff_percentile=20, dff_window_s=3, dff_dark_level=25)
    done = does().compute_dff(components(), ACQUISITION, parameters)
    request = caiman.asked[0][1]
    assert (request["percentile"], request["window_frames"]) == (20, 30)
    assert done.guarded.tolist() == [False, True]
    assert done.dark_level == 25.0
    assert np.unique(request["arrays"]["f"][-1]).tolist() == [-25.0]
    assert np.unique(request["arrays"]["b"][:, -1]).tolist() == [1.0]
    assert np.unique(done.f0[0]).tolist() == [10]
    assert not done.dff[1].any()


def test_without_components_caiman_is_not_asked(caiman, movie):
    none = components().select(np.zeros(2, bool))
    parameters = p.EvaluationParameters(engine="caiman")
    assert does().evaluate(movie, none, ACQUISITION, parameters, compute=COMPUTE).reasons == ()
    assert does().compute_dff(none, ACQUISITION, parameters).dff.shape == (0, T)
    extraction = p.ExtractionParameters(engine="caiman")
    assert does().extract_sources(movie, ACQUISITION, extraction, compute=COMPUTE, earlier=none) is none
    assert not caiman.asked
