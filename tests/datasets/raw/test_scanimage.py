"""Files with the structure of ScanImage's: the settings in Software or ImageDescription, times in each description."""

import json
import struct
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import tifffile

from rsc2p_kedro.datasets.raw import Layout, RecordingError, inspect_recording, read_frames
from rsc2p_kedro.datasets.raw.scanimage import Header
from rsc2p_kedro.datasets.raw.tiff_file import first_page

H, W = 16, 24


def settings(**changes: str) -> str:
    """Settings of ScanImage 2019b, with changes (`__` stands for a dot)."""
    values = {
        "LINE_FORMAT_VERSION": "1",
        "TIFF_FORMAT_VERSION": "4",
        "VERSION_MAJOR": "'2019b'",
        "VERSION_MINOR": "'0'",
        "acqState": "'grab'",
        "hBeams.powers": "50",
        "hChannels.channelName": "{'Channel 1' 'Channel 2' 'Channel 3' 'Channel 4'}",
        "hChannels.channelSave": "1",
        "hFastZ.enable": "false",
        "hRoiManager.imagingFovUm": "[-45 -60;45 -60;45 60;-45 60]",
        "hRoiManager.linesPerFrame": "16",
        "hRoiManager.mroiEnable": "false",
        "hRoiManager.scanFramePeriod": "0.0333101",
        "hRoiManager.scanFrameRate": "30.0209",
        "hRoiManager.scanVolumeRate": "30.0209",
        "hScan2D.logAverageFactor": "1",
        "hScan2D.logFramesPerFile": "Inf",
        "hScan2D.scanMode": "'resonant'",
        "hStackManager.actualNumSlices": "1",
        "hStackManager.enable": "false",
        "hStackManager.framesPerSlice": "600",
        "hStackManager.numFramesPerVolume": "1",
        "hStackManager.numFramesPerVolumeWithFlyback": "1",
        "hStackManager.numSlices": "1",
        "hStackManager.numVolumes": "1",
        "hStackManager.stackMode": "'slow'",
    }
    values.update({name.replace("__", "."): value for name, value in changes.items()})
    return "\n".join(f"SI.{name} = {value}" for name, value in values.items())


def volumes(n_planes: int, flyback: int = 1, **changes: str) -> str:
    real = n_planes
    return settings(
        hStackManager__enable="true",
        hStackManager__stackMode="'fast'",
        hStackManager__actualNumSlices=str(n_planes),
        hStackManager__numSlices=str(n_planes),
        hStackManager__framesPerSlice="1",
        hStackManager__numFramesPerVolume=str(real),
        hStackManager__numFramesPerVolumeWithFlyback=str(real + flyback),
        hRoiManager__scanVolumeRate=str(30.0 / (real + flyback)),
        **changes,
    )


def page_text(frame: int, epoch: str, acquisition: int = 1) -> str:
    return (
        f"frameNumbers = {frame}\nacquisitionNumbers = {acquisition}\nframeNumberAcquisition = {frame}\n"
        f"frameTimestamps_sec = {(frame - 1) / 30:.9f}\nacqTriggerTimestamps_sec = \nnextFileMarkerTimestamps_sec = \n"
        f"endOfAcquisition =  0\ndcOverVoltage = 0\nepoch = [{epoch}]\nauxTrigger0 = []\nI2CData = {{}}\n"
    )


def write(
    path: Path,
    frames: list[int],
    software: str = "",
    *,
    n_channels: int = 1,
    epoch: str = "2019 5 6 10 30 12.5",
    acquisition: int = 1,
    rois: int = 0,
    bigtiff: bool = True,
) -> Path:
    """A file with some frames; each image holds 10 times its frame plus its channel."""
    roi = {"enable": 1, "scanfields": {"pixelResolutionXY": [W, 6]}}
    group = {"RoiGroups": {"imagingRoiGroup": {"rois": [roi] * rois}}}
    with tifffile.TiffWriter(path, bigtiff=bigtiff) as writer:
        for frame in frames:
            for channel in range(n_channels):
                image = np.full((H, W), (10 * frame + channel) % 30_000, np.int16)
                tags = [(315, 2, 0, json.dumps(group), True)] if rois else []
                writer.write(
                    image,
                    contiguous=False,
                    metadata=None,
                    photometric="minisblack",
                    software=software or settings(),
                    description=page_text(frame, epoch, acquisition),
                    extratags=tags,
                )
    return path


