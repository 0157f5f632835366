"""What a run leaves beside the results besides the results: its log, locks, and what failed."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from rsc2p_kedro.runners.lease import is_leased_elsewhere, lease
from rsc2p_kedro.runners.places import Places

logger = logging.getLogger(__name__)

INDEX = "index"
"""Dataset of the page over all recordings."""

ONLY_IN_FILE = {"only_in_file": True}
"""`extra` of messages that are too many for the console."""


def now() -> str:
    """Reads the clock.

    Returns:
        The present time, ISO 8601, to the second, with the offset from UTC.
    """
    return datetime.now().astimezone().isoformat(timespec="seconds")


@dataclass(frozen=True)
class Failure:
    """A recording that failed.

    Attributes:
        node: name of the node that failed.
        stage: its stage.
        error: type and text of the error.
        at: when, ISO 8601.
    """

    node: str
    stage: str
    error: str
    at: str


class RunFolder:
    """The folder `logs` beside the page over all recordings: logs, locks and failures."""

    def __init__(self, path: Path) -> None:
        """Stores the path; nothing is written yet.

        Args:
            path: the folder.
        """
        self.path = path

    @contextmanager
    def log(self, run_id: str) -> Iterator[Path]:
        """Writes all messages of the block to a file, and keeps those marked `ONLY_IN_FILE` from the console.

        Args:
            run_id: identifies the run; name of the file.

        Yields:
            Path of the file.
        """
        file = self.path / f"{run_id}.log"
        file.parent.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(file, encoding="utf-8", delay=True)
        handler.handleError = lambda record: None  # type: ignore[method-assign]  # a full disk is told by its results
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s"))
        root = logging.getLogger()
        consoles = list(root.handlers)
        for console in consoles:
            console.addFilter(_for_console)
        root.addHandler(handler)
        try:
            yield file
        finally:
            root.removeHandler(handler)
            handler.close()
            for console in consoles:
                console.removeFilter(_for_console)

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Waits until no other run writes a recording, and keeps others from writing it during the block.

        The lock is one of the operating system, which ends with the process that holds it, however that ends, together
        with a lease for machines that do not share such locks (:mod:`.lease`).

        Args:
            name: name of the recording.

        Yields:
            Nothing.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        lock, owner = self._file_lock(name), self.path / f"{name}.owner.json"
        try:
            lock.acquire(timeout=0)
        except NotImplementedError:
            logger.warning("%s has no file locks: do not run the same recording twice at the same time.", self.path)
        except Timeout:
            logger.info("%s is being processed by another run (%s). Waiting until it ends.", name, _owner(owner))
            lock.acquire()
        try:
            if is_leased_elsewhere(owner):
                logger.info("%s is being processed by another run (%s). Waiting until it ends.", name, _owner(owner))
            with lease(owner, {"since": now()}):
                yield
        finally:
            lock.release()

    @contextmanager
    def lock_if_free(self, name: str) -> Iterator[bool]:
        """Keeps runs from writing a recording during the block, unless one is writing it.

        Args:
            name: name of the recording.

        Yields:
            Whether no run is writing it.
        """
        if not self.path.is_dir():  # there was no run that takes locks
            yield True
            return
        lock = self._file_lock(name)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            yield False
            return
        try:
            yield not is_leased_elsewhere(self.path / f"{name}.owner.json")
        finally:
            lock.release()

    def _file_lock(self, name: str) -> FileLock:
        return FileLock(self.path / f"{name}.lock")

    def write_failure(self, recording: str, failure: Failure) -> None:
        """Keeps the failure of a recording for `kedro recordings status`, unless the disk is full.

        Args:
            recording: its name.
            failure: what failed.
        """
        with suppress(OSError):
            self.path.mkdir(parents=True, exist_ok=True)
            self._failure_path(recording).write_text(json.dumps(asdict(failure), indent=1), encoding="utf-8")

    def read_failure(self, recording: str) -> Failure | None:
        """The failure of the last run of a recording.

        Args:
            recording: its name.

        Returns:
            The failure; None if it did not fail.
        """
        try:
            return Failure(**json.loads(self._failure_path(recording).read_text(encoding="utf-8")))
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def forget_failure(self, recording: str) -> None:
        """Removes the failure of a recording that has run.

        Args:
            recording: its name.
        """
        self._failure_path(recording).unlink(missing_ok=True)

    def _failure_path(self, recording: str) -> Path:
        return self.path / f"{recording}.failed.json"


def run_folder(places: Places) -> RunFolder | None:
    """Finds the folder.

    Args:
        places: where the datasets of the catalog lie.

    Returns:
        The folder; None if there is no page over all recordings, because all datasets are in memory.
    """
    index = places[INDEX]
    return None if index is None else RunFolder(index.path.parent / "logs")


def _for_console(record: logging.LogRecord) -> bool:
    return not getattr(record, "only_in_file", False)


def _owner(path: Path) -> str:
    """The run that holds a lock, in words."""
    try:
        owner = json.loads(path.read_text())
        return f"process {owner['process']} on {owner['host']}, since {owner['since']}"
    except (FileNotFoundError, ValueError, KeyError):
        return "an unknown process"
