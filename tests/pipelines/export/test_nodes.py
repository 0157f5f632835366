"""The nodes of the export."""

import inspect
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.nwb.made_up import T, made_up, shared

from rsc2p_kedro.datasets.nwb_file import NWBFileDataset
from rsc2p_kedro.engines.results import ComponentQuality
from rsc2p_kedro.parameters import STAGE_PARAMETERS, MotionCorrectionParameters
from rsc2p_kedro.pipelines.export import nodes
from rsc2p_kedro.provenance import parameters_of
from rsc2p_kedro.recordings import Recording
from rsc2p_kedro.schemas import InspectionTable

NAME = "sub-animal-1/sub-animal-1_ses-day-7_ophys.nwb"


def quality(n: int, **provenance: str) -> ComponentQuality:
    values = np.zeros(n, np.float32)
    return ComponentQuality(values, values, np.zeros(n, bool), ("",) * n, np.zeros(n, np.int64), provenance=provenance)


def build(tmp_path: Path, **parameters: object):
    made = made_up(entry={"path": tmp_path, "parameters": {"motion_correction": {"max_shift_px": 9}}})
    found = made.found
    frames = pd.DataFrame({"frame": np.arange(T), "file": ["one.tif"] * 60 + ["two.tif"] * (T - 60), "page": 0})
    return nodes.build_nwb(
        found.movie,
        found.corrected,
        frames,
        found.motion,
        found.components,
        found.component_table,
        found.dff,
        found.summary,
        made.recording,
        shared(**parameters),
        *(model() for model in STAGE_PARAMETERS.values()),
        quality(found.components.n_components),
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


def test_one_tiff_lies_beside_itself(tmp_path: Path) -> None:
    file = tmp_path / "movie.tif"
    file.touch()
    frames = pd.DataFrame({"frame": [0, 1], "file": ["movie.tif", "movie.tif"]})
    assert nodes._first_frames(frames, file) == {file: 0}


def test_inspection_of_a_file_in_order_is_an_empty_table(tmp_path: Path) -> None:
    dataset = NWBFileDataset(filepath=tmp_path / NAME)
    dataset.save(build(tmp_path))
    table = nodes.inspect_nwb(dataset.load())
    dataset.release()
    assert InspectionTable.validate(table).empty


def test_inspection_tells_what_is_missing(tmp_path: Path) -> None:
    dataset = NWBFileDataset(filepath=tmp_path / NAME, on_issue="warn")
    dataset.save(build(tmp_path, institution=None))
    table = InspectionTable.validate(nodes.inspect_nwb(dataset.load()))
    dataset.release()
    assert table["check"].tolist() == ["check_institution"]


def test_kedro_can_resolve_every_annotation() -> None:
    annotations = inspect.get_annotations(nodes.build_nwb, eval_str=True)
    assert annotations["recording"] is Recording


def test_the_file_tells_the_parameters_that_made_the_results_and_not_those_of_today(tmp_path: Path) -> None:
    made = parameters_of({"parameters": '{"max_shift_px": 4}'}, MotionCorrectionParameters())
    assert made.max_shift_px == 4
    assert parameters_of({}, MotionCorrectionParameters(max_shift_px=7)).max_shift_px == 7


def test_links_to_stacks_that_a_window_of_frames_may_cut_are_refused(tmp_path: Path) -> None:
    frames = pd.DataFrame({"frame": [0, 1], "file": ["movie.tif"] * 2, "page": [40, 41]})
    recording = made_up(entry={"path": tmp_path, "frames": [40, 42]}).recording
    with pytest.raises(ValueError, match="links whole files"):
        nodes._check_links(frames, recording)
