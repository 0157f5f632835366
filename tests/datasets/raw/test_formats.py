"""Which files are raw data is decided in one place."""

import h5py
import numpy as np
import pytest
import zarr

from rsc2p_kedro.datasets.raw import RecordingError, inspect_recording, read_frames
from rsc2p_kedro.datasets.raw.formats import RAW_SUFFIXES, is_raw_file, recordings_in


def test_raw_data_are_told_from_results_in_the_same_formats(tmp_path):
    movie = np.zeros((20, 16, 16), np.uint16)
    for name in ("frame.tif", "m.SBX", "m.nd2", "m.lif", "m.czi", "m.oir", "m.mesc", "Image_0001.raw"):
        (tmp_path / name).write_bytes(b"")
    for name, array in {"movie.h5": movie, "wheel.h5": movie[:, 0, 0]}.items():
        with h5py.File(tmp_path / name, "w") as file:
            file["data"] = array
    for name, kind in {"raw.nwb": "TwoPhotonSeries", "results.nwb": "TimeSeries"}.items():
        with h5py.File(tmp_path / name, "w") as file:
            file.create_group("acquisition/series").attrs["neurodata_type"] = kind
    zarr.create_array(tmp_path / "movie.zarr", data=movie)
    zarr.open_group(tmp_path / "ome.zarr", mode="w").attrs.update({"multiscales": [{"datasets": [{"path": "0"}]}]})
    for name in ("notes.txt", "m.mat", ".hidden.tif", "broken.h5"):
        (tmp_path / name).write_bytes(b"")
    raw = {path.name for path in tmp_path.iterdir() if is_raw_file(path)}
    others = {"m.SBX", "m.nd2", "m.lif", "m.czi", "m.oir", "m.mesc", "movie.h5", "raw.nwb", "ome.zarr"}
    assert raw == others | {"frame.tif"}
    assert {path.name for path in recordings_in(tmp_path)} == others
    (tmp_path / "Experiment.xml").write_text("<ThorImageExperiment/>")
    assert recordings_in(tmp_path) == [tmp_path]
    assert {path.suffix.lower() for path in tmp_path.iterdir() if is_raw_file(path)} <= RAW_SUFFIXES


@pytest.mark.parametrize("suffix", sorted(RAW_SUFFIXES))
def test_every_ending_has_a_reader_that_says_what_is_wrong_with_an_empty_file(tmp_path, suffix):
    path = tmp_path / f"Image_1{suffix}"
    path.write_bytes(b"")
    assert inspect_recording(path).problems
    with pytest.raises(RecordingError):
        read_frames(path)
