"""Raw files of ThorImage, written as ThorImageLS 3 and 4 write them."""

from pathlib import Path

import numpy as np
import pytest

from rsc2p_kedro.datasets.raw import Layout, RecordingError, inspect_recording, read_frames
from rsc2p_kedro.datasets.raw.thor_experiment import ExperimentError, read_experiment

H, W = 24, 40

EXPERIMENT = """<?xml version="1.0"?>
<ThorImageExperiment>
  <Name name="mouse_001" path="D:\\Data\\mouse_001" />
  <Date date="{date}" uTime="{utime}" />
  <User name="User" /><Computer name="MOM-WIN7" /><Software version="4.0.2020.2171" />
  <Camera name="None" width="4096" height="4096" pixelSizeUM="6.45" />
  <Magnification mag="16" indexOfRefraction="1.3" name="Nikon16XW" />
  <Wavelengths nyquistExWavelengthNM="488" nyquistEmWavelengthNM="488">
    {wavelengths}
    <ChannelEnable Set="{mask}" />
  </Wavelengths>
  <ZStage name="ThorZPiezo" steps="{steps}" stepSizeUM="10" startPos="0" enable="{z}" />
  <Timelapse timepoints="{frames}" intervalSec="1" triggerMode="0" />
  <LSM name="ResonanceGalvo" scanMode="0" areaMode="{area}" channel="{mask}" pixelX="40" pixelY="24" averageMode="{avg}"
    averageNum="6" pixelSizeUM="0.523" widthUM="80" heightUM="36" frameRate="30.043" />
  <Streaming enable="{stream}" frames="{frames}" rawData="1" zFastEnable="{fast}" zFastMode="1" flybackFrames="1" />
  <MultiPhotonLaser enable="1" pos="925" />
  <ExperimentStatus value="{status}" /><ExperimentNotes text="" />
  {raw}
</ThorImageExperiment>
"""


def write(folder: Path, images: np.ndarray, *, detectors="AB", listed=None, only="1", **settings) -> Path:
    """Images (n, H, W) in the order of the file."""
    folder.mkdir()
    values = {"date": "07/30/2020 14:00:43", "utime": "1596132043", "steps": 1, "z": 0, "area": 0, "avg": 0}
    values |= {"stream": 1, "fast": 0, "frames": len(images), "status": "Stopped"}
    values["mask"] = sum(1 << "ABCD".index(letter) for letter in detectors)
    values["wavelengths"] = "".join(
        f'<Wavelength name="Chan{letter}" exposureTimeMS="0" />' for letter in listed or detectors
    )
    values["raw"] = "" if only is None else f'<RawData onlyEnabledChannels="{only}" />'
    (folder / "Experiment.xml").write_text(EXPERIMENT.format(**(values | settings)))
    (folder / "ChanA_Preview.tif").write_bytes(b"a preview, which is no frame")
    (folder / "ROIMask.raw").write_bytes(b"\1" * H * W)
    images.astype("<u2").tofile(folder / "Image_0001_0001.raw")
    return folder


def random_images(n: int) -> np.ndarray:
    return np.random.default_rng(n).integers(0, 2**16, (n, H, W), dtype=np.uint16)


def test_channels_alternate_from_image_to_image(tmp_path):
    movie = random_images(80)
    path = write(tmp_path / "rec", movie)
    recording = inspect_recording(path)
    assert (recording.problems, recording.notes, recording.channels) == ((), (), ("ChanA", "ChanB"))
    for channel, expected in {"ChanA": movie[::2], "chanb": movie[1::2], 2: movie[1::2]}.items():
        np.testing.assert_array_equal(read_frames(path, channel=channel).movie.compute(), expected)
    file = read_frames(path / "Image_0001_0001.raw", channel="ChanB", frames=(3, 33))
    np.testing.assert_array_equal(file.movie.compute(), movie[1::2][3:33])


def test_volumes_without_flyback_and_without_the_last_incomplete_one(tmp_path):
    volumes = random_images(20 * 4 * 2).reshape(20, 4, 2, H, W)  # 3 planes and 1 of flyback, 2 channels
    images = np.concatenate([volumes.reshape(-1, H, W), random_images(5)])
    path = write(tmp_path / "rec", images, steps=3, fast=1)
    recording = inspect_recording(path)
    assert recording.order.shape == (20, 3, 2)
    assert recording.notes == ("the last volume is incomplete (5 of 8 images) and is left out",)
    np.testing.assert_array_equal(read_frames(path, channel=2, plane=3).movie.compute(), volumes[:, 2, 1])
    assert recording.metadata["frame_rate_hz"].value == pytest.approx(30.043 / 4)


