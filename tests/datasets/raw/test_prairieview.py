"""Folders as PrairieView 5 writes them."""

import gc
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import tifffile

from rsc2p_kedro.datasets.raw import Layout, RecordingError, inspect_recording, read_frames

NAME = "TSeries-02282020-0943-001"
STATE = """  <PVStateShard>
    <PVStateValue key="framePeriod" value="0.0334" />
    <PVStateValue key="laserPower"><IndexedValue index="0" value="42.5" description="Pockels" /></PVStateValue>
    <PVStateValue key="laserWavelength"><IndexedValue index="0" value="920" description="Insight" /></PVStateValue>
    <PVStateValue key="linesPerFrame" value="8" />
    <PVStateValue key="micronsPerPixel">
      <IndexedValue index="XAxis" value="1.1" />
      <IndexedValue index="YAxis" value="1.2" />
      <IndexedValue index="ZAxis" value="5" />
    </PVStateValue>
    <PVStateValue key="objectiveLens" value="16x_Nikon" />
    <PVStateValue key="pixelsPerLine" value="12" />
  </PVStateShard>
"""


def write(
    folder: Path,
    cycles: list[int],
    *,
    kind: str = "TSeries Timed Element",
    channels: tuple[str, ...] = ("Red", "Green"),
    multipage: bool = False,
    backwards: bool = False,
    period: float = 0.04,
) -> Path:
    """A folder with cycles of some frames; each image holds 1000 * cycle + 10 * frame + channel, from 1."""
    folder.mkdir(exist_ok=True)
    xml, time = [], 2.0
    ome = '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><BinaryOnly /></OME>'
    for cycle, n_frames in enumerate(cycles, start=1):
        pages: dict[int, list[np.ndarray]] = {}
        flag = f' bidirectionalZ="{backwards}"'
        xml.append(f'  <Sequence type="{kind}" cycle="{cycle}" time="09:43:{10 + cycle:02d}.5000000"{flag}>')
        for frame in range(1, n_frames + 1):
            xml.append(f'    <Frame relativeTime="{time - 2}" absoluteTime="{time}" index="{frame}">')
            time += period
            for channel, label in enumerate(channels, start=1):
                image = np.full((8, 12), 1000 * cycle + 10 * frame + channel, np.uint16)
                number = 1 if multipage else frame
                name = f"{NAME}_Cycle{cycle:05d}_Ch{channel}_{number:06d}.ome.tif"
                page = frame if multipage else 1
                xml.append(f'      <File channel="{channel}" channelName="{label}" page="{page}" filename="{name}" />')
                pages.setdefault(channel, []).append(image)
                if not multipage:
                    tifffile.imwrite(folder / name, image, description=ome, metadata=None)
            xml.append("    </Frame>")
        for channel, images in pages.items() if multipage else ():
            name = f"{NAME}_Cycle{cycle:05d}_Ch{channel}_000001.ome.tif"
            tifffile.imwrite(folder / name, np.array(images), metadata=None, photometric="minisblack")
        xml.append("  </Sequence>")
    head = (
        '<?xml version="1.0" encoding="utf-8"?>\n<PVScan version="5.5.64.500" date="2/28/2020 9:43:10 AM" notes="">\n'
    )
    ids = '  <SystemIDs SystemID="4886ABCD"><SystemID SystemID="4886" Description="lab" /></SystemIDs>\n'
    (folder / f"{NAME}.xml").write_text(head + ids + STATE + "\n".join(xml) + "\n</PVScan>\n")
    (folder / f"{NAME}_Cycle00001_VoltageRecording_001.xml").write_text("<VRecSessionEntry />")
    (folder / "References").mkdir(exist_ok=True)
    return folder


def frames_of(path: Path, **selection) -> list[int]:
    return read_frames(path, **selection).movie[:, 3, 5].compute().tolist()


@pytest.mark.parametrize("multipage", [False, True])
def test_channels_of_a_time_series(tmp_path, multipage):
    folder = write(tmp_path / "t", [20], multipage=multipage)
    recording = inspect_recording(folder)
    assert (recording.format, recording.problems, recording.notes) == ("PrairieView 5.5.64.500 TIFF", (), ())
    assert recording.channels == ("Red", "Green")
    assert frames_of(folder, channel="green") == [1000 + 10 * frame + 2 for frame in range(1, 21)]
    with pytest.raises(RecordingError, match="there are 2 channels \\(Red, Green\\)"):
        read_frames(folder)


