"""The same neurons over two sessions, from raw frames to the NWB files, and what happens when one session fails."""

import numpy as np
import pandas as pd
import pytest
from kedro.framework.project import pipelines
from pynwb import NWBHDF5IO
from tests.integration.conftest import Project, simulated

from rsc2p_kedro.core.tracking import UNTRACKED
from rsc2p_kedro.datasets.tracked import tracks
from rsc2p_kedro.runners.recording import RunFailedError

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:(hdmf|pynwb|nwbinspector|kedro).*"),
    pytest.mark.filterwarnings("ignore::UserWarning:(hdmf|pynwb).*"),
]

SIZE = {"n_frames": 500, "height_px": 128, "width_px": 144, "n_neurons": 30, "seed": 5}


def session_of_day(day: int, **change: object) -> dict:
    """A recording of the same field of view; the first day is unchanged."""
    settings = {**SIZE, **({"session": {"seed": day, **change}} if change else {})}
    recording = simulated(f"f/{day}", **settings)
    start = f"2019-05-{5 + day:02d}T10:30:00+02:00"
    return {**recording, "session": {**recording["session"], "session_start_time": start}}


DAY_2 = session_of_day(2, shift_px=[6, -9], rotation_deg=1.5, warp_px=1.0, turnover=0.2)
DAY_3 = session_of_day(3, shift_px=[-4, 5], rotation_deg=-1.0, warp_px=1.0, turnover=0.2)


@pytest.fixture(scope="module")
def project(make_project) -> Project:
    """Two sessions of one animal, and one of another, after a plain run."""
    recordings = {"a": {"1": session_of_day(1), "2": DAY_2}, "b": {"1": simulated("f/b", **{**SIZE, "seed": 9})}}
    project = make_project(recordings)
    project.run()
    return project


def nwb_table(project: Project, animal: str, session: str) -> pd.DataFrame:
    path = next((project.path / "data/07_model_output/dandiset").rglob(f"sub-{animal}_ses-{session}_ophys.nwb"))
    with NWBHDF5IO(path, "r") as io:
        rois = io.read().processing["ophys"]["ImageSegmentation"]["PlaneSegmentation"]
        return rois[:][[name for name in rois.colnames if name != "image_mask"]]


def test_matched_neurons_are_those_of_the_simulation(project):
    table = project.load("a.tracking_table")
    members: dict[str, dict[str, int]] = {}
    for session in ("1", "2"):
        truth, components = project.load(f"a.{session}.truth"), project.load(f"a.{session}.components")
        numbers = np.arange(truth.n_neurons) if truth.neurons is None else truth.neurons
        own = table[table["session"] == session]
        position = {c: k for k, c in enumerate(components.ids.tolist())}
        overlap = (components.footprints.T @ truth.footprints).toarray()
        for component, neuron in zip(own["component_id"], own["neuron_id"], strict=True):
            members.setdefault(neuron, {})[session] = int(numbers[overlap[position[component]].argmax()])
    both = [found for found in members.values() if len(found) == 2]
    assert len(both) >= 6
    assert sum(found["1"] == found["2"] for found in both) >= len(both) - 1


def test_ids_are_in_the_files_and_tables_of_each_session(project):
    table = project.load("a.tracking_table")
    for session in ("1", "2"):
        rois = nwb_table(project, "a", session)
        own = table[table["session"] == session]
        accepted = rois["is_accepted"].to_numpy(bool)
        assert rois.loc[accepted, "tracked_id"].tolist() == own["neuron_id"].tolist()
        assert (rois.loc[~accepted, "tracked_id"] == UNTRACKED).all()
        components = project.load(f"a.{session}.tracked_component_table")
        assert components["tracked_id"].tolist() == rois["tracked_id"].tolist()
    assert "tracked_id" not in nwb_table(project, "b", "1")
    everything = project.load("components_table")
    assert set(everything.loc[everything["recording"] == "a.2", "tracked_id"]) >= set(own["neuron_id"])


