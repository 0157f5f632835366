"""Files of several planes and channels."""

from dataclasses import replace
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
from pynwb import NWBHDF5IO
from tests.nwb.example import Example, H, T, W, example, results, shared

from rsc2p_kedro.nwb.build import build_nwb_file
from rsc2p_kedro.nwb.inspection import dandi_messages, inspect_file
from rsc2p_kedro.nwb.metadata import merge_metadata
from rsc2p_kedro.nwb.metadata_checks import metadata_problems
from rsc2p_kedro.nwb.names import channel_label
from rsc2p_kedro.nwb.writing import write_nwb

NAME = "sub-animal-1/sub-animal-1_ses-day-7_ophys.nwb"
CHANNELS = {"channels": {"functional": "green", "structural": "Ch 2"}}
RED = {"structural_label": "tdTomato", "structural_emission_wavelength_nm": 580}
VOLUME = {**CHANNELS, "imaging_plane": RED, "planes": 2, "plane_depths_um": [110, 140]}


def structural_movie(seed: int = 3) -> da.Array:
    movie = np.random.default_rng(seed).integers(0, 900, (T, H, W), dtype=np.uint16)
    return da.from_array(movie, chunks=(32, 24, 32))


def volume(**parameters):
    """A file of two planes of two channels."""
    sample = example(entry=VOLUME, parameters=parameters)
    planes = []
    for unit in sample.recording.units:
        own = results(n=3 + unit.plane)
        table = own.component_table.assign(red_signal=7.0, red_probability=0.25 * unit.plane)
        own = replace(
            own,
            component_table=table,
            structural_movie=structural_movie(unit.plane),
            structural_images=own.summary_images,
            delay_s=unit.plane_delay_s,
        )
        planes.append(Example(own, sample.parameters, unit).contents)
    nwb = build_nwb_file(merge_metadata(sample.parameters, sample.recording), planes, parameters=sample.parameters)
    return nwb, planes


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("dandiset") / NAME
    path.parent.mkdir()
    write_nwb(volume()[0], path, show_progress=False)
    return path


def test_validators_report_no_message(written: Path) -> None:
    assert inspect_file(written).empty


def test_dandi_reports_no_message(written: Path) -> None:
    pytest.importorskip("dandi", reason="dandi is an optional test dependency")
    assert dandi_messages(written).empty


def test_each_plane_and_channel_has_its_series_and_each_plane_its_tables(written: Path) -> None:
    with NWBHDF5IO(written, "r") as io:
        nwb = io.read()
        assert set(nwb.acquisition) == {
            f"TwoPhotonSeries{channel}Plane{k}" for channel in ("Green", "Ch2") for k in (1, 2)
        }
        for k, delay in ((1, 0.0), (2, 0.5 / 14.7)):
            red, green = (nwb.acquisition[f"TwoPhotonSeries{name}Plane{k}"] for name in ("Ch2", "Green"))
            np.testing.assert_array_equal(red.data[:].swapaxes(1, 2), structural_movie(k))
            assert red.imaging_plane is green.imaging_plane is nwb.imaging_planes[f"ImagingPlanePlane{k}"]
            table = nwb.processing["ophys"]["ImageSegmentation"][f"PlaneSegmentationPlane{k}"]
            assert len(table) == 3 + k
            np.testing.assert_allclose(table["red_probability"][:], 0.25 * k)
            series = nwb.processing["ophys"][f"FluorescencePlane{k}"]["RoiResponseSeries"]
            assert series.rois.table is table
            assert series.starting_time == red.starting_time == pytest.approx(delay)


def test_planes_tell_their_depth_and_channels(written: Path) -> None:
    with NWBHDF5IO(written, "r") as io:
        nwb = io.read()
        plane = nwb.imaging_planes["ImagingPlanePlane2"]
        assert plane.origin_coords[:].tolist() == [0, 0, 140]
        assert "Plane 2 of 2" in plane.description
        assert "Depth 140 um" in plane.description
        wavelengths = {channel.name: channel.emission_lambda for channel in plane.optical_channel}
        assert wavelengths == {"OpticalChannelGreen": 510, "OpticalChannelCh2": 580}
        assert plane.device is nwb.imaging_planes["ImagingPlanePlane1"].device


def test_depths_add_to_an_origin_that_the_user_gives() -> None:
    origin = {"origin_um": [10, 20, 300], "reference_frame": "Bregma."}
    sample = example(entry={**VOLUME, "imaging_plane": {**RED, **origin}})
    contents = [Example(results(), sample.parameters, unit).contents for unit in sample.recording.units]
    metadata = merge_metadata(sample.parameters, sample.recording)
    nwb = build_nwb_file(metadata, contents, parameters=sample.parameters)
    assert [tuple(nwb.imaging_planes[f"ImagingPlanePlane{k}"].origin_coords) for k in (1, 2)] == [
        (10, 20, 300),
        (10, 20, 330),
    ]


def test_a_plane_without_components_is_named_as_such() -> None:
    sample = example(entry=VOLUME)
    contents = [
        Example(results(n=n), sample.parameters, unit).contents
        for n, unit in zip((0, 4), sample.recording.units, strict=True)
    ]
    metadata = merge_metadata(sample.parameters, sample.recording)
    ophys = build_nwb_file(metadata, contents, parameters=sample.parameters).processing["ophys"]
    assert "Plane 1: No component was found" in ophys.description
    assert set(ophys["ImageSegmentation"].plane_segmentations) == {"PlaneSegmentationPlane2"}


def test_metadata_of_a_structural_channel_are_asked_for_only_where_there_is_one() -> None:
    assert metadata_problems(shared(), example().recording) == []
    problems = metadata_problems(shared(), example(entry=CHANNELS).recording)
    assert [line.split(":")[0] for line in problems] == [f"imaging_plane.{name}" for name in RED]


def test_raw_data_of_several_planes_cannot_be_linked() -> None:
    problems = metadata_problems(shared(raw="external"), example(entry=VOLUME).recording)
    assert any("several planes or channels" in line for line in problems)


@pytest.mark.parametrize(
    ("channel", "label"),
    [("green", "Green"), ("2", "Channel2"), ("Ch 2", "Ch2"), ("chan_A", "ChanA"), ("--", "Channel")],
)
def test_names_of_channels_become_part_of_names(channel: str, label: str) -> None:
    assert channel_label(channel) == label
