"""The whole workflow with CaImAn itself, in an environment of its own, on a small simulated movie."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from functools import partial
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
from tests.engines.caiman.test_mapping import CAIMANS_KEYS

from rsc2p_kedro.core import parameters as p
from rsc2p_kedro.engines import get_engine
from rsc2p_kedro.engines.caiman import CaimanError, caiman_problem, worker
from rsc2p_kedro.engines.caiman.mapping import caiman_groups
from rsc2p_kedro.simulation.movie import simulate
from rsc2p_kedro.simulation.settings import SimulationSettings
from rsc2p_kedro.simulation.truth import correlations, score_components, score_motion

PYTHON = os.environ.get("RSC2P_CAIMAN_PYTHON")
pytestmark = [
    pytest.mark.caiman,
    pytest.mark.skipif(
        PYTHON is None, reason="needs CaImAn: set RSC2P_CAIMAN_PYTHON to the interpreter of its environment"
    ),
]
ACQUISITION, COMPUTE = p.Acquisition(frame_rate_hz=14.7), p.Compute(threads=2, show_progress=False)
MOTION = p.MotionCorrectionParameters(engine="caiman", patch_stride_px=32, patch_overlap_px=16)
EXTRACTION = p.ExtractionParameters(  # the size is given, as the script that calls CaImAn directly cannot measure it
    engine="caiman", initialization="greedy_roi", components_per_patch=2, neuron_half_width_px=4
)
EVALUATION = p.EvaluationParameters(engine="caiman")


@pytest.fixture(scope="module")
def scratch(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("scratch")


@pytest.fixture(scope="module")
def caiman(scratch):
    return get_engine("caiman", p.CaimanSettings(python=PYTHON, scratch_folder=str(scratch)))


@pytest.fixture(scope="module")
def simulated():
    settings = {"n_frames": 300, "height_px": 64, "width_px": 96, "n_neurons": 8, "photons": 60, "seed": 3}
    simulation = simulate(SimulationSettings.model_validate(settings), ACQUISITION)
    return da.from_array(simulation.movie.compute(), chunks=(100, 64, 96)), simulation.truth


@pytest.fixture(scope="module")
def results(caiman, simulated):
    """All results of the original notebook's workflow."""
    movie, _ = simulated
    motion = caiman.correct_motion(movie, MOTION, compute=COMPUTE)
    corrected = da.from_array(caiman.apply_motion(movie, motion, MOTION).compute(), chunks=(100, 64, 96))
    extract = {"compute": COMPUTE, "valid_mask": motion.valid_mask}
    fit = caiman.extract_sources(corrected, ACQUISITION, EXTRACTION, **extract)
    refit = caiman.extract_sources(corrected, ACQUISITION, EXTRACTION, earlier=fit, **extract)
    quality = caiman.evaluate(corrected, refit, ACQUISITION, EVALUATION, compute=COMPUTE)
    return {
        "motion": motion, "corrected": corrected, "fit": fit, "refit": refit, "quality": quality,
        "dff": caiman.compute_dff(refit, ACQUISITION, EVALUATION),
    }  # fmt: skip


def test_caiman_can_be_used():
    assert caiman_problem(p.CaimanSettings(python=PYTHON)) is None


def test_caiman_has_the_recorded_keys():
    code = (
        "import json; from caiman.source_extraction.cnmf.params import CNMFParams as P; "
        "print(); print(json.dumps({group: list(keys) for group, keys in P().to_dict().items()}))"
    )
    output = subprocess.run([str(PYTHON), "-c", code], capture_output=True, text=True, check=True).stdout
    keys = json.loads(output.splitlines()[-1])
    for group, names in CAIMANS_KEYS.items():
        assert names <= set(keys[group]), group


def test_simulated_motion_is_estimated_with_its_sign(results, simulated):
    scores = {score.measure: score.value for score in score_motion(simulated[1], results["motion"])}
    assert scores["rigid_motion_error"] < 0.3 * scores["uncorrected_rigid_motion"]
    assert scores["local_motion_error"] < 0.4 * scores["uncorrected_local_motion"]


def test_corrected_frames_are_like_the_template(results, simulated):
    movie, valid = simulated[0].compute().astype(float), results["motion"].valid_mask
    template = results["motion"].template[valid]
    before, after = (
        np.mean([np.corrcoef(frame[valid], template)[0, 1] for frame in frames])
        for frames in (movie, results["corrected"].compute().astype(float))
    )
    assert after > before
    assert results["corrected"].dtype == simulated[0].dtype


