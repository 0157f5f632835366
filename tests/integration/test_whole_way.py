"""From frames to inspected NWB files, on recordings made up, and on real ones where they are at hand."""

import json
import re

import nbformat
import numpy as np
import pytest
from kedro.framework.project import pipelines
from kedro.runner import ParallelRunner, ThreadRunner
from kedro.validation.exceptions import ParameterValidationError
from nbclient import NotebookClient
from pynwb import NWBHDF5IO
from tests.integration.conftest import PLANE, ROOT, SESSION, SUBJECT, Project, simulated

from rsc2p_kedro.manifest.checks import ManifestError

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:(hdmf|pynwb|nwbinspector|kedro).*"),
    pytest.mark.filterwarnings("ignore::UserWarning:(hdmf|pynwb).*"),
]
NOTEBOOK = ROOT / "notebooks" / "walk_through.ipynb"
SHARED = ROOT.parent / "shared" / "data"


@pytest.fixture(scope="module")
def done(make_project) -> Project:
    """A project that has run, with two recordings."""
    project = make_project(
        {
            "mouse_1": {"day_1": simulated("frames/1", seed=1), "day_2": simulated("frames/2", seed=2, n_frames=200)},
        }
    )
    project.run()
    return project


def test_the_nwb_file_lies_where_dandi_wants_it_and_holds_what_was_found(done):
    path = done.path / "data/07_model_output/dandiset/sub-mouse-1/sub-mouse-1_ses-day-1_ophys.nwb"
    components, table = done.load("mouse_1.day_1.components"), done.load("mouse_1.day_1.component_table")
    movie, dff = done.load("mouse_1.day_1.movie"), done.load("mouse_1.day_1.dff")
    with NWBHDF5IO(path, "r") as io:
        nwb = io.read()
        ophys = nwb.processing["ophys"]
        rois = ophys["ImageSegmentation"]["PlaneSegmentation"]
        masks = rois["image_mask"][:].swapaxes(1, 2).reshape(len(rois), -1)
        np.testing.assert_allclose(masks, components.footprints.toarray().T, rtol=1e-6)
        np.testing.assert_array_equal(ophys["Fluorescence"]["Deconvolved"].data[:], components.spikes.T)
        np.testing.assert_array_equal(ophys["DfOverF"]["RoiResponseSeries"].data[:], dff.dff.T)
        assert 0 < table["accepted"].sum() == rois["is_accepted"][:].sum()
        np.testing.assert_array_equal(rois["is_accepted"][:], table["accepted"])
        raw = nwb.acquisition["TwoPhotonSeries"].data
        assert raw.shape == (500, 128, 96)
        for frame in (0, 299, 499):
            np.testing.assert_array_equal(raw[frame].T, movie[frame].compute())


def test_no_validator_has_anything_to_say(done):
    for session in ("day_1", "day_2"):
        assert done.load(f"mouse_1.{session}.inspection_table").empty


def test_the_truth_is_found(done):
    scores = done.load("mouse_1.day_1.truth_score_table").set_index("measure")["value"]
    assert scores["f1"] > 0.8
    assert scores["precision"] > 0.9
    assert scores["trace_correlation"] > 0.9
    assert scores["rigid_motion_error"] < 0.1
    assert scores["local_motion_error"] < 0.5 * scores["uncorrected_local_motion"]


def test_every_frame_of_the_truth_is_accounted_for(done):
    frames = done.load("mouse_1.day_1.frame_table")
    movie = done.load("mouse_1.day_1.movie")
    assert len(frames) == 500
    np.testing.assert_allclose(frames["mean"], movie.mean(axis=(1, 2)).compute(), rtol=1e-6)


def test_lineage_accounts_for_every_component_of_fit_and_refit(done):
    lineage = done.load("mouse_1.day_1.lineage_table")
    fit, refit = done.load("mouse_1.day_1.fit_components"), done.load("mouse_1.day_1.components")
    survivors = lineage[lineage["event"] != "removed"]
    assert set(survivors["component_id"]) == set(refit.ids)
    parents = {int(p) for text in lineage["parents"].astype(str) for p in text.split()}
    removed = set(lineage[lineage["event"] == "removed"]["component_id"])
    assert set(fit.ids.tolist()) <= parents | removed


def test_the_index_links_to_reports_that_are_there(done):
    folder = done.path / "data/08_reporting"
    links = re.findall(r'href="([^"#]+\.html)"', (folder / "index.html").read_text(encoding="utf-8"))
    assert {session for link in links for session in ("day_1", "day_2") if session in link} == {"day_1", "day_2"}
    assert len(links) == 5, "a report and a view for each recording, and a page of the animal's sessions"
    for link in links:
        page = (folder / link).read_text(encoding="utf-8")
        assert "data:image/png;base64," in page or link.endswith("tracking.html")
        assert not re.search(r'(src|href)="https?://', page)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:(jupyter|nbclient|zmq).*")
