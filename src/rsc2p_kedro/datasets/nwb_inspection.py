"""Messages of the validators about an NWB file, as a dataset."""

import logging

import pandas as pd

from rsc2p_kedro.datasets.read_only import ReadOnlyDataset
from rsc2p_kedro.nwb.inspection import dandi_messages, inspect_file

logger = logging.getLogger(__name__)


class NWBInspectionDataset(ReadOnlyDataset[pd.DataFrame]):
    """Messages of pynwb, nwbinspector and DANDI about an NWB file, read from the file itself.

    Examples:
        ```yaml
        "{animal}.{session}.nwb@pynwb":
          type: rsc2p_kedro.datasets.NWBFileDataset
          filepath: data/07_model_output/dandiset/{recording.dandi_path}

        "{animal}.{session}.nwb@inspection":
          type: rsc2p_kedro.datasets.NWBInspectionDataset
          filepath: data/07_model_output/dandiset/{recording.dandi_path}
        ```

    Loading runs the validators on the file at its final path, since DANDI checks its name too, and gives an
    :class:`~rsc2p_kedro.core.schemas.InspectionTable` with one row per message, which is empty where there are none.
    DANDI's messages, which require the client `dandi`, are also logged as warnings.
    """

    WHY_READ_ONLY = "it reads the messages of the validators from an NWB file. Save the file with NWBFileDataset."

    def _read(self) -> pd.DataFrame:
        if not self._filepath.is_file():
            raise ValueError(f"There is no NWB file at {self._filepath} to inspect: run the stage `export` first.")
        from_dandi = dandi_messages(self._filepath)
        for row in from_dandi.itertuples():
            logger.warning("%s: DANDI's validator reports [%s]: %s", self._filepath.name, row.importance, row.message)
        return pd.concat([inspect_file(self._filepath), from_dandi], ignore_index=True)
