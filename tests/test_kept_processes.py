"""Which file readers stay for the next test (tests/kept_processes.py)."""

import subprocess
from collections.abc import Iterator

import kept_processes
import pytest
from kept_processes import a_reader_that_stays

from ptylive.streamer.vetting.worker import FileWorker, Limits

__all__ = ["a_reader_that_stays"]


@pytest.fixture(autouse=True)
def room_for_one(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    idle: list[tuple[object, subprocess.Popen[bytes]]] = []
    monkeypatch.setattr(kept_processes, "READERS", idle)
    monkeypatch.setattr(kept_processes, "MOST_READERS", 1)
    yield
    for _, process in idle:
        process.communicate()


def used(memory_bytes: int) -> subprocess.Popen[bytes]:
    """A process that ends when its input ends, as readers do, after the worker that had it has been closed."""
    worker = FileWorker(Limits(memory_bytes=memory_bytes))
    worker._process = process = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    worker.close()
    return process


def test_one_that_is_like_it_goes_on_with_the_process() -> None:
    process = used(2**30)
    assert FileWorker(Limits(memory_bytes=2**30))._running() is process
    assert process.poll() is None
    process.communicate()


def test_readers_that_no_test_asks_for_any_more_make_room() -> None:
    first, second = used(2**30), used(2**29)
    assert first.wait(60) == 0
    assert [process for _, process in kept_processes.READERS] == [second]
    assert second.poll() is None
