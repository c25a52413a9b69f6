"""The filter bank's contraction on whole arrays, with numpy or cupy: the twin of :mod:`bank_numba` for a GPU.

Filters are copied to the device once, planes once per refresh; what comes back is one number per frequency. Tested with
numpy as ``xp`` against the compiled loops; with cupy only where there is a GPU.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ptylive.schema.model import Array, ComplexArray, FloatArray, IndexArray

BLOCK_BYTES = 256 * 2**20
"""Gathered planes are held in blocks of this size."""


@dataclass(frozen=True, eq=False)
class ArrayFilter:
    """Filters (nb, N) on the device, and which planes they read: index (nb,), sign (nb,) of the imaginary part."""

    xp: Any
    weights: Array
    index: Array
    sign: Array

    @classmethod
    def of(cls, xp: Any, weights: ComplexArray, index: IndexArray, sign: FloatArray) -> ArrayFilter:
        """Copy a filter to the device."""
        return cls(xp, xp.asarray(weights), xp.asarray(index), xp.asarray(sign) < 0)

    def contract(self, planes: Array, scale: float) -> ComplexArray:
        """Scale sum_n weights[q, n] planes[index[q], n], (nb,) complex64 on the host; planes: on the device."""
        xp, count = self.xp, len(self.weights)
        out = xp.empty(count, dtype=xp.complex64)
        step = max(1, BLOCK_BYTES // (8 * max(1, self.weights.shape[1])))
        for first in range(0, count, step):
            part = slice(first, first + step)
            read = planes[self.index[part]]
            read = xp.where(self.sign[part, None], xp.conj(read), read)
            out[part] = (self.weights[part] * read).sum(axis=1) * xp.float32(scale)
        return np.asarray(out.get() if hasattr(out, "get") else out)


def transformed_columns(xp: Any, rows: Array, padded_rows: int) -> Array:
    """Planes (padded rows * kept columns, N) on the device from row transforms (rows, kept columns, N)."""
    planes = xp.fft.fft(xp.asarray(rows), n=padded_rows, axis=0)
    flat: Array = planes.astype(xp.complex64).reshape(-1, rows.shape[-1])
    return flat
