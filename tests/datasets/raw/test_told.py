"""What files tell can be written to the manifest."""

from pathlib import Path

import pytest
from tests.datasets.raw import test_ome, test_prairieview, test_scanimage, test_thorimage

from rsc2p_kedro.datasets.raw import inspect_recording
from rsc2p_kedro.manifest.recordings import Recording


def prairieview(folder: Path) -> Path:
    return test_prairieview.write(folder / "t", [20])


def scanimage(folder: Path) -> Path:
    return test_scanimage.write(folder / "m_00001.tif", test_scanimage.counting(20))


def thorimage(folder: Path) -> Path:
    test_thorimage.experiment(folder)
    return test_thorimage.write(folder, "AB", 1, 20)


def ome(folder: Path) -> Path:
    pixels = 'PhysicalSizeX="0.5" PhysicalSizeY="0.6" TimeIncrement="0.1"'
    channel = '<Channel ID="C:0" Fluor="GCaMP6f" ExcitationWavelength="920" EmissionWavelength="515"/><TiffData/>'
    text = test_ome.ome("XYCZT", 1, 1, 20, channel, pixels=pixels)
    return test_ome.write(folder / "a.ome.tif", test_ome.numbered(20), text)


@pytest.mark.parametrize("written", [prairieview, scanimage, thorimage, ome])
def test_the_manifest_takes_what_files_tell(tmp_path, written):
    told = inspect_recording(written(tmp_path)).metadata
    assert {"frame_rate_hz", "pixel_size_um", "session.session_start_time"} <= set(told)
    entry: dict = {"path": "x", "session": {}, "device": {}, "imaging_plane": {}}
    for field, one in told.items():
        part, _, name = field.rpartition(".")
        local = getattr(one.value, "tzinfo", "") is None  # asked about: the manifest needs the offset from UTC
        (entry[part] if part else entry)[name] = one.value.astimezone() if local else one.value
        assert one.source
    assert Recording.model_validate(entry).frame_rate_hz == told["frame_rate_hz"].value
