"""Raw data that are no TIFFs, through the stages that read them."""

import h5py
import numpy as np
from tests.datasets.raw.test_scanbox import VERSION_3, random_frames, write
from tests.integration.conftest import PLANE, SESSION, SUBJECT


def test_hdf5_and_scanbox_are_ingested_as_they_are_on_disk(make_project, tmp_path):
    movie = np.random.default_rng(0).integers(0, 4096, (40, 48, 33), dtype=np.uint16)
    with h5py.File(tmp_path / "rec.h5", "w") as file:
        file["raw/movie"], file["raw/other"] = movie.transpose(1, 2, 0), movie
    frames = random_frames(80).repeat(3, axis=2).repeat(2, axis=3)  # large enough to register
    size = {"sz": np.array(frames.shape[2:]), "recordsPerBuffer": frames.shape[2]}
    volume = {"volscan": 1, "otparam": np.array([0, 0, 2])}
    scanbox = write(tmp_path / "sbx", frames, VERSION_3 | size | volume)
    facts = {"frame_rate_hz": 10, "subject": SUBJECT, "session": SESSION, "imaging_plane": PLANE}
    recordings = {
        "day_1": {"path": str(tmp_path / "rec.h5"), "dataset": "raw/movie", "axes": "YXT", **facts},
        "day_2": {"path": str(scanbox.parent), "planes": 2, **facts},
    }
    project = make_project({"mouse_1": recordings}, nwb={"on_issue": "warn"})
    project.run(pipeline_names=["ingestion"])
    np.testing.assert_array_equal(project.load("mouse_1.day_1.movie").compute(), movie)
    for plane in (1, 2):
        name = f"mouse_1.day_2.plane_{plane}"
        np.testing.assert_array_equal(project.load(f"{name}.movie").compute(), frames[plane - 1 :: 2, 0])
    table = project.load("mouse_1.day_1.frame_table")
    assert (table["file"].iloc[0], table["page"].iloc[-1]) == ("rec.h5/raw/movie", 39)
