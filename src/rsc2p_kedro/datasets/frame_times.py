"""Times of frames, for recordings whose frames are not evenly spaced."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rsc2p_kedro.datasets.read_only import ReadOnlyDataset
from rsc2p_kedro.datasets.user_tables import Column, TableError, read_table

COLUMN = "time_s"
EXPECTED = "a CSV table with the column time_s: seconds from the start of the session, a row for each frame on disk"

_RATE_TOLERANCE = 0.1
"""Relative difference allowed between the median rate of the times and `frame_rate_hz`: wide enough for clocks and
dropped frames, narrow enough to catch times in ms and rates of another recording. Chosen for that, not tuned."""


class FrameTimesDataset(ReadOnlyDataset[NDArray[np.float64]]):
    """Times of all frames of a recording, given by the user as a CSV table with the column `time_s`.

    Examples:
        ```yaml
        animal_1.day_7.frame_times:
          type: rsc2p_kedro.datasets.FrameTimesDataset
          filepath: data/01_raw/animal_1/frame_times.csv
          frame_rate_hz: 10
        ```

        >>> _ = (tmp_path / "frame_times.csv").write_text("time_s\\n0.0\\n0.1\\n0.21\\n")
        >>> FrameTimesDataset(filepath=tmp_path / "frame_times.csv", frame_rate_hz=10).load()
        array([0.  , 0.1 , 0.21])

    Loading gives (n,) float64 in s from the start of the session, strictly increasing, one for each frame on disk.
    Whether there are enough of them is checked by :func:`check_frame_times`, once the number of frames is known.
    """

    WHY_READ_ONLY = "times of frames come from the microscope. Correct the table where it was made."

    def __init__(self, *, filepath: str | Path, frame_rate_hz: float, metadata: dict[str, Any] | None = None) -> None:
        """Stores the path; nothing is read yet.

        Args:
            filepath: the table.
            frame_rate_hz: of the recording; the median step of the times must agree with it within a tenth.
            metadata: ignored by Kedro, read by plugins.
        """
        super().__init__(filepath=filepath, metadata=metadata)
        self._frame_rate_hz = frame_rate_hz

    def _read(self) -> NDArray[np.float64]:
        return read_frame_times(self._filepath, frame_rate_hz=self._frame_rate_hz)

    def _describe(self) -> dict[str, Any]:
        return {**super()._describe(), "frame_rate_hz": self._frame_rate_hz}


def read_frame_times(path: Path, *, frame_rate_hz: float, n_frames: int | None = None) -> NDArray[np.float64]:
    """Reads the times of all frames of a recording from a CSV table.

    Args:
        path: a table with the column `time_s`, in s from the start of the session, with one row for each frame on disk
            (those outside the recording's `frames` too).
        frame_rate_hz: of the recording. The algorithms take frames as evenly spaced at this rate, so the median step of
            the times must agree with it within a tenth.
        n_frames: number of rows needed (see :func:`check_frame_times`); None accepts any number.

    Returns:
        (n,) float64 in s, strictly increasing.

    Raises:
        ValueError: there is no such file, or its content is not as described above; all problems are listed.
    """
    if not path.is_file():
        raise ValueError(f"`frame_times:` names {path}, which does not exist. Correct the path or remove the line.")
    times = read_table(path, [Column(COLUMN, least=0)], expected=EXPECTED)[COLUMN]
    problems = [*_missing_rows(times.to_numpy(), n_frames), *_time_problems(times, frame_rate_hz)]
    if problems:
        raise TableError.listing(path, EXPECTED, problems)
    return times.to_numpy()


def check_frame_times(
    times_s: NDArray[np.float64], n_frames: int, *, source: Path | str = "frame_times"
) -> NDArray[np.float64]:
    """Checks that there is a time for each frame that is needed.

    Args:
        times_s: (n,) in s, of the frames on disk from the first one on.
        n_frames: frames needed, counted from the first one on disk: the end of the recording's `frames`, or all.
        source: the file they were read from, for the error.

    Returns:
        The same times.

    Raises:
        ValueError: there are fewer times than frames.
    """
    problems = _missing_rows(times_s, n_frames)
    if problems:
        raise ValueError(f"{source}: {problems[0]}.")
    return times_s


def _missing_rows(times: NDArray[np.float64], n_frames: int | None) -> list[str]:
    if n_frames is None or len(times) >= n_frames:
        return []
    return [f"there should be a row for each of {n_frames} frames, there are {len(times)}"]


def _time_problems(times: pd.Series, frame_rate_hz: float) -> list[str]:
    """Problems of times whose index is the line of each in the file."""
    if len(times) < 2:
        return [f"there should be at least two times, there are {len(times)}"]
    steps = np.diff(times.to_numpy())
    backwards = np.flatnonzero(steps <= 0)
    if len(backwards):
        lines = f"line {times.index[backwards[0] + 1]}"
        return [f"times should increase, but do not on {lines} and {len(backwards) - 1} more"]
    rate = 1 / np.median(steps)
    if abs(rate / frame_rate_hz - 1) <= _RATE_TOLERANCE:
        return []
    return [
        f"most frames are {1e3 / rate:.4g} ms apart, which is {rate:.4g} Hz, but `frame_rate_hz` is "
        f"{frame_rate_hz:g}: correct it, or give times in s"
    ]