def write_as_scanimage(path: Path, images: np.ndarray, software: str, texts: list[str]) -> Path:
    """A BigTIFF byte for byte as ScanImage lays it out: its own header of static metadata, then page by page."""
    static, rois = software.encode() + b"\0", b"{}\0"
    head = struct.pack("<IIII", 0x07030301, 4, len(static), len(rois)) + static + rois
    content, pages = bytearray(head), []
    for image, text in zip(images, texts, strict=True):
        content += b"\0" * (-len(content) % 8)
        described = text.encode() + b"\0"
        place = 16 + len(content)
        data_at = place + 8 + 20 * 12 + 8
        texts_at = data_at + image.nbytes
        entries = [
            (256, 4, 1, image.shape[1]),
            (257, 4, 1, image.shape[0]),
            (258, 3, 1, 16),
            (259, 3, 1, 1),
            (262, 3, 1, 1),
            (270, 2, len(described), texts_at),
            (273, 16, 1, data_at),
            (277, 3, 1, 1),
            (278, 4, 1, image.shape[0]),
            (279, 16, 1, image.nbytes),
            (305, 2, len(static), 32),
            (339, 3, 1, 2),
        ]
        pages.append(place + 8 + 20 * 12)
        content += struct.pack("<Q", 12) + b"".join(struct.pack("<HHQQ", *entry) for entry in entries)
        content += struct.pack("<Q", 0) + image.tobytes() + described
        if len(pages) > 1:
            content[pages[-2] - 16 : pages[-2] - 8] = struct.pack("<Q", place)
    first = pages[0] - 8 - 20 * 12
    path.write_bytes(b"II" + struct.pack("<HHHQ", 43, 8, 0, first) + bytes(content))
    return path


def frames_of(path: Path, **selection) -> list[int]:
    return read_frames(path, **selection).movie[:, 3, 5].compute().tolist()


def counting(n: int, start: int = 1) -> list[int]:
    return list(range(start, start + n))


def test_one_channel_and_what_the_header_tells(tmp_path):
    path = write(tmp_path / "m_00001.tif", counting(20))
    recording = inspect_recording(path)
    assert (recording.format, recording.channels, recording.problems, recording.notes) == (
        "ScanImage 2019b TIFF",
        ("Channel 1",),
        (),
        (),
    )
    assert frames_of(path) == [10 * frame for frame in counting(20)]
    told = {key: value.value for key, value in recording.metadata.items()}
    assert told["frame_rate_hz"] == 30.0209
    assert told["pixel_size_um"] == (120 / H, 90 / W)
    assert told["session.session_start_time"] == datetime(2019, 5, 6, 10, 30, 12, 500_000)
    assert told["device.description"] == "ScanImage 2019b, resonant scanning"
    assert "offset from UTC is not told" in recording.metadata["session.session_start_time"].source
    np.testing.assert_allclose(recording.frame_times_s[:, 0], np.arange(20) / 30)


def test_channels_that_were_saved(tmp_path):
    software = settings(hChannels__channelSave="[1;3]")
    path = write(tmp_path / "m_00001.tif", counting(20), software, n_channels=2)
    assert inspect_recording(path).channels == ("Channel 1", "Channel 3")
    assert frames_of(path, channel="channel 3") == [10 * frame + 1 for frame in counting(20)]
    with pytest.raises(RecordingError, match="there are 2 channels \\(Channel 1, Channel 3\\)"):
        read_frames(path)


def test_volumes_with_flyback_and_an_aborted_last_volume(tmp_path):
    software = volumes(3, 1, hChannels__channelSave="[1 2]")
    path = write(tmp_path / "m_00001.tif", counting(4 * 20 + 2), software, n_channels=2)
    recording = inspect_recording(path)
    assert recording.order.shape == (20, 3, 2)
    assert recording.problems == ()
    assert recording.notes == ("1 incomplete volume (an acquisition that was stopped, or dropped frames) is left out",)
    assert frames_of(path, channel=2, plane=3) == [10 * frame + 1 for frame in range(3, 80, 4)]
    assert recording.metadata["frame_rate_hz"].value == 7.5
    np.testing.assert_allclose(recording.frame_times_s[5], (np.arange(3) + 20) / 30)


