"""Content of the NWB file."""

import json
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from pynwb import NWBHDF5IO
from tests.nwb.example import Example, H, T, W, example, recording

from rsc2p_kedro import __version__
from rsc2p_kedro.core.parameters import EvaluationParameters
from rsc2p_kedro.core.results import COMPONENT_CLASSES
from rsc2p_kedro.nwb.fluorescence import describe_spike_rates
from rsc2p_kedro.nwb.inspection import dandi_messages, inspect_file
from rsc2p_kedro.nwb.timing import Timing
from rsc2p_kedro.nwb.writing import write_nwb

NAME = "sub-animal-1/sub-animal-1_ses-day-7_ophys.nwb"


def test_validators_report_no_message(written: Path) -> None:
    assert inspect_file(written).empty


def test_dandi_reports_no_message(written: Path) -> None:
    pytest.importorskip("dandi", reason="dandi is an optional test dependency")
    assert dandi_messages(written).empty


def test_names_are_those_that_readers_look_for(written: Path) -> None:
    with NWBHDF5IO(written, "r") as io:
        nwb = io.read()
        assert set(nwb.acquisition) == {"TwoPhotonSeries"}
        assert set(nwb.processing["ophys"].data_interfaces) == {
            "xy_translation",
            "piecewise_xy_translation",
            "motion_correction_patches",
            "ImageSegmentation",
            "Fluorescence",
            "DfOverF",
            "BackgroundComponents",
            "BackgroundFluorescence",
            "SegmentationImages",
            "processing_parameters",
        }
        assert set(nwb.processing["ophys"]["Fluorescence"].roi_response_series) == {
            "RoiResponseSeries",
            "Denoised",
            "Deconvolved",
            "SpikeRates",
            "Neuropil",
            "Baseline",
        }


def test_metadata_are_in_their_nwb_fields(written: Path) -> None:
    with NWBHDF5IO(written, "r") as io:
        nwb = io.read()
        plane, movie = nwb.imaging_planes["ImagingPlane"], nwb.acquisition["TwoPhotonSeries"]
        assert nwb.session_start_time.isoformat() == "2019-05-06T10:30:00+02:00"
        assert (nwb.subject.subject_id, nwb.session_id) == ("animal-1", "day-7")
        assert tuple(nwb.related_publications) == ("doi:10.17632/hjgtsmyyv5.1",)
        assert nwb.was_generated_by[:][0].tolist() == ["rsc2p-kedro", __version__]
        assert (plane.device.model.name, plane.device.model.manufacturer) == ("B-scope", "Thorlabs")
        assert plane.imaging_rate == movie.rate == 14.7
        np.testing.assert_allclose(plane.grid_spacing[:], [1.25, 1.5])  # x, y
        np.testing.assert_allclose(movie.field_of_view[:], [W * 1.25e-6, H * 1.5e-6])


def test_columns_of_rois_are_those_of_the_contract(sample: Example, written: Path) -> None:
    with NWBHDF5IO(written, "r") as io:
        rois = io.read().processing["ophys"]["ImageSegmentation"]["PlaneSegmentation"]
        assert rois["is_accepted"].data.dtype == bool
        assert rois["image_mask"].data.dtype == np.float32
        assert rois["image_mask"].data.compression == "gzip"
        np.testing.assert_array_equal(rois["Accepted"][:] + rois["Rejected"][:], 1)
        np.testing.assert_array_equal(rois["area"][:], sample.results.component_table["area_px"])
        np.testing.assert_allclose(rois["snr"][:], sample.results.component_table["snr"], rtol=1e-6)
        assert rois["roi_name"][0] == "roi_0002"
        assert "classifier_score" not in rois.colnames  # nobody asked for it: no column of NaN


