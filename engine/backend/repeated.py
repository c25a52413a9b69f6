"""Steps that a solver repeats: from the third call on a device replays a recording of the second.

A batch of a sweep is some eighty small kernels on vectors. Launching them takes the host a millisecond or more,
executing them takes a card a fraction of that. They are the same for every batch of a size, only the contents of arrays
differ, so they are recorded once and launched in one call (CUDA Programming Guide, "CUDA Graphs": stream capture).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from typing import Any, Protocol

log = logging.getLogger(__name__)

Step = Callable[..., tuple[Any, ...]]
"""A function from arrays to arrays. It must not read their values on the host, and must perform the same operations
whenever it is called with arrays of the same shapes."""
KEPT = 3
"""Number of most recently used recordings kept: a sweep has batches of two sizes."""
MOST_BYTES = 1 << 24
"""Limit on the arrays passed: with larger ones the device, not the host, is the bottleneck, and a recording keeps the
work memory of its step to itself, a dozen arrays as large."""


class Recorder(Protocol):
    """Recording function of a device that can replay operations."""

    def __call__(self, step: Step, arrays: tuple[Any, ...]) -> Step:
        """Return the step for other arrays of these shapes. ``step`` was called before, and what it uses stays alive.

        Raises RuntimeError or MemoryError if it cannot be recorded: cupy records no transfer between host and device,
        and no product of matrices or vectors (cuBLAS).
        """


class Repeated:
    """Steps by their keys, as fast as a device can repeat them."""

    def __init__(self, record: Recorder | None) -> None:
        """``record``: None if nothing can be recorded; steps are then called directly."""
        self._record = record
        self._steps: dict[Hashable, Step | None] = {}
        """The value is None after a single call."""

    def __call__(self, key: Hashable, step: Step, *arrays: Any) -> tuple[Any, ...]:
        """Apply ``step`` to the arrays. Steps of one key must be identical except for the arrays' values."""
        if self._record is None or sum(array.nbytes for array in arrays) > MOST_BYTES:
            return step(*arrays)
        if key not in self._steps:  # the first call compiles, plans, and allocates permanent memory
            self._keep(key, None)
            return step(*arrays)
        repeat = self._steps.pop(key)
        if repeat is None:
            try:
                repeat = self._record(step, arrays)
            except (RuntimeError, MemoryError) as error:
                log.info("steps are launched one kernel at a time: %s", " ".join(str(error).split())[:200])
                self._record = None
                return step(*arrays)
        self._keep(key, repeat)
        return repeat(*arrays)

    def _keep(self, key: Hashable, step: Step | None) -> None:
        self._steps[key] = step
        while len(self._steps) > KEPT:
            del self._steps[next(iter(self._steps))]
