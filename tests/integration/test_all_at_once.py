"""Planes, channels, a line offset, frames that are left out, trials and defaults in one recording, to its NWB file."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from click.testing import CliRunner
from kedro.framework.startup import bootstrap_project
from pynwb import NWBHDF5IO
from tests.integration.conftest import PLANE, SESSION, SUBJECT, Project, simulated

from rsc2p_kedro.cli import cli

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:(hdmf|pynwb|nwbinspector|kedro).*"),
    pytest.mark.filterwarnings("ignore::UserWarning:(hdmf|pynwb).*"),
]
T, RATE = 160, 9.8
CHANNELS = {"channels": {"functional": 1, "structural": 2, "n": 2}, "planes": 2}
RED = {**PLANE, "structural_label": "tdTomato", "structural_emission_wavelength_nm": 580}
LEFT_OUT = {1: {5, 6}, 2: {20, 21, 40}}
"""Frames of each plane: those of its table, and frame 40 of plane 2, which is blank."""


def volumes(make_project) -> np.ndarray:
    """(T * 4, H, W): two channels of two planes, as a microscope saves them."""
    size = {"n_frames": T, "height_px": 72, "width_px": 80, "n_neurons": 8, "overlap_share": 0, "red_share": 0.4}
    entry = {**simulated("frames", seed=4, **size), "frame_rate_hz": RATE, "imaging_plane": RED, **CHANNELS}
    source = make_project({"m": {"s": entry}})
    source.run(pipeline_names=["simulation"])
    files = sorted((source.path / "frames").glob("*.tif"))
    return np.concatenate([np.atleast_3d(tifffile.imread(file)).reshape(-1, 72, 80) for file in files])


@pytest.fixture(scope="module")
def clean(make_project) -> np.ndarray:
    return volumes(make_project)


@pytest.fixture(scope="module")
def done(make_project, clean, tmp_path_factory) -> Project:
    folder = tmp_path_factory.mktemp("raw")
    raw = clean.copy()
    raw[:, 1::2] = np.roll(raw[:, 1::2], 2, axis=2)
    raw[2::4][40] = 0  # functional channel of plane 2
    (folder / "full").mkdir()
    tifffile.imwrite(folder / "full" / "m_1.tif", raw[:320])
    tifffile.imwrite(folder / "full" / "m_2.tif", raw[320:])
    tifffile.imwrite(folder / "bare.tif", clean)
    (folder / "bad_1.csv").write_text("start,stop,reason\n5,7,door opened\n")
    (folder / "bad_2.csv").write_text("start,stop,reason\n20,22,licking\n")
    shared = {"frame_rate_hz": RATE, "pixel_size_um": [1.2, 1.2], "imaging_plane": RED, **CHANNELS}
    full = {"path": str(folder / "full"), "exclude_frames": str(folder / "bad_{plane}.csv"), "session": SESSION}
    bare = {"path": str(folder / "bare.tif"), "frames": [0, T // 2]}
    project = make_project(
        {
            "defaults": {**shared, "plane_depths_um": [120, 150]},
            "m": {"defaults": {"subject": SUBJECT}, "full": full, "bare": bare},
        }
    )
    project.run()
    return project


def nwb_files(project: Project) -> list[Path]:
    return list((project.path / "data/07_model_output/dandiset").rglob("*.nwb"))


@pytest.mark.parametrize("k", [1, 2])
def test_each_plane_is_corrected_and_leaves_out_its_own_frames(done, clean, k):
    unit = f"m.full.plane_{k}"
    excluded = done.load(f"{unit}.excluded_frames")
    assert set(excluded.index[excluded["excluded"]]) == LEFT_OUT[k]
    assert done.load(f"{unit}.line_offset").offset_px == 2
    structural = np.asarray(done.load(f"{unit}.structural_movie"))
    np.testing.assert_array_equal(structural[:, :, 4:-4], clean[(k - 1) * 2 + 1 :: 4][:, :, 4:-4])
    total = done.load(f"{unit}.structural_summary_images").mean.astype(np.float64) * (T - len(LEFT_OUT[k]))
    np.testing.assert_allclose(total, np.rint(total), atol=0.05, err_msg="a mean over the frames that are kept")


def test_the_nwb_file_tells_all_of_it_and_the_validators_nothing(done):
    (file,) = nwb_files(done)
    assert done.load("m.full.inspection_table").empty
    with NWBHDF5IO(file, "r") as io:
        nwb = io.read()
        assert sorted(nwb.acquisition) == [f"TwoPhotonSeriesChannel{c}Plane{k}" for c in (1, 2) for k in (1, 2)]
        depths = [nwb.imaging_planes[f"ImagingPlanePlane{k}"].origin_coords[2] for k in (1, 2)]
        assert depths == [120, 150]
        assert [tags[0] for tags in nwb.epochs["tags"][:]] == ["m_1.tif", "m_2.tif"]
        assert nwb.epochs["stop_time"][0] == pytest.approx(80 / RATE)
        reasons = {tags[0] for tags in nwb.invalid_times["tags"][:]}
        assert reasons == {"plane 1: door opened", "plane 2: licking", "plane 2: blank"}
        for k, frames in LEFT_OUT.items():
            dff = nwb.processing["ophys"][f"DfOverFPlane{k}"]["RoiResponseSeries"].data[:]
            assert set(np.flatnonzero(np.isnan(dff).all(axis=1))) == frames


def test_the_session_without_metadata_has_reports_but_no_file(done, monkeypatch):
    monkeypatch.chdir(done.path)
    assert len(nwb_files(done)) == 1
    for k in (1, 2):
        assert "No NWB file was written" in done.load(f"m.bare.plane_{k}.report")
        assert "No NWB file was written" not in done.load(f"m.full.plane_{k}.report")
    outcome = CliRunner().invoke(cli, ["recordings", "status"], obj=bootstrap_project(done.path))
    assert outcome.output.count("waits for metadata") == 1
    assert "STALE" not in outcome.output
