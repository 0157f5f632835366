"""Saves that are whole or not there: write to a temporary sibling, then move it into place.

A killed run leaves at worst a hidden sibling ``.<name>.<host>-<process>.tmp``. The next save to the same place removes
it, if that process is dead.
"""

import logging
import os
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_A_DAY_S = 86_400
_ATTEMPTS, _PAUSE_S = 50, 0.1

logger = logging.getLogger(__name__)


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A path beside `target` to write a file or a folder to; it takes the place of `target` when the block ends well.

    Whatever ends the block early (an error, ctrl-C) leaves `target` as it was. Two processes that save to one place at
    once do not mix: the last one to end wins.

    Args:
        target: file or folder to make or to replace; missing parents are made.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    recover(target)
    temporary, old = _sibling(target, "new"), _sibling(target, "old")
    _remove(temporary)
    try:
        yield temporary
        if target.is_dir():  # os.replace cannot put a folder in the place of a full one
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
    """Clears away what dead runs have left beside `target`.

    A run that was killed in the instant between moving the old folder away and the new one into place has left both:
    the old one comes back.

    Args:
        target: file or folder that a save may have been writing.
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
    """Whether the process that wrote a sibling is gone or, where that cannot be known, whether it is a day old."""
    host, _, process = leftover.name.removesuffix(".tmp").rpartition(".")[0].rpartition("-")
    if os.name != "posix" or not host.endswith(f".{socket.gethostname()}") or not process.isdigit():
        return time.time() - leftover.stat().st_mtime > _A_DAY_S
    try:
        os.kill(int(process), 0)  # signal 0 only asks whether the process is there
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
