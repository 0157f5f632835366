"""Ranges of frames that the user excludes, as a CSV table."""

from pathlib import Path

import numpy as np
import pandas as pd

from rsc2p_kedro.datasets.read_only import ReadOnlyDataset, read_csv

EXPECTED = "the columns start and stop (the frame after the last one), or the column frame; and reason, if wanted"


class FrameRangesDataset(ReadOnlyDataset[pd.DataFrame]):
    """Frames of a recording that the user excludes, as a CSV table.

    Examples:
        ```yaml
        animal_1.day_7.exclusion_table:
          type: rsc2p_kedro.datasets.FrameRangesDataset
          filepath: data/01_raw/animal_1/bad_frames.csv
        ```

        >>> path = tmp_path / "bad_frames.csv"
        >>> _ = path.write_text("start,stop,reason\\n10,20,laser off\\n400,401,\\n")
        >>> FrameRangesDataset(filepath=path).load()
           start  stop     reason
        0     10    20  laser off
        1    400   401

    Loading gives the columns `start` and `stop` (int64, `stop` is not included) and `reason` (str, may be empty).
    """

    WHY_READ_ONLY = "frames are excluded by the user. Edit the table, or `exclude_frames` in the manifest."

    def _read(self) -> pd.DataFrame:
        return read_frame_ranges(self._filepath)


def read_frame_ranges(path: Path) -> pd.DataFrame:
    """Reads the frames that a user excludes.

    Args:
        path: a CSV table with the columns `start` and `stop`, or `frame`, and `reason`, if wanted.

    Returns:
        Columns `start` and `stop` (int64, 0 <= start < stop) and `reason` (str).

    Raises:
        ValueError: there is no such file, or its content is not as described above; all problems are listed.
    """
    if not path.is_file():
        raise ValueError(f"`exclude_frames:` names {path}, which does not exist. Correct the path or remove the line.")
    table = read_csv(path, EXPECTED, dtype={"reason": str})
    if "frame" in table:
        table = table.assign(start=table["frame"], stop=table["frame"] + 1)
    if not {"start", "stop"} <= set(table.columns):
        raise ValueError(f"{path}: expected {EXPECTED}, found {', '.join(map(str, table.columns))}.")
    limits = table[["start", "stop"]].apply(pd.to_numeric, errors="coerce").to_numpy(np.float64)
    wrong = ~(np.isfinite(limits).all(1) & (limits % 1 == 0).all(1) & (limits[:, 0] >= 0) & (np.diff(limits)[:, 0] > 0))
    if wrong.any():
        rows = ", ".join(map(str, np.flatnonzero(wrong)[:5] + 1))
        raise ValueError(f"{path}: frames should be whole numbers with 0 <= start < stop; rows {rows} are not.")
    reasons = table["reason"].fillna("") if "reason" in table else ""
    return pd.DataFrame({"start": limits[:, 0], "stop": limits[:, 1]}).astype(np.int64).assign(reason=reasons)