def test_what_the_xml_file_tells(tmp_path):
    recording = inspect_recording(write(tmp_path / "t", [20]))
    told = {key: value.value for key, value in recording.metadata.items()}
    assert told == {
        "frame_rate_hz": 25,
        "pixel_size_um": (1.2, 1.1),
        "session.session_start_time": datetime(2020, 2, 28, 9, 43, 11, 500_000),
        "imaging_plane.excitation_wavelength_nm": 920,
        "device.manufacturer": "Bruker",
        "device.serial_number": "4886ABCD",
        "device.description": "PrairieView 5.5.64.500, objective 16x_Nikon, laser power 42.5 (setting)",
    }
    np.testing.assert_allclose(recording.frame_times_s[:, 0], 0.04 * np.arange(20))


def test_cycles_of_a_time_series_are_trials(tmp_path):
    folder = write(tmp_path / "t", [10, 12], channels=("Green",))
    assert frames_of(folder)[8:12] == [1091, 1101, 2011, 2021]
    assert inspect_recording(folder).n_planes == 1
    first = f"{NAME}_Cycle0000{{}}_Ch1_000001.ome.tif"
    trials = [first.format(1)] * 10 + [first.format(2)] * 12
    assert read_frames(folder).first_files == trials
    (folder / f"{NAME}.xml").unlink()
    assert read_frames(folder, layout=Layout(n_planes=1)).first_files == trials


@pytest.mark.parametrize("multipage", [False, True])
def test_cycles_of_a_z_series_are_volumes(tmp_path, multipage):
    folder = write(tmp_path / "t", [3] * 20 + [2], kind="TSeries ZSeries Element", multipage=multipage)
    recording = inspect_recording(folder)
    assert recording.order.shape == (20, 3, 2)
    assert len(set(read_frames(folder, channel=1, plane=1).first_files)) == 1, "volumes are no trials"
    assert recording.notes == ("1 incomplete volume left out: the recording was stopped",)
    assert frames_of(folder, channel="Red", plane=2) == [1000 * cycle + 21 for cycle in range(1, 21)]
    assert recording.metadata["frame_rate_hz"].value == pytest.approx(1 / 0.12, rel=1e-5)
    assert "`planes` is 2 in the manifest, but 3" in inspect_recording(folder, layout=Layout(n_planes=2)).problems[0]


def test_user_tells_flyback_in_volumes_and_planes_in_time_series(tmp_path):
    layout = Layout(n_planes=2, flyback_frames=1)
    folder = write(tmp_path / "z", [3] * 20, kind="TSeries ZSeries Element", channels=("G",))
    assert inspect_recording(folder, layout=layout).order.shape == (20, 2, 1)
    assert frames_of(folder, plane=2, layout=layout) == [1000 * cycle + 21 for cycle in range(1, 21)]
    folder = write(tmp_path / "t", [60], channels=("G",))
    assert frames_of(folder, plane=2, layout=layout) == [1000 + 10 * frame + 1 for frame in range(2, 60, 3)]


def test_volumes_in_both_directions(tmp_path):
    folder = write(tmp_path / "t", [3] * 20, kind="TSeries ZSeries Element", channels=("G",), backwards=True)
    expected = [1000 * cycle + (31 if cycle % 2 else 11) for cycle in range(1, 21)]
    assert frames_of(folder, plane=3) == expected
    assert inspect_recording(folder).frame_times_s[1].tolist() == pytest.approx([0.2, 0.16, 0.12])


def test_missing_files_are_named(tmp_path):
    folder = write(tmp_path / "t", [20])
    (folder / f"{NAME}_Cycle00001_Ch2_000007.ome.tif").unlink()
    (problem,) = inspect_recording(folder).problems
    assert f"{NAME}.xml names files that are missing: {NAME}_Cycle00001_Ch2_000007.ome.tif" in problem


def test_file_with_fewer_pages_than_named(tmp_path):
    folder = write(tmp_path / "t", [20], multipage=True)
    name = f"{NAME}_Cycle00001_Ch1_000001.ome.tif"
    tifffile.imwrite(folder / name, np.zeros((18, 8, 12), np.uint16), metadata=None, photometric="minisblack")
    (problem,) = inspect_recording(folder).problems
    assert f"{name} hold fewer images than {NAME}.xml names" in problem


def test_positions_of_the_stage_are_no_trials(tmp_path):
    folder = write(tmp_path / "t", [20, 20])
    file = folder / f"{NAME}.xml"
    text = file.read_text()
    for cycle in (1, 2):
        keys = "".join(
            f'<PVStateValue key="xYStageGrid{axis}Index" value="{n}"/>' for axis, n in {"X": cycle, "Y": 0}.items()
        )
        head, start, rest = text.partition(f'cycle="{cycle}"')
        text = head + start + rest.replace(">\n", f">\n<PVStateShard>{keys}</PVStateShard>\n", 1)
    file.write_text(text)
    (problem,) = inspect_recording(folder).problems
    assert problem.startswith("the cycles were taken at 2 positions of the stage, each a recording of its own: put")


