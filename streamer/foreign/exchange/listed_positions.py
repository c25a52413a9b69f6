"""Positions that a file lists one by one, as a scan: a grid where they form one, otherwise unchanged."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ptylive.schema.model import Array, DoubleArray

REGULAR, NEARLY = 0.02, 0.3
"""Root mean square distances from a grid, as fractions of the step: for being that grid, and for being its points."""


@dataclass(frozen=True)
class ListedScan:
    """Description of a scan derived from its positions."""

    metadata: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, Array] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class _Grid:
    shape: tuple[int, int]
    slow: DoubleArray
    fast: DoubleArray
    snake: bool
    away: float
    """Fraction of the shorter step."""


def listed_scan(positions_A: DoubleArray) -> ListedScan:
    """Convert positions (N, 2), row and column in Å, in the order of the frames, to metadata and arrays of a scan.

    A grid gives shape and step; its rotation against the detector is not given by the file's axes, and is found from
    the data. Other positions are given as ``positions_A``, relative to the first: with the shape for a grid that
    drifted, otherwise with all points in one row.
    """
    if len(positions_A) < 2 or not np.isfinite(positions_A).all():
        return ListedScan(note="positions are not used: they hold values that are not numbers")
    grid = _grid_of(positions_A)
    if grid is None or grid.away > NEARLY:
        step = _neighbours_A(positions_A)
        return ListedScan(
            {"scan_shape": [1, len(positions_A)], "scan_step_A": [step, step]} if step > 0 else {},
            {"positions_A": positions_A - positions_A[0]},
            f"positions do not form a grid: all {len(positions_A)} points are read as one row, at the given positions",
        )
    rows, columns = grid.shape
    steps = [float(np.hypot(*grid.slow)), float(np.hypot(*grid.fast))]
    metadata: dict[str, Any] = {"scan_shape": [rows, columns], "scan_step_A": steps}
    if grid.snake:
        metadata["scan_pattern"] = "snake"
    words = f"positions are a grid of {rows} x {columns}" + (", every other row backwards" if grid.snake else "")
    if grid.away <= REGULAR:
        turned = np.degrees(np.arctan2(grid.slow[1], grid.slow[0]))
        return ListedScan(
            metadata, {}, f"{words}, turned by {-turned:.3g}° in the file: rotation_deg is found from the data"
        )
    by_point = positions_A.reshape(rows, columns, 2).copy()
    if grid.snake:
        by_point[1::2] = by_point[1::2, ::-1]
    listed = by_point.reshape(-1, 2)
    return ListedScan(
        metadata,
        {"positions_A": listed - listed[0]},
        f"{words}, which they follow only roughly: the given positions are used",
    )


def _grid_of(positions_A: DoubleArray) -> _Grid | None:
    """Find rows of equal length, all forwards or every other one backwards; None where there are none."""
    steps = np.diff(positions_A, axis=0)
    first = np.median(steps[: max(1, min(3, len(steps)))], axis=0)
    length = float(np.hypot(*first))
    if length == 0:
        return None
    along = (steps @ first) / length**2
    off = np.hypot(*(steps - np.outer(along, first)).T) / length
    jumps = np.flatnonzero((np.abs(along - 1) > 0.5) | (off > 0.5))
    if not len(jumps):
        return None
    columns = int(jumps[0]) + 1
    rows, remainder = divmod(len(positions_A), columns)
    if remainder or rows < 2 or columns < 2:
        return None
    points = positions_A.reshape(rows, columns, 2)
    snake = bool((points[1, -1] - points[1, 0]) @ first < 0)
    if snake:
        points = points.copy()
        points[1::2] = points[1::2, ::-1]
    row, column = np.divmod(np.arange(rows * columns), columns)
    model = np.stack([np.ones(rows * columns), row, column], axis=1)
    fit, *_ = np.linalg.lstsq(model, points.reshape(-1, 2), rcond=None)
    shortest = min(float(np.hypot(*fit[1])), float(np.hypot(*fit[2])))
    if shortest <= 0:
        return None
    away = np.sqrt(((model @ fit - points.reshape(-1, 2)) ** 2).sum(axis=1).mean()) / shortest
    return _Grid((rows, columns), fit[1], fit[2], snake, float(away))


def _neighbours_A(positions_A: DoubleArray) -> float:
    """Median distance from a point to the one that was measured after it."""
    return float(np.median(np.hypot(*np.diff(positions_A, axis=0).T)))
