"""`kedro run` with CaImAn in every stage, from frames to an inspected NWB file; needs a real CaImAn."""

import os

import pytest
from pynwb import NWBHDF5IO
from tests.integration.conftest import simulated

PYTHON = os.environ.get("RSC2P_CAIMAN_PYTHON")
pytestmark = [
    pytest.mark.caiman,
    pytest.mark.skipif(
        PYTHON is None, reason="needs a real CaImAn: RSC2P_CAIMAN_PYTHON names the interpreter of its environment"
    ),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:(hdmf|pynwb|nwbinspector|kedro).*"),
    pytest.mark.filterwarnings("ignore::UserWarning:(hdmf|pynwb).*"),
]


def test_the_same_results_come_of_a_run_by_caiman(make_project):
    recording = simulated("frames/1", seed=3, n_frames=300, height_px=64, width_px=96, n_neurons=8, photons=60)
    by_caiman = {"engine": "caiman"}
    project = make_project(
        {"mouse_1": {"day_1": recording}},
        caiman={"python": PYTHON},
        motion_correction={**by_caiman, "patch_stride_px": 32, "patch_overlap_px": 16},
        source_extraction={**by_caiman, "initialization": "greedy_roi", "components_per_patch": 2},
        evaluation=by_caiman,
    )
    project.run()
    assert project.load("mouse_1.day_1.inspection_table").empty
    scores = project.load("mouse_1.day_1.truth_score_table").set_index("measure")["value"]
    assert scores["rigid_motion_error"] < 0.3 * scores["uncorrected_rigid_motion"]
    assert scores["trace_correlation"] > 0.9
    path = project.path / "data/07_model_output/dandiset/sub-mouse-1/sub-mouse-1_ses-day-1_ophys.nwb"
    with NWBHDF5IO(path, "r") as io:
        made_by = dict(io.read().was_generated_by[:])
    assert made_by["source_extraction"].startswith("caiman 1.")
