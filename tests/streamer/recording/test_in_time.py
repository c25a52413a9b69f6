"""File operations that may hang: a test never waits for time to pass, only for what the worker does."""

import threading

import pytest

from ptylive.streamer.recording import in_time as module
from ptylive.streamer.recording.in_time import MOST_HANGING, in_time, items_in_time

LONG_S, AT_ONCE_S = 60.0, 0.01


def test_what_work_returns_or_raises_comes_back():
    assert in_time(lambda: 3, LONG_S) == 3
    with pytest.raises(FileNotFoundError, match="gone"):
        in_time(lambda: (_ for _ in ()).throw(FileNotFoundError("gone")), LONG_S)


def test_items_come_in_order_and_an_error_after_them():
    def make():
        yield 1
        yield None
        raise OSError("then it broke")

    items = items_in_time(make, LONG_S)
    assert [next(items), next(items)] == [1, None]
    with pytest.raises(OSError, match="then it broke"):
        next(items)


@pytest.fixture
def hanging():
    """Work that hangs until the test has ended."""
    release = threading.Event()
    yield lambda: release.wait(LONG_S)
    release.set()


def test_a_folder_that_hangs_is_given_up_and_gets_no_more_than_a_few_requests(hanging, monkeypatch):
    monkeypatch.setattr(module, "_hanging", threading.Semaphore(MOST_HANGING))
    for _ in range(MOST_HANGING):
        with pytest.raises(TimeoutError, match=r"no response within 0\.01 s"):
            in_time(hanging, AT_ONCE_S)
    with pytest.raises(TimeoutError, match="the folder does not respond"):
        in_time(lambda: 3, LONG_S)


def test_threads_that_end_make_room(monkeypatch):
    monkeypatch.setattr(module, "_hanging", threading.Semaphore(1))
    for number in range(3):
        assert in_time(lambda number=number: number, LONG_S) == number
        assert module._hanging.acquire(timeout=LONG_S)  # the worker releases it before it hands over its end
        module._hanging.release()


def test_without_a_thread_nothing_is_taken(monkeypatch):
    monkeypatch.setattr(module, "_hanging", threading.Semaphore(1))
    with monkeypatch.context() as without:
        without.setattr(threading.Thread, "start", lambda self: (_ for _ in ()).throw(RuntimeError("no thread")))
        with pytest.raises(RuntimeError, match="no thread"):
            in_time(lambda: 3, LONG_S)
    assert in_time(lambda: 3, LONG_S) == 3


def test_a_reader_that_stops_early_ends_the_worker(monkeypatch):
    semaphore = threading.Semaphore(1)
    monkeypatch.setattr(module, "_hanging", semaphore)

    def endless():
        while True:
            yield 1

    items = items_in_time(endless, LONG_S)
    assert next(items) == 1
    items.close()
    assert semaphore.acquire(timeout=LONG_S)
