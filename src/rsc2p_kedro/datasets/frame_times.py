"""When each frame was taken, for recordings whose frames do not follow one rate."""

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

COLUMN = "time_s"
_RATE_TOLERANCE = 0.1


def read_frame_times(path: Path, *, frame_rate_hz: float, n_frames: int | None = None) -> NDArray[np.float64]:
    """Times (n,) of all frames of a recording in s from the start of its session, from a CSV table.

    Args:
        path: a table with the column `time_s`, one row for each frame on disk (those before and after `frames` too).
        frame_rate_hz: of the recording. The algorithms take frames to be this far apart; so the median step of the
            times should be, within a tenth.
        n_frames: rows that are needed at least; none: any number.

    Raises:
        ValueError: there is no such file, or it is no such table; all problems are listed.
    """
    if not path.is_file():
        raise ValueError(
            f"`frame_times:` names {path}, where there is no file. Correct the path, or take the line out."
        )
    table = pd.read_csv(path)
    if COLUMN not in table.columns:
        raise ValueError(f"{path}: expected a column {COLUMN}, found {', '.join(map(str, table.columns))}.")
    times = pd.to_numeric(table[COLUMN], errors="coerce").to_numpy(np.float64)
    problems = _problems(times, frame_rate_hz, n_frames)
    if problems:
        raise ValueError(f"{path}: " + "; ".join(problems) + ".")
    return times


def _problems(times: NDArray[np.float64], frame_rate_hz: float, n_frames: int | None) -> list[str]:
    problems = []
    if n_frames is not None and len(times) < n_frames:
        problems.append(f"there should be a row for each of {n_frames} frames, there are {len(times)}")
    bad = np.flatnonzero(~np.isfinite(times))
    if len(bad):
        return [*problems, f"row {bad[0]} and {len(bad) - 1} more hold no number"]
    if len(times) < 2 or times[0] < 0:
        return [*problems, "times should be two or more, from 0 on: they count from the start of the session"]
    steps = np.diff(times)
    backwards = np.flatnonzero(steps <= 0)
    if len(backwards):
        return [*problems, f"times should rise, and do not after row {backwards[0]} and {len(backwards) - 1} more"]
    rate = 1 / np.median(steps)
    if abs(rate / frame_rate_hz - 1) > _RATE_TOLERANCE:
        problems.append(
            f"most frames are {1e3 / rate:.4g} ms apart, which is {rate:.4g} Hz, but `frame_rate_hz` is "
            f"{frame_rate_hz:g}: correct it, or give times in s"
        )
    return problems