def test_simulated_neurons_are_extracted(results, simulated):
    scores = {score.measure: score.value for score in score_components(simulated[1], results["refit"])}
    assert scores["recall_all"] >= 0.5
    assert scores["iou"] > 0.6
    assert scores["trace_correlation"] > 0.9
    accepted = {
        score.measure: score.value
        for score in score_components(simulated[1], results["refit"], results["quality"].accepted)
    }  # fmt: skip
    assert accepted["precision"] >= 0.5


def test_components_and_background_sum_to_the_movie_with_offset_and_baselines(results):
    refit, valid = results["refit"], results["motion"].valid_mask
    model = refit.footprints @ refit.traces + refit.background_footprints @ refit.background_traces
    movie = results["corrected"].compute().astype(float)
    error = (model.T.reshape(movie.shape) - movie)[:, valid]
    assert abs(error.mean()) < 0.01 * movie[:, valid].mean()
    assert error.std() < movie[:, valid].std()


def test_the_lineage_of_a_refit_names_every_component(results):
    fit, refit = results["fit"], results["refit"]
    survivors = {entry.component_id for entry in refit.lineage if entry.event != "removed"}
    assert survivors == set(refit.ids.tolist())
    assert set(fit.ids.tolist()) <= {parent for entry in refit.lineage for parent in entry.parents}


def test_dff_agrees_with_the_embedded_engine(results):
    own = get_engine("embedded", p.CaimanSettings()).compute_dff(
        results["refit"], ACQUISITION, p.EvaluationParameters()
    )
    accepted = results["quality"].accepted & ~results["dff"].guarded
    for theirs, ours in zip(results["dff"].dff[accepted], own.dff[accepted], strict=True):
        assert np.corrcoef(theirs, ours)[0, 1] > 0.95
    np.testing.assert_allclose(np.median(results["dff"].f0[accepted] / own.f0[accepted]), 1, atol=0.1)


CAIMAN_SCRIPT = """
import json, sys
import caiman, numpy as np, tifffile
from caiman.source_extraction.cnmf.cnmf import CNMF
from caiman.source_extraction.cnmf.params import CNMFParams

if __name__ == "__main__":
    frames, groups = np.load("movie.npy"), json.load(open("groups.json"))
    tifffile.imwrite("movie.tif", frames - frames.min())
    path = caiman.save_memmap(["movie.tif"], base_name="map", order="C")
    pixels, dims, T = caiman.load_memmap(path)
    images = np.reshape(pixels.T, [T, *dims], order="F")
    params = CNMFParams(params_dict=groups)
    np.random.seed(0)
    cnm = CNMF(1, params=params, dview=None)
    cnm.fit(images)
    np.random.seed(0)
    estimates = cnm.refit(images).estimates
    estimates.evaluate_components(images, params)
    footprints = estimates.A.toarray().reshape(*dims, -1, order="F")
    bl = np.array([float(np.ravel(value)[0]) for value in estimates.bl])
    accepted = estimates.idx_components
    np.savez("estimates.npz", footprints=footprints, C=estimates.C, bl=bl, S=estimates.S, accepted=accepted)
"""


def test_results_agree_with_a_script_that_calls_caiman_directly(caiman, simulated, tmp_path):
    one_process, movie = COMPUTE.model_copy(update={"threads": 1}), simulated[0][:200]
    extract = partial(caiman.extract_sources, movie, ACQUISITION, EXTRACTION, compute=one_process)
    ours = extract(earlier=extract())
    quality = caiman.evaluate(movie, ours, ACQUISITION, EVALUATION, compute=one_process)
    np.save(tmp_path / "movie.npy", movie.compute().astype(np.float32))
    groups = caiman_groups(ACQUISITION, EXTRACTION, EVALUATION, processes=1)
    (tmp_path / "groups.json").write_text(json.dumps(groups))
    environment = {**os.environ, **worker.ONE_THREAD, "CAIMAN_TEMP": str(tmp_path)}
    environment.pop("PYTHONPATH", None)
    subprocess.run(
        [str(PYTHON), "-c", CAIMAN_SCRIPT], cwd=tmp_path, env=environment, check=True, capture_output=True, timeout=600
    )
    direct = np.load(tmp_path / "estimates.npz")
    footprints = ours.footprints.toarray().T.reshape(-1, 64, 96).transpose(1, 2, 0)
    assert footprints.shape == direct["footprints"].shape
    similarity = (footprints * direct["footprints"]).sum(axis=(0, 1)) / np.linalg.norm(
        direct["footprints"], axis=(0, 1)
    )
    # Not bit for bit: results of the fit are stored as float32, and CaImAn's thresholds amplify the difference.
    assert similarity.min() > 0.99
    clean = direct["C"] - direct["bl"][:, None]
    assert min(correlations(ours.traces, clean)) > 0.99
    np.testing.assert_allclose(np.median(correlations(ours.spikes, direct["S"])), 1, atol=0.01)
    accepted = np.isin(np.arange(ours.n_components), direct["accepted"])
    assert (quality.accepted == accepted).mean() > 0.9


