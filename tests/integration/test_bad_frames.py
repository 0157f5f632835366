"""From files with artefacts, or with few and small frames, to the NWB file and the report."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from pynwb import NWBHDF5IO
from tests.integration.conftest import PLANE, SESSION, SUBJECT, Project
from tests.pipelines.artefacts import BAD, clean_movie, with_artefacts

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:(hdmf|pynwb|nwbinspector|kedro).*"),
    pytest.mark.filterwarnings("ignore::UserWarning:(hdmf|pynwb).*"),
]
FACTS = {"frame_rate_hz": 14.7, "subject": SUBJECT, "session": SESSION, "imaging_plane": PLANE}


@pytest.fixture(scope="module")
def done(make_project, tmp_path_factory) -> Project:
    """Artefacts in two stacks whose odd rows are displaced by 2 px, and 30 frames of 32 x 40 px."""
    folder = tmp_path_factory.mktemp("raw")
    clean = clean_movie()
    movie = with_artefacts(clean)
    movie[:, 1::2] = np.roll(movie[:, 1::2], 2, axis=2)
    for name, part in {
        "a/trial_1.tif": movie[:260],
        "a/trial_2.tif": movie[260:],
        "short.tif": clean[:30, 30:62, 40:80],
    }.items():
        (folder / name).parent.mkdir(exist_ok=True)
        tifffile.imwrite(folder / name, part)
    table = folder / "bad.csv"
    table.write_text("start,stop,reason\n5,7,door opened\n", encoding="utf-8")
    project = make_project(
        {
            "mouse_1": {
                "artefacts": {"path": str(folder / "a"), **FACTS},
                "short": {"path": str(folder / "short.tif"), "exclude_frames": str(table), **FACTS},
            }
        }
    )
    project.run()
    return project


def nwb_of(done: Project, session: str) -> Path:
    return done.path / f"data/07_model_output/dandiset/sub-mouse-1/sub-mouse-1_ses-{session}_ophys.nwb"


def test_artefacts_are_marked_in_the_nwb_file_and_cost_no_cell(done):
    excluded = done.load("mouse_1.artefacts.excluded_frames")
    assert excluded.index[excluded["excluded"]].tolist() == BAD
    assert done.load("mouse_1.artefacts.line_offset").offset_px == 2
    assert done.load("mouse_1.artefacts.component_table")["accepted"].sum() > 10
    assert done.load("mouse_1.artefacts.inspection_table").empty
    with NWBHDF5IO(nwb_of(done, "artefacts"), "r") as io:
        nwb = io.read()
        assert [tags[0] for tags in nwb.epochs["tags"][:]] == ["trial_1.tif", "trial_2.tif"]
        times = nwb.invalid_times.to_dataframe()
        frames = [
            range(round(a * 14.7), round(b * 14.7)) for a, b in zip(times.start_time, times.stop_time, strict=True)
        ]
        assert [t for run in frames for t in run] == BAD
        dff = nwb.processing["ophys"]["DfOverF"]["RoiResponseSeries"].data[:]
        assert np.flatnonzero(np.isnan(dff).any(axis=1)).tolist() == BAD
        assert "Odd rows were moved by -2 px" in nwb.acquisition["TwoPhotonSeries"].description


def test_report_tells_of_them(done):
    levels = done.load("mouse_1.artefacts.assessment_table").set_index("check")
    assert levels.loc["Bad frames", "level"] == "review"
    assert "20 of 500 frames" in levels.loc["Bad frames", "finding"]
    assert "moved by -2 px" in levels.loc["Line-scan offset", "finding"]
    assert levels.loc["Motion correction", "level"] == "ok"
    assert levels.loc["Brightness of files", "level"] == "ok"


def test_few_small_frames_go_the_whole_way(done):
    excluded = done.load("mouse_1.short.excluded_frames")
    assert excluded.index[excluded["excluded"]].tolist() == [5, 6]
    assert set(excluded["reason"]) == {"", "door opened"}
    levels = done.load("mouse_1.short.assessment_table").set_index("check")
    assert levels.loc["Motion correction", "level"] == "ok"
    assert nwb_of(done, "short").is_file()
    assert (done.path / "data/08_reporting/mouse_1/short/report.html").is_file()
