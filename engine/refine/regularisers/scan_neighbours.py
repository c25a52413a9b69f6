"""Neighbourhood of the patterns on the scan: consecutive patterns, and their rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ptylive.schema.model import DoubleArray, FloatArray, IndexArray


@dataclass(frozen=True)
class ScanArrangement:
    """Arrangement of the patterns on the scan."""

    triples: IndexArray
    """(n, 3) consecutive patterns in a row of the scan."""
    row: IndexArray
    """(N,) row of each pattern, counted from 0 without gaps."""
    patterns_in_row: FloatArray
    """(rows,)."""
    row_triples: IndexArray
    """(m, 3) consecutive rows."""
    affine: FloatArray
    """(N, 3) orthonormal columns spanning 1 and the nominal positions."""

    @classmethod
    def of(cls, point: IndexArray, scan_shape: tuple[int, int], positions_A: DoubleArray) -> ScanArrangement:
        """From the scan points (N,) of the patterns and their nominal positions (N, 2)."""
        rows, row = np.unique(point // scan_shape[1], return_inverse=True)
        first = np.arange(max(len(rows) - 2, 0))
        following = np.stack([first, first + 1, first + 2], axis=1)
        centred = positions_A - positions_A.mean(axis=0)
        affine, _ = np.linalg.qr(np.column_stack([np.ones(len(centred)), centred]))
        return cls(
            triples=rows_of_three(point, scan_shape),
            row=row.astype(np.int64),
            patterns_in_row=np.bincount(row).astype(np.float32),
            row_triples=following[rows[2:] - rows[:-2] == 2] if len(rows) > 2 else following,
            affine=affine.astype(np.float32),
        )


def rows_of_three(point: IndexArray, scan_shape: tuple[int, int]) -> IndexArray:
    """Patterns (n, 3) that were recorded one after the other at neighbouring points of one row."""
    order = np.arange(len(point) - 2)
    row, column = np.divmod(point, scan_shape[1])
    step = np.diff(column)
    consecutive = (row[:-2] == row[1:-1]) & (row[1:-1] == row[2:]) & (np.abs(step[:-1]) == 1) & (step[:-1] == step[1:])
    return np.asarray(np.stack([order, order + 1, order + 2], axis=1)[consecutive])
