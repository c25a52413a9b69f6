"""Transforms of the coefficients along the rows of the scan, kept from one refresh to the next.

Only rows in which frames have arrived since the last refresh are transformed again. The transform is that of the
difference from a fixed reference, so that the running mean may change without touching a row: (mean - reference) is
subtracted at every refresh. If the mean has moved far from the reference, all rows are transformed again, because
single precision would suffer otherwise.

Transforms are stored column by column, so that the transform along the columns reads contiguous memory.
"""

from __future__ import annotations

import numpy as np
from scipy import fft

from ptylive.engine.imaging.accumulation.store import Store
from ptylive.engine.imaging.accumulation.thread_pool import ThreadPool
from ptylive.engine.memory import Scratch, bytes_in_files
from ptylive.schema.model import ComplexArray, DoubleArray, FloatArray, IndexArray

ROWS_AT_A_TIME, COLUMNS_AT_A_TIME = 2, 2
"""Numbers of rows and columns transformed together: as many as stay in the nearest caches."""
REFERENCE_DRIFT = 0.02
"""Relative change of the mean coefficients after which every row is transformed again."""


class RowTransforms:
    """Row transforms of one store for one padded size, computed by the threads of ``pool``; one caller at a time."""

    def __init__(self, pool: ThreadPool | None = None, scratch: Scratch | None = None) -> None:
        self._pool, self._scratch = pool or ThreadPool(), scratch or Scratch()
        self._store: Store | None = None
        self._padded, self._shape = (0, 0), (0, 0, 0)
        self._counts: IndexArray = np.zeros(0, dtype=np.int64)
        self._reference: FloatArray = np.zeros(0, dtype=np.float32)
        self._rows: ComplexArray = np.zeros((0, 0, 0), dtype=np.complex64)
        self._planes: ComplexArray = np.zeros((0, 0, 0), dtype=np.complex64)

    def update(self, store: Store, padded: tuple[int, int]) -> DoubleArray:
        """Bring the transforms up to date; return the mean coefficients (N,) of the visited points, as stored."""
        shape = (padded[1] // 2 + 1, store.shape[0], store.bins.shape[1])
        if store is not self._store or padded != self._padded or shape != self._shape:
            self._store = None
            self._make_room(shape, padded)
            self._store, self._padded, self._shape = store, padded, shape
            self._counts = np.zeros(shape[1], dtype=np.int64)
        frames = store.frames.reshape(store.shape)
        counts = frames.sum(axis=1)
        if counts.any() and not self._counts.any():
            row = int(np.argmax(counts))
            self._reference = _coefficients(store, row)[frames[row] > 0].mean(axis=0)
        self._transform(store, np.flatnonzero(counts != self._counts))
        self._counts = counts
        mean = self._mean(frames)
        if np.linalg.norm(mean - self._reference) > REFERENCE_DRIFT * np.linalg.norm(mean):
            self._reference = mean.astype(np.float32)
            self._transform(store, np.flatnonzero(counts))
            mean = self._mean(frames)
        return mean

    def forget(self) -> None:
        """Transform every row again at the next update."""
        self._counts[:] = 0

    def _mean(self, frames: IndexArray) -> DoubleArray:
        """Return the mean coefficients of the visited points: the zero frequencies of the rows are their sums."""
        return np.asarray(self._reference + self._total() / max(int((frames > 0).sum()), 1))

    def _transform(self, store: Store, changed: IndexArray) -> None:
        at_a_time = self._rows_at_a_time(store.shape[1])
        for first in range(0, len(changed), at_a_time):
            rows = changed[first : first + at_a_time]
            values = np.stack([_coefficients(store, row) for row in rows.tolist()])
            values -= self._reference
            values[store.frames.reshape(store.shape)[rows] == 0] = 0.0
            self._put(rows, values)

    # -- where the transforms lie, and how they are computed --------------------------------------------------------

    def _make_room(self, shape: tuple[int, int, int], padded: tuple[int, int]) -> None:
        """Allocate zeros for rows (kept columns, rows, N) of a padded size."""
        del padded
        self._rows = self._scratch.zeros(shape, np.complex64, "transforms")

    def _rows_at_a_time(self, columns: int) -> int:
        """Return how many rows of ``columns`` points are transformed together."""
        del columns
        return ROWS_AT_A_TIME

    def _put(self, rows: IndexArray, values: FloatArray) -> None:
        """Transform rows (n,) with the values (n, columns, N)."""
        self._rows[:, rows] = fft.rfft(values, n=self._padded[1], axis=1).transpose(1, 0, 2)

    def _total(self) -> DoubleArray:
        """Return the sum of all values, (N,)."""
        return np.asarray(self._rows[0].real.sum(axis=0, dtype=np.float64))

    def planes(self, mean: DoubleArray, visited: FloatArray) -> ComplexArray:
        """Return transforms (padded cols // 2 + 1, padded rows, N) of the coefficients over the scan, with mean fill.

        ``visited`` (rows, cols) is 1 where there are frames. The next call writes into the same memory: fresh pages for
        every refresh cost more than the transforms.
        """
        from ptylive.engine.backend.imaging.bank_numba import less_mean

        columns, _, count = self._rows.shape
        shift = np.zeros((2, 2 * count), np.float32)
        shift[0, ::2] = shift[1, 1::2] = mean.astype(np.float32) - self._reference
        mask = fft.rfft(visited, n=self._padded[1], axis=1)
        if self._planes.shape != (columns, self._padded[0], count):
            self._planes = self._scratch.zeros((columns, self._padded[0], count), np.complex64, "transforms")
        planes, pairs = self._planes, self._rows.view(np.float32)

        def transform(_lane: int, start: int, stop: int) -> None:
            for first in range(start, stop, COLUMNS_AT_A_TIME):
                block = slice(first, min(first + COLUMNS_AT_A_TIME, stop))
                less_mean(pairs[block], mask[:, block], shift, planes[block].view(np.float32))
                planes[block] = fft.fft(planes[block], axis=1, overwrite_x=True, workers=1)  # one of several threads

        self._pool.split(columns, transform, least=COLUMNS_AT_A_TIME)
        return planes

    @property
    def bytes(self) -> int:
        """Memory held, in bytes."""
        return self._rows.nbytes + self._planes.nbytes

    @property
    def bytes_in_files(self) -> int:
        """Part of that memory which lies in temporary files."""
        return bytes_in_files(self._rows, self._planes)


def _coefficients(store: Store, row: int) -> FloatArray:
    """Return the coefficients (cols, N) of a row, per frame."""
    cols = store.shape[1]
    return store.coefficients(slice(row * cols, (row + 1) * cols))
