"""Distribution of patterns among threads: which thread gets which depends only on the number of threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
from threadpoolctl import LibController, ThreadpoolController

from ptylive.schema.model import IndexArray

_Found = TypeVar("_Found")


class _LinearAlgebra:
    """Limit on the threads of this process's BLAS libraries; of several simultaneous limits the smallest holds."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._limits: list[int] = []
        self._previous_counts: list[tuple[LibController, int]] = []

    def begin(self, threads: int) -> None:
        with self._lock:
            if not self._limits:
                libraries = ThreadpoolController().select(user_api="blas").lib_controllers
                self._previous_counts = [
                    (library, count) for library in libraries if (count := library.get_num_threads())
                ]
            self._limits.append(threads)
            self._apply_limits()

    def end(self, threads: int) -> None:
        with self._lock:
            self._limits.remove(threads)
            self._apply_limits()

    def _apply_limits(self) -> None:
        for library, previous in self._previous_counts:
            library.set_num_threads(min([previous, *self._limits]))


_LINEAR_ALGEBRA = _LinearAlgebra()


@contextmanager
def linear_algebra_on(threads: int) -> Iterator[None]:
    """Run matrix products and decompositions on at most ``threads`` threads, in the whole process.

    Otherwise they use every core and wait for each other in busy loops; on a busy machine a matrix of 125 x 125 then
    takes a hundred times as long as on one thread.
    """
    _LINEAR_ALGEBRA.begin(threads)
    try:
        yield
    finally:
        _LINEAR_ALGEBRA.end(threads)


class Shares:
    """Threads that each evaluate a share of the patterns; a single one is the caller's own."""

    def __init__(self, threads: int) -> None:
        self.count = max(1, threads)
        self._pool = ThreadPoolExecutor(self.count, "refine") if self.count > 1 else None

    def each(self, evaluate: Callable[[IndexArray, int], _Found], chosen: IndexArray) -> list[_Found]:
        """Call ``evaluate`` with each thread's share of ``chosen`` and its number; return results in that order."""
        shares = np.array_split(chosen, self.count)
        if self._pool is None:
            return [evaluate(shares[0], 0)]
        return list(self._pool.map(evaluate, shares, range(self.count)))

    def close(self) -> None:
        """Shut down the threads."""
        if self._pool is not None:
            self._pool.shutdown()
