"""NWB files, written atomically and only if the validators accept them."""

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
from rsc2p_kedro.nwb.writing import write_nwb

_LOG = logging.getLogger(__name__)


class NWBFileDataset(AbstractDataset[NWBFile, NWBFile]):
    """An NWB file at its place in a dandiset, written only if it is complete and valid.

    Saving streams the file to a temporary one beside it (a movie is never in memory as a whole), validates it against
    the schema, inspects it with nwbinspector at its lowest threshold, and moves it into place. If any of that fails, an
    existing file stays unchanged and the error lists all messages. Loading opens the file; its data are read when they
    are used, until the dataset is released.

    Examples:
        ```yaml
        "{animal}.{session}.nwb@pynwb":
          type: rsc2p_kedro.datasets.NWBFileDataset
          filepath: data/07_model_output/dandiset/sub-mouse-17/sub-mouse-17_ses-day-7_ophys.nwb
          on_issue: error
        ```
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
        """Stores the path and the options for writing; nothing is read yet.

        Args:
            filepath: `.../sub-<id>/sub-<id>_ses-<id>_ophys.nwb`, with the ids that are in the file.
            on_issue: `error` refuses a file about which nwbinspector has a message, `warn` logs the message; or one of
                these for each importance (`critical`, `best_practice_violation`, `best_practice_suggestion`). A file
                that breaks the schema is always refused.
            threads: number of threads that compress movies; None uses one for each core.
            show_progress: show a progress bar while a movie is written.
            metadata: ignored by Kedro, read by plugins.

        Raises:
            DatasetError: `on_issue` has another value.
        """
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
        """Opens the file for reading; `release`, or `with nwb.read_io: ...`, closes it."""
        self._release()
        if not self._filepath.is_file():
            raise DatasetError(f"There is no NWB file at {self._filepath}: run the stage `export` first.")
        try:
            self._io = NWBHDF5IO(self._filepath, "r")
            return self._io.read()
        except (OSError, ValueError, KeyError, RuntimeError) as error:  # what h5py and hdmf raise for damaged files
            raise DatasetError(
                f"{self._filepath} is no NWB file or is damaged ({error}). Restore it from a copy, or delete it and "
                "run the stage `export` again."
            ) from error

    def save(self, data: NWBFile) -> None:
        """Writes and checks the file, and only then replaces an existing one."""
        if not isinstance(data, NWBFile):
            raise DatasetError(
                f"{self._filepath.name} should be saved from an NWBFile, got {type(data).__name__}: correct the output "
                "of the node."
            )
        if data.container_source is not None:
            raise DatasetError(
                f"This NWBFile has already been written to {data.container_source}; build it again to save it "
                "elsewhere."
            )
        self._check_name(data)
        self._release()
        _relink(data, self._filepath.parent)
        with replacing(self._filepath) as temporary, warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*\\.nwb.*", category=UserWarning)  # about the temporary name
            write_nwb(data, temporary, threads=self._threads, show_progress=self._show_progress)
            self._refuse_or_log(inspect_file(temporary))

    def _check_name(self, nwb: NWBFile) -> None:
        """Compares the name of the file with the subject and session in it, which DANDI's validator does not."""
        subject = nwb.subject.subject_id if nwb.subject else None
        expected = Path(dandi_path(str(subject), str(nwb.session_id)))
        if self._filepath.parts[-2:] != expected.parts:
            raise DatasetError(
                f"The file holds subject '{subject}' and session '{nwb.session_id}', so its path should end in "
                f"{expected}, but is {self._filepath}. Correct the ids in the manifest, or `filepath:` in the catalog."
            )

    def _refuse_or_log(self, messages: pd.DataFrame) -> None:
        """Raises or logs the messages of the validators about the file that was just written."""
        messages = messages[messages["check"] != "check_file_extension"]  # about the temporary name
        tolerated = messages["check"].isin(list(TOLERATED_CHECKS))
        for row in messages[tolerated].itertuples():
            reason = TOLERATED_CHECKS[str(row.check)]
            _LOG.warning("%s, %s: %s (%s)", self._filepath.name, row.object_name, row.message, reason)
        issues = messages[~tolerated]
        refused = issues["importance"].map(lambda name: response_to(name, self._on_issue) == "error").astype(bool)
        if not issues[~refused].empty:
            _LOG.warning("%s:\n%s", self._filepath.name, _listed(issues[~refused]))
        if refused.any():
            raise DatasetError(
                f"{self._filepath.name} was not written, because of these messages of the validators:\n"
                f"{_listed(issues[refused])}\nCorrect the metadata (see docs/nwb_and_dandi.md). Messages other than "
                "breaches of the schema can be logged instead with `on_issue: warn`, or those of one importance with, "
                "for example, `on_issue: {best_practice_suggestion: warn}`."
            )

    def _release(self) -> None:
        """Closes the file that was loaded; its data cannot be read afterwards."""
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
                    f"`raw: external` links to {missing[0]}{others}, which cannot be found. Restore the raw data, or "
                    "set `raw: embed`."
                )
            series.external_file[:] = [_relative(path, folder) for path in paths]


def _relative(path: Path, folder: Path) -> str:
    """A path relative to a folder, or the absolute path where they are on different drives."""
    if path.is_absolute() and path.drive == folder.resolve().drive:
        path = Path(os.path.relpath(path, folder))
    return path.as_posix()
