"""Which of two devices reduces frames faster, found out with the first batches of a scan."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Literal

Side = Literal["gpu", "cpu"]
ROUNDS = 3
"""Batches that each side reduces in turn; the first does not count: it makes tables, and may compile."""


class DeviceTrial:
    """Batches go to either side in turn until the faster one is known; none is reduced twice."""

    def __init__(self) -> None:
        self._spent: dict[Side, list[float]] = {"gpu": [], "cpu": []}

    @property
    def turn(self) -> Side:
        """Who takes the next batch."""
        if not self.decided:
            return "gpu" if len(self._spent["gpu"]) <= len(self._spent["cpu"]) else "cpu"
        return "gpu" if self._least("gpu") <= self._least("cpu") else "cpu"

    @property
    def decided(self) -> bool:
        """Whether both had their batches."""
        return min(map(len, self._spent.values())) >= ROUNDS

    @contextmanager
    def timed(self, side: Side, frames: int) -> Iterator[None]:
        """What happens inside is a batch of ``frames`` frames."""
        start = perf_counter()
        yield
        if frames and not self.decided:
            self._spent[side].append((perf_counter() - start) / frames)

    @property
    def words(self) -> str:
        """Why the processor has won."""
        here, there = (1e6 * self._least(side) for side in ("cpu", "gpu"))
        return f"faster here: {here:.1f} µs a frame, {there:.1f} on the GPU"

    def _least(self, side: Side) -> float:
        return min(self._spent[side][1:])
