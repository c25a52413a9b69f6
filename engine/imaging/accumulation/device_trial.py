"""Trial that finds out which of two devices reduces frames faster, using the first batches of a scan."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Literal

Side = Literal["gpu", "cpu"]
ROUNDS = 3
"""Batches that each side reduces in turn; the first does not count, as it builds tables and may compile."""


class DeviceTrial:
    """Assigns batches to either side in turn until the faster one is known; none is reduced twice."""

    def __init__(self) -> None:
        self._spent: dict[Side, list[float]] = {"gpu": [], "cpu": []}

    @property
    def turn(self) -> Side:
        """Side that gets the next batch."""
        if not self.decided:
            return "gpu" if len(self._spent["gpu"]) <= len(self._spent["cpu"]) else "cpu"
        return "gpu" if self._least("gpu") <= self._least("cpu") else "cpu"

    @property
    def decided(self) -> bool:
        """Whether both sides have had their batches."""
        return min(map(len, self._spent.values())) >= ROUNDS

    @contextmanager
    def timed(self, side: Side, frames: int) -> Iterator[None]:
        """Time the enclosed code as the reduction of a batch of ``frames`` frames."""
        start = perf_counter()
        yield
        if frames and not self.decided:
            self._spent[side].append((perf_counter() - start) / frames)

    @property
    def words(self) -> str:
        """Why the CPU was chosen."""
        cpu_us, gpu_us = (1e6 * self._least(side) for side in ("cpu", "gpu"))
        return f"faster here: {cpu_us:.1f} µs a frame, {gpu_us:.1f} on the GPU"

    def _least(self, side: Side) -> float:
        return min(self._spent[side][1:])