def test_volumes_of_2016_to_2018_without_flyback_frames_in_the_stack_manager(tmp_path):
    text = settings(
        VERSION_MAJOR="'2016b'",
        hFastZ__enable="true",
        hFastZ__discardFlybackFrames="true",
        hFastZ__numDiscardFlybackFrames="2",
        hFastZ__numFramesPerVolume="5",
        hFastZ__numVolumes="20",
        hStackManager__numSlices="3",
    )
    drop = ("stackMode", "numFramesPerVolumeWithFlyback", "hStackManager.numFramesPerVolume", "actualNumSlices")
    software = "\n".join(line for line in text.splitlines() if not any(name in line for name in drop))
    path = write(tmp_path / "m_00001.tif", counting(100), software)
    assert inspect_recording(path).order.shape == (20, 3, 1)
    assert frames_of(path, plane=1) == [10 * frame for frame in range(1, 100, 5)]


def test_what_the_user_says_must_not_contradict_the_header(tmp_path):
    path = write(tmp_path / "m_00001.tif", counting(80), volumes(3))
    problems = inspect_recording(path, layout=Layout(n_planes=1, flyback_frames=1)).problems
    assert problems == (
        "`planes` is 1 in the manifest, but 3 according to the ScanImage header: correct or remove `planes`",
    )


def test_files_of_one_acquisition_are_one_recording(tmp_path):
    for part in range(4):
        write(tmp_path / f"m_00001_{part + 1:05d}.tif", counting(18, 1 + 18 * part), volumes(3))
    recording = inspect_recording(tmp_path)
    assert (recording.problems, recording.notes) == ((), ())
    assert frames_of(tmp_path, plane=2) == [10 * frame for frame in range(2, 72, 4)]


def test_part_of_an_acquisition_keeps_its_planes(tmp_path):
    write(tmp_path / "m_00001_00001.tif", counting(11), volumes(3))
    second = write(tmp_path / "m_00001_00002.tif", counting(80, 12), volumes(3))
    assert frames_of(second, plane=1)[0] == 130


def test_file_missing_from_an_acquisition(tmp_path):
    for part in (0, 2):
        write(tmp_path / f"m_00001_{part + 1:05d}.tif", counting(10, 1 + 2000 * part))
    problems = inspect_recording(tmp_path).problems
    assert len(problems) == 1
    assert "files of the acquisition are missing before m_00001_00003.tif" in problems[0]


def test_acquisitions_of_a_day_follow_one_another(tmp_path):
    write(tmp_path / "m_00001.tif", counting(10), volumes(3))
    write(tmp_path / "m_00002.tif", counting(16), volumes(3), epoch="2019 5 6 10 31 12.5")
    recording = inspect_recording(tmp_path)
    assert recording.n_frames == 6
    np.testing.assert_allclose(recording.frame_times_s[:, 0], [0, 4 / 30, 60, 60 + 4 / 30, 60 + 8 / 30, 60.4])
    assert "2 acquisitions are read one after the other" in recording.notes
    assert recording.trials.tolist() == [0, 0, 1, 1, 1, 1]


def test_parts_of_an_acquisition_are_one_trial_and_acquisitions_are_trials(tmp_path):
    for part in range(2):
        write(tmp_path / f"m_00001_{part + 1:05d}.tif", counting(10, 1 + 10 * part))
    write(tmp_path / "m_00002_00001.tif", counting(20), epoch="2019 5 6 10 31 12.5", acquisition=2)
    frames = read_frames(tmp_path, frames=(5, 40))
    assert frames.first_files == ["m_00001_00001.tif"] * 15 + ["m_00002_00001.tif"] * 20


def test_acquisitions_that_do_not_belong_together(tmp_path):
    write(tmp_path / "m_00001.tif", counting(10))
    write(tmp_path / "m_00002.tif", counting(16), volumes(3), epoch="2019 5 8 10 31 12.5")
    problems = inspect_recording(tmp_path).problems
    assert "m_00002.tif have other channels or planes: keep acquisitions of one kind in a folder" in problems
    assert "the acquisitions are from different days: each day is a recording of its own" in problems


