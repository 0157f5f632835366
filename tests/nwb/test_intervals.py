"""Epochs and invalid times have the times of their frames."""

import numpy as np
import pandas as pd
import pytest
from tests.nwb.example import T, example

from rsc2p_kedro.nwb.intervals import add_epochs, add_invalid_times
from rsc2p_kedro.nwb.timing import Timing

RATE = 10.0


@pytest.fixture
def nwb():
    return example().build()


def rows(intervals):
    table = intervals.to_dataframe()
    return [
        (start, stop, *tags) for start, stop, tags in zip(table.start_time, table.stop_time, table.tags, strict=True)
    ]


def excluded(reasons):
    return pd.DataFrame({"frame": range(len(reasons)), "excluded": [r != "" for r in reasons], "reason": reasons})


def test_each_trial_is_an_epoch(nwb):
    add_epochs(nwb, np.array(["b.tif"] * 30 + ["a.tif"] * 20), Timing(RATE, first_frame=5))
    assert rows(nwb.epochs) == [(0.5, 3.5, "b.tif"), (3.5, 5.5, "a.tif")]
    assert "Trials" in nwb.epochs.description


def test_a_recording_without_trials_has_no_epochs(nwb):
    add_epochs(nwb, np.array(["a.tif"] * 20), Timing(RATE))
    assert nwb.epochs is None


def test_runs_of_excluded_frames_are_invalid_times_with_their_reason(nwb):
    reasons = ["", "blank", "blank", "flash", "", "", "blank"]
    add_invalid_times(nwb, excluded(reasons), Timing(RATE))
    found = rows(nwb.invalid_times)
    assert [tag for _, _, tag in found] == ["blank", "flash", "blank"]
    np.testing.assert_allclose([pair[:2] for pair in found], [(0.1, 0.3), (0.3, 0.4), (0.6, 0.7)])


def test_bad_frames_that_were_used_are_no_invalid_times(nwb):
    table = excluded(["", "blank", ""]).assign(excluded=False)
    add_invalid_times(nwb, table, Timing(RATE))
    assert nwb.invalid_times is None


def test_uneven_frame_times_are_followed(nwb):
    times = np.array([0.0, 0.1, 0.25, 0.3, 0.45])
    add_invalid_times(nwb, excluded(["", "", "x", "", "y"]), Timing(RATE, frame_times_s=times))
    np.testing.assert_allclose([pair[:2] for pair in rows(nwb.invalid_times)], [(0.25, 0.3), (0.45, 0.55)])


def test_measured_traces_are_missing_and_model_traces_are_not():
    reasons = ["blank" if t in (3, 4) else "" for t in range(T)]
    made = example()
    object.__setattr__(made.results, "excluded_frames", excluded(reasons))
    rois = made.results.exported_rois("all")
    for traces in (rois.fluorescence, rois.dff):
        assert np.isnan(traces[:, 3:5]).all()
        assert np.isfinite(np.delete(traces, [3, 4], axis=1)).all()
    assert np.isfinite(rois.f0).all()
    assert np.isfinite(rois.components.traces).all()
