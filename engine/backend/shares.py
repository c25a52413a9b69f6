"""Work on patterns shared out among threads: which thread has which depends on nothing but how many there are."""

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
    """How many threads the libraries of this process may take; several limits at a time, the least holds."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._limits: list[int] = []
        self._before: list[tuple[LibController, int]] = []

    def begin(self, threads: int) -> None:
        with self._lock:
            if not self._limits:
                found = ThreadpoolController().select(user_api="blas").lib_controllers
                self._before = [(library, count) for library in found if (count := library.get_num_threads())]
            self._limits.append(threads)
            self._set()

    def end(self, threads: int) -> None:
        with self._lock:
            self._limits.remove(threads)
            self._set()

    def _set(self) -> None:
        for library, before in self._before:
            library.set_num_threads(min([before, *self._limits]))


_LINEAR_ALGEBRA = _LinearAlgebra()


@contextmanager
def linear_algebra_on(threads: int) -> Iterator[None]:
    """Matrix products and decompositions on at most ``threads`` threads, in all of the process.

    By themselves they take every core, wait for each other in loops, and on a busy machine a matrix of 125 x 125
    takes a hundred times as long as on one thread.
    """
    _LINEAR_ALGEBRA.begin(threads)
    try:
        yield
    finally:
        _LINEAR_ALGEBRA.end(threads)


class Shares:
    """Threads that evaluate a share of the patterns each; a single one is the caller's own."""

    def __init__(self, threads: int) -> None:
        self.count = max(1, threads)
        self._pool = ThreadPoolExecutor(self.count, "refine") if self.count > 1 else None

    def each(self, evaluate: Callable[[IndexArray, int], _Found], chosen: IndexArray) -> list[_Found]:
        """What every thread finds for its share of the patterns ``chosen``, and its number, in the order of shares."""
        shares = np.array_split(chosen, self.count)
        if self._pool is None:
            return [evaluate(shares[0], 0)]
        return list(self._pool.map(evaluate, shares, range(self.count)))

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown()
