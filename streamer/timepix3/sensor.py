"""Positions of each chip's pixels on the detector: one chip, or four around a gap."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ptylive.schema.model import Array, BoolArray
from ptylive.streamer.timepix3.packets import CHIP_SIDE

GAP_PX = 2
"""Width of the cross without pixels between four chips (their outermost pixels are larger)."""
MOST_CHIPS = 4


@dataclass(frozen=True)
class Sensor:
    """A detector of one chip or of four."""

    four: bool

    @property
    def shape(self) -> tuple[int, int]:
        """(Qy, Qx) pixels."""
        side = 2 * CHIP_SIDE + GAP_PX if self.four else CHIP_SIDE
        return side, side

    @property
    def gap(self) -> BoolArray:
        """(Qy, Qx): where there is no pixel."""
        found = np.zeros(self.shape, dtype=bool)
        if self.four:
            cross = slice(CHIP_SIDE, CHIP_SIDE + GAP_PX)
            found[cross] = found[:, cross] = True
        return found

    @cached_property
    def _table(self) -> Array:
        """(chips, 65536) uint32: flat pixel for chip, row and column."""
        row, column = (index.ravel() for index in np.indices((CHIP_SIDE, CHIP_SIDE), dtype=np.int64))
        if not self.four:
            return np.tile((row * CHIP_SIDE + column).astype(np.uint32), (MOST_CHIPS, 1))
        last, second = CHIP_SIDE - 1, CHIP_SIDE + GAP_PX
        places = (
            (row, column + second),
            (last - row + second, last - column + second),
            (last - row + second, last - column),
            (row, column),
        )
        return np.stack([(y * self.shape[1] + x).astype(np.uint32) for y, x in places])

    def pixels(self, address: Array) -> Array:
        """Flat pixels (n,) uint32 of hits; see :class:`ptylive.streamer.timepix3.packets.Hits`."""
        return np.asarray(self._table.ravel()[address])