def test_the_notebook_reads_what_was_made(done, monkeypatch):
    """As a reader runs it, cell after cell, in a kernel of its own."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    (done.path / "notebooks").mkdir()
    monkeypatch.setenv("KEDRO_ENV", "local")
    monkeypatch.setenv("KEDRO_LOGGING_CONFIG", str(ROOT / "conf" / "logging.yml"))
    NotebookClient(
        notebook, timeout=120, resources={"metadata": {"path": str(done.path / "notebooks")}}, kernel_name="python3"
    ).execute()
    kinds = [kind for cell in notebook.cells for output in cell.get("outputs", []) for kind in output.get("data", {})]
    assert kinds.count("image/png") >= 8
    said = " ".join(str(output) for cell in notebook.cells for output in cell.get("outputs", []))
    assert "mouse_1.day_2" in said
    assert "curation.html" in said


def test_the_notebook_is_kept_without_outputs():
    """`jupyter nbconvert --clear-output --inplace notebooks/*.ipynb` takes them out."""
    cells = [cell for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.cell_type == "code"]
    assert not [cell.source for cell in cells if cell.outputs or cell.execution_count is not None]


@pytest.mark.slow
@pytest.mark.parametrize("runner", [ThreadRunner, ParallelRunner])
def test_other_runners_give_the_same_bits(done, runner):
    before = done.load("mouse_1.day_2.motion")
    done.run(pipeline_names=["motion_correction"], namespaces=["mouse_1.day_2"], runner=runner(max_workers=2))
    after = done.load("mouse_1.day_2.motion")
    for name in ("template", "shifts", "patch_shifts", "valid_mask", "peak_quality"):
        np.testing.assert_array_equal(getattr(before, name), getattr(after, name))


def test_earlier_versions_can_be_loaded(done):
    done.run(namespaces=["mouse_1.day_2"])  # what other runners made counts as stale
    versions = sorted(p.name for p in (done.path / "data/06_models/mouse_1/day_2/components.npz").iterdir())
    done.run(
        pipeline_names=["source_extraction"],
        namespaces=["mouse_1.day_2"],
        params={"source_extraction": {"components_per_patch": 1}},
    )
    new = done.load("mouse_1.day_2.components")
    old = done.load("mouse_1.day_2.components", load_versions={"mouse_1.day_2.components": versions[-1]})
    assert old.n_components != new.n_components or not np.array_equal(old.traces, new.traces)
    done.run(
        from_nodes=["mouse_1.day_2.evaluation.evaluate_components"],
        to_nodes=["mouse_1.day_2.evaluation.tabulate_components"],
        load_versions={"mouse_1.day_2.components": versions[-1]},
    )
    assert len(done.load("mouse_1.day_2.component_table")) == old.n_components


def test_names_select_what_they_say(make_project):
    project = make_project({"a": {"1": simulated("f/1"), "2": simulated("f/2")}, "b": {"1": simulated("f/3")}})
    with project.session() as session:
        session.load_context()
        everything = pipelines["__default__"]
        assert {n.namespace.split(".")[0] for n in everything.filter(node_namespaces=["a"]).nodes} == {"a"}
        one = everything.filter(node_namespaces=["a.1"])
        assert {".".join(n.namespace.split(".")[:2]) for n in one.nodes} == {"a.1"}
        assert {n.namespace for n in pipelines["motion_correction"].nodes} == {
            "a.1.motion_correction",
            "a.2.motion_correction",
            "b.1.motion_correction",
        }
        catalog = session.load_context().catalog
        unknown = [name for name in everything.datasets() if name not in catalog and not name.startswith("param")]
        assert not unknown


def test_a_run_without_recordings_says_how_to_start(make_project):
    with pytest.raises(ManifestError, match=r"kedro run --env demo[\s\S]*kedro recordings scan"):
        make_project({}).run()


def test_an_unknown_parameter_stops_the_run_and_is_named(make_project):
    project = make_project({"a": {"1": simulated("frames/1")}}, motion_correction={"max_shift": 3})
    with pytest.raises(ParameterValidationError, match=r"max_shift\n"):  # and not max_shift_px, which is one
        project.run()
    assert not (project.path / "frames").exists()


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.is_dir(), reason="the real recordings are not at hand (../shared/data)")
def test_a_real_recording_goes_the_whole_way(make_project):
    recording = {
        "path": str(SHARED / "neurofinder_crop" / "movie.tif"),
        "frame_rate_hz": 7.0,
        "decay_time_s": 1.0,
        "pixel_size_um": [1 / 1.15, 1 / 1.15],
        "subject": SUBJECT,
        "session": SESSION,
        "imaging_plane": {**PLANE, "indicator": "GCaMP6s", "location": "SSp"},
        "parameters": {"source_extraction": {"neuron_half_width_px": 5}},
    }
    project = make_project({"neurofinder": {"crop": recording}})
    project.run()
    assert project.load("neurofinder.crop.inspection_table").empty
    table = project.load("neurofinder.crop.component_table")
    regions = json.loads((SHARED / "neurofinder_crop" / "regions.json").read_text())
    centres = np.array([np.mean(region["coordinates"], axis=0) for region in regions])
    found = table.loc[table["accepted"], ["centre_y_px", "centre_x_px"]].to_numpy()
    distance = np.linalg.norm(centres[:, None] - found[None], axis=2).min(axis=1)
    matched = int((distance < 5).sum())
    assert matched >= 18, "annotated cells (19 of 41 when this was written, most of the others silent)"
    assert len(found) < 32, "accepted components (26 when this was written)"
    assert 2 * matched / (len(centres) + len(found)) > 0.52, "F1 (0.57 when this was written; 0.52 before classes)"
