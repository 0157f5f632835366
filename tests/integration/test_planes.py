"""Recordings of several planes and channels, from interleaved images to one NWB file."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from kedro.framework.project import pipelines
from pynwb import NWBHDF5IO
from tests.integration.conftest import PLANE, Project, simulated

from rsc2p_kedro.datasets.raw import inspect_recording, select_frames
from rsc2p_kedro.simulation.truth import (
    align_footprints,
    intersection_over_union,
    match_footprints,
    score_components,
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:(hdmf|pynwb|nwbinspector|kedro).*"),
    pytest.mark.filterwarnings("ignore::UserWarning:(hdmf|pynwb).*"),
]
PLANES = [f"m.s.plane_{k}" for k in (1, 2, 3)]
STRUCTURAL: dict[str, Any] = {
    "channels": {"functional": 1, "structural": 2, "n": 2},
    "imaging_plane": {**PLANE, "structural_label": "tdTomato", "structural_emission_wavelength_nm": 580},
}


@pytest.fixture(scope="module")
def done(make_project) -> Project:
    """A volume of three planes and a flyback in two channels, and a recording of one plane beside it."""
    volume = {"planes": 3, "flyback_frames": 1, "plane_depths_um": [120, 150, 180], **STRUCTURAL}
    size = {"n_frames": 300, "height_px": 80, "width_px": 96, "n_neurons": 9, "overlap_share": 0, "red_share": 0.4}
    project = make_project(
        {
            "m": {"s": {**simulated("frames/s", seed=4, **size), "frame_rate_hz": 9.8, **volume}},
            "n": {"t": {**simulated("frames/t", seed=5, n_frames=100, n_neurons=4)}},
        }
    )
    project.run()
    return project


def test_the_truth_of_each_plane_is_found_in_it_and_in_no_other(done):
    components = [done.load(f"{name}.components") for name in PLANES]
    tables = [done.load(f"{name}.component_table") for name in PLANES]
    truths = [done.load(f"{name}.truth") for name in PLANES]
    for i, truth in enumerate(truths):
        for j, (found, table) in enumerate(zip(components, tables, strict=True)):
            scores = {s.measure: s.value for s in score_components(truth, found, table["accepted"].to_numpy(bool))}
            assert scores["f1"] > 0.75 if i == j else scores["recall"] <= 0.35


def test_labels_are_those_of_the_truth_in_table_report_and_nwb_file(done):
    right = total = 0
    for k, name in enumerate(PLANES, start=1):
        truth, components, table = (done.load(f"{name}.{kind}") for kind in ("truth", "components", "component_table"))
        iou = intersection_over_union(truth.footprints, align_footprints(truth, components.footprints))
        neurons, matched = match_footprints(iou)
        probability = table["red_probability"].to_numpy()[matched]
        right += int(((probability >= 0.5) == truth.labelled[neurons]).sum())
        total += len(neurons)
        labels = done.load(f"{name}.red_labels")
        assert labels.crosstalk == pytest.approx(truth.crosstalk, abs=max(0.03, 4 * labels.crosstalk_error))
        with NWBHDF5IO(done.path / "data/07_model_output/dandiset/sub-m/sub-m_ses-s_ophys.nwb", "r") as io:
            rois = io.read().processing["ophys"]["ImageSegmentation"][f"PlaneSegmentationPlane{k}"]
            np.testing.assert_allclose(rois["red_probability"][:], table["red_probability"], atol=1e-6)
        report = (done.path / f"data/08_reporting/m/s/plane_{k}/report.html").read_text()
        assert "crosstalk" in report
    assert total >= 20
    assert right / total >= 0.9
    assert "red_probability" not in done.load("n.t.component_table")


def test_planes_are_those_of_the_interleaved_images(done):
    images = sorted((done.path / "frames" / "s").glob("*.tif"))
    assert len(images) == 300 * 4 * 2
    table = done.load("m.s.plane_2.frame_table")
    assert table["file"].tolist() == [path.name for path in images[2::8]]


def test_the_nwb_file_holds_every_plane_and_channel_at_its_depth_and_time(done):
    path = done.path / "data/07_model_output/dandiset/sub-m/sub-m_ses-s_ophys.nwb"
    assert done.load("m.s.inspection_table").empty
    with NWBHDF5IO(path, "r") as io:
        nwb = io.read()
        ophys = nwb.processing["ophys"]
        assert set(nwb.imaging_planes) == {f"ImagingPlanePlane{k}" for k in (1, 2, 3)}
        assert len(nwb.acquisition) == 6
        assert len(nwb.devices) == 1
        for k, name in enumerate(PLANES, start=1):
            functional = nwb.acquisition[f"TwoPhotonSeriesChannel1Plane{k}"]
            structural = nwb.acquisition[f"TwoPhotonSeriesChannel2Plane{k}"]
            plane = functional.imaging_plane
            assert plane.origin_coords[2] == 90 + 30 * k
            assert {channel.name for channel in plane.optical_channel} == {
                "OpticalChannelChannel1",
                "OpticalChannelChannel2",
            }
            rois = ophys["ImageSegmentation"][f"PlaneSegmentationPlane{k}"]
            assert rois.imaging_plane is plane
            times = (functional, structural, ophys[f"DfOverFPlane{k}"]["RoiResponseSeries"])
            assert [series.starting_time for series in times] == pytest.approx([(k - 1) / 4 / 9.8] * 3)
            assert [series.rate for series in times] == [9.8] * 3
            movie = done.load(f"{name}.movie")[17].compute()
            np.testing.assert_array_equal(functional.data[17].T, movie)
            np.testing.assert_array_equal(structural.data[17].T, done.load(f"{name}.structural_movie")[17].compute())
            np.testing.assert_array_equal(rois["snr"][:], done.load(f"{name}.component_table")["snr"].astype("f4"))
        steps = set(ophys["processing_parameters"]["step"][:])
        assert {"plane_1.evaluation", "plane_3.inputs"} <= steps


def test_the_nwb_file_can_be_analysed_again(done):
    path = done.path / "data/07_model_output/dandiset/sub-m/sub-m_ses-s_ophys.nwb"
    recording = inspect_recording(path)
    n_frames = len(done.load(f"{PLANES[0]}.movie"))
    assert (recording.problems, recording.channels) == ((), ("Channel1", "Channel2"))
    assert recording.order.shape == (n_frames, 3, 2)
    for k, name in enumerate(PLANES, start=1):
        for channel, dataset in enumerate((f"{name}.movie", f"{name}.structural_movie"), start=1):
            movie = select_frames(recording, plane=k, channel=channel).movie
            np.testing.assert_array_equal(movie.compute(), done.load(dataset).compute())


def test_a_recording_of_one_plane_has_no_planes_in_names_and_paths(done):
    assert (done.path / "data/03_primary/n/t/corrected_movie.zarr").exists()
    assert not list((done.path / "data").glob("*/n/t/plane*"))
    with NWBHDF5IO(done.path / "data/07_model_output/dandiset/sub-n/sub-n_ses-t_ophys.nwb", "r") as io:
        assert set(io.read().acquisition) == {"TwoPhotonSeries"}


def test_the_page_over_all_recordings_has_a_row_for_each_plane(done):
    table = done.load("recordings_table")
    assert table["recording"].tolist() == [*PLANES, "n.t"]
    assert table["plane"].tolist()[:3] == [1, 2, 3]
    assert pd.isna(table["plane"][3])
    page = (done.path / "data/08_reporting/index.html").read_text()
    for k in (1, 2, 3):
        assert f"m/s/plane_{k}/report.html" in page
        assert (done.path / f"data/08_reporting/m/s/plane_{k}/curation.html").is_file()
    assert set(done.load("components_table")["recording"]) == {*PLANES, "n.t"}


def test_planes_are_selected_by_their_namespace(done):
    with done.session() as session:
        session.load_context()
        whole = pipelines["__default__"]
        one = whole.filter(node_namespaces=["m.s.plane_2"])
        assert {".".join(node.namespace.split(".")[:3]) for node in one.nodes} == {"m.s.plane_2"}
        both = whole.filter(node_namespaces=["m.s"])
        assert {"m.s.export.build_nwb", "m.s.plane_3.evaluation.compute_dff"} <= {n.name for n in both.nodes}
    done.run(namespaces=["m.s.plane_2.evaluation"])
