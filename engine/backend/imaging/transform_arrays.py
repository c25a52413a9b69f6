"""Transforms of the coefficients over the scan, on whole arrays of a device: rows are kept there between refreshes.

Counterpart of ``engine/imaging/accumulation/rows.py`` on the CPU, in single precision like that module.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ptylive.engine.backend.device import WORK_BYTES, ArrayDevice
from ptylive.schema.model import DoubleArray, FloatArray, IndexArray

COPIES = 5
"""Number of blocks of the result's size needed by a transform along an axis other than the last (generous)."""


class ArrayTransforms:
    """Row transforms (kept columns, rows, N) complex64 on a device, and the planes (…, padded rows, N) made of them."""

    def __init__(self, device: ArrayDevice, shape: tuple[int, int, int], padded: tuple[int, int]) -> None:
        """Allocate zeros; ``shape`` (padded columns // 2 + 1, rows, N). Raises NoRoom if they do not fit."""
        self._device, self._padded = device, padded
        cols, rows, count = shape
        device.check_room(8.0 * (rows + padded[0]) * cols * count + WORK_BYTES, "transforms of the coefficients")
        self._rows = device.xp.zeros(shape, np.complex64)
        self._planes = device.xp.zeros((cols, padded[0], count), np.complex64)

    def rows_at_a_time(self, columns: int) -> int:
        """Return how many rows of ``columns`` points are sent to the device together."""
        cols, _, count = self._rows.shape
        return self._device.portion(count * (4.0 * columns + 8.0 * COPIES * cols), "rows of coefficients")

    def transform(self, rows: IndexArray, values: FloatArray) -> None:
        """Transform ``values`` (n, columns, N) of some rows (n,)."""
        xp = self._device.xp
        transformed = xp.fft.rfft(xp.asarray(values), n=self._padded[1], axis=1)
        self._rows[:, xp.asarray(rows)] = transformed.transpose(1, 0, 2)

    def total(self) -> DoubleArray:
        """Return the sum over the scan, (N,): the zero frequencies of the rows."""
        return np.asarray(self._device.to_host(self._rows[0].real.sum(axis=0, dtype=np.float64)))

    def planes(self, shift: FloatArray, visited: FloatArray) -> Any:
        """Return planes (kept columns, padded rows, N) on the device, less ``shift`` (N,) in visited (rows, columns).

        The next call writes into the same memory.
        """
        xp = self._device.xp
        shift_on_device, mask = xp.asarray(shift), xp.fft.rfft(xp.asarray(visited), n=self._padded[1], axis=1).T
        cols, _rows, count = self._rows.shape
        step = self._device.portion(8.0 * COPIES * self._padded[0] * count, "columns of the transforms")
        for first in range(0, cols, step):
            block = slice(first, first + step)
            part = self._rows[block] - mask[block, :, None] * shift_on_device
            self._planes[block] = xp.fft.fft(part, n=self._padded[0], axis=1)
        return self._planes

    @property
    def bytes(self) -> int:
        """Memory held on the device, in bytes."""
        return int(self._rows.nbytes + self._planes.nbytes)
