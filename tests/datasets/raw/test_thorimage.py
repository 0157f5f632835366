"""Folders of ThorImageLS with TIFFs; `Experiment.xml` holds the elements of version 4.0 that matter."""

from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import tifffile

from rsc2p_kedro.datasets.raw import Layout, RecordingError, inspect_recording, read_frames

H, W = 8, 12


def experiment(folder: Path, *, channels: int = 3, steps: int = 1, fast_z: int = 0, stream: int = 1) -> None:
    names = "".join(
        f'<Wavelength name="Chan{letter}" exposureTimeMS="0" />'
        for bit, letter in enumerate("ABCD")
        if channels >> bit & 1
    )
    folder.mkdir(exist_ok=True)
    (folder / "Experiment.xml").write_text(
        '<?xml version="1.0"?>\n<ThorImageExperiment>\n'
        '  <Date date="07/30/2020 14:00:43" uTime="1596132043" />\n  <Software version="4.0.2020.2171" />\n'
        '  <Magnification mag="16" indexOfRefraction="1.3" name="Nikon16XW" />\n'
        f'  <Wavelengths nyquistExWavelengthNM="488">{names}<ChannelEnable Set="{channels}" /></Wavelengths>\n'
        f'  <ZStage name="ThorZPiezo" steps="{steps}" stepSizeUM="1" enable="{1 - stream}" />\n'
        '  <Timelapse timepoints="20" intervalSec="1" triggerMode="0" />\n'
        f'  <LSM name="ResonanceGalvo" channel="{channels}" pixelX="{W}" pixelY="{H}" pixelSizeUM="0.5" widthUM="6" '
        'heightUM="4.8" averageMode="0" averageNum="6" frameRate="30" />\n'
        f'  <Streaming enable="{stream}" frames="20" zFastEnable="{fast_z}" flybackFrames="1" />\n'
        '  <MultiPhotonLaser enable="1" pos="925" />\n  <ExperimentStatus value="Complete" />\n</ThorImageExperiment>\n'
    )
    tifffile.imwrite(folder / "ChanA_Preview.tif", np.zeros((H, W), np.uint16))


def write(folder: Path, letters: str, depths: int, times: int, pages: int = 1) -> Path:
    """Images that hold 1000 * channel + 100 * z + t, all from 1."""
    for c, letter in enumerate(letters, start=1):
        for z in range(1, depths + 1):
            for t in range(1, times + 1, pages):
                values = 1000 * c + 100 * z + np.arange(t, t + pages)
                images = np.broadcast_to(values[:, None, None], (pages, H, W)).astype(np.uint16)
                name = f"Chan{letter}_001_001_{z:03d}_{(t - 1) // pages + 1:03d}.tif"
                tifffile.imwrite(folder / name, images, metadata=None, photometric="minisblack")
    return folder


def frames_of(path: Path, **selection) -> list[int]:
    return read_frames(path, **selection).movie[:, 3, 5].compute().tolist()


def test_what_early_versions_tell_in_the_tiffs_only(tmp_path):
    """As in a recording of ThorImage 1.0, whose `Experiment.xml` lacks sizes in um and the time of the start."""
    experiment(tmp_path)
    file = tmp_path / "Experiment.xml"
    text = file.read_text().replace('pixelSizeUM="0.5" widthUM="6" ', "").replace('heightUM="4.8"', "")
    file.write_text(text.replace('uTime="1596132043" ', ""))
    write(tmp_path, "A", 1, 20)
    text = (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2010-06"><Image ID="Image:0" '
        'AcquiredDate="2014-06-24T21:00:46.307-00:00"><Pixels DimensionOrder="XYCZT" ID="Pixels:0" '
        f'PhysicalSizeX="0.293" PhysicalSizeY="0.3" SizeC="1" SizeT="20" SizeX="{W}" SizeY="{H}" SizeZ="1" '
        'Type="uint16"/></Image></OME>'
    )
    tifffile.imwrite(
        tmp_path / "ChanA_001_001_001_001.tif", np.ones((H, W), np.uint16), description=text, metadata=None
    )
    told = inspect_recording(tmp_path, layout=Layout(n_channels=None)).metadata
    assert told["pixel_size_um"].value == (0.3, 0.293)
    assert told["session.session_start_time"].value == datetime(2014, 6, 24, 21, 0, 46, 307_000)
    assert told["imaging_plane.excitation_wavelength_nm"].value == 925, "of Experiment.xml"


@pytest.mark.parametrize("pages", [1, 5])
def test_channels_and_previews(tmp_path, pages):
    experiment(tmp_path)
    write(tmp_path, "AB", 1, 20, pages)
    recording = inspect_recording(tmp_path)
    assert (recording.format, recording.channels, recording.problems) == ("ThorImage TIFF", ("ChanA", "ChanB"), ())
    assert frames_of(tmp_path, channel="ChanB") == [2100 + t for t in range(1, 21)]
    assert frames_of(tmp_path / "Experiment.xml", channel=1) == [1100 + t for t in range(1, 21)]
    with pytest.raises(RecordingError, match="there are 2 channels \\(ChanA, ChanB\\)"):
        read_frames(tmp_path)
    told = recording.metadata
    assert told["frame_rate_hz"].value == 30
    assert told["pixel_size_um"].value == (0.6, 0.5)
    assert told["session.session_start_time"].value == "2020-07-30T14:00:43-04:00"
    assert told["imaging_plane.excitation_wavelength_nm"].value == 925


