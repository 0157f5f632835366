"""Intervals of time: the trials of the raw recording as epochs, and the frames that are left out as invalid times."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pynwb import NWBFile

from rsc2p_kedro.nwb.timing import Timing


def add_epochs(nwb: NWBFile, trials: NDArray[np.str_], timing: Timing) -> None:
    """Adds an epoch for each trial of the recording, where there are several.

    Args:
        nwb: the file.
        trials: (T,), for each frame the name of the file in which its trial begins.
        timing: times of the frames.
    """
    runs = list(_runs(trials))
    if len(runs) < 2:
        return
    edges = _edges(timing, len(trials))
    for name, start, stop in runs:
        nwb.add_epoch(start_time=edges[start], stop_time=edges[stop], tags=[str(name)])
    nwb.epochs.fields["description"] = "Trials, or files of the raw movie. Tag: file in which it begins."


def add_invalid_times(nwb: NWBFile, excluded_frames: pd.DataFrame, timing: Timing, *, where: str = "") -> None:
    """Adds the intervals in which frames are left out, with the reason.

    Args:
        nwb: the file.
        excluded_frames: one row per frame.
        timing: times of the frames.
        where: beginning of each reason, which names the plane where there are several.
    """
    reasons = np.where(excluded_frames["excluded"], excluded_frames["reason"], "").astype(object)
    edges = _edges(timing, len(reasons))
    for reason, start, stop in _runs(reasons):
        if reason:
            nwb.add_invalid_time_interval(start_time=edges[start], stop_time=edges[stop], tags=[f"{where}{reason}"])


def _runs(values: NDArray) -> Iterator[tuple[str, int, int]]:
    """Runs of equal values: the value, the first frame and the one after the last."""
    starts = np.flatnonzero(np.r_[True, values[1:] != values[:-1]])
    for start, stop in zip(starts, np.r_[starts[1:], len(values)], strict=True):
        yield values[start], int(start), int(stop)


def _edges(timing: Timing, n_frames: int) -> list[float]:
    """Beginning of each frame and the end of the last one in s, (n_frames + 1,)."""
    fields = timing.series_fields(n_frames)
    if "rate" in fields:
        return (fields["starting_time"] + np.arange(n_frames + 1) / fields["rate"]).tolist()
    times = np.asarray(fields["timestamps"], np.float64)
    return [*times.tolist(), float(times[-1] + 1 / timing.frame_rate_hz)]
