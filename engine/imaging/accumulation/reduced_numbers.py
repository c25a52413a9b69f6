"""The numbers kept of each frame, and the interface of the code that sums them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ptylive.schema import FrameBatch
from ptylive.schema.model import DoubleArray, FloatArray, IndexArray

REGIONS = ("inner", "outer", "gap", "dark")
"""Bright field below and above half its radius, the halo of the edge, and everything beyond it."""
REGION_EDGES = (0.5, 1.0, 1.1)
"""Limits between these regions, in radii of the disc: the halo of its edge ends within a tenth."""
MOMENTS = ("sum", "k_row", "k_col")
"""Sum of I, of I k_row, of I k_col; pixels from the beam, along the recorded axes."""


@dataclass(frozen=True, eq=False)
class Numbers:
    """Numbers kept of scan points: coefficients (points, N) float32, region sums (points, 4), moments (points, 3)."""

    bins: FloatArray
    regions: DoubleArray
    moments: DoubleArray

    @classmethod
    def zeros(cls, points: int, count: int) -> Numbers:
        """Return zeros, for ``count`` coefficients."""
        regions, moments = np.zeros((points, len(REGIONS))), np.zeros((points, len(MOMENTS)))
        return cls(np.zeros((points, count), dtype=np.float32), regions, moments)


class Accumulator(Protocol):
    """Sums frames for one thread, with its own work space and partial sum of all frames."""

    def add(self, batch: FrameBatch, span: slice, point: IndexArray, into: Numbers, *, repeats: bool) -> None:
        """Write the numbers of some frames of a batch to their scan points (n,), -1: nowhere.

        ``repeats``: points get several frames, whose numbers are added up.
        """
        ...

    def take_pattern(self) -> DoubleArray:
        """Return the sum of the frames since the last call, (frame_size,)."""
        ...

    @property
    def saturated(self) -> int:
        """Number of frames so far in which a good pixel was saturated."""
        ...

    @property
    def masked(self) -> int:
        """Number of values so far that were no counts and were set to 0, if the accumulator looks for them itself."""
        ...
