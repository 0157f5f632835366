"""Atomic saves: data are written to a temporary file or folder beside the target, which then replaces the target.

A killed run leaves at worst a hidden ``.<name>.<host>-<process>.<role>.tmp`` beside the target. The next save to the
same target, or of another version of the same dataset, removes it if that process is dead.
"""

import errno
import logging
import os
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from kedro.io import DatasetError

RECORD_ENDING = ".made.json"

_STALE_AFTER_S = 86_400
"""Age from which a temporary file of an unknown process (another host, or not POSIX) counts as left behind: longer than
any save takes. Not tuned."""

_ATTEMPTS, _PAUSE_S = 50, 0.1
"""Attempts to remove a folder into which threads of a failed save may still be writing: 5 s in all. Not tuned."""

_ADVICE = {
    **dict.fromkeys(
        (errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "Make room on the disk (or raise the quota), and run again."
    ),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "Make the folder writable for you, and run again."),
    **dict.fromkeys((errno.ENOTDIR, errno.EEXIST), "A file is where a folder should be: move it away, and run again."),
}
"""What to do about an error of the operating system."""

logger = logging.getLogger(__name__)


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Replaces a file or folder by one that is written in the block.

    Anything that ends the block early (an error, ctrl-C) leaves `target` unchanged. If two processes save to one target
    at the same time, the one that finishes last wins; their data are never mixed.

    Args:
        target: file or folder to create or to replace; missing parents are created.

    Yields:
        A path beside `target`, at which the block creates the file or folder. It is moved to `target` when the block
        ends without an error.

    Raises:
        DatasetError: the operating system refused to read or to write (a full or read-only disk, for example); the
            message names the target and says what to do.
    """
    temporary, old = _sibling(target, "new"), _sibling(target, "old")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        recover(target)
        _remove(temporary)
        yield temporary
        record_path(target).unlink(missing_ok=True)  # it tells what the old contents were made of
        if target.is_dir():  # os.replace cannot replace a folder that is not empty
            target.rename(old)
        try:
            temporary.replace(target)
        except BaseException:
            if old.exists():
                old.rename(target)
            raise
        _remove(old)
    except OSError as error:
        raise not_saved(target, error) from error
    finally:
        _remove(temporary)
        if target.parent.parent.name == target.name:
            with suppress(OSError):  # it is not empty, unless this was a version that could not be saved
                target.parent.rmdir()


def not_saved(target: Path, error: OSError) -> DatasetError:
    """Makes an error that names a file and says what to do.

    Args:
        target: file or folder that was not saved.
        error: of the operating system.

    Returns:
        The error to raise.
    """
    advice = _ADVICE.get(error.errno or 0, "")
    return DatasetError(f"{target} was not saved ({error}). {advice}".strip())


def record_path(path: Path) -> Path:
    """Path of the file that tells what a result was made of (:mod:`.made`).

    Args:
        path: file or folder of the result.

    Returns:
        `<name>.made.json` beside it. It is hidden beside an NWB file, so that a dandiset holds only NWB files for
        DANDI's client.
    """
    hidden = "." if path.suffix == ".nwb" else ""
    return path.with_name(f"{hidden}{path.name}{RECORD_ENDING}")


def recover(target: Path) -> None:
    """Removes temporary files and folders that killed runs have left beside `target` and its other versions.

    A folder of another version that is empty then is removed too. A run that was killed after it moved the old folder
    away and before it moved the new one into place has left both; the old one is restored.

    Args:
        target: file or folder that a run may have been saving.
    """
    versions = target.parent.parent  # of a versioned dataset, target is name/VERSION/name
    hidden = f".{target.name}.*.tmp"
    beside = versions.glob(f"*/{hidden}") if versions.name == target.name else target.parent.glob(hidden)
    for leftover in sorted(beside):
        if not _is_dead(leftover):
            continue
        folder = leftover.parent
        original = folder / target.name
        if leftover.name.endswith(".old.tmp") and not original.exists():
            leftover.rename(original)
        else:
            _remove(leftover)
        if folder != target.parent:
            with suppress(OSError):  # it is not empty
                folder.rmdir()


def _sibling(target: Path, role: str) -> Path:
    return target.with_name(f".{target.name}.{socket.gethostname()}-{os.getpid()}.{role}.tmp")


def _is_dead(leftover: Path) -> bool:
    """Whether the process that wrote a temporary file has ended or, if that cannot be known, whether it is old."""
    host, _, process = leftover.name.removesuffix(".tmp").rpartition(".")[0].rpartition("-")
    if os.name != "posix" or not host.endswith(f".{socket.gethostname()}") or not process.isdigit():
        return time.time() - leftover.stat().st_mtime > _STALE_AFTER_S
    try:
        os.kill(int(process), 0)  # signal 0 only tests whether the process exists
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def _remove(path: Path) -> None:
    """Removes a file or a folder, waiting for threads of a failed save that are still writing into it."""
    if not path.is_dir() or path.is_symlink():
        if os.path.lexists(path):  # a read-only disk refuses to remove even what is not there
            path.unlink()
        return
    for _ in range(_ATTEMPTS):
        shutil.rmtree(path, ignore_errors=True)
        if not path.exists():
            return
        time.sleep(_PAUSE_S)
    logger.warning("%s could not be removed; the next save will try again.", path)
