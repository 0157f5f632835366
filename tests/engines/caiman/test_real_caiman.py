"""The whole workflow by a real CaImAn, in an environment of its own, on a small movie whose truth is known."""

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
        PYTHON is None, reason="needs a real CaImAn: RSC2P_CAIMAN_PYTHON names the interpreter of its environment"
    ),
]
ACQUISITION, COMPUTE = p.Acquisition(frame_rate_hz=14.7), p.Compute(threads=2, show_progress=False)
MOVING = p.MotionCorrectionParameters(engine="caiman", patch_stride_px=32, patch_overlap_px=16)
FINDING = p.ExtractionParameters(engine="caiman", initialization="greedy_roi", components_per_patch=2)
JUDGING = p.EvaluationParameters(engine="caiman")


@pytest.fixture(scope="module")
def scratch(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("scratch")


@pytest.fixture(scope="module")
def caiman(scratch):
    return get_engine("caiman", p.CaimanSettings(python=PYTHON, scratch_folder=str(scratch)))


@pytest.fixture(scope="module")
def simulated():
    settings = {"n_frames": 300, "height_px": 64, "width_px": 96, "n_neurons": 8, "photons": 60, "seed": 3}
    made = simulate(SimulationSettings.model_validate(settings), ACQUISITION)
    return da.from_array(made.movie.compute(), chunks=(100, 64, 96)), made.truth


@pytest.fixture(scope="module")
def done(caiman, simulated):
    """All results of the notebook's workflow."""
    movie, _ = simulated
    motion = caiman.correct_motion(movie, MOVING, compute=COMPUTE)
    corrected = da.from_array(caiman.apply_motion(movie, motion, MOVING).compute(), chunks=(100, 64, 96))
    extract = {"compute": COMPUTE, "valid_mask": motion.valid_mask}
    fit = caiman.extract_sources(corrected, ACQUISITION, FINDING, **extract)
    refit = caiman.extract_sources(corrected, ACQUISITION, FINDING, earlier=fit, **extract)
    quality = caiman.evaluate(corrected, refit, ACQUISITION, JUDGING, compute=COMPUTE)
    return {
        "motion": motion, "corrected": corrected, "fit": fit, "refit": refit, "quality": quality,
        "dff": caiman.compute_dff(refit, ACQUISITION, JUDGING),
    }  # fmt: skip


def test_it_is_there():
    assert caiman_problem(p.CaimanSettings(python=PYTHON)) is None


def test_caiman_has_the_keys_that_were_recorded():
    code = (
        "import json; from caiman.source_extraction.cnmf.params import CNMFParams as P; "
        "print(); print(json.dumps({group: list(keys) for group, keys in P().to_dict().items()}))"
    )
    told = subprocess.run([str(PYTHON), "-c", code], capture_output=True, text=True, check=True).stdout
    keys = json.loads(told.splitlines()[-1])
    for group, names in CAIMANS_KEYS.items():
        assert names <= set(keys[group]), group


def test_known_motion_comes_back_with_its_sign(done, simulated):
    scores = {one.measure: one.value for one in score_motion(simulated[1], done["motion"])}
    assert scores["rigid_motion_error"] < 0.3 * scores["uncorrected_rigid_motion"]
    assert scores["local_motion_error"] < 0.4 * scores["uncorrected_local_motion"]


def test_corrected_frames_are_like_the_template(done, simulated):
    movie, valid = simulated[0].compute().astype(float), done["motion"].valid_mask
    template = done["motion"].template[valid]
    before, after = (
        np.mean([np.corrcoef(frame[valid], template)[0, 1] for frame in frames])
        for frames in (movie, done["corrected"].compute().astype(float))
    )
    assert after > before
    assert done["corrected"].dtype == simulated[0].dtype


def test_cells_are_found_where_they_are(done, simulated):
    scores = {one.measure: one.value for one in score_components(simulated[1], done["refit"])}
    assert scores["recall_all"] >= 0.5
    assert scores["iou"] > 0.6
    assert scores["trace_correlation"] > 0.9
    accepted = {
        one.measure: one.value
        for one in score_components(simulated[1], done["refit"], done["quality"].accepted)
    }  # fmt: skip
    assert accepted["precision"] >= 0.5


def test_the_model_is_that_of_the_movie_offset_and_baselines_included(done):
    found, valid = done["refit"], done["motion"].valid_mask
    model = found.footprints @ found.traces + found.background_footprints @ found.background_traces
    movie = done["corrected"].compute().astype(float)
    error = (model.T.reshape(movie.shape) - movie)[:, valid]
    assert abs(error.mean()) < 0.01 * movie[:, valid].mean()
    assert error.std() < movie[:, valid].std()


def test_the_refit_accounts_for_every_component(done):
    fit, refit = done["fit"], done["refit"]
    survivors = {entry.component_id for entry in refit.lineage if entry.event != "removed"}
    assert survivors == set(refit.ids.tolist())
    assert set(fit.ids.tolist()) <= {parent for entry in refit.lineage for parent in entry.parents}


def test_dff_is_that_of_the_embedded_engine_but_for_its_percentiles(done):
    own = get_engine("embedded", p.CaimanSettings()).compute_dff(done["refit"], ACQUISITION, p.EvaluationParameters())
    accepted = done["quality"].accepted & ~done["dff"].guarded
    for theirs, ours in zip(done["dff"].dff[accepted], own.dff[accepted], strict=True):
        assert np.corrcoef(theirs, ours)[0, 1] > 0.95
    np.testing.assert_allclose(np.median(done["dff"].f0[accepted] / own.f0[accepted]), 1, atol=0.1)


PLAIN = """
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
    found = cnm.refit(images).estimates
    found.evaluate_components(images, params)
    cells = found.A.toarray().reshape(*dims, -1, order="F")
    bl = np.array([float(np.ravel(one)[0]) for one in found.bl])
    np.savez("found.npz", cells=cells, C=found.C, bl=bl, S=found.S, accepted=found.idx_components)
"""


def test_caiman_finds_by_our_way_what_it_finds_alone(caiman, simulated, tmp_path):
    one_process, movie = COMPUTE.model_copy(update={"threads": 1}), simulated[0][:200]
    extract = partial(caiman.extract_sources, movie, ACQUISITION, FINDING, compute=one_process)
    ours = extract(earlier=extract())
    quality = caiman.evaluate(movie, ours, ACQUISITION, JUDGING, compute=one_process)
    np.save(tmp_path / "movie.npy", movie.compute().astype(np.float32))
    groups = caiman_groups(ACQUISITION, FINDING, JUDGING, processes=1)
    (tmp_path / "groups.json").write_text(json.dumps(groups))
    surroundings = {**os.environ, **worker.ONE_THREAD, "CAIMAN_TEMP": str(tmp_path)}
    surroundings.pop("PYTHONPATH", None)
    subprocess.run(
        [str(PYTHON), "-c", PLAIN], cwd=tmp_path, env=surroundings, check=True, capture_output=True, timeout=600
    )
    alone = np.load(tmp_path / "found.npz")
    cells = ours.footprints.toarray().T.reshape(-1, 64, 96).transpose(1, 2, 0)
    assert cells.shape == alone["cells"].shape
    likeness = (cells * alone["cells"]).sum(axis=(0, 1)) / np.linalg.norm(alone["cells"], axis=(0, 1))
    # Not bit for bit: our record holds float32 between fit and refit, and CaImAn's thresholds let that grow.
    assert likeness.min() > 0.99
    clean = alone["C"] - alone["bl"][:, None]
    assert min(correlations(ours.traces, clean)) > 0.99
    np.testing.assert_allclose(np.median(correlations(ours.spikes, alone["S"])), 1, atol=0.01)
    accepted = np.isin(np.arange(ours.n_components), alone["accepted"])
    assert (quality.accepted == accepted).mean() > 0.9


@pytest.fixture
def classifier(tmp_path, monkeypatch) -> None:
    """A classifier in the form of CaImAn's own, whose score of a cell grows with the mean of its image."""
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


def test_caimans_classifier_scores_each_component_and_has_a_say(caiman, done, classifier):
    judging = JUDGING.model_copy(
        update={"use_classifier": True, "min_snr": 1e3, "min_r_value": 1.0, "lowest_classifier_score": 0.0}
    )
    assert caiman_problem(p.CaimanSettings(python=PYTHON), use_cnn=True) is None
    judge = partial(caiman.evaluate, done["corrected"], done["refit"], ACQUISITION, compute=COMPUTE)
    scores = judge(judging).classifier_score
    wide = np.asarray(done["refit"].footprints.sum(axis=0)).ravel()  # of unit norm: the wider, the larger its sum
    assert np.corrcoef(np.log(scores / (1 - scores)), wide)[0, 1] > 0.95
    middle = float(np.median(scores))
    quality = judge(judging.model_copy(update={"min_classifier_score": middle}))
    np.testing.assert_array_equal(quality.classifier_score, scores)
    untouched = quality.snr > judging.lowest_snr
    np.testing.assert_array_equal(quality.accepted[untouched], scores[untouched] >= np.float32(middle))


def test_a_classifier_without_weights_is_named_and_how_to_get_them(caiman, done, tmp_path, monkeypatch):
    monkeypatch.setenv("CAIMAN_DATA", str(tmp_path))
    with pytest.raises(CaimanError, match=r"caimanmanager install"):
        caiman.evaluate(
            done["corrected"],
            done["refit"],
            ACQUISITION,
            JUDGING.model_copy(update={"use_classifier": True}),
            compute=COMPUTE,
        )


def test_seeds_are_where_cells_are_looked_for(caiman, done, simulated):
    best = np.argsort(done["quality"].snr)[-2:]
    footprints = done["refit"].footprints[:, best].toarray().T.reshape(2, 64, 96)
    seeded = FINDING.model_copy(update={"initialization": "seeded"})
    found = caiman.extract_sources(
        done["corrected"], ACQUISITION, seeded, compute=COMPUTE, seeds=footprints > 0.2 * footprints.max()
    )
    assert found.n_components == 2
    likeness = (found.footprints.T @ done["refit"].footprints[:, best]).toarray()
    assert likeness.max(axis=0).min() > 0.7


def test_nothing_is_left_behind(done, scratch):
    assert list(scratch.iterdir()) == []


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for processes where Linux lists them")
def test_a_run_that_is_killed_takes_caiman_and_its_files_with_it(scratch, simulated, tmp_path):
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
