"""The nodes of the export."""

import inspect
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.nwb.example import T, example, shared

from rsc2p_kedro.core.parameters import STAGE_PARAMETERS
from rsc2p_kedro.core.results import ComponentQuality, LineOffset
from rsc2p_kedro.core.schemas import InspectionTable
from rsc2p_kedro.datasets import NWBFileDataset, NWBInspectionDataset
from rsc2p_kedro.manifest.recordings import Recording
from rsc2p_kedro.nwb.acquisition import Links
from rsc2p_kedro.pipelines.export import nodes

EXCLUDED = pd.DataFrame({"frame": range(T), "excluded": False, "reason": ""})
EXCLUDED.loc[[10, 11, 40], ["excluded", "reason"]] = True, "blank"
NAME = "sub-animal-1/sub-animal-1_ses-day-7_ophys.nwb"


def quality(n: int, **provenance: str) -> ComponentQuality:
    values = np.zeros(n, np.float32)
    return ComponentQuality(values, values, np.zeros(n, bool), ("",) * n, np.zeros(n, np.int64), provenance=provenance)


def build(tmp_path: Path, **parameters: object):
    made = example(entry={"path": tmp_path, "parameters": {"motion_correction": {"max_shift_px": 9}}})
    results = made.results
    files = pd.DataFrame({"file": ["one.tif", "two.tif"], "n_frames": [60, T - 60]})
    pages = np.concatenate([np.arange(60), np.arange(T - 60)])
    names = ["one.tif"] * 60 + ["two.tif"] * (T - 60)
    frames = pd.DataFrame({"frame": np.arange(T), "file": names, "page": pages, "trial": names})
    return nodes.build_nwb(
        movie=results.movie,
        corrected_movie=results.corrected_movie,
        line_offset=LineOffset.not_estimated(-2),
        file_table=files,
        frame_table=frames,
        excluded_frames=EXCLUDED,
        motion=results.motion,
        components=results.components,
        component_table=results.component_table,
        component_quality=quality(results.components.n_components),
        dff=results.dff,
        spike_inference=results.spike_inference,
        corrected_summary_images=results.summary_images,
        recording=made.recording,
        nwb=shared(**parameters),
        **{stage: model() for stage, model in STAGE_PARAMETERS.items()},
    )


def test_file_tells_the_parameters_of_this_recording(tmp_path: Path) -> None:
    table = build(tmp_path).processing["ophys"]["processing_parameters"].to_dataframe()
    values = {(row.step, row.parameter): row.value for row in table.itertuples()}
    assert values["motion_correction", "max_shift_px"] == "9"
    assert values["acquisition", "frame_rate_hz"] == "14.7"


def test_links_know_the_first_frame_of_each_file(tmp_path: Path) -> None:
    series = build(tmp_path, raw="external").acquisition["TwoPhotonSeries"]
    assert list(series.external_file) == [str(tmp_path / "one.tif"), str(tmp_path / "two.tif")]
    assert list(series.starting_frame) == [0, 60]


def test_descriptions_tell_whether_the_line_offset_is_corrected_in_the_data(tmp_path: Path) -> None:
    embedded = build(tmp_path).acquisition["TwoPhotonSeries"].description
    assert "Odd rows were moved by +2 px along x" in embedded
    linked = build(tmp_path, raw="external").acquisition["TwoPhotonSeries"].description
    assert "These files are as recorded" in linked


def test_excluded_frames_and_files_are_intervals_of_the_file(tmp_path: Path) -> None:
    nwb = build(tmp_path)
    assert nwb.invalid_times["tags"][:] == [["blank"], ["blank"]]
    np.testing.assert_allclose(nwb.invalid_times["start_time"][:], [10 / 14.7, 40 / 14.7])
    np.testing.assert_allclose(nwb.epochs["stop_time"][:], [60 / 14.7, T / 14.7])


def test_one_tiff_lies_beside_itself(tmp_path: Path) -> None:
    file = tmp_path / "movie.tif"
    files = pd.DataFrame({"file": ["movie.tif"], "n_frames": [2]})
    frames = pd.DataFrame({"frame": [0, 1], "file": ["movie.tif", "movie.tif"], "page": [0, 1]})
    file.touch()
    assert nodes.link_tiffs(files, frames, example(entry={"path": file}).recording) == Links((file,), (0,), 2)


def test_inspection_of_a_file_in_order_is_an_empty_table(tmp_path: Path) -> None:
    NWBFileDataset(filepath=tmp_path / NAME).save(build(tmp_path))
    messages = NWBInspectionDataset(filepath=tmp_path / NAME).load()
    assert InspectionTable.validate(nodes.tabulate_inspection(messages)).empty