def test_page_and_index_name_the_animal(project):
    page = (project.path / "data/08_reporting/a/tracking.html").read_text()
    assert page.count("data:image/png") == 4
    assert 'href="a/tracking.html"' in (project.path / "data/08_reporting/index.html").read_text()


def test_one_call_gives_dff_of_neurons_over_days(project):
    with project.session() as session:
        catalog = session.load_context().catalog
        found = tracks(catalog, "a")
        dff, ids = catalog.load("a.1.dff").dff, catalog.load("a.1.components").ids
    assert found
    assert all(set(days) == {"1", "2"} for days in found.values())
    name, days = next(iter(found.items()))
    component = int(name.partition("#")[2])
    np.testing.assert_array_equal(days["1"], dff[ids.tolist().index(component)])


def test_a_second_run_makes_nothing(project, caplog):
    with caplog.at_level("INFO", logger="rsc2p_kedro"):
        project.run()
    assert "0 made, 3 reused" in caplog.text
    assert "Of all recordings" not in caplog.text


def test_each_plane_is_tracked_for_itself(make_project):
    size = {"n_frames": 300, "height_px": 96, "width_px": 96, "n_neurons": 12, "overlap_share": 0, "seed": 4}
    days = {}
    for day, change in ((1, {}), (2, {"session": {"seed": 2, "shift_px": [3, -4], "turnover": 0.0}})):
        recording = {**simulated(f"v/{day}", **size, **change), "planes": 2, "frame_rate_hz": 9.8}
        start = f"2019-05-{5 + day:02d}T10:30:00+02:00"
        recording["session"] = {**recording["session"], "session_start_time": start}
        days[str(day)] = {**recording, "plane_depths_um": [120, 150]}
    project = make_project({"v": days})
    project.run()
    for plane in ("plane_1", "plane_2"):
        table = project.load(f"v.{plane}.tracking_table")
        assert (table["n_sessions"] == 2).sum() >= 8
        assert (project.path / f"data/08_reporting/v/{plane}/tracking.html").exists()
        for session in ("1", "2"):
            found = project.load(f"v.{session}.{plane}.tracked_component_table")
            own = table[table["session"] == session]
            assert found.loc[found["accepted"], "tracked_id"].tolist() == own["neuron_id"].tolist()


def test_an_added_session_keeps_ids_and_a_failing_one_stops_no_other(project, make_project):
    before = project.load("a.tracking_table")
    broken = {**DAY_3, "path": "f/3", "simulation": None}
    manifest = {"a": {"1": session_of_day(1), "2": DAY_2, "3": broken}}
    manifest["a"]["3"].pop("simulation")
    _write(project, manifest)
    with pytest.raises(RunFailedError, match=r"a\.3"):
        project.run()
    pd.testing.assert_frame_equal(project.load("a.tracking_table"), before)
    nwb_files = sorted((project.path / "data/07_model_output/dandiset").rglob("*.nwb"))
    times = {path: path.stat().st_mtime_ns for path in nwb_files}
    _write(project, {"a": {"1": session_of_day(1), "2": DAY_2, "3": DAY_3}})
    project.run()
    after = project.load("a.tracking_table")
    assert after["session"].unique().tolist() == ["1", "2", "3"]
    keys = ["session", "component_id"]
    kept = before.merge(after, on=keys, suffixes=("", "_now"))
    assert len(kept) == len(before)
    assert (kept["neuron_id"] == kept["neuron_id_now"]).mean() > 0.9
    assert nwb_table(project, "a", "3")["tracked_id"].str.startswith("1#").sum() >= 5
    assert pipelines["tracking"].nodes
    assert set(times) < set((project.path / "data/07_model_output/dandiset").rglob("*.nwb"))


def _write(project: Project, recordings: dict) -> None:
    import yaml

    path = project.path / "conf/local/parameters_test.yml"
    values = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({**values, "recordings": recordings}))