def test_dropped_frames_do_not_shift_the_planes(tmp_path):
    frames = [frame for frame in counting(100) if frame not in (30, 61, 62)]
    path = write(tmp_path / "m_00001.tif", frames, volumes(3))
    recording = inspect_recording(path)
    assert frames_of(path, plane=1) == [10 * frame for frame in range(1, 100, 4) if frame not in (29, 61)]
    assert "ScanImage dropped 3 frames" in recording.notes[1]
    assert recording.frame_times_s[7, 0] == pytest.approx(32 / 30)


def test_averaged_frames(tmp_path):
    path = write(tmp_path / "m_00001.tif", list(range(4, 100, 4)), settings(hScan2D__logAverageFactor="4"))
    recording = inspect_recording(path)
    assert recording.n_frames == 24
    assert recording.notes == ()
    assert recording.metadata["frame_rate_hz"].value == pytest.approx(30.0209 / 4)


@pytest.mark.parametrize(
    ("software", "message"),
    [
        (volumes(3).replace("numFramesPerVolume = 3", "numFramesPerVolume = 6"), "imaged 2 times in a volume"),
        (volumes(3, hScan2D__logAverageFactor="4"), "images mix planes"),
        (
            settings(hStackManager__enable="true", hStackManager__actualNumSlices="3"),
            "3 depths were imaged one after the other, 600 frames each",
        ),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path, software, message):
    path = write(tmp_path / "m_00001.tif", counting(84), software)
    (problem,) = inspect_recording(path).problems
    assert message in problem


def test_one_depth_of_a_slow_stack(tmp_path):
    software = settings(hStackManager__enable="true", hStackManager__actualNumSlices="3")
    path = write(tmp_path / "m_00001.tif", counting(60), software)
    assert frames_of(path, layout=Layout(n_planes=1), frames=(20, 40)) == [10 * frame for frame in range(21, 41)]


def test_several_regions_in_an_image_are_refused(tmp_path):
    software = settings(hRoiManager__mroiEnable="true")
    one = write(tmp_path / "one_00001.tif", counting(20), software, rois=1)
    assert inspect_recording(one).problems == ()
    two = write(tmp_path / "two_00001.tif", counting(20), software, rois=2)
    problem = inspect_recording(two).problems[0]  # 16 rows: 6 of each region, and 4 while the mirrors move
    assert "2 regions (mROI) lie one below the other in each image (rows 0 to 5, 10 to 15, from 0)" in problem
    three = write(tmp_path / "three_00001.tif", counting(20), software, rois=3)
    assert "3 regions (mROI) lie one below the other in each image, which is" in inspect_recording(three).problems[0]


def test_agrees_with_roiextractors_on_a_file_as_scanimage_lays_it_out(tmp_path, monkeypatch):
    roiextractors = pytest.importorskip("roiextractors")
    opened, reader_of_tifffile = [], tifffile.TiffReader

    def keep(file):  # roiextractors leaves it open
        opened.append(reader_of_tifffile(file))
        return opened[-1]

    monkeypatch.setattr(tifffile, "TiffReader", keep)
    software = volumes(3, 1, hChannels__channelSave="[1 2]")
    frames = counting(4 * 20 + 2)
    images = np.random.default_rng(2).integers(-50, 900, (2 * len(frames), H, W), dtype=np.int16)
    texts = [page_text(frame, "2019 5 6 10 30 12.5") for frame in frames for _ in range(2)]
    path = write_as_scanimage(tmp_path / "m_00001.tif", images, software, texts)
    with path.open("rb") as stream:
        assert tifffile.tifffile.read_scanimage_metadata(stream)[0]["SI.hChannels.channelSave"] == [1, 2]
    recording = inspect_recording(path)
    assert recording.problems == ()
    for channel in ("Channel 1", "Channel 2"):
        theirs = roiextractors.ScanImageImagingExtractor(file_path=path, channel_name=channel)
        series = theirs.get_series()
        for plane in range(3):
            ours = read_frames(path, channel=channel, plane=plane + 1).movie.compute()
            np.testing.assert_array_equal(ours, series[..., plane])
        assert theirs.get_sampling_frequency() == pytest.approx(recording.metadata["frame_rate_hz"].value)
    for reader in opened:
        reader.close()


SI3 = "\r".join(
    [
        "state.configName='512'",
        "state.software.version=3.8",
        "state.acq.numberOfChannelsSave=2",
        "state.acq.numberOfZSlices=1",
        "state.acq.frameRate=3.91",
        "state.acq.numAvgFramesSave=1",
        "state.acq.zoomFactor=2",
        "state.internal.triggerTimeString='12/13/2011 14:25:52.203'",
        "",
    ]
)
SI5 = "\n".join(
    [
        "scanimage.SI5.acqNumAveragedFrames = 1",
        "scanimage.SI5.acqStartTime = [2015 6 3 17 2 52.583]",
        "scanimage.SI5.channelsSave = [1;2]",
        "scanimage.SI5.fastZEnable = false",
        "scanimage.SI5.scanFramePeriod = 0.04",
        "scanimage.SI5.stackNumSlices = 1",
        "scanimage.SI5.zoomFactor = 3",
    ]
)
SI2015 = "\n".join(
    [
        "scanimage.SI.VERSION_MAJOR = 2015",
        "scanimage.SI.hChannels.channelName = {'GCaMP' 'tdTomato'}",
        "scanimage.SI.hChannels.channelSave = [1;2]",
        "scanimage.SI.hFastZ.enable = false",
        "scanimage.SI.hRoiManager.scanFrameRate = 25",
        "scanimage.SI.hStackManager.numSlices = 1",
    ]
)
CLASSIC = [
    pytest.param(lambda frame: SI3, 3.91, datetime(2011, 12, 13, 14, 25, 52, 203_000), ("1", "2"), id="3.8"),
    pytest.param(
        lambda frame: f"Frame Number = {frame}\nFrame Timestamp(s) = {frame * 0.04 - 0.04:.6f}\n{SI5}",
        25.0,
        datetime(2015, 6, 3, 17, 2, 52, 583_000),
        ("1", "2"),
        id="5",
    ),
    pytest.param(
        lambda frame: page_text(frame, "2015 9 1 8 0 0") + SI2015,
        25.0,
        datetime(2015, 9, 1, 8),
        ("GCaMP", "tdTomato"),
        id="2015",
    ),
]


@pytest.mark.parametrize(("text", "rate", "start", "channels"), CLASSIC)
def test_classic_files(tmp_path, text, rate, start, channels):
    with tifffile.TiffWriter(tmp_path / "m_001.tif") as writer:
        for frame in counting(20):
            for channel in range(2):
                image = np.full((H, W), 10 * frame + channel, np.int16)
                writer.write(image, contiguous=False, metadata=None, photometric="minisblack", description=text(frame))
    recording = inspect_recording(tmp_path / "m_001.tif")
    assert recording.problems == ()
    assert recording.channels == channels
    assert frames_of(tmp_path / "m_001.tif", channel=1) == [10 * frame for frame in counting(20)]
    assert recording.metadata["frame_rate_hz"].value == rate
    assert recording.metadata["session.session_start_time"].value == start


@pytest.mark.parametrize("bigtiff", [False, True])
def test_pages_with_a_description_each_are_all_read(tmp_path, bigtiff):
    """tifffile replaces the pages of classic files by virtual ones, from five pages on."""
    path = write(tmp_path / "m_00001.tif", counting(40), bigtiff=bigtiff)
    assert frames_of(path) == [10 * frame for frame in counting(40)]
    (tmp_path / "m_00001.tif").write_bytes(path.read_bytes()[:-300])
    assert any("is truncated" in problem for problem in inspect_recording(path).problems)


def test_header_of_all_versions_is_parsed_alike(tmp_path):
    header = Header.of(first_page(write(tmp_path / "a.tif", [1], settings(hChannels__channelSave="[1;2;4]"))))
    assert header.numbers("hChannels.channelSave") == [1, 2, 4]
    assert header.numbers("missing", "hScan2D.logFramesPerFile") == [np.inf]
    assert header.texts("hChannels.channelName")[3] == "Channel 4"
    assert header.is_true("hFastZ.enable") is False
