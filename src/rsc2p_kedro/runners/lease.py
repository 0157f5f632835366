"""Leases: who writes a recording, told by a file that its owner renews, for machines that do not share file locks.

A lock of the operating system ends with its process, but not every network file system passes it on to other machines
(Lustre mounted without `flock`, BeeGFS by default). So the owner also keeps a file beside the results: it exists once,
and counts as long as it is renewed. Ages are differences of times that the file server has given, so clocks need not
agree.
"""

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rsc2p_kedro.datasets.atomic import not_saved

RENEWED_EVERY_S, LASTS_S = 20.0, 120.0
"""A lease is renewed so often, and counts so long without (in s). NFS shows changes of another machine up to 60 s late,
so an owner that lives is never taken for dead. Not tuned."""

_PAUSE_S = 1.0


@contextmanager
def lease(path: Path, record: dict[str, str | int]) -> Iterator[None]:
    """Waits until no other machine has the lease, and keeps it during the block.

    Processes of one machine exclude one another by a lock of the operating system, which the caller must hold. So a
    lease of this machine that is found has been left by a process that was killed, and does not count.

    Args:
        path: file of the lease.
        record: what is told of the owner.

    Yields:
        Nothing.
    """
    text = json.dumps({**record, "host": socket.gethostname(), "process": os.getpid()})
    while not _take(path, text):
        time.sleep(_PAUSE_S)
    ended = threading.Event()
    renewal = threading.Thread(target=_renew, args=(path, ended), daemon=True)
    renewal.start()
    try:
        yield
    finally:
        ended.set()
        renewal.join()
        path.unlink(missing_ok=True)


def is_leased_elsewhere(path: Path) -> bool:
    """Whether a process of another machine holds a lease.

    Args:
        path: file of the lease.

    Returns:
        True if its owner is on another machine and has renewed it lately.
    """
    try:
        with path.open(encoding="utf-8") as file:  # opening, unlike stat, asks the server for the present state
            text, renewed = file.read(), os.fstat(file.fileno()).st_mtime
    except FileNotFoundError:
        return False
    with suppress(ValueError, TypeError, KeyError):
        if json.loads(text)["host"] == socket.gethostname():
            return False
    return _server_time(path) - renewed < LASTS_S


def _take(path: Path, text: str) -> bool:
    """Takes a lease that nobody holds; whether that succeeded."""
    if path.exists():
        if is_leased_elsewhere(path):
            return False
        _remove_expired(path)
    try:
        with path.open("x", encoding="utf-8") as file:  # one machine only can make it
            file.write(text)
    except FileExistsError:
        return False
    except OSError as error:
        with suppress(OSError):
            path.unlink()  # what is left of it would count as the lease of another machine
        raise not_saved(path, error) from error
    return True


def _remove_expired(path: Path) -> None:
    """Removes a lease that has expired; one that another machine has made in the meantime is put back."""
    moved = path.with_name(f".{path.name}.{socket.gethostname()}-{os.getpid()}.expired")
    try:
        path.rename(moved)
    except FileNotFoundError:
        return
    if is_leased_elsewhere(moved):
        with suppress(FileExistsError):
            os.link(moved, path)
    moved.unlink()


def _renew(path: Path, ended: threading.Event) -> None:
    while not ended.wait(RENEWED_EVERY_S):
        with suppress(OSError):
            os.utime(path)


def _server_time(path: Path) -> float:
    """Present time on the clock of the file server."""
    probe = path.with_name(f".{path.name}.{socket.gethostname()}-{os.getpid()}-{threading.get_ident()}.probe")
    probe.touch()
    os.utime(probe)
    now = probe.stat().st_mtime
    probe.unlink()
    return now
