"""One machine writes a recording at a time, also where locks of the operating system end at the machine."""

import errno
import io
import json
import os
import threading
import time
from pathlib import Path

import pytest
from kedro.io import DatasetError

from rsc2p_kedro.runners import lease as leases
from rsc2p_kedro.runners.lease import is_leased_elsewhere, lease
from rsc2p_kedro.runners.run_folder import RunFolder


def leave(path, host: str, age_s: float = 0.0) -> None:
    """What a process on some machine leaves when it is killed."""
    path.write_text(json.dumps({"host": host, "process": 1, "since": "2026"}))
    then = time.time() - age_s
    os.utime(path, (then, then))


def test_a_lease_names_its_owner_and_is_gone_afterwards(tmp_path):
    path = tmp_path / "owner.json"
    with lease(path, {"since": "now"}):
        assert json.loads(path.read_text())["process"] == os.getpid()
    assert list(tmp_path.iterdir()) == []


def test_a_lease_of_a_killed_process_of_this_machine_does_not_count(tmp_path):
    path = tmp_path / "owner.json"
    with lease(path, {}):
        host = json.loads(path.read_text())["host"]
    leave(path, host)
    assert not is_leased_elsewhere(path)
    with lease(path, {}):
        assert json.loads(path.read_text())["process"] == os.getpid()


def test_a_lease_of_another_machine_counts_until_it_is_no_longer_renewed(tmp_path, monkeypatch):
    path = tmp_path / "owner.json"
    leave(path, "another", age_s=leases.LASTS_S - 5)
    assert is_leased_elsewhere(path)
    leave(path, "another", age_s=leases.LASTS_S + 5)
    assert not is_leased_elsewhere(path)
    with lease(path, {}):
        assert json.loads(path.read_text())["host"] != "another"


def test_a_lease_is_renewed_while_it_is_held(tmp_path, monkeypatch):
    monkeypatch.setattr(leases, "RENEWED_EVERY_S", 0.01)
    path = tmp_path / "owner.json"
    with lease(path, {}):
        os.utime(path, (0, 0))
        deadline = time.monotonic() + 30
        while path.stat().st_mtime == 0:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_a_lease_that_another_machine_took_first_is_put_back(tmp_path):
    path = tmp_path / "owner.json"
    leave(path, "another")  # renewed between our look at it and its removal
    leases._remove_expired(path)
    assert json.loads(path.read_text())["host"] == "another"
    assert [file.name for file in tmp_path.iterdir()] == ["owner.json"]


def test_a_run_waits_for_a_run_of_another_machine(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(leases, "_PAUSE_S", 0.01)
    folder, order = RunFolder(tmp_path), []
    leave(tmp_path / "a.1.owner.json", "another")

    def run() -> None:
        with folder.lock("a.1"):
            order.append("second")

    with folder.lock_if_free("a.1") as free:
        assert not free, "`prune` leaves the recording alone"
    second = threading.Thread(target=run)
    second.start()
    time.sleep(0.2)
    order.append("first")
    (tmp_path / "a.1.owner.json").unlink()
    second.join(timeout=30)
    assert order == ["first", "second"]


@pytest.mark.skipif(os.name != "posix", reason="needs times of files")
def test_an_unreadable_lease_counts_by_its_age(tmp_path):
    path = tmp_path / "owner.json"
    path.write_text("")
    assert is_leased_elsewhere(path)
    os.utime(path, (0, 0))
    assert not is_leased_elsewhere(path)


def test_a_full_disk_is_told_and_leaves_no_empty_lease(tmp_path, monkeypatch):
    class FullFile(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path, opened = tmp_path / "owner.json", Path.open
    with monkeypatch.context() as patch:
        patch.setattr(
            Path, "open", lambda path, *args, **options: (opened(path, *args, **options).close(), FullFile())[1]
        )
        with (
            pytest.raises(DatasetError, match=r"owner\.json was not saved .*No space left.*Make room"),
            lease(path, {}),
        ):
            pass
    assert list(tmp_path.iterdir()) == []
