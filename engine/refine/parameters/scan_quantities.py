"""What all patterns of a scan share, where several scans of one place are refined together: shift, tilt, beam current.

A tilted specimen is the straight one with its slices sheared: what lies deeper by d lies d tan_k further in scan k.
That is the same as a straight specimen in a space that is sheared the other way: the wave moves by -d tan_k over a
distance d. The specimen pivots about the middle of its depth D, so that its projection stays in place: pattern n of
scan k enters at

    r_n + shift_k + D / 2 tan_k

The first scan is the frame of the others, which is why nothing of it moves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ptylive.schema.model import DoubleArray, FloatArray, IndexArray

SHIFT, TILT, CURRENT = slice(0, 2), slice(2, 4), 4
"""Columns of the block."""
QUANTITIES = 5
RAD_PER_MRAD = 1e-3


@dataclass(frozen=True)
class ScanQuantities:
    """Which of them are modelled, and what they are added to."""

    of_pattern: IndexArray
    """(N,) number of the scan."""
    scans: int
    shifts_px: DoubleArray
    """(N, 2) sub-pixel rests of the positions, at the start tilts."""
    start_mrad: FloatArray
    """(scans, 2)."""
    half_depth_px: float
    """Half the depth of the specimen, in object pixels."""
    pixel_A: float
    moving: frozenset[str]
    """Of shifts, tilts and currents."""

    @property
    def moves_positions(self) -> bool:
        """Whether patterns enter elsewhere than at the start."""
        return bool(self.moving & {"shifts", "tilts"})

    def added(self, block: Any, shifts: Any, tilts: Any, current: Any, xp: Any) -> tuple[Any, Any, Any]:
        """Shifts (N, 2), pixels, tilts (N, 6), mrad, and currents (N,) for values (scans, 5).

        ``shifts`` and ``current``, where each pattern has its own besides; what is not modelled stays as it is.
        """
        of = self.of_pattern
        if self.moves_positions:
            since = block[:, TILT] - xp.asarray(self.start_mrad, dtype=block.dtype)
            each = block[:, SHIFT] / self.pixel_A + RAD_PER_MRAD * self.half_depth_px * since
            shifts = (xp.asarray(self.shifts_px, dtype=block.dtype) if shifts is None else shifts) + each[of]
        if "tilts" in self.moving:
            tilts = xp.zeros((len(of), 6), block.dtype)
            tilts[:, 2:4] = block[of, TILT]
        if "currents" in self.moving:
            current = block[of, CURRENT] if current is None else current * block[of, CURRENT]
        return shifts, tilts, current

    def gradient(self, by_shifts_px: Any, by_tilts_mrad: Any, by_current: Any, xp: Any) -> Any:
        """By the values (scans, 5), from those by what :meth:`added` gives; currents of single patterns are fixed."""
        some = next(one for one in (by_shifts_px, by_tilts_mrad, by_current) if one is not None)
        total = xp.zeros((self.scans, QUANTITIES), some.dtype)
        if self.moves_positions:
            by_place = self._summed(by_shifts_px, xp)
            total[:, SHIFT] = by_place / self.pixel_A
            total[:, TILT] = RAD_PER_MRAD * self.half_depth_px * by_place
        if "tilts" in self.moving:
            total[:, TILT] += self._summed(by_tilts_mrad[:, 2:4], xp)
        if "currents" in self.moving:
            total[:, CURRENT] = self._summed(by_current[:, None], xp)[:, 0]
        return total

    def _summed(self, values: Any, xp: Any) -> Any:
        """(scans, n) of values (N, n)."""
        return xp.stack([values[self.of_pattern == scan].sum(axis=0) for scan in range(self.scans)])


def pivot_A(of_pattern: IndexArray, tilts_mrad: FloatArray, depth_A: float) -> DoubleArray:
    """(N, 2) where patterns enter a specimen of a depth, from where they look at its middle."""
    return np.asarray(RAD_PER_MRAD * depth_A / 2 * np.asarray(tilts_mrad, dtype=float)[of_pattern])
