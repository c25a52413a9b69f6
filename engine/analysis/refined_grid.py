"""The grid of refined positions: step, angle and shear, and the distance of the positions from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ptylive.schema.model import DoubleArray

TURNED = 0.5
"""Difference in steps between successive distances above which a new row begins."""


@dataclass(frozen=True)
class RefinedGrid:
    """Least-squares fit of rows and columns to positions."""

    shape: tuple[int, int]
    step_A: tuple[float, float]
    """Along the slow and the fast axis of the scan."""
    rotation_deg: float
    """Angle of the slow axis, with the convention of a calibration's ``rotation_deg``."""
    shear_deg: float
    """Angle of the fast axis in excess of a right angle to the slow one."""
    away_A: float
    """Root-mean-square distance of positions from the grid."""


def refined_grid(positions_A: DoubleArray) -> RefinedGrid | None:
    """Fit the grid of positions (N, 2), row by row; None if rows differ in length, as in scans with gaps."""
    steps = np.diff(np.asarray(positions_A, dtype=np.float64), axis=0)
    if len(steps) < 3:
        return None
    first = np.median(steps, axis=0)  # most points are followed by their neighbour in the row
    length = float(np.hypot(*first))
    if length == 0:
        return None
    jumps = np.flatnonzero(np.hypot(*(steps - first).T) > TURNED * length)
    columns = int(jumps[0]) + 1 if len(jumps) else 0
    rows, remainder = divmod(len(positions_A), columns) if columns else (0, 0)
    if remainder or rows < 2 or columns < 2 or not np.array_equal(jumps, columns * np.arange(1, rows) - 1):
        return None
    row, column = np.divmod(np.arange(rows * columns), columns)
    model = np.stack([np.ones(rows * columns), row, column], axis=1)
    fit, *_ = np.linalg.lstsq(model, positions_A, rcond=None)
    slow, fast = fit[1], fit[2]
    rotation_deg = np.degrees(np.arctan2(slow[1], slow[0]))
    shear_deg = (np.degrees(np.arctan2(fast[1], fast[0])) - rotation_deg - 90 + 180) % 360 - 180
    deviation_A = float(np.sqrt(((model @ fit - positions_A) ** 2).sum(axis=1).mean()))
    return RefinedGrid(
        (rows, columns),
        (float(np.hypot(*slow)), float(np.hypot(*fast))),
        float(rotation_deg),
        float(shear_deg),
        deviation_A,
    )
