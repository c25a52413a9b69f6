"""The lattice formed by the positions of a regular scan, along the scan's own axes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ptylive.engine.dataset import Dataset
from ptylive.schema.model import DoubleArray

REGULAR = 0.02
"""Largest deviation of nominal positions from a lattice, in steps."""
SMALLEST_SCAN = 16
"""Fewest points of a scan along either axis: of fewer, the spectrum shows no sharp peaks."""


@dataclass(frozen=True)
class Lattice:
    """A scan on a lattice: position = first + row * slow + col * fast, Å in the detector frame."""

    shape: tuple[int, int]
    slow: DoubleArray
    fast: DoubleArray

    @classmethod
    def of(cls, dataset: Dataset) -> Lattice | None:
        """The lattice of the nominal positions; None if they form none, for several scans, and for tiny scans."""
        rows, columns = np.divmod(dataset.point, dataset.scan_shape[1])
        if min(dataset.scan_shape) < SMALLEST_SCAN or dataset.scan_of is not None:
            return None
        design = np.column_stack([np.ones(len(rows)), rows, columns])
        solution, _, rank, _ = np.linalg.lstsq(design, dataset.positions_A, rcond=None)
        step = min(np.hypot(*solution[1]), np.hypot(*solution[2]))
        if rank < 3 or np.abs(design @ solution - dataset.positions_A).max() > REGULAR * step:
            return None
        return cls(dataset.scan_shape, solution[1], solution[2])

    @property
    def lengths_A(self) -> tuple[float, float]:
        """Extent along both axes."""
        return self.shape[0] * float(np.hypot(*self.slow)), self.shape[1] * float(np.hypot(*self.fast))

    @property
    def axes(self) -> DoubleArray:
        """Columns (2, 2): unit vectors of the slow and the fast axis in the detector frame."""
        return np.column_stack([self.slow / np.hypot(*self.slow), self.fast / np.hypot(*self.fast)])

    def strained(self, slow_A: DoubleArray, fast_A: DoubleArray) -> Lattice:
        """The lattice with the ends of its axes displaced by vectors (2,), Å, each along (slow, fast) axis."""
        slow = self.slow + self.axes @ slow_A / self.shape[0]
        return Lattice(self.shape, slow, self.fast + self.axes @ fast_A / self.shape[1])

    def frequencies(self, orders: DoubleArray) -> DoubleArray:
        """Scan frequencies (n, 2), 1/Å, of orders (n, 2) in cycles per scan."""
        cycles = orders / np.asarray(self.shape)
        return np.asarray(cycles @ np.linalg.inv(np.column_stack([self.slow, self.fast])))
