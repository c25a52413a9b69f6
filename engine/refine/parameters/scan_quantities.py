"""Quantities common to all patterns of a scan, where several scans are refined together: shift, tilt, beam current.

A tilted specimen is the straight one with its slices sheared: structure deeper by d is displaced by d tan_k in scan k.
This is equivalent to a straight specimen in a space that is sheared the other way: the wave moves by -d tan_k over a
distance d. The specimen pivots about the middle of its depth D, so that its projection stays in place: pattern n of
scan k enters at

    r_n + shift_k + D / 2 tan_k

The first scan is the reference for the others, so none of its quantities move.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ptylive.schema.model import DoubleArray, FloatArray, IndexArray
from ptylive.schema.units import RAD_PER_MRAD

SHIFT, TILT, CURRENT = slice(0, 2), slice(2, 4), 4
"""Columns of the block."""
QUANTITIES = 5


@dataclass(frozen=True)
class ScanQuantities:
    """The quantities that are modelled, and the values to which they are added."""

    of_pattern: IndexArray
    """(N,) scan number of each pattern."""
    scans: int
    shifts_px: DoubleArray
    """(N, 2) sub-pixel remainders of the positions, at the start tilts."""
    start_mrad: FloatArray
    """(scans, 2)."""
    half_depth_px: float
    """Half the depth of the specimen, in object pixels."""
    pixel_A: float
    moving: frozenset[str]
    """Which of shifts, tilts and currents are refined."""

    @property
    def moves_positions(self) -> bool:
        """Whether the points of entry can differ from those at the start."""
        return bool(self.moving & {"shifts", "tilts"})

    def added(self, block: Any, shifts: Any, tilts: Any, current: Any, xp: Any) -> tuple[Any, Any, Any]:
        """Shifts (N, 2), pixels, tilts (N, 6), mrad, and currents (N,) for values (scans, 5).

        ``shifts`` and ``current``: values of single patterns, if refined; quantities not modelled are left unchanged.
        """
        scan_of = self.of_pattern
        if self.moves_positions:
            tilt_change = block[:, TILT] - xp.asarray(self.start_mrad, dtype=block.dtype)
            each = block[:, SHIFT] / self.pixel_A + RAD_PER_MRAD * self.half_depth_px * tilt_change
            shifts = (xp.asarray(self.shifts_px, dtype=block.dtype) if shifts is None else shifts) + each[scan_of]
        if "tilts" in self.moving:
            tilts = xp.zeros((len(scan_of), 6), block.dtype)
            tilts[:, 2:4] = block[scan_of, TILT]
        if "currents" in self.moving:
            current = block[scan_of, CURRENT] if current is None else current * block[scan_of, CURRENT]
        return shifts, tilts, current

    def gradient(self, by_shifts_px: Any, by_tilts_mrad: Any, by_current: Any, xp: Any) -> Any:
        """Gradient by the values (scans, 5), from those by the results of :meth:`added`; pattern currents are fixed."""
        given = next(values for values in (by_shifts_px, by_tilts_mrad, by_current) if values is not None)
        total = xp.zeros((self.scans, QUANTITIES), given.dtype)
        if self.moves_positions:
            by_position = self._summed(by_shifts_px, xp)
            total[:, SHIFT] = by_position / self.pixel_A
            total[:, TILT] = RAD_PER_MRAD * self.half_depth_px * by_position
        if "tilts" in self.moving:
            total[:, TILT] += self._summed(by_tilts_mrad[:, 2:4], xp)
        if "currents" in self.moving:
            total[:, CURRENT] = self._summed(by_current[:, None], xp)[:, 0]
        return total

    def _summed(self, values: Any, xp: Any) -> Any:
        """Sum of values (N, n) over the patterns of each scan (scans, n)."""
        return xp.stack([values[self.of_pattern == scan].sum(axis=0) for scan in range(self.scans)])


def pivot_A(of_pattern: IndexArray, tilts_mrad: FloatArray, depth_A: float) -> DoubleArray:
    """(N, 2) offset of the point of entry from the position in the middle of a specimen of the given depth."""
    return np.asarray(RAD_PER_MRAD * depth_A / 2 * np.asarray(tilts_mrad, dtype=float)[of_pattern])
