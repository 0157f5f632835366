"""Depths of planes: every format that tells them fills in the same field of the manifest, with its source."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from tests.datasets.raw import test_nwb as nwb
from tests.datasets.raw import test_ome as ome
from tests.datasets.raw import test_prairieview as prairieview
from tests.datasets.raw import test_scanbox as scanbox
from tests.datasets.raw import test_scanimage as scanimage
from tests.datasets.raw import test_stacks as stacks
from tests.datasets.raw import test_thorimage as thorimage

from rsc2p_kedro.datasets.raw import Layout, inspect_recording
from rsc2p_kedro.datasets.raw.thor_experiment import read_experiment
from rsc2p_kedro.manifest.manifest_file import extend_manifest
from rsc2p_kedro.manifest.recordings import Recording
from rsc2p_kedro.manifest.scan import find_recordings


def depths(path: Path, layout: Layout | None = None) -> tuple[float, ...] | None:
    told = inspect_recording(path, layout=layout).metadata.get("plane_depths_um")
    return told.value if told else None


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ({"hStackManager__zs": "[10 40.5 70]"}, (10, 40.5, 70)),
        ({"hStackManager__zs": "[10 40 70 85]"}, (10, 40, 70)),  # with the flyback
        ({"hStackManager__zs": "0", "hStackManager__arbitraryZs": "[10;70;40]"}, (10, 70, 40)),
        ({"hStackManager__arbitraryZs": "[10 0;40 0;70 0]"}, None),  # two drives
        ({"hFastZ__userZs": "[0 15 30]"}, (0, 15, 30)),
        ({"hStackManager__stackZStepSize": "20", "hStackManager__stackZStartPos": "-5"}, (-5, 15, 35)),
        ({"hStackManager__stackZStepSize": "20", "hStackManager__stackDefinition": "'arbitrary'"}, None),
        ({}, None),
    ],
)
def test_scanimage(tmp_path, header, expected):
    path = scanimage.write(tmp_path / "m.tif", scanimage.counting(40), scanimage.volumes(3, **header))
    assert depths(path) == expected


def test_scanimage_of_one_plane_tells_where_it_is_unless_it_is_the_zero(tmp_path):
    for zs, expected in {"0": None, "-668": (-668,)}.items():
        software = scanimage.settings(hStackManager__zs=zs)
        assert depths(scanimage.write(tmp_path / "m.tif", scanimage.counting(20), software)) == expected


def with_focus(folder: Path, z: list[list[float]], form: str) -> Path:
    """Adds the positions of the drives of the focus to the frames of a PrairieView XML file, in turn."""
    file = folder / f"{prairieview.NAME}.xml"
    parts = file.read_text().split("    </Frame>\n")
    for number in range(len(parts) - 1):
        parts[number] += form.format(*z[number % len(z)]) + "    </Frame>\n"
    file.write_text("".join(parts))
    return folder


VERSION_5 = (
    '<PVStateShard><PVStateValue key="positionCurrent"><SubindexedValues index="XAxis"><SubindexedValue subindex="0" '
    'value="3" /></SubindexedValues><SubindexedValues index="ZAxis"><SubindexedValue subindex="0" value="{}" '
    'description="Z Focus" /><SubindexedValue subindex="1" value="{}" description="Piezo" /></SubindexedValues>'
    "</PVStateValue></PVStateShard>\n"
)
VERSION_4 = '<PVStateShard><Key key="positionCurrent_ZAxis" permissions="Read" value="{},{}" /></PVStateShard>\n'


@pytest.mark.parametrize("form", [VERSION_5, VERSION_4])
def test_prairieview_adds_up_motor_and_piezo(tmp_path, form):
    written = prairieview.write(tmp_path / "t", [3] * 20, kind="TSeries ZSeries Element")
    assert depths(written) is None
    folder = with_focus(written, [[146.25, 100], [146.25, 130], [146.25, 160]], form)
    assert depths(folder) == (246.25, 276.25, 306.25)
    assert depths(folder, Layout(n_planes=2, flyback_frames=1)) == (246.25, 276.25)


def test_prairieview_of_one_plane_tells_its_position_once(tmp_path):
    folder = prairieview.write(tmp_path / "t", [20])
    file = folder / f"{prairieview.NAME}.xml"
    state = VERSION_5.format(120, 30).removeprefix("<PVStateShard>").removesuffix("</PVStateShard>\n")
    file.write_text(file.read_text().replace("  <PVStateShard>\n", f"  <PVStateShard>\n{state}", 1))
    assert depths(folder) == (150,)


@pytest.mark.parametrize(
    ("stage", "expected"),
    [
        ('stepSizeUM="20"', (0, 20, 40)),
        ('stepSizeUM="20" startPos="0.1" stopPos="0.14"', (100, 120, 140)),
        ('stepSizeUM="20" startPos="0.1" stopPos="0.06"', (100, 80, 60)),
        ('stepSizeUM="20" startPos="0.1" stopPos="0.3"', (0, 20, 40)),  # does not agree with the steps
    ],
)
def test_thorimage(tmp_path, stage, expected):
    thorimage.experiment(tmp_path, steps=3, fast_z=1)
    file = tmp_path / "Experiment.xml"
    file.write_text(file.read_text().replace('stepSizeUM="1"', stage))
    told = read_experiment(file).metadata
    assert told["plane_depths_um"].value == expected
    assert told["flyback_frames"].value == 1


def test_ome_has_positions_or_steps(tmp_path):
    images = np.arange(60)[:, None, None] + np.zeros((ome.H, ome.W), np.uint16)
    places = "".join(
        f'<Plane TheC="0" TheZ="{z}" TheT="{t}" PositionZ="{0.1 + 0.02 * z}" PositionZUnit="mm"/>'
        for t in range(20)
        for z in range(3)
    )
    step = 'PhysicalSizeZ="15" PhysicalSizeZUnit="µm"'
    for content, pixels, expected in [
        ("<TiffData/>" + places, "", (100, 120, 140)),
        ("<TiffData/>" + places, step, (100, 120, 140)),
        ("<TiffData/>" + places.replace("mm", "reference frame"), step, (0, 15, 30)),
        ("<TiffData/>", step, (0, 15, 30)),
        ("<TiffData/>", "", None),
    ]:
        text = ome.ome("XYCZT", 1, 3, 20, content, pixels=pixels)
        assert depths(ome.write(tmp_path / "a.ome.tif", images.astype(np.uint16), text)) == expected


def test_scanbox_tells_micrometres_of_the_lens(tmp_path):
    info = scanbox.VERSION_2 | {"otwave_um": np.array([0.0, 40.0, 80.0])}
    path = scanbox.write(tmp_path / "rec", scanbox.random_frames(60, 2), info)
    assert depths(path) == (0, 40, 80)


def test_imagej_tells_the_spacing_of_slices(tmp_path):
    header = "images=60\nslices=3\nframes=20\nhyperstack=true\nunit=um\nspacing=12.5"
    assert depths(stacks.write_imagej(tmp_path / "a.tif", 60, header)) == (0, 12.5, 25)


def test_nwb_has_origins_or_a_spacing(tmp_path):
    lab = nwb.Lab()
    for z, depth in enumerate([150e-6, 100e-6, 200e-6]):
        spatial = {"origin_coords": [0.0, 0.0, depth], "reference_frame": "the surface of the brain"}
        lab.add(f"TwoPhotonSeries{z}", nwb.random_movie(20, nwb.H, nwb.W), spatial=spatial)
    assert depths(lab.save(tmp_path / "series.nwb")) == (100, 150, 200), "planes are sorted by depth"
    lab = nwb.Lab()
    spacing = {"grid_spacing": [1.0, 1.0, 30.0], "grid_spacing_unit": "micrometers"}
    lab.add("TwoPhotonSeries", nwb.random_movie(20, nwb.H, nwb.W, 3), spatial=spacing)
    assert depths(lab.save(tmp_path / "volumes.nwb")) == (0, 30, 60)


def test_a_scan_enters_planes_flyback_and_depths_and_asks_for_the_channels(tmp_path):
    software = scanimage.volumes(3, hChannels__channelSave="[1 2]", hStackManager__zs="[10 40 70]")
    (tmp_path / "A").mkdir()
    scanimage.write(tmp_path / "A" / "m_00001.tif", scanimage.counting(80), software, n_channels=2)
    manifest = tmp_path / "parameters_recordings.yml"
    text = extend_manifest(manifest, find_recordings(tmp_path).recordings, tmp_path)
    entry: dict[str, Any] = yaml.safe_load(text)["recordings"]["a"]["session_1"]
    assert entry["channels"] == {"functional": None, "structural": None}
    assert "# the channel of the calcium indicator: Channel 1 or Channel 2" in text
    assert "[10.0, 40.0, 70.0]  # ScanImage header of m_00001.tif, SI.hStackManager.zs; 0 is where" in text
    known = {name: entry[name] for name in ("frame_rate_hz", "planes", "flyback_frames", "plane_depths_um")}
    assert known == {"frame_rate_hz": 7.5, "planes": 3, "flyback_frames": 1, "plane_depths_um": [10, 40, 70]}
    recording = Recording.model_validate(known | {"path": tmp_path / "A", "channels": {"functional": "channel 2"}})
    assert recording.inspect().problems == ()
    plane = recording.units[2]
    first = plane.select(plane.inspect()).movie[0, 0, 0].compute()
    assert first == 10 * 3 + 1, "third plane, second channel"
