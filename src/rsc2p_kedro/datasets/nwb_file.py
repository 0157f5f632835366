"""An NWB file that is there only when it is valid."""

import logging
import os
import warnings
from pathlib import Path
from typing import Any, get_args

import pandas as pd
from kedro.io import AbstractDataset, DatasetError
from pydantic import TypeAdapter, ValidationError
from pynwb import NWBHDF5IO, NWBFile
from pynwb.image import ImageSeries

from rsc2p_kedro.datasets.atomic import replacing
from rsc2p_kedro.nwb.identifiers import dandi_path
from rsc2p_kedro.nwb.inspection import TOLERATED_CHECKS, inspect_file
from rsc2p_kedro.nwb.metadata import Importance, OnIssue, response_to
from rsc2p_kedro.nwb.streaming import write_nwb

_LOG = logging.getLogger(__name__)


class NWBFileDataset(AbstractDataset[NWBFile, NWBFile]):
    """One NWB file at its place in a dandiset, written whole, checked, and only then given its name.

    Saving streams the file to a temporary sibling (a movie is never in memory whole), validates it against the schema,
    asks nwbinspector at its lowest threshold, and moves it into place. If any of that fails, what was there before
    stays and the error lists all messages. Loading opens the file; its data are read when they are used, until the
    dataset is released.

    Examples:
        ```yaml
        "{animal}.{session}.nwb":
          type: rsc2p_kedro.datasets.nwb_file.NWBFileDataset
          filepath: data/07_model_output/dandiset/sub-mouse-17/sub-mouse-17_ses-day-7_ophys.nwb
          on_issue: error
        ```

    Args:
        filepath: `.../sub-<id>/sub-<id>_ses-<id>_ophys.nwb`, where the ids are those inside the file.
        on_issue: `error` refuses a file that nwbinspector has something to say about, `warn` logs it; or one of these
            for each importance (`critical`, `best_practice_violation`, `best_practice_suggestion`). A file that breaks
            the schema is always refused.
        threads: that compress movies; none: one for each core.
        show_progress: show a bar while a movie is written.
        metadata: Kedro's, for plugins.
    """

    def __init__(
        self,
        *,
        filepath: str | os.PathLike,
        on_issue: OnIssue = "error",
        threads: int | None = None,
        show_progress: bool = True,
        metadata: Any = None,
    ) -> None:
        try:
            self._on_issue: OnIssue = TypeAdapter(OnIssue).validate_python(on_issue)
        except ValidationError as error:
            raise DatasetError(
                f"on_issue should be 'error' or 'warn', or one of them for each of {', '.join(get_args(Importance))}; "
                f"it is {on_issue!r}."
            ) from error
        self._filepath, self.metadata = Path(filepath), metadata
        self._threads, self._show_progress = threads, show_progress
        self._io: NWBHDF5IO | None = None

    def load(self) -> NWBFile:
        """The file, open for reading. Closed by `release`, or by `with nwb.read_io: ...`."""
        self._release()
        self._io = NWBHDF5IO(self._filepath, "r")
        return self._io.read()

    def save(self, data: NWBFile) -> None:
        """Writes, checks, and only then replaces what was there."""
        if data.container_source is not None:
            raise DatasetError(
                f"This NWBFile belongs to {data.container_source} already; build it again to save it anew."
            )
        self._check_name(data)
        self._release()
        _relink(data, self._filepath.parent)
        with replacing(self._filepath) as temporary, warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*\\.nwb.*", category=UserWarning)  # of the temporary name
            write_nwb(data, temporary, threads=self._threads, show_progress=self._show_progress)
            self._judge(inspect_file(temporary))

    def _check_name(self, nwb: NWBFile) -> None:
        """DANDI does not compare the name of a file with the subject and session in it; we do."""
        subject = nwb.subject.subject_id if nwb.subject else None
        expected = Path(dandi_path(str(subject), str(nwb.session_id)))
        if self._filepath.parts[-2:] != expected.parts:
            raise DatasetError(
                f"The file holds subject '{subject}' and session '{nwb.session_id}', so its path should end in "
                f"{expected}, but is {self._filepath}. Correct the ids in the manifest, or the filepath in the catalog."
            )

    def _judge(self, messages: pd.DataFrame) -> None:
        """Raises, or warns, if there is something to say about the file that was just written."""
        messages = messages[messages["check"] != "check_file_extension"]  # of the temporary name
        explained = messages["check"].isin(list(TOLERATED_CHECKS))
        for row in messages[explained].itertuples():
            why = TOLERATED_CHECKS[str(row.check)]
            _LOG.warning("%s, %s: %s (%s)", self._filepath.name, row.object_name, row.message, why)
        serious = messages[~explained]
        refused = serious["importance"].map(lambda name: response_to(name, self._on_issue) == "error").astype(bool)
        if not serious[~refused].empty:
            _LOG.warning("%s:\n%s", self._filepath.name, _listed(serious[~refused]))
        if refused.any():
            raise DatasetError(
                f"{self._filepath.name} was not written, as the checks found:\n{_listed(serious[refused])}\nCorrect "
                "the metadata (see docs/nwb_and_dandi.md). Messages that are no schema violation can be let through "
                "with `on_issue: warn`, or those of one importance with, say, "
                "`on_issue: {best_practice_suggestion: warn}`."
            )

    def _release(self) -> None:
        """Closes the file that was loaded; its data can no longer be read."""
        if self._io is not None:
            self._io.close()
            self._io = None

    def _exists(self) -> bool:
        return self._filepath.is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self._filepath.as_posix(), "on_issue": self._on_issue}


def _listed(messages: pd.DataFrame) -> str:
    return "\n".join(
        f"  - [{r.importance}] {r.object_name} at {r.location}: {r.message}" for r in messages.itertuples()
    )


def _relink(nwb: NWBFile, folder: Path) -> None:
    """Makes links to raw files relative to the folder of the NWB file, which is known only now."""
    for series in nwb.acquisition.values():
        if isinstance(series, ImageSeries) and series.external_file is not None:
            paths = [Path(path) for path in series.external_file]
            missing = [str(path) for path in paths if not (folder / path).is_file()]
            if missing:
                others = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
                raise DatasetError(
                    f"`raw: external` links to {missing[0]}{others}, where there is no file. Bring the raw data back, "
                    "or use `raw: embed`."
                )
            series.external_file[:] = [_relative(path, folder) for path in paths]


def _relative(path: Path, folder: Path) -> str:
    """A path relative to a folder, or the absolute path where they are on different drives."""
    if path.is_absolute() and path.drive == folder.resolve().drive:
        path = Path(os.path.relpath(path, folder))
    return path.as_posix()