def test_steps_of_the_stage_do_not_apply_to_a_stream_without_fast_z(tmp_path):
    path = write(tmp_path / "rec", random_images(40), detectors="A", steps=61, z=1)
    assert inspect_recording(path).order.shape == (40, 1, 1)


def test_stacks_that_were_not_streamed_are_asked_about(tmp_path):
    path = write(tmp_path / "rec", random_images(60), detectors="A", stream=0, steps=3, z=1)
    with pytest.raises(RecordingError, match="add `planes: 3`"):
        read_frames(path, plane=1)
    recording = inspect_recording(path, layout=Layout(n_planes=3))
    assert recording.problems == ()
    assert recording.order.shape == (20, 3, 1)
    assert "frame_rate_hz" not in recording.metadata


@pytest.mark.parametrize("listed", ["AC", "ABCD"])
def test_disabled_channels_that_are_saved_are_skipped(tmp_path, listed):
    images = random_images(4 * 20)
    path = write(tmp_path / "rec", images, detectors="AC", listed=listed, only="0", frames=20, status="Complete")
    assert inspect_recording(path).channels == ("ChanA", "ChanC")
    np.testing.assert_array_equal(read_frames(path, channel="ChanC").movie.compute(), images[2::4])


def test_number_of_saved_channels_is_asked_for_where_nothing_tells_it(tmp_path):
    path = write(tmp_path / "rec", random_images(80), detectors="AC", only=None, frames=1000)
    (problem,) = inspect_recording(path).problems
    assert "add `channels: 2` in the manifest if they are not, or `channels: 4` if they are" in problem
    two = inspect_recording(path, layout=Layout(n_channels=2))
    assert (two.problems, two.channels, two.order.shape) == ((), ("ChanA", "ChanC"), (40, 1, 2))
    four = inspect_recording(path, layout=Layout(n_channels=4))
    assert (four.problems, four.channels) == ((), ("ChanA", "ChanB", "ChanC", "ChanD"))


def test_what_the_settings_tell(tmp_path):
    metadata = inspect_recording(write(tmp_path / "rec", random_images(20), avg=1)).metadata
    values = {name: told.value for name, told in metadata.items()}
    assert values == {
        "frame_rate_hz": pytest.approx(30.043 / 6),
        "pixel_size_um": (1.5, 2.0),
        "session.session_start_time": "2020-07-30T14:00:43-04:00",  # 18:00:43 UTC as Unix time
        "imaging_plane.excitation_wavelength_nm": 925,
        "device.description": "ResonanceGalvo, objective Nikon16XW, ThorImageLS 4.0.2020.2171",
        "device.manufacturer": "Thorlabs",
    }
    assert metadata["frame_rate_hz"].source == "Experiment.xml, LSM frameRate / averageNum 6"


@pytest.mark.parametrize(
    ("date", "start"),
    [
        ("07/30/2020 23:30:43", "2020-07-30T23:30:43+05:30"),
        ("", "2020-07-30T18:00:43+00:00"),
        ("07/30/2021 14:00:43", "2020-07-30T18:00:43+00:00"),  # the two clocks contradict each other
    ],
)
def test_start_time_has_the_offset_of_the_two_clocks(tmp_path, date, start):
    path = write(tmp_path / "rec", random_images(20), date=date)
    assert inspect_recording(path).metadata["session.session_start_time"].value == start
    path = write(tmp_path / "without", random_images(20), utime="")
    assert "session.session_start_time" not in inspect_recording(path).metadata


def test_line_scans_and_damaged_settings_are_refused(tmp_path):
    path = write(tmp_path / "rec", random_images(20), area=2)
    with pytest.raises(RecordingError, match="scans of lines"):
        read_frames(path)
    (path / "Experiment.xml").write_text("<ThorImageExperiment>")
    with pytest.raises(ExperimentError, match="damaged"):
        read_experiment(path / "Experiment.xml")
    (path / "Image_0001_0002.raw").write_bytes(b"")
    with pytest.raises(RecordingError, match=r"several raw files \(Image_0001_0001.raw, Image_0001_0002.raw\)"):
        read_frames(path)


def test_file_that_becomes_shorter_while_it_is_read(tmp_path):
    path = write(tmp_path / "rec", random_images(40), detectors="A")
    raw = read_frames(path)
    with (path / "Image_0001_0001.raw").open("r+b") as stream:
        stream.truncate(30 * H * W * 2)
    with pytest.raises(RecordingError, match=r"images 0 to 39: the file is truncated"):
        raw.movie.compute()
    assert inspect_recording(path).n_frames == 30
