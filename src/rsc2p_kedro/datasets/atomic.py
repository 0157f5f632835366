"""Atomic saves: data are written to a temporary file or folder beside the target, which then replaces the target.

A killed run leaves at worst a hidden ``.<name>.<host>-<process>.<role>.tmp`` beside the target. The next save to the
same target removes it if that process is dead.
"""

import logging
import os
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_STALE_AFTER_S = 86_400
"""Age from which a temporary file of an unknown process (another host, or not POSIX) counts as left behind: longer than
any save takes. Not tuned."""

_ATTEMPTS, _PAUSE_S = 50, 0.1
"""Attempts to remove a folder into which threads of a failed save may still be writing: 5 s in all. Not tuned."""

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
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    recover(target)
    temporary, old = _sibling(target, "new"), _sibling(target, "old")
    _remove(temporary)
    try:
        yield temporary
        if target.is_dir():  # os.replace cannot replace a folder that is not empty
            target.rename(old)
        try:
            temporary.replace(target)
        except BaseException:
            if old.exists():
                old.rename(target)
            raise
        _remove(old)
    finally:
        _remove(temporary)


def recover(target: Path) -> None:
    """Removes temporary files and folders that killed runs have left beside `target`.

    A run that was killed after it moved the old folder away and before it moved the new one into place has left both;
    the old one is restored.

    Args:
        target: file or folder that a run may have been saving.
    """
    for leftover in sorted(target.parent.glob(f".{target.name}.*.tmp")):
        if not _is_dead(leftover):
            continue
        if leftover.name.endswith(".old.tmp") and not target.exists():
            leftover.rename(target)
        else:
            _remove(leftover)


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
        path.unlink(missing_ok=True)
        return
    for _ in range(_ATTEMPTS):
        shutil.rmtree(path, ignore_errors=True)
        if not path.exists():
            return
        time.sleep(_PAUSE_S)
    logger.warning("%s could not be removed; the next save will try again.", path)
