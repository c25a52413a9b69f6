"""Transforms of the coefficients over the scan, on whole arrays of a device: rows are kept there between refreshes.

The twin of what ``engine/imaging/rows.py`` does on the processor, in single precision as there.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ptylive.engine.backend.device import WORK_BYTES, ArrayDevice
from ptylive.schema.model import DoubleArray, FloatArray, IndexArray

COPIES = 5
"""Blocks as large as its result that a transform along another axis than the last one takes: counted generously."""


class ArrayTransforms:
    """Row transforms (kept columns, rows, N) complex64 on a device, and the planes (…, padded rows, N) made of them."""

    def __init__(self, device: ArrayDevice, shape: tuple[int, int, int], padded: tuple[int, int]) -> None:
        """Zeros; ``shape`` (padded columns // 2 + 1, rows, N). Raises NoRoom where they do not fit."""
        self._device, self._padded = device, padded
        kept, rows, count = shape
        device.check_room(8.0 * (rows + padded[0]) * kept * count + WORK_BYTES, "transforms of the coefficients")
        self._rows = device.xp.zeros(shape, np.complex64)
        self._planes = device.xp.zeros((kept, padded[0], count), np.complex64)

    def rows_at_a_time(self, columns: int) -> int:
        """Rows of ``columns`` points that are brought here together."""
        kept, _, count = self._rows.shape
        return self._device.portion(count * (4.0 * columns + 8.0 * COPIES * kept), "rows of coefficients")

    def transform(self, rows: IndexArray, values: FloatArray) -> None:
        """Transform ``values`` (n, columns, N) of some rows (n,)."""
        xp = self._device.xp
        made = xp.fft.rfft(xp.asarray(values), n=self._padded[1], axis=1)
        self._rows[:, xp.asarray(rows)] = made.transpose(1, 0, 2)

    def total(self) -> DoubleArray:
        """Sum over the scan, (N,): the zero frequencies of the rows."""
        return np.asarray(self._device.to_host(self._rows[0].real.sum(axis=0, dtype=np.float64)))

    def planes(self, moved: FloatArray, visited: FloatArray) -> Any:
        """Planes (kept columns, padded rows, N) on the device, ``moved`` (N,) taken off where visited (rows, columns).

        The next call writes into the same memory.
        """
        xp = self._device.xp
        off, mask = xp.asarray(moved), xp.fft.rfft(xp.asarray(visited), n=self._padded[1], axis=1).T
        kept, _rows, count = self._rows.shape
        step = self._device.portion(8.0 * COPIES * self._padded[0] * count, "columns of the transforms")
        for first in range(0, kept, step):
            at = slice(first, first + step)
            part = self._rows[at] - mask[at, :, None] * off
            self._planes[at] = xp.fft.fft(part, n=self._padded[0], axis=1)
        return self._planes

    @property
    def bytes(self) -> int:
        """Memory held on the device."""
        return int(self._rows.nbytes + self._planes.nbytes)
