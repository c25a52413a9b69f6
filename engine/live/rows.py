"""Transforms of the coefficients along the rows of the scan, kept from one refresh to the next.

Only rows in which frames have arrived since are transformed again. What is transformed is the difference to a fixed
reference, so that the running mean may move without touching a row: (mean - reference) is taken off at every refresh
(live-maths, section 9). A mean that has left the reference means starting over, or single precision would suffer.
"""

from __future__ import annotations

import numpy as np
from scipy import fft

from ptylive.engine.live.store import Store
from ptylive.schema.model import ComplexArray, DoubleArray, FloatArray, IndexArray

ROWS_AT_A_TIME = 4
COLUMNS_AT_A_TIME = 4
"""As many as stay in the nearest caches."""
REFERENCE_DRIFT = 0.02
"""Change of the mean coefficients, as a share of them, that makes every row be transformed again."""


class RowTransforms:
    """Row transforms of one store for one padded size. Used by one thread at a time."""

    def __init__(self) -> None:
        self._store: Store | None = None
        self._padded = (0, 0)
        self._counts: IndexArray = np.zeros(0, dtype=np.int64)
        self._sums: DoubleArray = np.zeros((0, 0))
        self._reference: FloatArray = np.zeros(0, dtype=np.float32)
        self._rows: ComplexArray = np.zeros((0, 0, 0), dtype=np.complex64)

    def update(self, store: Store, padded: tuple[int, int]) -> DoubleArray:
        """Bring the transforms up to date; mean coefficients (N,) of the visited points, as stored."""
        count = store.bins.shape[1]
        if store is not self._store or padded != self._padded or count != self._sums.shape[1]:
            self._begin(store, padded, count)
        frames = store.frames.reshape(store.shape)
        counts = frames.sum(axis=1)
        changed = np.flatnonzero(counts != self._counts)
        for row in changed.tolist():
            # unvisited points hold zeros
            self._sums[row] = self._coefficients(store, row).sum(axis=0, dtype=np.float64)
        mean = self._sums.sum(axis=0) / max(int((frames > 0).sum()), 1)
        if np.linalg.norm(mean - self._reference) > REFERENCE_DRIFT * np.linalg.norm(mean):
            self._reference = mean.astype(np.float32)
            changed = np.flatnonzero(counts)
        for first in range(0, len(changed), ROWS_AT_A_TIME):
            self._transform(store, changed[first : first + ROWS_AT_A_TIME])
        self._counts = counts
        return np.asarray(mean)

    def _begin(self, store: Store, padded: tuple[int, int], count: int) -> None:
        rows = store.shape[0]
        self._store, self._padded = store, padded
        self._rows = np.zeros((rows, padded[1] // 2 + 1, count), dtype=np.complex64)
        self._sums, self._reference = np.zeros((rows, count)), np.zeros(count, dtype=np.float32)
        self._counts = np.zeros(rows, dtype=np.int64)

    @staticmethod
    def _coefficients(store: Store, row: int) -> FloatArray:
        """Coefficients (cols, N) of a row, per frame."""
        cols = store.shape[1]
        points = slice(row * cols, (row + 1) * cols)
        sums: FloatArray = store.bins[points]
        if store.arm.scan.repeats == 1:
            return sums
        return np.asarray(sums / np.maximum(store.frames[points], 1)[:, None].astype(np.float32))

    def _transform(self, store: Store, rows: IndexArray) -> None:
        values = np.stack([self._coefficients(store, row) for row in rows.tolist()])
        seen = store.frames.reshape(store.shape)[rows] > 0
        values = np.where(seen[..., None], values - self._reference, np.float32(0))
        self._rows[rows] = fft.rfft(values, n=self._padded[1], axis=1)

    def planes(self, mean: DoubleArray, visited: FloatArray) -> ComplexArray:
        """Transforms (padded rows, padded cols // 2 + 1, N) over the scan of coefficients, mean fill in ``visited``.

        ``visited`` (rows, cols) 1 where there are frames.
        """
        rows, kept, count = self._rows.shape
        moved = mean.astype(np.float32) - self._reference
        mask = fft.rfft(visited, n=self._padded[1], axis=1)
        out = np.empty((self._padded[0], kept, count), dtype=np.complex64)
        block = np.zeros((self._padded[0], COLUMNS_AT_A_TIME, count), dtype=np.complex64)
        for first in range(0, kept, COLUMNS_AT_A_TIME):
            last = min(first + COLUMNS_AT_A_TIME, kept)
            part = block[:, : last - first]
            np.multiply(mask[:, first:last, None], -moved, out=part[:rows])
            part[:rows] += self._rows[:, first:last]
            out[:, first:last] = fft.fft(part, axis=0)
        return out

    @property
    def bytes(self) -> int:
        """Memory held."""
        return self._rows.nbytes