@pytest.fixture
def classifier(tmp_path, monkeypatch) -> None:
    """A classifier in the format of CaImAn's, whose score grows with the mean of a component's image."""
    (tmp_path / "model").mkdir()
    program = textwrap.dedent(f"""
        import numpy as np
        from tensorflow.keras import Sequential, layers
        model = Sequential([layers.Input((50, 50, 1)), layers.GlobalAveragePooling2D(), layers.Dense(2, "softmax")])
        model.layers[-1].set_weights([np.array([[0.0, 100.0]]), np.array([0.0, -1.0])])
        open({str(tmp_path / "model" / "cnn_model.json")!r}, "w").write(model.to_json())
        model.save_weights({str(tmp_path / "model" / "cnn_model.h5")!r})
    """)
    subprocess.run([str(PYTHON), "-c", program], check=True, capture_output=True)
    monkeypatch.setenv("CAIMAN_DATA", str(tmp_path))


def test_caimans_classifier_scores_components_and_changes_acceptance(caiman, results, classifier):
    parameters = EVALUATION.model_copy(
        update={"use_classifier": True, "min_snr": 1e3, "min_r_value": 1.0, "lowest_classifier_score": 0.0}
    )
    assert caiman_problem(p.CaimanSettings(python=PYTHON), use_cnn=True) is None
    evaluate = partial(caiman.evaluate, results["corrected"], results["refit"], ACQUISITION, compute=COMPUTE)
    scores = evaluate(parameters).classifier_score
    width = np.asarray(results["refit"].footprints.sum(axis=0)).ravel()  # of unit norm: its sum grows with its width
    assert np.corrcoef(np.log(scores / (1 - scores)), width)[0, 1] > 0.95
    median = float(np.median(scores))
    quality = evaluate(parameters.model_copy(update={"min_classifier_score": median}))
    np.testing.assert_array_equal(quality.classifier_score, scores)
    above_lowest = quality.snr > parameters.lowest_snr
    np.testing.assert_array_equal(quality.accepted[above_lowest], scores[above_lowest] >= np.float32(median))


def test_missing_weights_of_the_classifier_are_reported_with_their_installation(caiman, results, tmp_path, monkeypatch):
    monkeypatch.setenv("CAIMAN_DATA", str(tmp_path))
    with pytest.raises(CaimanError, match=r"caimanmanager install"):
        caiman.evaluate(
            results["corrected"],
            results["refit"],
            ACQUISITION,
            EVALUATION.model_copy(update={"use_classifier": True}),
            compute=COMPUTE,
        )


def test_components_are_extracted_at_the_seeds(caiman, results, simulated):
    best = np.argsort(results["quality"].snr)[-2:]
    footprints = results["refit"].footprints[:, best].toarray().T.reshape(2, 64, 96)
    seeded = EXTRACTION.model_copy(update={"initialization": "seeded"})
    seeded_components = caiman.extract_sources(
        results["corrected"], ACQUISITION, seeded, compute=COMPUTE, seeds=footprints > 0.2 * footprints.max()
    )
    assert seeded_components.n_components == 2
    similarity = (seeded_components.footprints.T @ results["refit"].footprints[:, best]).toarray()
    assert similarity.max(axis=0).min() > 0.7


def test_no_files_remain(results, scratch):
    assert list(scratch.iterdir()) == []


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the list of processes from /proc")
def test_killing_a_run_ends_caiman_and_removes_its_files(scratch, simulated, tmp_path):
    np.save(tmp_path / "movie.npy", simulated[0].compute())
    program = textwrap.dedent(f"""
        import numpy as np, dask.array as da
        from rsc2p_kedro.engines import get_engine
        from rsc2p_kedro.core.parameters import *
        movie = da.from_array(np.load({str(tmp_path / "movie.npy")!r}))
        caiman = get_engine("caiman", CaimanSettings(python={PYTHON!r}, scratch_folder={str(scratch)!r}))
        caiman.extract_sources(movie, Acquisition(frame_rate_hz=10), ExtractionParameters(), compute=Compute(threads=2))
    """)
    process = subprocess.Popen([sys.executable, "-c", program])
    assert _until(lambda: len(list(scratch.glob("*/log.txt"))) == 1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert _until(lambda: not list(scratch.iterdir()) and not _workers(scratch))


def _workers(scratch: Path) -> list[str]:
    lines = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    return [line.decode(errors="replace") for line in lines if str(scratch).encode() in line]


def _until(condition, seconds: float = 90) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end and not condition():
        time.sleep(0.2)
    return condition()
