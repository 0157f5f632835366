"""OME-TIFFs as tifffile, Bio-Formats and Micro-Manager lay them out: one file, several, metadata elsewhere."""

from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
import tifffile

from rsc2p_kedro.datasets.raw import Layout, inspect_recording, read_frames

H, W = 8, 12
NAMESPACE = "http://www.openmicroscopy.org/Schemas/OME/2016-06"


def numbered(*sizes: int) -> np.ndarray:
    n = int(np.prod(sizes))
    images = np.random.default_rng(3).integers(0, 900, (n, H, W), dtype=np.uint16)
    images[:, 0, 0] = np.arange(n)
    return images.reshape(*sizes, H, W)


def images_of(path: Path, layout: Layout | None = None, **selection) -> list[int]:
    return read_frames(path, layout=layout, **selection).movie[:, 0, 0].compute().tolist()


def problem_of(path: Path, layout: Layout | None = None) -> str:
    (problem,) = inspect_recording(path, layout=layout).problems
    return problem


def ome(order: str, c: int, z: int, t: int, content: str, *, pixels: str = "", before: str = "", uuid: str = "") -> str:
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><OME xmlns="{NAMESPACE}" UUID="{uuid}">{before}'
        f'<Image ID="Image:0" Name="m"><AcquisitionDate>2021-03-04T05:06:07</AcquisitionDate>'
        f'<Pixels ID="Pixels:0" DimensionOrder="{order}" Type="uint16" SizeX="{W}" SizeY="{H}" SizeC="{c}" '
        f'SizeZ="{z}" SizeT="{t}" {pixels}>{content}</Pixels></Image></OME>'
    )


def write(path: Path, images: np.ndarray, description: str | None) -> Path:
    with tifffile.TiffWriter(path) as writer:
        for number, image in enumerate(images):
            text = description.encode() if number == 0 and description else None
            writer.write(image, contiguous=False, metadata=None, photometric="minisblack", description=text)
    return path


@pytest.mark.parametrize("axes", ["TZCYX", "TCZYX", "ZTCYX", "CTZYX", "ZCTYX", "CZTYX"])
def test_one_file_with_axes_in_any_order(tmp_path, axes):
    sizes = {"T": 20, "Z": 3, "C": 2}
    data = numbered(*(sizes[axis] for axis in axes[:3]))
    tifffile.imwrite(tmp_path / "a.ome.tif", data, metadata={"axes": axes}, photometric="minisblack")
    recording = inspect_recording(tmp_path / "a.ome.tif")
    assert (recording.format, recording.problems) == ("OME-TIFF", ())
    numbers = np.arange(120).reshape([sizes[axis] for axis in axes[:3]])
    expected = np.moveaxis(numbers, [axes.index(axis) for axis in "TZC"], [0, 1, 2])
    np.testing.assert_array_equal(recording.order, expected)
    assert images_of(tmp_path / "a.ome.tif", channel=2, plane=3) == expected[:, 2, 1].tolist()


def test_what_the_metadata_tell(tmp_path):
    instrument = (
        '<Instrument ID="Instrument:0"><Microscope Manufacturer="Olympus" Model="FVMPE-RS" SerialNumber="17"/>'
        '<Objective ID="Objective:0" Model="XLPLN25XWMP2" NominalMagnification="25" LensNA="1.05"/></Instrument>'
    )
    channel = (
        '<Channel ID="Channel:0:0" Name="green" Fluor="GCaMP6f" ExcitationWavelength="0.92" '
        'ExcitationWavelengthUnit="µm" EmissionWavelength="515"/><TiffData/>'
    )
    planes = "".join(f'<Plane TheC="0" TheZ="0" TheT="{t}" DeltaT="{t * 125}" DeltaTUnit="ms"/>' for t in range(20))
    pixels = 'PhysicalSizeX="500" PhysicalSizeXUnit="nm" PhysicalSizeY="0.6" TimeIncrement="9"'
    text = ome("XYCZT", 1, 1, 20, channel + planes, pixels=pixels, before=instrument)
    recording = inspect_recording(write(tmp_path / "a.ome.tif", numbered(20), text))
    assert recording.channels == ("green",)
    assert {key: told.value for key, told in recording.metadata.items()} == {
        "pixel_size_um": (0.6, 0.5),
        "frame_rate_hz": 8,
        "session.session_start_time": datetime(2021, 3, 4, 5, 6, 7),
        "imaging_plane.excitation_wavelength_nm": 920,
        "imaging_plane.emission_wavelength_nm": 515,
        "imaging_plane.indicator": "GCaMP6f",
        "device.manufacturer": "Olympus",
        "device.model_name": "FVMPE-RS",
        "device.serial_number": "17",
        "device.description": "objective XLPLN25XWMP2 25x NA 1.05",
    }
    assert "offset from UTC is not told" in recording.metadata["session.session_start_time"].source
    np.testing.assert_allclose(recording.frame_times_s[:, 0], np.arange(20) / 8)


def test_time_zone_and_interval(tmp_path):
    text = ome("XYCZT", 1, 1, 20, "<TiffData/>", pixels='TimeIncrement="50" TimeIncrementUnit="ms"')
    text = text.replace("05:06:07<", "05:06:07+01:00<")
    told = inspect_recording(write(tmp_path / "a.ome.tif", numbered(20), text)).metadata
    start = datetime(2021, 3, 4, 5, 6, 7, tzinfo=timezone(timedelta(hours=1)))
    assert told["session.session_start_time"].value == start
    assert told["frame_rate_hz"].value == 20


