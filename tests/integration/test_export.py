"""Files of several recordings at once: real ones where they are at hand, and one that fails among them."""

import pytest
from pynwb import NWBHDF5IO
from tests.integration.conftest import PLANE, ROOT, SESSION, SUBJECT, Project, simulated

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:(hdmf|pynwb|nwbinspector|kedro).*"),
    pytest.mark.filterwarnings("ignore::UserWarning:(hdmf|pynwb).*"),
]
TRIALS = ROOT.parent / "shared" / "data" / "fissa_trials"
STAGES = ["simulation", "ingestion", "motion_correction", "source_extraction", "evaluation", "export"]


def nwb_files(project: Project) -> list[str]:
    files = (path for path in (project.path / "data/07_model_output/dandiset").rglob("*") if path.is_file())
    return sorted(path.name for path in files if not path.name.startswith("."))


@pytest.mark.slow
def test_one_recording_that_fails_costs_the_others_nothing(make_project):
    (bad := simulated("frames/broken")).pop("simulation")
    small = simulated("frames/good", seed=3, n_frames=100, height_px=64, width_px=80, n_neurons=4)
    project = make_project({"mouse": {"bad": bad, "good": small}})
    (project.path / "frames/broken").mkdir(parents=True)
    (project.path / "frames/broken" / "frame_1.tif").write_bytes(b"II*\0 this is no TIFF")
    with pytest.raises(RuntimeError, match=r"1 recording\(s\) failed:\n  - mouse\.bad: [\s\S]*frame_1\.tif"):
        project.run(pipeline_names=STAGES)
    assert nwb_files(project) == ["sub-mouse_ses-good_ophys.nwb"]
    assert project.load("mouse.good.inspection_table").empty


@pytest.mark.slow
@pytest.mark.skipif(not TRIALS.is_dir(), reason="the real recordings are not at hand (../shared/data)")
def test_no_validator_has_anything_to_say_about_a_real_trial_that_is_not_square(make_project):
    trial = {
        "path": str(TRIALS / "AVG_A02.tif"),
        "frames": [30, 230],
        "frame_rate_hz": 10.0,
        "subject": SUBJECT,
        "session": SESSION,
        "imaging_plane": PLANE,
        "parameters": {"motion_correction": {"piecewise": False}},
    }
    project = make_project({"fissa": {"A02": trial}})
    project.run(pipeline_names=STAGES[1:])
    assert project.load("fissa.A02.inspection_table").empty  # DANDI's validator among them
    with NWBHDF5IO(project.path / "data/07_model_output/dandiset/sub-fissa/sub-fissa_ses-A02_ophys.nwb", "r") as io:
        assert io.read().acquisition["TwoPhotonSeries"].data.shape == (200, 156, 176)
