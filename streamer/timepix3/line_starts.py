"""Beginnings of lines from edges of a trigger input: one that came twice counts once, one that is missing is put in.

A lost or doubled edge would move every line behind it to the place of its neighbour, and no line would look wrong.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ptylive.schema.model import IndexArray

_NEAR = 0.05
"""Of a period: how far edges of a regular raster lie from where they are awaited."""
_EARLY, _DOUBLED = 0.9, 0.5
"""Of a period: an edge that follows this soon may be none; one that follows that soon is none."""
_REGULAR = 0.75
"""Part of the steps that are a period long where lines are regular: others cannot be told from what is lost."""
_MOST_MISSING = 9
"""Edges in a row: a longer gap is a pause."""


@dataclass(frozen=True)
class Mended:
    """``starts`` (lines,), rising; how many edges were put in where they lacked, and left out as they were too many."""

    starts: IndexArray
    put_in: int = 0
    left_out: int = 0

    def notes(self, what: str = "lines") -> list[str]:
        """What a user should know of it."""
        said = []
        if self.put_in:
            said.append(f"{what} put in where an edge is missing: {self.put_in}: check it")
        if self.left_out:
            said.append(f"edges left out between regular ones: {self.left_out}: check it")
        return said


def line_starts(edges: IndexArray, fixed: IndexArray | None = None, most: int | None = None) -> Mended:
    """Of the edges (n,) that begin lines, rising ticks. ``fixed`` (m,): starts of lines that stay as they are;
    ``most``: lines of the scan; others may follow, of which nothing is told.

    Irregular ones are left as they are.
    """
    before = edges[:0] if fixed is None else fixed
    rest = edges[edges > before[-1]] if len(before) else edges
    period = _period(edges)
    if period is None:
        return Mended(np.concatenate([before, rest]))
    kept = _single(rest, period, int(before[-1]) if len(before) else None)
    starts = np.concatenate([before[-1:], kept])
    steps = np.diff(starts)
    turns = np.rint(steps / period).astype(np.int64)
    whole = (turns > 1) & (turns <= _MOST_MISSING + 1) & (np.abs(steps - turns * period) <= _NEAR * period)
    turns[~whole] = 1
    parts = [before[:-1], starts[:1]]
    for start, step, many in zip(starts[:-1].tolist(), steps.tolist(), turns.tolist(), strict=True):
        parts.append(start + np.rint(np.arange(1, many + 1) * (step / many)).astype(np.int64))
    every = _with_the_last(np.concatenate(parts), period, most)
    told = every[:most]
    put_in = int(np.count_nonzero(~np.isin(told, edges)))
    of_these = len(edges) if len(told) == len(every) else int(np.searchsorted(edges, told[-1], side="right"))
    return Mended(every, put_in, of_these - len(told) + put_in)


def _with_the_last(starts: IndexArray, period: float, most: int | None) -> IndexArray:
    """Behind the last line but one comes the last, and after a while another scan, whenever that was begun: a gap in
    which a line has room, of no whole number of lines, is the last line's and that of the scans.
    """
    if most is None or not 2 <= most <= len(starts):
        return starts
    turns = float(starts[most - 1] - starts[most - 2]) / period
    if not 2 <= turns <= _MOST_MISSING + 1:
        return starts
    return np.insert(starts, most - 1, starts[most - 2] + round(period))


def point_starts(edges: IndexArray, rows: int, columns: int) -> Mended:
    """The same of edges that begin points. What lacks is put in where lines, told by their length, then make up the
    whole scan: else it may have been ended.
    """
    period = _period(edges)
    if period is None:
        return Mended(edges)
    kept = _single(edges, period, None)
    single = Mended(kept, 0, len(edges) - len(kept))
    if len(kept) >= rows * columns:
        return single
    grid = _grid(kept, period, rows, columns, None)
    if grid is not None:
        grid = _grid(kept, period, rows, columns, float(np.median(np.diff(grid[:, 0]))) if rows > 1 else None)
    if grid is None:
        return single
    return Mended(grid.ravel(), rows * columns - len(kept), single.left_out)


def _grid(edges: IndexArray, period: float, rows: int, columns: int, between: float | None) -> IndexArray | None:
    """(rows, columns) ticks of all points; None where edges do not fit. ``between``: from line to line, for lines of
    which the first points lack.
    """
    grid = np.zeros((rows, columns), dtype=np.int64)
    at = 0
    for row in range(rows):
        if at == len(edges):
            return None
        begins = int(edges[at])
        if between is not None and row:
            awaited = round(grid[row - 1, 0] + between)
            lack = round((begins - awaited) / period)
            if 0 < lack < columns and abs(begins - awaited - lack * period) <= _NEAR * period:
                begins = awaited
        stop = int(np.searchsorted(edges, begins + (columns - 0.5) * period))
        line = edges[at:stop]
        grid[row] = begins + np.rint(np.arange(columns) * period)
        grid[row, np.rint((line - begins) / period).astype(np.int64)] = line
        at = stop
    return grid if at == len(edges) and (np.diff(grid.ravel()) > 0).all() else None


def _period(edges: IndexArray) -> float | None:
    """Ticks between regular edges; None where they are not, or too few."""
    steps = np.sort(np.diff(edges))
    if len(steps) < 3:
        return None
    period = float(steps[(len(steps) - 1) // 2])
    near = np.abs(steps - period) <= _NEAR * period
    return period if near.mean() >= _REGULAR else None


def _single(edges: IndexArray, period: float, before: int | None) -> IndexArray:
    """Without those that come too soon after another one, of two the one that fits the others. ``before``: one that
    stays.
    """
    first = edges[:1] if before is None else np.array([before])
    if not (np.diff(edges, prepend=first) < _EARLY * period)[1 if before is None else 0 :].any():
        return edges
    every = np.concatenate([first[: before is not None], edges])
    at = np.searchsorted(every, every[:, None] + np.array([-period, period]) - _NEAR * period)
    beside = every[np.minimum(at, len(every) - 1)] - every[:, None]
    fits = (np.abs(np.abs(beside) - period) <= _NEAR * period).any(axis=1)
    kept: list[int] = []
    for number in range(len(every)):
        step = every[number] - every[kept[-1]] if kept else period
        if step < _EARLY * period and fits[number] and not fits[kept[-1]] and (kept[-1] or before is None):
            kept[-1] = number
        elif step >= _DOUBLED * period and (step >= _EARLY * period or fits[number] or not fits[kept[-1]]):
            kept.append(number)
    return every[kept][before is not None :]