def one_file_a_channel(folder: Path, description: dict[int, str | None], t: int = 20) -> Path:
    data = numbered(2, t)
    for c in range(2):
        write(folder / f"m_c{c}.ome.tif", data[c], description[c])
    return folder


def references(t: int = 20) -> str:
    return "".join(
        f'<TiffData FirstC="{c}" IFD="0" PlaneCount="{t}"><UUID FileName="m_c{c}.ome.tif">urn:uuid:{c}</UUID>'
        "</TiffData>"
        for c in range(2)
    )


def test_one_file_a_channel_each_with_all_metadata(tmp_path):
    texts = {c: ome("XYTZC", 2, 1, 20, references(), uuid=f"urn:uuid:{c}") for c in range(2)}
    one_file_a_channel(tmp_path, texts)
    assert images_of(tmp_path, channel=2) == list(range(20, 40))
    assert images_of(tmp_path / "m_c1.ome.tif", channel=1) == list(range(20))


def test_metadata_in_another_tiff(tmp_path):
    binary = f'<OME xmlns="{NAMESPACE}"><BinaryOnly MetadataFile="m_c0.ome.tif" UUID="urn:uuid:0"/></OME>'
    one_file_a_channel(tmp_path, {0: ome("XYTZC", 2, 1, 20, references(), uuid="urn:uuid:0"), 1: binary})
    assert images_of(tmp_path, channel=2) == list(range(20, 40))
    assert images_of(tmp_path / "m_c1.ome.tif", channel=2) == list(range(20, 40))
    (tmp_path / "m_c0.ome.tif").unlink()
    assert "m_c1.ome.tif cannot be read (they should be in m_c0.ome.tif, which is missing)" in problem_of(tmp_path)


def test_metadata_in_a_companion_file(tmp_path):
    binary = f'<OME xmlns="{NAMESPACE}"><BinaryOnly MetadataFile="m.companion.ome" UUID="urn:uuid:9"/></OME>'
    one_file_a_channel(tmp_path, {0: binary, 1: binary})
    (tmp_path / "m.companion.ome").write_text(ome("XYTZC", 2, 1, 20, references(), uuid="urn:uuid:9"))
    for path in (tmp_path, tmp_path / "m_c1.ome.tif", tmp_path / "m.companion.ome"):
        assert images_of(path, channel=2) == list(range(20, 40))
    (tmp_path / "m_c1.ome.tif").unlink()
    assert "m.companion.ome names files that are missing: m_c1.ome.tif" in problem_of(tmp_path)


def test_single_file_that_was_renamed(tmp_path):
    data = '<TiffData IFD="0" PlaneCount="20"><UUID FileName="before.ome.tif">urn:uuid:7</UUID></TiffData>'
    path = write(tmp_path / "after.ome.tif", numbered(20), ome("XYCZT", 1, 1, 20, data))
    assert images_of(path) == list(range(20))


def test_one_tiffdata_an_image(tmp_path):
    data = "".join(
        f'<TiffData FirstT="{t}" FirstZ="{z}" IFD="{(19 - t) * 3 + z}"/>' for t in range(20) for z in range(3)
    )
    path = write(tmp_path / "a.ome.tif", numbered(60), ome("XYZCT", 1, 3, 20, data))
    assert images_of(path, plane=2) == list(range(58, 0, -3))


def test_stack_labelled_as_slices_is_asked_about(tmp_path):
    path = write(tmp_path / "a.ome.tif", numbered(60), ome("XYCZT", 1, 60, 1, "<TiffData/>"))
    assert "60 images are labelled as slices (Z)" in problem_of(path)
    assert images_of(path, Layout(n_planes=1)) == list(range(60))
    assert images_of(path, Layout(n_planes=3), plane=3) == list(range(2, 60, 3))


def test_what_the_user_says_must_not_contradict_the_metadata(tmp_path):
    path = write(tmp_path / "a.ome.tif", numbered(60), ome("XYCZT", 1, 3, 20, "<TiffData/>"))
    assert "`planes` is 2 in the manifest, but 3 according to the OME metadata" in problem_of(path, Layout(n_planes=2))


def test_recording_that_was_stopped(tmp_path):
    path = write(tmp_path / "a.ome.tif", numbered(61), ome("XYCZT", 1, 3, 30, "<TiffData/>"))
    recording = inspect_recording(path)
    assert (recording.order.shape, recording.problems) == ((20, 3, 1), ())
    assert recording.notes == ("the OME metadata promise 30 volumes, 10 of them are not complete and left out",)


def test_files_with_metadata_of_their_own_follow_one_another(tmp_path):
    data = numbered(40)
    for part in range(2):
        write(tmp_path / f"m_{part}.ome.tif", data[20 * part : 20 * part + 20], ome("XYCZT", 1, 1, 20, "<TiffData/>"))
    assert images_of(tmp_path) == list(range(40))


def test_several_series_are_refused(tmp_path):
    text = ome("XYCZT", 1, 1, 20, "<TiffData/>")
    image = text[text.index("<Image") : text.index("</OME>")]
    path = write(tmp_path / "a.ome.tif", numbered(20), text.replace("</OME>", image + "</OME>"))
    assert "a.ome.tif holds 2 series of images, such as positions (m, m)" in problem_of(path)


def test_damaged_metadata(tmp_path):
    text = ome("XYCZT", 1, 1, 20, "<TiffData/>").replace("<Pixels", "<<Pixels")
    assert "the OME metadata of a.ome.tif cannot be read" in problem_of(
        write(tmp_path / "a.ome.tif", numbered(20), text)
    )