def test_classes_and_their_probabilities_are_columns_of_the_rois(tmp_path: Path) -> None:
    sample = example()
    classes = ["soma", "process", "out_of_focus", "other", "silent"]
    probabilities = 0.75 * np.eye(4)[[0, 1, 2, 3, 0]] + np.linspace(0.04, 0.06, 5)[:, None]
    probabilities = (probabilities / probabilities.sum(axis=1, keepdims=True)).astype(np.float32)
    columns = {f"{name}_probability": probabilities[:, k] for k, name in enumerate(COMPONENT_CLASSES)}
    table = sample.results.component_table.assign(component_class=classes, **columns)
    path = _save(replace(sample, results=replace(sample.results, component_table=table)), tmp_path)
    assert inspect_file(path).empty
    with NWBHDF5IO(path, "r") as io:
        rois = io.read().processing["ophys"]["ImageSegmentation"]["PlaneSegmentation"]
        assert list(rois["component_class"][:]) == classes
        for name, values in columns.items():
            np.testing.assert_array_equal(rois[name][:], values)
        for word in (*COMPONENT_CLASSES, "silent"):
            assert word in rois["component_class"].description


def test_silent_rois_are_told_from_others_without_a_classifier(tmp_path: Path) -> None:
    sample = example()
    assert "component_class" not in _roi_columns(sample)
    table = sample.results.component_table.assign(component_class=[None, None, "silent", None, None])
    nwb = replace(sample, results=replace(sample.results, component_table=table)).build()
    rois = nwb.processing["ophys"]["ImageSegmentation"]["PlaneSegmentation"]
    assert rois["component_class"].data[1:3] == ["unclassified", "silent"]
    assert "soma_probability" not in rois.colnames


def _roi_columns(sample: Example) -> tuple[str, ...]:
    """Names of the columns of the ROIs of an example."""
    return sample.build().processing["ophys"]["ImageSegmentation"]["PlaneSegmentation"].colnames


def test_parameters_of_all_stages_and_versions_can_be_read_from_the_file(written: Path) -> None:
    with NWBHDF5IO(written, "r") as io:
        table = io.read().processing["ophys"]["processing_parameters"].to_dataframe()
    values = {(row.step, row.parameter): json.loads(row.value) for row in table.itertuples()}
    assert values["motion_correction", "max_shift_px"] == 6
    assert values["source_extraction", "patch_half_width_px"] == 15
    assert values["provenance", "libraries.numpy"] == np.__version__


def test_order_of_the_component_table_does_not_matter(sample: Example) -> None:
    table = sample.results.component_table
    turned = replace(sample.results, component_table=table[::-1]).exported_rois("all").table
    np.testing.assert_array_equal(turned.index, sample.results.components.ids)
    np.testing.assert_array_equal(turned["event_rate_hz"], table["event_rate_hz"])
    np.testing.assert_array_equal(turned["spike_decay_time_s"], sample.results.spike_inference.decay_time_s)


def test_spike_rates_are_described_and_come_back_with_amplitude_and_decay_time(sample: Example, written: Path) -> None:
    spikes = sample.results.spike_inference
    with NWBHDF5IO(written, "r") as io:
        ophys = io.read().processing["ophys"]
        series = ophys["Fluorescence"]["SpikeRates"]
        np.testing.assert_array_equal(series.data[:], spikes.rates.T)
        assert series.unit == "typical transient amplitudes per frame"
        for part in ("posterior mean", "transient_amplitude", "decay_time", "Axes: (time, ROI)"):
            assert part in series.description
        rois = ophys["ImageSegmentation"]["PlaneSegmentation"]
        assert series.rois.table is rois
        np.testing.assert_array_equal(series.rois.data[:], range(len(rois)))
        np.testing.assert_array_equal(rois["decay_time"][:], spikes.decay_time_s)
        np.testing.assert_array_equal(rois["transient_amplitude"][:], spikes.transient_amplitude)
        np.testing.assert_allclose(rois["event_rate"][:], sample.results.component_table["event_rate_hz"], rtol=1e-6)


