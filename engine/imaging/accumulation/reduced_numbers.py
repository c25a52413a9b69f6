"""What is kept of frames, and who adds them up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ptylive.schema import FrameBatch
from ptylive.schema.model import DoubleArray, FloatArray, IndexArray

REGIONS = ("inner", "outer", "gap", "dark")
"""Bright field below and above half its radius, the edge's halo, and everything beyond 1.1 radii."""
REGION_EDGES = (0.5, 1.0, 1.1)
MOMENTS = ("sum", "k_row", "k_col")
"""Sum of I, of I k_row, of I k_col; pixels from the beam, along the axes as recorded."""


@dataclass(frozen=True, eq=False)
class Numbers:
    """What is kept of scan points: coefficients (points, N) float32, region sums (points, 4), moments (points, 3)."""

    bins: FloatArray
    regions: DoubleArray
    moments: DoubleArray

    @classmethod
    def zeros(cls, points: int, count: int) -> Numbers:
        """Nothing yet, for ``count`` coefficients."""
        regions, moments = np.zeros((points, len(REGIONS))), np.zeros((points, len(MOMENTS)))
        return cls(np.zeros((points, count), dtype=np.float32), regions, moments)


class Accumulator(Protocol):
    """Adds frames up for one thread: its work space and its share of the sum of all frames."""

    def add(self, batch: FrameBatch, span: slice, point: IndexArray, into: Numbers, *, repeats: bool) -> None:
        """Put the numbers of some frames of a batch at their scan points (n,), -1: nowhere.

        ``repeats``: points get several frames, whose numbers are added up.
        """
        ...

    def take_pattern(self) -> DoubleArray:
        """Sum of the frames since the last time, (frame_size,)."""
        ...

    @property
    def saturated(self) -> int:
        """Frames so far in which a good pixel was full."""
        ...

    @property
    def masked(self) -> int:
        """Values so far that were no counts, and were taken as 0, where it looks for them itself."""
        ...