def test_inspection_tells_what_is_missing(tmp_path: Path) -> None:
    NWBFileDataset(filepath=tmp_path / NAME, on_issue="warn").save(build(tmp_path, institution=None))
    messages = NWBInspectionDataset(filepath=tmp_path / NAME).load()
    table = InspectionTable.validate(nodes.tabulate_inspection(messages))
    assert table["check"].tolist() == ["check_institution"]


def test_kedro_can_resolve_every_annotation() -> None:
    annotations = inspect.get_annotations(nodes.build_nwb, eval_str=True)
    assert annotations["recording"] is Recording


def test_links_to_stacks_that_a_window_of_frames_cuts_show_whole_stacks_and_their_own_times(tmp_path: Path) -> None:
    """Frames 50 to 100 of three stacks of 40: the second and the third stack are linked as a whole."""
    entry = {"path": tmp_path, "frames": [50, 100]}
    used = np.arange(50, 100)
    names = np.array(["a.tif", "b.tif", "c.tif"])
    frames = pd.DataFrame({"frame": used - 50, "file": names[used // 40], "page": used % 40})
    files = pd.DataFrame({"file": names, "n_frames": 40})
    links = nodes.link_tiffs(files, frames, example(entry=entry).recording)
    assert links == Links((tmp_path / "b.tif", tmp_path / "c.tif"), (0, 40), 80, 10)
    nwb = example(n=0, entry=entry, parameters={"raw": "external"}, links=links).build()
    series = nwb.acquisition["TwoPhotonSeries"]
    assert (series.num_samples, list(series.starting_frame)) == (80, [0, 40])
    assert series.starting_time == pytest.approx(40 / 14.7)
    assert nwb.processing["ophys"]["xy_translation"].starting_time == pytest.approx(50 / 14.7)


def test_raw_data_that_are_no_tiffs_cannot_be_linked(tmp_path: Path) -> None:
    frames = pd.DataFrame({"frame": [0], "file": ["rec.sbx"], "page": [0]})
    files = pd.DataFrame({"file": ["rec.sbx"], "n_frames": [40]})
    with pytest.raises(ValueError, match=r"not TIFFs \(rec.sbx\): use `raw: embed` or `raw: none`"):
        nodes.link_tiffs(files, frames, example(entry={"path": tmp_path / "rec.sbx"}).recording)


def test_file_tells_what_it_was_made_of_by_content(tmp_path: Path) -> None:
    def inputs(nwb) -> dict[str, str]:
        table = nwb.processing["ophys"]["processing_parameters"].to_dataframe()
        return dict(table.loc[table["step"] == "inputs", ["parameter", "value"]].itertuples(index=False))

    here, again = inputs(build(tmp_path)), inputs(build(tmp_path))
    assert here == again
    assert here["components"].startswith('"sha256:')
    assert here["raw_frames.first_file"] == '"one.tif"'
    assert {name.split(".")[0] for name in here} == {
        "raw_frames", "line_offset", "frame_table", "motion", "components", "component_quality", "component_table",
        "dff", "excluded_frames", "spike_inference", "corrected_summary_images",
    }  # fmt: skip
    assert str(tmp_path) not in str(here)


def test_times_are_needed_for_every_frame_up_to_the_last_one_used() -> None:
    times = np.arange(T) / 14.7 + 0.002 * (np.arange(T) % 2)
    window = example(entry={"frame_times": "times.csv", "frames": [20, T]}).recording
    np.testing.assert_array_equal(nodes._check_times(times, window, T - 20), times)
    with pytest.raises(ValueError, match=rf"times\.csv: .*row for each of {T + 1} frames, there are {T}"):
        nodes._check_times(times, example(entry={"frame_times": "times.csv"}).recording, T + 1)


def test_links_to_files_of_several_planes_are_refused() -> None:
    files = pd.DataFrame({"file": ["a.tif"], "n_frames": [60]})
    frames = pd.DataFrame({"frame": np.arange(30), "file": "a.tif", "page": np.arange(0, 60, 2)})
    with pytest.raises(ValueError, match="images of other planes or channels"):
        nodes.link_tiffs(files, frames, example().recording)


def test_times_are_those_of_the_table_then_those_of_the_files_then_even() -> None:
    unit = example(entry={"planes": 2, "frames": [2, 6]}).recording.units[1]
    even = pd.DataFrame({"frame": np.arange(4)})
    assert nodes._times_of(unit, even, None) == (None, 0.5 / 14.7)
    told = even.assign(time_s=[1.0, 1.1, 1.3, 1.4])
    times, delay = nodes._times_of(unit, told, None)
    np.testing.assert_allclose(times, [1 - 2 / 14.7, 1 - 1 / 14.7, 1.0, 1.1, 1.3, 1.4])
    assert delay == 0
    table = np.arange(6) / 10
    times, delay = nodes._times_of(unit, told, table)
    np.testing.assert_array_equal(times, table)
    assert delay == 0.5 / 14.7
