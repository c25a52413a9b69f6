"""The lock of a file: one holder at a time, released whatever happens to the holder."""

import errno
import fcntl
import multiprocessing
import os
import signal
import time
from contextlib import suppress

import pytest

from ptylive.schema.files import filelock
from ptylive.schema.files.filelock import FileBusyError, locked
from ptylive.schema.files.processes import ProcessName

PROCESSES = multiprocessing.get_context("fork")


def without_flock(*_arguments):
    raise OSError(errno.ENOSYS, "Function not implemented")


@pytest.fixture(params=["flock", "no flock"], autouse=True)
def kind(request, monkeypatch):
    if request.param == "no flock":
        monkeypatch.setattr(filelock.fcntl, "flock", without_flock)
    return request.param


def count_up(path, times: int) -> None:
    for _ in range(times):
        with locked(path, 60.0):
            number = int(path.read_text())
            path.write_text(str(number + 1))


def hold(path, ready) -> None:
    with locked(path, 10.0):
        ready.touch()
        time.sleep(600)


def holder(path, ready):
    process = PROCESSES.Process(target=hold, args=(path, ready))
    process.start()
    while not ready.exists():
        assert process.is_alive()
        time.sleep(0.001)
    return process


def test_processes_that_count_under_the_lock_lose_no_number(tmp_path):
    path = tmp_path / "number"
    path.write_text("0")
    processes = [PROCESSES.Process(target=count_up, args=(path, 25)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert path.read_text() == "100"
    assert {p.name for p in tmp_path.iterdir()} <= {"number", ".number.lock"}


def test_a_stopped_holder_is_named_and_a_killed_one_forgotten(tmp_path):
    path = tmp_path / "file"
    process = holder(path, tmp_path / "ready")
    os.kill(process.pid, signal.SIGSTOP)
    with pytest.raises(FileBusyError, match=f"file is being written by process {process.pid} of this machine"):
        with locked(path, 0.0):
            pass
    process.kill()
    process.join()
    with locked(path, 0.0), pytest.raises(FileBusyError, match=f"process {os.getpid()} of this machine"):
        with locked(path, 0.0):
            pass
    with locked(path, 0.0):
        pass


def test_another_machines_lock_is_never_taken(tmp_path, kind):
    path = tmp_path / "file"
    lock = tmp_path / ".file.lock.exclusive"
    lock.write_text(f"{ProcessName('microscope', 4711, 1)} 2026-01-01 00:00:00\n")
    if kind == "flock":  # simulates a mount without locks, where this machine has some
        return
    with pytest.raises(FileBusyError, match=r"process 4711 on microscope, since 2026-01-01 00:00:00 .*remove .*lock"):
        with locked(path, 0.0):
            pass
    assert lock.exists()


def test_other_errors_are_told(tmp_path, monkeypatch):
    def broken(*_arguments):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", broken)
    with pytest.raises(OSError, match="Input/output"):
        with locked(tmp_path / "file", 0.0):
            pass
    with pytest.raises(FileNotFoundError):
        with locked(tmp_path / "nowhere" / "file", 0.0):
            pass


def test_on_a_full_disk_it_is_let_go_of_too(tmp_path, monkeypatch, kind) -> None:
    """The note about the holder does not fit; later processes must not wait for a holder that never existed."""

    def full(*_arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    for way in ("pwrite", "write"):
        monkeypatch.setattr(filelock.os, way, full)
    with suppress(OSError), locked(tmp_path / "file", 0.0):
        pass
    monkeypatch.undo()
    if kind == "no flock":
        monkeypatch.setattr(filelock.fcntl, "flock", without_flock)
    with locked(tmp_path / "file", 0.0):
        pass