def test_description_of_spike_rates_lists_their_parameters() -> None:
    used = {name: 1.25 for name in EvaluationParameters.model_fields if name.startswith("spike_")}
    text = describe_spike_rates(EvaluationParameters.model_construct(**used))
    assert len(used) == 2
    assert all(f"{name} = 1.25 (" in text for name in used)


def test_results_of_different_recordings_are_refused_together(sample: Example) -> None:
    table = sample.results.component_table.assign(component_id=range(5))
    with pytest.raises(ValueError, match="do not have the same ids") as error:
        replace(sample.results, component_table=table, movie=sample.results.movie[:50])
    assert "motion.shifts should be (50, 2), is (90, 2)" in str(error.value)


def test_starting_time_is_that_of_the_first_frame_used() -> None:
    nwb = example(entry={"frames": [147, 147 + T]}).build()
    assert nwb.acquisition["TwoPhotonSeries"].starting_time == pytest.approx(10.0)


def test_times_of_irregular_frames_are_in_every_series(tmp_path: Path) -> None:
    times = np.cumsum(np.random.default_rng(0).uniform(0.05, 0.08, T + 20))
    sample = example(entry={"frames": [20, 20 + T]}, frame_times_s=times)
    path = _save(sample, tmp_path)
    assert inspect_file(path).empty
    with NWBHDF5IO(path, "r") as io:
        nwb = io.read()
        ophys = nwb.processing["ophys"]
        series = [nwb.acquisition["TwoPhotonSeries"], ophys["xy_translation"], ophys["piecewise_xy_translation"]]
        series += [*ophys["Fluorescence"].roi_response_series.values(), ophys["DfOverF"]["RoiResponseSeries"]]
        for one in series:
            assert one.rate is None
            np.testing.assert_array_equal(one.timestamps[:], times[20:])


def test_times_of_regular_frames_become_a_rate() -> None:
    clock = Timing(14.7, first_frame=20, frame_times_s=1.5 + np.arange(200) / 15)
    assert clock.series_fields(100) == {"starting_time": pytest.approx(1.5 + 20 / 15), "rate": pytest.approx(15)}
    with pytest.raises(ValueError, match="one row for each frame"):
        clock.series_fields(190)


def _content(path: Path) -> dict[str, object]:
    """Every dataset and attribute of a file, by its place; references by what they point to."""

    def plain(value: object) -> object:
        if isinstance(value, h5py.Reference):
            return file[value].name
        if isinstance(value, np.ndarray) and value.dtype == object:
            return [plain(item) for item in value]
        return value.tolist() if isinstance(value, np.ndarray | np.generic) else value

    content: dict[str, object] = {}
    with h5py.File(path) as file:

        def note(name: str, item: h5py.Group | h5py.Dataset) -> None:
            content.update({f"{name}@{key}": plain(value) for key, value in item.attrs.items()})
            if isinstance(item, h5py.Dataset):
                content[name] = plain(item[()])

        note("", file)
        file.visititems(note)
    return content


def test_same_input_and_parameters_make_the_same_file_but_for_its_date(tmp_path: Path) -> None:
    contents = []
    for name, threads in (("a.nwb", 1), ("b.nwb", 3)):
        write_nwb(example().build(), tmp_path / name, threads=threads, show_progress=False)
        contents.append(_content(tmp_path / name))
    one, again = contents
    assert one.pop("file_create_date") != again.pop("file_create_date")
    assert one == again
    assert one["identifier"] == again["identifier"]
    assert len({value for key, value in one.items() if key.endswith("@object_id")}) > 30


def test_objects_of_another_result_have_other_ids(tmp_path: Path) -> None:
    ids = []
    for n in (2, 3):
        write_nwb(example(n=n).build(), tmp_path / f"{n}.nwb", show_progress=False)
        with h5py.File(tmp_path / f"{n}.nwb") as file:
            ids.append(file["acquisition/TwoPhotonSeries"].attrs["object_id"])
    assert ids[0] != ids[1]


