"""File operations that may hang, run in threads with a time limit."""

from __future__ import annotations

import errno
import queue
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

T = TypeVar("T")
MOST_HANGING = 8
"""Limit on threads waiting for a folder that does not answer; beyond it the folder gets no more requests."""
_hanging = threading.Semaphore(MOST_HANGING)
_END = object()


def in_time(work: Callable[[], T], patience_s: float) -> T:
    """Return or raise what ``work`` does. Raises TimeoutError when it takes longer; it then continues on its own."""
    return next(items_in_time(lambda: iter((work(),)), patience_s))


def items_in_time(make: Callable[[], Iterator[T]], patience_s: float) -> Iterator[T]:
    """Yield the items of an iterator made and read in another thread. Raises TimeoutError when the next one takes
    longer.

    RuntimeError: no thread can be started.
    """
    if not _hanging.acquire(blocking=False):
        raise TimeoutError(errno.ETIMEDOUT, "the folder does not respond")
    items: queue.Queue[object] = queue.Queue(2)
    abandoned = threading.Event()
    try:
        threading.Thread(target=_work, args=(make, items, abandoned), name="patience", daemon=True).start()
    except RuntimeError:
        _hanging.release()
        raise
    try:
        while (item := _next(items, patience_s)) is not _END:
            if isinstance(item, Exception):
                raise item
            yield item[0]  # type: ignore[index]
    finally:
        abandoned.set()


def _work(make: Callable[[], Iterator[object]], items: queue.Queue[object], abandoned: threading.Event) -> None:
    """Put the items of an iterator into a queue, each in a tuple, followed by its exception or the end marker."""
    last: object = _END
    try:
        for item in make():
            _put(items, (item,), abandoned)
            if abandoned.is_set():
                return
    except Exception as error:  # re-raised where the items are taken
        last = error
    finally:
        _hanging.release()
        _put(items, last, abandoned)


def _next(items: queue.Queue[object], patience_s: float) -> object:
    """Return the next item. Raises TimeoutError when it does not come in time."""
    try:
        return items.get(timeout=patience_s)
    except queue.Empty:
        raise TimeoutError(errno.ETIMEDOUT, f"no response within {patience_s:g} s") from None


def _put(items: queue.Queue[object], item: object, abandoned: threading.Event) -> None:
    """Hand an item on, unless nobody takes it any more."""
    while not abandoned.is_set():
        try:
            items.put(item, timeout=0.5)
        except queue.Full:
            continue
        return
