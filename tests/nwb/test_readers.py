"""The file read with pynwb, roiextractors and pynapple. Frames are 48 x 64, so that a transposed one is noticed."""

from pathlib import Path

import numpy as np
import pytest
from pynwb import NWBHDF5IO
from tests.nwb.example import Example, H, T, W

from rsc2p_kedro.algorithms.dff import background_under_footprints


def test_imaging_extractor_gets_every_frame_back_bit_for_bit(sample: Example, written: Path) -> None:
    extractors = pytest.importorskip("roiextractors", reason="roiextractors is an optional test dependency")
    imaging = extractors.NwbImagingExtractor(file_path=str(written))
    movie = sample.results.movie.compute()
    assert imaging.get_image_shape() == (H, W)
    assert imaging.get_sampling_frequency() == pytest.approx(14.7)
    read = imaging.get_series()
    assert read.dtype == movie.dtype
    np.testing.assert_array_equal(read, movie)


def test_segmentation_extractor_gets_masks_and_traces_back_bit_for_bit(sample: Example, written: Path) -> None:
    extractors = pytest.importorskip("roiextractors", reason="roiextractors is an optional test dependency")
    segmentation = extractors.NwbSegmentationExtractor(file_path=str(written))
    results, components = sample.results, sample.results.components
    assert segmentation.get_image_shape() == (H, W)
    assert list(segmentation.get_roi_ids()) == components.ids.tolist()
    masks = segmentation.get_roi_image_masks()
    np.testing.assert_array_equal(masks, components.footprints.toarray().reshape(H, W, -1))
    for name, traces in {
        "raw": components.traces + components.residual_traces,
        "denoised": components.traces,
        "deconvolved": components.spikes,
        "dff": results.dff.dff,
        "baseline": results.dff.f0,
        "neuropil": background_under_footprints(components).astype(np.float32),
    }.items():
        np.testing.assert_array_equal(segmentation.get_traces(name=name), traces.T, err_msg=name)
    accepted = results.component_table["accepted"].to_numpy()
    np.testing.assert_array_equal(segmentation.get_property("accepted", segmentation.get_roi_ids()), accepted)
    centres = results.component_table[["centre_y_px", "centre_x_px"]].to_numpy(np.float32)
    np.testing.assert_array_equal(segmentation.get_property("roi_centroids", segmentation.get_roi_ids()), centres)
    images = segmentation.get_images_dict()
    for name in ("mean", "maximum", "correlation", "standard_deviation"):
        np.testing.assert_array_equal(images[name], getattr(results.summary_images, name), err_msg=name)


def test_pynapple_reads_all_series_and_their_times(sample: Example, written: Path) -> None:
    pynapple = pytest.importorskip("pynapple", reason="pynapple is an optional test dependency")
    with NWBHDF5IO(written, "r") as io:
        loaded = pynapple.NWBFile(io.read())
        results, components = sample.results, sample.results.components
        expected = {
            "TwoPhotonSeries": results.movie.compute().swapaxes(1, 2),
            "xy_translation": results.motion.shifts[:, ::-1],
            "piecewise_xy_translation": results.motion.patch_shifts[..., ::-1],
            "Denoised": components.traces.T,
            "Deconvolved": components.spikes.T,
            "SpikeRates": results.spike_inference.rates.T,
            "Baseline": results.dff.f0.T,
            "Neuropil": background_under_footprints(components).astype(np.float32).T,
        }
        keys = list(loaded.keys())
        for name, data in expected.items():
            series = loaded[next(key for key in keys if key.split("/")[-1] == name)]
            np.testing.assert_array_equal(series.values, data, err_msg=name)
            np.testing.assert_allclose(series.times(), np.arange(T) / 14.7, err_msg=name)
        rest = [loaded[key] for key in keys if key.split("/")[-1] not in expected]  # RoiResponseSeries, of three places
        values = [series.values for series in rest if hasattr(series, "values")]
        noisy = components.traces + components.residual_traces
        for data in (noisy, results.dff.dff, components.background_traces):
            assert any(np.array_equal(value, data.T) for value in values)


def test_shifts_are_x_then_y(sample: Example, written: Path) -> None:
    motion = sample.results.motion
    with NWBHDF5IO(written, "r") as io:
        ophys = io.read().processing["ophys"]
        np.testing.assert_array_equal(ophys["xy_translation"].data[:], motion.shifts[:, ::-1])
        np.testing.assert_array_equal(ophys["piecewise_xy_translation"].data[:], motion.patch_shifts[..., ::-1])
        centres = ophys["motion_correction_patches"]
        np.testing.assert_array_equal(centres["y"][:], motion.patch_centres[:, 0])
        np.testing.assert_array_equal(centres["x"][:], motion.patch_centres[:, 1])


def test_background_is_there_apart_from_the_rois(sample: Example, written: Path) -> None:
    components = sample.results.components
    with NWBHDF5IO(written, "r") as io:
        ophys = io.read().processing["ophys"]
        masks = ophys["BackgroundComponents"]["image_mask"][:].swapaxes(1, 2)
        np.testing.assert_array_equal(masks.reshape(2, -1).T, components.background_footprints.toarray())
        traces = ophys["BackgroundFluorescence"]["RoiResponseSeries"].data[:]
        np.testing.assert_array_equal(traces, components.background_traces.T)


def test_traces_neuropil_and_baseline_add_up_to_all_fluorescence_under_a_footprint(
    sample: Example, written: Path
) -> None:
    components = sample.results.components
    A, b = components.footprints.toarray(), components.background_footprints.toarray()
    with NWBHDF5IO(written, "r") as io:
        ophys = io.read().processing["ophys"]
        fluorescence = ophys["Fluorescence"]
        parts = [fluorescence[name].data[:] for name in ("RoiResponseSeries", "Neuropil")]
        baseline = ophys["ImageSegmentation"]["PlaneSegmentation"]["baseline"][:]
    total = components.traces + components.residual_traces + A.T @ (b @ components.background_traces)
    np.testing.assert_allclose((sum(parts) + baseline).T, total, atol=1e-5)