def _save(sample: Example, folder: Path) -> Path:
    path = folder / NAME
    path.parent.mkdir()
    write_nwb(sample.build(), path, show_progress=False)
    return path


def test_recording_without_components_has_no_roi_objects_and_a_description_of_why(tmp_path: Path) -> None:
    path = _save(example(n=0, n_background=0, n_patches=0), tmp_path)
    assert inspect_file(path).empty
    with NWBHDF5IO(path, "r") as io:
        ophys = io.read().processing["ophys"]
        assert set(ophys.data_interfaces) == {"xy_translation", "SegmentationImages", "processing_parameters"}
        assert "No component was found" in ophys.description
        assert "background has no component" in ophys.description


def test_one_of_everything_is_written_and_only_its_single_rows_are_noted(tmp_path: Path) -> None:
    sample = example(n=1, n_background=1, n_patches=1)
    path = _save(sample, tmp_path)
    assert set(inspect_file(path)["check"]) == {"check_single_row"}
    with NWBHDF5IO(path, "r") as io:
        ophys = io.read().processing["ophys"]
        mask = ophys["ImageSegmentation"]["PlaneSegmentation"]["image_mask"][0].T
        np.testing.assert_array_equal(mask.ravel(), sample.results.components.footprints.toarray()[:, 0])
        assert ophys["Fluorescence"]["Denoised"].data.shape == (T, 1)


def test_only_accepted_rois_are_exported(tmp_path: Path) -> None:
    sample = example(parameters={"rois": "accepted"})
    path, accepted = _save(sample, tmp_path), sample.results.component_table["accepted"].to_numpy()
    with NWBHDF5IO(path, "r") as io:
        ophys = io.read().processing["ophys"]
        rois = ophys["ImageSegmentation"]["PlaneSegmentation"]
        assert rois["is_accepted"][:].all()
        np.testing.assert_array_equal(rois.id[:], sample.results.components.ids[accepted])
        np.testing.assert_array_equal(ophys["DfOverF"]["RoiResponseSeries"].data[:], sample.results.dff.dff[accepted].T)
        spikes, rates = sample.results.spike_inference, ophys["Fluorescence"]["SpikeRates"].data[:]
        np.testing.assert_array_equal(rates, spikes.rates[accepted].T)
        np.testing.assert_array_equal(rois["decay_time"][:], spikes.decay_time_s[accepted])


def test_module_description_names_that_no_component_was_accepted(sample: Example) -> None:
    table = sample.results.component_table.assign(accepted=False)
    sample = Example(
        replace(sample.results, component_table=table), example(parameters={"rois": "accepted"}).parameters, recording()
    )
    ophys = sample.build().processing["ophys"]
    assert "None of 5 components was accepted" in ophys.description
    assert "ImageSegmentation" not in ophys.data_interfaces


def test_corrected_movie_points_to_its_original(tmp_path: Path) -> None:
    sample = example(parameters={"corrected": "embed"})
    path = _save(sample, tmp_path)
    assert inspect_file(path).empty
    with NWBHDF5IO(path, "r") as io:
        nwb = io.read()
        stack = nwb.processing["ophys"]["MotionCorrection"]["CorrectedImageStack"]
        assert stack.original is nwb.acquisition["TwoPhotonSeries"]
        np.testing.assert_array_equal(stack.corrected.data[:].swapaxes(1, 2), sample.results.corrected_movie.compute())
        np.testing.assert_array_equal(stack.xy_translation.data[:], sample.results.motion.shifts[:, ::-1])


def test_raw_movie_can_be_left_out(tmp_path: Path) -> None:
    path = _save(example(parameters={"raw": "none"}), tmp_path)
    assert inspect_file(path).empty
    with NWBHDF5IO(path, "r") as io:
        assert not io.read().acquisition


def test_links_without_files_are_refused() -> None:
    with pytest.raises(ValueError, match="needs the TIFFs"):
        example(parameters={"raw": "external"}).build()