def test_other_kinds_of_scans_are_no_movies(tmp_path):
    folder = write(tmp_path / "t", [20], kind="ZSeries")
    assert inspect_recording(folder).problems == (
        "this is a ZSeries of PrairieView, not a movie: remove it from the manifest",
    )


def test_without_xml_file_names_tell_channels_and_cycles(tmp_path):
    folder = write(tmp_path / "one", [20])
    (folder / f"{NAME}.xml").unlink()
    assert frames_of(folder, channel="Ch2") == [1000 + 10 * frame + 2 for frame in range(1, 21)]
    folder = write(tmp_path / "many", [3] * 20)
    (folder / f"{NAME}.xml").unlink()
    (problem,) = inspect_recording(folder).problems
    assert "20 cycles of 3 images may be trials of one plane or volumes" in problem
    planes = Layout(n_planes=3)
    assert frames_of(folder, channel=1, plane=1, layout=planes) == [1000 * cycle + 11 for cycle in range(1, 21)]


def test_two_recordings_in_a_folder(tmp_path):
    folder = write(tmp_path / "t", [20])
    text = (folder / f"{NAME}.xml").read_text()
    (folder / "other.xml").write_text(text.replace("Cycle00001", "Cycle00009"))
    (problem,) = inspect_recording(folder).problems
    assert "several recordings of PrairieView in this folder" in problem
    assert len(frames_of(folder / f"{NAME}.xml", channel=1)) == 20


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("cycles", "options"),
    [
        ([20], {}),
        ([20], {"multipage": True}),
        ([10, 12], {"channels": ("Green",)}),
        ([3] * 20, {"channels": ("Green",), "kind": "TSeries ZSeries Element"}),
    ],
)
def test_agrees_with_roiextractors(tmp_path, cycles, options):
    roiextractors = pytest.importorskip("roiextractors")
    folder = write(tmp_path / NAME, cycles, **options)
    (folder / f"{NAME}_Cycle00001_VoltageRecording_001.xml").unlink()
    recording = inspect_recording(folder)
    for channel in recording.channels:
        name = channel if len(recording.channels) > 1 else None
        theirs = roiextractors.BrukerTiffImagingExtractor(folder_path=folder, channel_name=name)
        series = theirs.get_series().reshape(recording.n_frames, 8, 12, recording.n_planes)
        for plane in range(recording.n_planes):
            ours = read_frames(folder, channel=channel, plane=plane + 1).movie.compute()
            np.testing.assert_array_equal(ours, series[..., plane])
        np.testing.assert_allclose(recording.frame_times_s[:, 0], theirs.get_timestamps(), atol=1e-9)
    del theirs
    gc.collect()  # it leaves files open, which other tests would be blamed for


def test_damaged_xml_file(tmp_path):
    folder = write(tmp_path / "t", [20])
    text = (folder / f"{NAME}.xml").read_text()
    (folder / f"{NAME}.xml").write_text(text[: len(text) // 2])
    (problem,) = inspect_recording(folder).problems
    assert f"{NAME}.xml is damaged" in problem
    names_only = Layout(exclude=("*.xml",))
    assert frames_of(folder, channel="Ch1", layout=names_only) == [1000 + 10 * frame + 1 for frame in range(1, 21)]


def test_xml_file_of_version_4(tmp_path):
    folder = tmp_path / "t"
    folder.mkdir()
    frames = []
    for frame in range(1, 21):
        name = f"T_Cycle001_CurrentSettings_Ch1_{frame:06d}.tif"
        tifffile.imwrite(folder / name, np.full((8, 12), frame, np.uint16), metadata=None)
        keys = "".join(
            f'<Key key="micronsPerPixel_{axis}" permissions="Read, Write, Save" value="{size}" />'
            for axis, size in (("XAxis", 0.5), ("YAxis", 0.6))
        )
        frames.append(
            f'<Frame relativeTime="{frame / 10}" absoluteTime="{2 + frame / 10}" index="{frame}">'
            f'<File channel="1" channelName="Ch1" preAmpID="0" filename="{name}" />'
            f"<PVStateShard>{keys}</PVStateShard></Frame>"
        )
    sequence = f'<Sequence type="TSeries Timed Element" cycle="1">{"".join(frames)}</Sequence>'
    xml = f'<?xml version="1.0"?><PVScan version="4.0.0.53" date="3/23/2012 9:47:15 AM" notes="">{sequence}</PVScan>'
    (folder / "T.xml").write_text(xml)
    assert frames_of(folder) == list(range(1, 21))
    told = inspect_recording(folder).metadata
    assert told["pixel_size_um"].value == (0.6, 0.5)
    assert told["frame_rate_hz"].value == pytest.approx(10)
