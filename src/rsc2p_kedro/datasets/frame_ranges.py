"""Ranges of frames that the user excludes, as a CSV table."""

from pathlib import Path

import pandas as pd

from rsc2p_kedro.datasets.read_only import ReadOnlyDataset
from rsc2p_kedro.datasets.user_tables import Column, TableError, column_names, read_table

EXPECTED = (
    "a CSV table with the columns start and stop (the frame after the last one), or the column frame; and reason, if "
    "wanted"
)


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
    single = "frame" in column_names(path, expected=EXPECTED)
    numbers = [Column(name, "whole number", least=0) for name in (("frame",) if single else ("start", "stop"))]
    table = read_table(path, [*numbers, Column("reason", "text", optional=True)], expected=EXPECTED)
    if single:
        table = table.assign(start=table["frame"], stop=table["frame"] + 1)
    wrong = table.index[table["stop"] <= table["start"]]
    if len(wrong):
        raise TableError.listing(path, EXPECTED, [f"line {line}: stop should be greater than start" for line in wrong])
    return table[["start", "stop", "reason"]].reset_index(drop=True)
