"""Whether the beam was on at a time without an edge: a lost edge leaves its hits, a pause of the scan has none."""

from __future__ import annotations

import numpy as np

from ptylive.schema.model import IndexArray

_LEAST_EXPECTED = 20.0
"""Expected hits below which their absence says nothing: as many are missing by chance once in 5e8 times."""
_OFF = 0.05
"""Fraction of the expected hits below which the beam was off."""


class Beam:
    """The rate of hits in the lines of a scan that have been handed on."""

    def __init__(self) -> None:
        self._hits = 0
        self._ticks = 0
        self._until: int | None = None
        self._last: int | None = None
        self._longest = 0

    def note(self, times: IndexArray, begin: int, stop: int) -> None:
        """Count hits (n,), in any order, between two times, in ticks."""
        self._hits += len(times)
        self._ticks += stop - begin
        self._until = stop
        if len(times):
            ordered = np.sort(times)
            first = int(ordered[0]) if self._last is None else self._last
            self._longest = max(self._longest, int(np.diff(ordered, prepend=first).max()))
            self._last = int(ordered[-1])

    def longest_off(self) -> int:
        """Ticks of the longest time without a hit since the first one if many hits were expected in it, or 0."""
        since_last = 0 if self._last is None or self._until is None else self._until - self._last
        longest = max(self._longest, since_last)
        on = self._ticks - longest
        return longest if on > 0 and self._hits / on * longest >= _LEAST_EXPECTED else 0

    def is_off(self, times: IndexArray, first: int, begin: int, stop: int) -> bool:
        """Whether almost no hits arrived from ``begin`` to ``stop``. ``times`` (n,): hits not counted yet, in any
        order; ``first``: when the scan began. Ticks.
        """
        since = first if self._until is None else self._until
        before = int(np.count_nonzero((times >= since) & (times < begin)))
        hits, ticks = self._hits + before, self._ticks + max(0, begin - since)
        expected = hits / ticks * (stop - begin) if ticks > 0 else 0.0
        if expected < _LEAST_EXPECTED:
            return False
        return int(np.count_nonzero((times >= begin) & (times < stop))) < _OFF * expected
