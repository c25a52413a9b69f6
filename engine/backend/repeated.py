"""Steps that a solver takes again and again: from the third on a device repeats what it was asked for the second time.

A batch of a sweep is some eighty small kernels on vectors. To launch them takes the host a millisecond or more, and a
card a fraction of that to do them. They are the same for every batch of a size, only what lies in the arrays differs,
so they are recorded once and launched in one call (CUDA Programming Guide, "CUDA Graphs": stream capture).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from typing import Any, Protocol

log = logging.getLogger(__name__)

Step = Callable[..., tuple[Any, ...]]
"""Arrays to arrays. It must not look at their values on the host, and be the same whenever it is called with arrays of
the same shapes."""
KEPT = 3
"""Recordings, the last ones used: a sweep has batches of two sizes."""
MOST_BYTES = 1 << 24
"""Of the arrays handed over: with larger ones the device has more to do than the host, and a recording keeps the work
memory of its step to itself, a dozen arrays as large."""


class Recorder(Protocol):
    """Of a device that can repeat what it was asked for."""

    def __call__(self, step: Step, arrays: tuple[Any, ...]) -> Step:
        """The same step for other arrays of these shapes. ``step`` was called before, and what it uses stays alive.

        RuntimeError or MemoryError where it cannot be recorded: cupy records no passage between host and device, and no
        product of matrices or vectors (cuBLAS).
        """


class Repeated:
    """Steps by their keys, as fast as a device can repeat them."""

    def __init__(self, record: Recorder | None) -> None:
        """``record``: None where nothing can be recorded; steps are just called then."""
        self._record = record
        self._known: dict[Hashable, Step | None] = {}
        """None: called once."""

    def __call__(self, key: Hashable, step: Step, *arrays: Any) -> tuple[Any, ...]:
        """What ``step`` makes of the arrays. Steps of one key must be the same but for the arrays' values."""
        if self._record is None or sum(array.nbytes for array in arrays) > MOST_BYTES:
            return step(*arrays)
        if key not in self._known:  # the first call compiles, plans, and takes the memory that stays
            self._keep(key, None)
            return step(*arrays)
        repeat = self._known.pop(key)
        if repeat is None:
            try:
                repeat = self._record(step, arrays)
            except (RuntimeError, MemoryError) as error:
                log.info("steps are launched kernel by kernel: %s", " ".join(str(error).split())[:200])
                self._record = None
                return step(*arrays)
        self._keep(key, repeat)
        return repeat(*arrays)

    def _keep(self, key: Hashable, step: Step | None) -> None:
        self._known[key] = step
        while len(self._known) > KEPT:
            del self._known[next(iter(self._known))]
