"""Threads that share the frames of a batch; compiled code lets them run in parallel."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


class ThreadPool:
    """A number of threads, one per piece of a batch: the caller's own and helpers."""

    def __init__(self, count: int = 1) -> None:
        self.count = max(1, count)
        self._helpers = ThreadPoolExecutor(self.count - 1, "pool") if self.count > 1 else None

    def split(self, items: int, work: Callable[[int, int, int], None], *, least: int = 1) -> None:
        """Call work(worker, start, stop) for pieces of range(items), at least ``least`` long, and wait for all of them.

        Raises the first exception that a piece raised.
        """
        pieces = max(1, min(self.count, items // max(1, least)))
        edges = [items * k // pieces for k in range(pieces + 1)]
        if self._helpers is None or pieces == 1:
            work(0, 0, items)
            return
        futures = [self._helpers.submit(work, k, edges[k], edges[k + 1]) for k in range(1, pieces)]
        try:
            work(0, edges[0], edges[1])
        finally:
            problems = [future.exception() for future in futures]  # waits: none may be left running
        for problem in problems:
            if problem is not None:
                raise problem

    def close(self) -> None:
        """Shut down the helpers."""
        if self._helpers is not None:
            self._helpers.shutdown(wait=True)
