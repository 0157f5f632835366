"""MESc files of Femtonics, with the groups and attributes that MESc writes."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from rsc2p_kedro.datasets.raw import Layout, RecordingError, inspect_recording, read_frames

H, W = 16, 24


def text(value: str) -> np.ndarray:
    return np.array([*map(ord, value), 0], np.uint16)


def write_unit(path: Path, name: str, movie: np.ndarray, *, unit: str = "ms", scale: float = 1.0) -> None:
    """Adds a unit of a movie (C, T, H, W)."""
    with h5py.File(path, "a") as file:
        group = file.create_group(name)
        for number, (channel, data) in enumerate(zip(("UG", "UR"), movie, strict=False)):
            group.create_dataset(f"Channel_{number}", data=data, chunks=(1, H, W))
            group.attrs[f"Channel_{number}_Name"] = text(channel)
            group.attrs[f"Channel_{number}_Conversion_ConversionLinearScale"] = np.array([scale])
        group.attrs["ZAxisConversionConversionLinearScale"] = 31.25
        group.attrs["ZAxisConversionUnitName"] = text(unit)
        for axis, size in {"X": 1.25, "Y": 1.5}.items():
            group.attrs[f"{axis}AxisConversionConversionLinearScale"] = size
            group.attrs[f"{axis}AxisConversionUnitName"] = text("µm")
        group.attrs["MeasurementDatePosix"] = np.array([1506671580], np.uint64)
        group.attrs["CreatingMEScVersion"] = text("MESc 3.3")


def random_movie(n_channels: int = 2) -> np.ndarray:
    return np.random.default_rng(n_channels).integers(0, 2**16, (n_channels, 20, H, W), dtype=np.uint16)


def test_channels_and_metadata_of_the_only_movie(tmp_path):
    path, movie = tmp_path / "rec.mesc", random_movie()
    write_unit(path, "MSession_0/MUnit_0", movie)
    write_unit(path, "MSession_0/MUnit_1", random_movie(1), unit="µm")  # a stack of depths
    recording = inspect_recording(path)
    assert (recording.problems, recording.channels) == ((), ("UG", "UR"))
    np.testing.assert_array_equal(read_frames(path, channel="UR").movie.compute(), movie[1])
    assert {name: told.value for name, told in recording.metadata.items()} == {
        "frame_rate_hz": 32,
        "pixel_size_um": (1.5, 1.25),
        "session.session_start_time": "2017-09-29T07:53:00+00:00",
        "device.description": "MESc 3.3",
        "device.manufacturer": "Femtonics",
    }


def test_pixels_that_are_stored_inverted(tmp_path):
    path, movie = tmp_path / "rec.mesc", random_movie(1)
    write_unit(path, "MSession_0/MUnit_0", 65535 - movie, scale=-1)
    np.testing.assert_array_equal(read_frames(path).movie.compute(), movie[0])


def test_units_that_cannot_be_read(tmp_path):
    path = tmp_path / "rec.mesc"
    write_unit(path, "MSession_0/MUnit_0", random_movie(1), unit="µm")
    with pytest.raises(RecordingError, match=r"rec.mesc holds no movie"):
        read_frames(path)
    with pytest.raises(RecordingError, match="MSession_0/MUnit_0 is a stack of depths, not a movie"):
        read_frames(path, layout=Layout(dataset="MSession_0/MUnit_0"))
    movies = random_movie(2)
    for number in (1, 2):
        write_unit(path, f"MSession_0/MUnit_{number}", movies[number - 1 :])
    with pytest.raises(RecordingError, match=r"several movies .*such as `dataset: MSession_0/MUnit_1`"):
        read_frames(path)
    second = read_frames(path, layout=Layout(dataset="MSession_0/MUnit_2"))
    np.testing.assert_array_equal(second.movie.compute(), movies[1])
    with pytest.raises(RecordingError, match="there is no unit MUnit_2"):
        read_frames(path, layout=Layout(dataset="MUnit_2"))
    path.write_bytes(b"no HDF5")
    with pytest.raises(RecordingError, match=r"rec.mesc is no file of MESc"):
        read_frames(path)
