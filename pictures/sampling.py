"""Conversion of maps that are finer or coarser than the display."""

from __future__ import annotations

import numpy as np

from ptylive.schema.model import BoolArray, FloatArray


def stretched(coverage: BoolArray, shape: tuple[int, ...]) -> BoolArray:
    """Coverage (rows, cols) of the scan points at the pixels of a finer (or coarser) map: the nearest point decides."""
    if coverage.shape == shape:
        return coverage
    rows = (np.arange(shape[0]) * coverage.shape[0]) // shape[0]
    cols = (np.arange(shape[1]) * coverage.shape[1]) // shape[1]
    return np.asarray(coverage[np.ix_(rows, cols)])


def reduced(data: FloatArray, visited: BoolArray | None, side: int) -> tuple[FloatArray, BoolArray | None]:
    """Averages of a map (rows, cols) over square blocks of visited pixels, so that no side exceeds ``side``.

    Rows and columns that do not fill a block at the lower and right edges are averaged over what is there.
    """
    block = -(-max(data.shape) // side)
    if block <= 1:
        return data, visited
    rows = np.arange(0, data.shape[0], block)
    cols = np.arange(0, data.shape[1], block)
    weights = np.ones(data.shape, dtype=np.float32) if visited is None else visited.astype(np.float32)
    total = np.add.reduceat(np.add.reduceat(np.where(weights > 0, data, 0), rows, axis=0), cols, axis=1)
    weight = np.add.reduceat(np.add.reduceat(weights, rows, axis=0), cols, axis=1)
    mean = (total / np.maximum(weight, 1)).astype(np.float32)
    return mean, None if visited is None else weight > 0