def test_planes_of_fast_z_that_names_do_not_tell(tmp_path):
    experiment(tmp_path, channels=1, steps=3, fast_z=1)
    write(tmp_path, "A", 1, 80)
    assert inspect_recording(tmp_path).order.shape == (20, 3, 1)
    assert frames_of(tmp_path, plane=2) == [1100 + t for t in range(2, 80, 4)]
    assert "`planes` is 4 in the manifest, but 3" in inspect_recording(tmp_path, layout=Layout(n_planes=4)).problems[0]


def test_planes_that_names_tell(tmp_path):
    experiment(tmp_path, channels=3, steps=3, stream=0)
    write(tmp_path, "AB", 3, 20)
    assert frames_of(tmp_path, plane=3, channel=2) == [2300 + t for t in range(1, 21)]


def test_flyback_that_names_tell(tmp_path):
    experiment(tmp_path, channels=1, steps=3, fast_z=1)
    write(tmp_path, "A", 4, 20)
    assert inspect_recording(tmp_path).order.shape == (20, 3, 1)


def test_a_single_stack_is_asked_about(tmp_path):
    experiment(tmp_path, channels=1, steps=60, stream=0)
    write(tmp_path, "A", 60, 1)
    (problem,) = inspect_recording(tmp_path).problems
    assert "60 images are labelled as slices (Z)" in problem


def test_missing_files_are_named(tmp_path):
    experiment(tmp_path)
    write(tmp_path, "AB", 1, 20)
    (tmp_path / "ChanB_001_001_001_007.tif").unlink()
    (problem,) = inspect_recording(tmp_path).problems
    assert "files are missing: ChanB_001_001_001_007.tif" in problem
    (tmp_path / "ChanA_001_001_001_007.tif").unlink()
    assert "files are missing: t = 7" in inspect_recording(tmp_path).problems[0]
    for file in tmp_path.glob("ChanB_001*"):
        file.unlink()
    assert "Experiment.xml names ChanB, of which there are no files" in inspect_recording(tmp_path).problems[0]


def test_recording_that_was_stopped(tmp_path):
    experiment(tmp_path)
    write(tmp_path, "AB", 1, 20)
    (tmp_path / "ChanB_001_001_001_020.tif").unlink()
    recording = inspect_recording(tmp_path)
    assert (recording.n_frames, recording.problems) == (19, ())
    assert recording.notes == ("the last 1 images are incomplete and left out",)


def test_tiles_are_refused(tmp_path):
    experiment(tmp_path, channels=1)
    write(tmp_path, "A", 1, 20)
    tifffile.imwrite(tmp_path / "ChanA_001_002_001_001.tif", np.zeros((H, W), np.uint16), metadata=None)
    assert any("there are 2 tiles" in problem for problem in inspect_recording(tmp_path).problems)


@pytest.mark.parametrize("axes", ["TCYX", "CTYX"])
def test_stack_of_all_images_with_ome_metadata(tmp_path, axes):
    experiment(tmp_path)
    sizes = [{"T": 20, "C": 2}[axis] for axis in axes[:2]]
    numbers = np.arange(40, dtype=np.uint16).reshape(sizes)
    data = np.broadcast_to(numbers[..., None, None], (*sizes, H, W)).copy()
    name = "Image_scan_1_region_0_0.tif"
    tifffile.imwrite(tmp_path / name, data, ome=True, metadata={"axes": axes}, photometric="minisblack")
    expected = numbers[:, 1] if axes == "TCYX" else numbers[1]
    assert frames_of(tmp_path, channel="ChanB") == expected.tolist()
    assert frames_of(tmp_path / name, channel="ChanB") == expected.tolist()
    assert inspect_recording(tmp_path).metadata["frame_rate_hz"].value == 30


def test_stack_of_all_images_without_metadata_is_asked_about(tmp_path):
    experiment(tmp_path)
    data = np.broadcast_to(np.arange(40, dtype=np.uint16)[:, None, None], (40, H, W)).copy()
    tifffile.imwrite(tmp_path / "Image_scan_1_region_0_0.tif", data, metadata=None, photometric="minisblack")
    (problem,) = inspect_recording(tmp_path).problems
    assert "does not say how its 2 channels follow one another" in problem
    assert frames_of(tmp_path, channel=2, layout=Layout(n_channels=2)) == list(range(1, 40, 2))


def test_experiment_that_cannot_be_read(tmp_path):
    experiment(tmp_path)
    write(tmp_path, "AB", 1, 20)
    (tmp_path / "Experiment.xml").write_text("<ThorImageExperiment><LSM /></ThorImageExperiment>")
    (problem,) = inspect_recording(tmp_path).problems
    assert problem == "Experiment.xml does not tell the size of the images (LSM, pixelX and pixelY)"
