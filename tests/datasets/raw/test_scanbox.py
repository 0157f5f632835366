"""Recordings of Scanbox, written as its versions 2 and 3 write them."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from rsc2p_kedro.datasets.raw import Layout, RecordingError, inspect_recording, read_frames

H, W = 16, 24

VERSION_3: dict[str, Any] = {
    "frame": np.array([3, 5]),
    "resfreq": 8000,
    "recordsPerBuffer": H,
    "bytesPerBuffer": 5120000,
    "channels": -1,
    "chan": {
        "sample": np.array([1, 0, 0, 0]),
        "save": np.array([1, 0, 0, 0]),
        "nchan": 1,
        "names": np.array(["GCaMP6s", "tdTomato", "Texas Red", "Chrome"], object),
    },
    "scanbox_version": 3,
    "scanmode": 1,
    "config": {"wavelength": 920, "frames": 0, "lines": H, "magnification": 2, "pmt0_gain": 0.7},
    "sz": np.array([H, W]),
    "dxcal": 1.0825,
    "dycal": 1.1394,
    "fold_lines": 0,
    "volscan": 0,
    "etl_table": np.empty((0, 0)),
    "otparam": np.array([0.0, 0.0, np.nan]),
    "objective": "Olympus_20x",
    "mesoscope": {"enabled": 0, "roi_table": np.empty((0, 0))},
}
TWO_CHANNELS = {"chan": {**VERSION_3["chan"], "save": np.array([1, 1, 0, 0]), "nchan": 2}}

VERSION_2: dict[str, Any] = {
    "resfreq": 7930,
    "recordsPerBuffer": H // 2,
    "channels": 1,
    "scanbox_version": 2,
    "scanmode": 0,
    "config": {"lines": H, "magnification": 2},
    "calibration": np.array([(2.0, 3.0), (1.0, 1.5)], dtype=[("x", object), ("y", object)]),
    "sz": np.array([H, W]),
    "otwave": np.array([1800.0, 1500.0, 1200.0]),
    "otparam": np.array([1200.0, 1800.0, 3.0]),
    "objective": "Nikon 16x/0.8w/WD3.0",
}


def write(folder: Path, frames: np.ndarray, info: dict[str, Any], name: str = "gn7_008_001") -> Path:
    """Frames (n, C, H, W) in the order of acquisition."""
    folder.mkdir(exist_ok=True)
    (65535 - frames.transpose(0, 2, 3, 1)).astype("<u2").tofile(folder / f"{name}.sbx")
    savemat(folder / f"{name}.mat", {"info": info})
    return folder / f"{name}.sbx"


def random_frames(n: int, n_channels: int = 1) -> np.ndarray:
    return np.random.default_rng(n).integers(0, 2**16, (n, n_channels, H, W), dtype=np.uint16)


def test_pixels_are_stored_inverted(tmp_path):
    frames = random_frames(30)
    path = write(tmp_path / "rec", frames, VERSION_3)
    for given in (path, path.with_suffix(".mat"), path.parent):
        assert inspect_recording(given).problems == ()
        np.testing.assert_array_equal(read_frames(given).movie.compute(), frames[:, 0])


def test_channels_alternate_from_pixel_to_pixel(tmp_path):
    frames = random_frames(30, 2)
    path = write(tmp_path / "rec", frames, VERSION_3 | TWO_CHANNELS)
    for channel, number in {"GCaMP6s": 0, "tdTomato": 1}.items():
        np.testing.assert_array_equal(read_frames(path, channel=channel).movie.compute(), frames[:, number])
    (problem,) = inspect_recording(path, layout=Layout(n_channels=3)).problems
    assert problem == "the file holds 2 channels (GCaMP6s, tdTomato): correct `channels`"


@pytest.mark.parametrize(("channels", "count"), [(1, 2), (2, 1), (3, 1)])
def test_version_2_has_numbers_for_channels(tmp_path, channels, count):
    frames = random_frames(60, count)
    path = write(tmp_path / "rec", frames, VERSION_2 | {"channels": channels})
    recording = inspect_recording(path)
    assert (recording.order.shape, recording.problems) == ((20, 3, count), ())
    assert recording.channels == tuple("12"[:count])
    np.testing.assert_array_equal(read_frames(path, channel=count, plane=3).movie.compute(), frames[2::3, count - 1])
    assert "both directions" in recording.notes[0]


def test_planes_of_the_lens(tmp_path):
    table = np.array([[91, 853, 40, 0, 1], [73, 682, 40, 0, 1], [56, 506, 50, 0, 1], [41, 330, 60, 0, 1]], float)
    volumes = {"volscan": 1, "etl_table": table, "otparam": np.array([0, 0, 4])}
    frames = random_frames(83)
    path = write(tmp_path / "rec", frames, VERSION_3 | volumes)
    recording = inspect_recording(path)
    assert recording.order.shape == (20, 4, 1)
    assert recording.notes == ("the last volume is incomplete (3 of 4 images) and is left out",)
    assert recording.metadata["frame_rate_hz"].value == 8000 / H / 4
    np.testing.assert_array_equal(read_frames(path, plane=2).movie.compute(), frames[1:80:4, 0])


def test_planes_are_asked_for_where_the_settings_do_not_tell_them(tmp_path):
    path = write(tmp_path / "rec", random_frames(80), VERSION_3 | {"volscan": 1})
    with pytest.raises(RecordingError, match=r"do not tell how many: add `planes: 3`, or the right number"):
        read_frames(path)
    assert inspect_recording(path, layout=Layout(n_planes=4)).order.shape == (20, 4, 1)
    path = write(tmp_path / "rec", random_frames(80), VERSION_2 | {"otparam": np.array([1, 2, 5])}, name="gn7_008_001")
    with pytest.raises(RecordingError, match=r"contradict each other \(3, 5\)"):
        read_frames(path)


def test_what_the_settings_tell(tmp_path):
    new = inspect_recording(write(tmp_path / "new", random_frames(20), VERSION_3)).metadata
    assert {name: told.value for name, told in new.items()} == {
        "frame_rate_hz": 500,
        "pixel_size_um": (1.1394, 1.0825),
        "imaging_plane.excitation_wavelength_nm": 920,
        "imaging_plane.indicator": "GCaMP6s",
        "device.description": "Scanbox 3, objective Olympus_20x",
        "device.manufacturer": "Neurolabware",
    }
    assert new["frame_rate_hz"].source == "info of gn7_008_001.mat, resfreq / sz"
    old = inspect_recording(write(tmp_path / "old", random_frames(20, 2), VERSION_2)).metadata
    assert old["frame_rate_hz"].value == pytest.approx(7930 / H * 2 / 3)
    assert old["pixel_size_um"].value == (1.5, 1)
    assert "imaging_plane.indicator" not in old


def test_folded_scans_are_several_frames(tmp_path):
    frames = random_frames(20)
    recording = inspect_recording(write(tmp_path / "rec", frames, VERSION_3 | {"fold_lines": H // 2}))
    assert (recording.n_frames, recording.shape) == (40, (H // 2, W))
    assert recording.metadata["frame_rate_hz"].value == 1000
    folded = read_frames(tmp_path / "rec").movie.compute()
    np.testing.assert_array_equal(folded.reshape(20, H, W), frames[:, 0])


def test_description_of_matlab_7_3(tmp_path):
    frames = random_frames(20, 2)
    path = write(tmp_path / "rec", frames, VERSION_3)
    path.with_suffix(".mat").unlink()
    with h5py.File(path.with_suffix(".mat"), "w", userblock_size=512) as file:
        numbers = {"sz": [[H], [W]], "resfreq": [[8000]], "scanmode": [[1]], "volscan": [[0]], "chan/nchan": [[2]]}
        for name, value in numbers.items():
            file[f"info/{name}"] = np.array(value, float)
            file[f"info/{name}"].attrs["MATLAB_class"] = np.bytes_("double")
        file["info/chan/save"] = np.array([[1.0], [1], [0], [0]])
        names = []
        for number, name in enumerate(["GCaMP6s", "tdTomato", "a", "b"]):
            cell = file.create_dataset(f"#refs#/{number}", data=np.array([[ord(c)] for c in name], np.uint16))
            cell.attrs["MATLAB_class"] = np.bytes_("char")
            names.append([cell.ref])
        file.create_dataset("info/chan/names", data=np.array(names, object), dtype=h5py.ref_dtype)
    recording = inspect_recording(path)
    assert (recording.channels, recording.problems) == (("GCaMP6s", "tdTomato"), ())
    np.testing.assert_array_equal(read_frames(path, channel=2).movie.compute(), frames[:, 1])


def test_files_that_cannot_be_read(tmp_path):
    path = write(tmp_path / "rec", random_frames(20), VERSION_3)
    with path.open("ab") as stream:
        stream.write(b"part of a frame")
    assert inspect_recording(path).notes == ("gn7_008_001.sbx ends within a frame, which is left out",)
    path.with_suffix(".mat").write_bytes(b"no MATLAB")
    with pytest.raises(RecordingError, match=r"gn7_008_001.mat cannot be read as a file of MATLAB"):
        read_frames(path)
    savemat(path.with_suffix(".mat"), {"other": 1})
    with pytest.raises(RecordingError, match=r"gn7_008_001.mat has no structure `info`"):
        read_frames(path)
    path.with_suffix(".mat").unlink()
    with pytest.raises(RecordingError, match=r"gn7_008_001.mat is missing"):
        read_frames(path)
    write(path.parent, random_frames(20), VERSION_3, name="gn7_008_002")
    with pytest.raises(RecordingError, match=r"several recordings \(gn7_008_001.sbx, gn7_008_002.sbx\)"):
        read_frames(path.parent)
    write(path.parent, random_frames(20), VERSION_3 | {"mesoscope": {"enabled": 1}}, name="meso")
    with pytest.raises(RecordingError, match="mesoscope"):
        read_frames(path.parent / "meso.sbx")


def test_version_1_is_refused_with_what_to_do(tmp_path):
    path = write(tmp_path / "rec", random_frames(30), VERSION_3 | {"scanbox_version": 1})
    with pytest.raises(RecordingError, match=r"of Scanbox 1, whose samples are no pixels yet: save the frames that"):
        read_frames(path)
