"""Positions and tilts that vary smoothly over the scan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ptylive.engine.refine.parameters.parameter_vector import BlockName, Layout
from ptylive.schema.model import DoubleArray, FloatArray, IndexArray


@dataclass(frozen=True)
class ScanGrid:
    """How the patterns lie on the scan."""

    triples: IndexArray
    """(n, 3) patterns that follow each other in a row of the scan."""
    row: IndexArray
    """(N,) row of each pattern, counted from 0 without gaps."""
    patterns_in_row: FloatArray
    """(rows,)."""
    row_triples: IndexArray
    """(m, 3) rows that follow each other."""
    affine: FloatArray
    """(N, 3) orthonormal columns spanning 1 and the nominal positions."""

    @classmethod
    def of(cls, point: IndexArray, scan_shape: tuple[int, int], positions_A: DoubleArray) -> ScanGrid:
        """From the scan points (N,) of the patterns and their nominal positions (N, 2)."""
        rows, row = np.unique(point // scan_shape[1], return_inverse=True)
        first = np.arange(max(len(rows) - 2, 0))
        following = np.stack([first, first + 1, first + 2], axis=1)
        away = positions_A - positions_A.mean(axis=0)
        affine, _ = np.linalg.qr(np.column_stack([np.ones(len(away)), away]))
        return cls(
            triples=rows_of_three(point, scan_shape),
            row=row.astype(np.int64),
            patterns_in_row=np.bincount(row).astype(np.float32),
            row_triples=following[rows[2:] - rows[:-2] == 2] if len(rows) > 2 else following,
            affine=affine.astype(np.float32),
        )


@dataclass(frozen=True)
class SmoothGrid:
    """What is expected of the displacements d of a quantity that every pattern has, from nominal.

    fast sum |d[i-1] - 2 d[i] + d[i+1]|^2 along rows + slow sum |m[r-1] - 2 m[r] + m[r+1]|^2 of the rows' means m
    + deformation sum |d - affine fit of d over the nominal positions|^2
    (PyPty: fast_axis_reg, slow_axis_reg, which takes the rows' sums, and deformation_reg)
    """

    block: BlockName
    nominal: FloatArray
    """(N, n) values before refinement."""
    grid: ScanGrid
    fast: float
    slow: float
    deformation: float

    def add(self, layout: Layout, vector: Any, gradient: Any, xp: Any) -> Any:
        """See :class:`ptylive.engine.refine.parameters.terms.Term`."""
        away = layout.other_blocks(vector)[self.block] - xp.asarray(self.nominal)
        force = xp.zeros_like(away)
        if self.fast > 0:
            force += self.fast * _bending(away, xp.asarray(self.grid.triples), xp)
        if self.slow > 0:
            force += self.slow * self._row_bending(away, xp)
        if self.deformation > 0:
            columns = xp.asarray(self.grid.affine, dtype=away.dtype)
            force += self.deformation * (away - columns @ (columns.T @ away))
        layout.other_blocks(gradient)[self.block][...] += 2 * force
        return (force * away).sum().astype(np.float64)  # every part is quadratic in d

    def _row_bending(self, away: Any, xp: Any) -> Any:
        row = xp.asarray(self.grid.row)
        counts = xp.asarray(self.grid.patterns_in_row, dtype=away.dtype)[:, None]
        means = xp.zeros((len(counts), away.shape[1]), away.dtype)
        xp.add.at(means, row, away)
        bending = _bending(means / counts, xp.asarray(self.grid.row_triples), xp)
        return (bending / counts)[row]

    @property
    def curvature(self) -> float:
        """An upper bound of the second derivative by one displacement."""
        return 2 * (16 * self.fast + 16 * self.slow + self.deformation)


def _bending(values: Any, triples: Any, xp: Any) -> Any:
    """Half the gradient of sum |v[i-1] - 2 v[i] + v[i+1]|^2 over triples (n, 3)."""
    force = xp.zeros_like(values)
    before, here, after = triples.T
    bend = values[before] - 2 * values[here] + values[after]
    for index, weight in ((before, 1), (here, -2), (after, 1)):
        xp.add.at(force, index, weight * bend)
    return force


def rows_of_three(point: IndexArray, scan_shape: tuple[int, int]) -> IndexArray:
    """Patterns (n, 3) that were taken one after the other at neighbouring points of one row."""
    order = np.arange(len(point) - 2)
    row, column = np.divmod(point, scan_shape[1])
    step = np.diff(column)
    together = (row[:-2] == row[1:-1]) & (row[1:-1] == row[2:]) & (np.abs(step[:-1]) == 1) & (step[:-1] == step[1:])
    return np.asarray(np.stack([order, order + 1, order + 2], axis=1)[together])
