"""Beginnings of lines from edges of a trigger input: a doubled edge counts once, a missing one is inserted.

A lost or doubled edge would move every later line to the position of its neighbour, and no line would look wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ptylive.schema.model import IndexArray

_NEAR = 0.05
"""Fraction of a period: how far edges of a regular raster lie from their expected times."""
_EARLY, _DOUBLED = 0.9, 0.5
"""Fractions of a period: an edge that follows within the first may be spurious, within the second it is."""
_REGULAR = 0.75
"""Fraction of steps of one period for lines to count as regular: otherwise lost edges cannot be recognised."""
_MOST_MISSING = 9
"""Missing edges in a row: a longer gap is a pause."""


@dataclass(frozen=True)
class LineStarts:
    """``starts`` (lines,), rising; the number of missing edges inserted, and of surplus edges left out. ``waits``: the
    last line cannot be determined yet.
    """

    starts: IndexArray
    put_in: int = 0
    left_out: int = 0
    waits: bool = False

    def notes(self, label: str = "lines") -> list[str]:
        """Return what a user should know about the repairs."""
        remarks = []
        if self.put_in:
            remarks.append(f"{label} inserted where an edge is missing: {self.put_in}: check it")
        if self.left_out:
            remarks.append(f"irregular edges left out: {self.left_out}: check it")
        return remarks


def line_starts(
    edges: IndexArray,
    fixed: IndexArray | None = None,
    most: int | None = None,
    until: int | None = None,
    is_off: Callable[[int, int], bool] | None = None,
) -> LineStarts:
    """Find the starts of lines from edges (n,), rising ticks. ``fixed`` (m,): starts of lines that do not change;
    ``most``: lines of the scan; further ones may follow, about which nothing is reported; ``until``: ticks up to
    which all edges have arrived; None: there are no others; ``is_off``: whether the beam was off between two times,
    so that no line was scanned and no edge is missing.

    Irregular edges are left unchanged.
    """
    before = edges[:0] if fixed is None else fixed
    rest = edges[edges > before[-1]] if len(before) else edges
    period = _period(edges)
    if period is None:
        return LineStarts(np.concatenate([before, rest]))
    single = _single(rest, period, int(before[-1]) if len(before) else None)
    starts = np.concatenate([before[-1:], single])
    steps = np.diff(starts)
    turns = np.rint(steps / period).astype(np.int64)
    whole = (turns > 1) & (turns <= _MOST_MISSING + 1) & (np.abs(steps - turns * period) <= _NEAR * period)
    if is_off is not None:
        for k in np.flatnonzero(whole).tolist():
            whole[k] = not is_off(int(starts[k] + round(period)), int(starts[k + 1]))
    turns[~whole] = 1
    gap = _step_before_last(steps, turns, period, len(before), most)
    paused = gap is not None and not _followed(starts, int(starts[gap + 1]), period)
    waits = gap is not None and paused and until is not None and until < starts[gap + 1] + (1 + _NEAR) * period
    if gap is not None and paused:
        turns[gap] = 1
        starts, steps, turns = (starts[: gap + 1], steps[:gap], turns[:gap]) if waits else (starts, steps, turns)
    parts = [before[:-1], starts[:1]]
    for start, step, many in zip(starts[:-1].tolist(), steps.tolist(), turns.tolist(), strict=True):
        parts.append(start + np.rint(np.arange(1, many + 1) * (step / many)).astype(np.int64))
    every = np.concatenate(parts)
    if gap is not None and not paused and not whole[gap] and most is not None:
        every = np.insert(every, most - 1, every[most - 2] + round(period))
    reported = every[:most]
    put_in = int(np.count_nonzero(~np.isin(reported, edges)))
    all_reported = len(reported) == len(every) and not waits
    of_these = len(edges) if all_reported else int(np.searchsorted(edges, reported[-1], side="right"))
    return LineStarts(every, put_in, of_these - len(reported) + put_in, waits)


def _step_before_last(steps: IndexArray, turns: IndexArray, period: float, before: int, most: int | None) -> int | None:
    """Index of the step, among those with room for lines, that follows the last line but one; None if there is none.
    ``before``: lines that stay, from the last of which the steps are counted.

    Either it is a pause, followed by the last line, or the edge of the last line was lost, and another scan follows,
    whenever that was begun.
    """
    if most is None or most < 2:
        return None
    line = max(before - 1, 0) + np.cumsum(turns) - turns
    room = (steps >= (2 - _NEAR) * period) & (steps <= (_MOST_MISSING + 1 + _NEAR) * period)
    found = np.flatnonzero((line == most - 2) & room)
    return int(found[0]) if len(found) else None


def _followed(starts: IndexArray, start: int, period: float) -> bool:
    """Whether another line follows at once: then it is not the last one of its scan."""
    return bool((np.abs(starts - (start + period)) <= _NEAR * period).any())


def point_starts(edges: IndexArray, rows: int, columns: int) -> LineStarts:
    """Like :func:`line_starts`, for edges that begin points. Missing points are inserted if lines, identified by their
    length, then make up the whole scan: otherwise the scan may have been ended.
    """
    period = _period(edges)
    if period is None:
        return LineStarts(edges)
    times = _single(edges, period, None)
    single = LineStarts(times, 0, len(edges) - len(times))
    if len(times) >= rows * columns:
        return single
    grid = _grid(times, period, rows, columns, None)
    if grid is not None:
        grid = _grid(times, period, rows, columns, float(np.median(np.diff(grid[:, 0]))) if rows > 1 else None)
    if grid is None:
        return single
    return LineStarts(grid.ravel(), rows * columns - len(times), single.left_out)


def _grid(edges: IndexArray, period: float, rows: int, columns: int, between: float | None) -> IndexArray | None:
    """Ticks (rows, columns) of all points; None where edges do not fit. ``between``: from line to line, for lines of
    which the first points are missing.
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
    """Ticks between regular edges; None where they are irregular, or too few."""
    steps = np.sort(np.diff(edges))
    if len(steps) < 3:
        return None
    period = float(steps[(len(steps) - 1) // 2])
    near = np.abs(steps - period) <= _NEAR * period
    return period if near.mean() >= _REGULAR else None


def _single(edges: IndexArray, period: float, before: int | None) -> IndexArray:
    """Drop edges that follow another one too soon; of two, keep the one that fits the others. ``before``: one that
    stays.
    """
    first = edges[:1] if before is None else np.array([before])
    if not (np.diff(edges, prepend=first) < _EARLY * period)[1 if before is None else 0 :].any():
        return edges
    every = np.concatenate([first[: before is not None], edges])
    at = np.searchsorted(every, every[:, None] + np.array([-period, period]) - _NEAR * period)
    distances = every[np.minimum(at, len(every) - 1)] - every[:, None]
    fits = (np.abs(np.abs(distances) - period) <= _NEAR * period).any(axis=1)
    chosen: list[int] = []
    for number in range(len(every)):
        step = every[number] - every[chosen[-1]] if chosen else period
        if step < _EARLY * period and fits[number] and not fits[chosen[-1]] and (chosen[-1] or before is None):
            chosen[-1] = number
        elif step >= _DOUBLED * period and (step >= _EARLY * period or fits[number] or not fits[chosen[-1]]):
            chosen.append(number)
    return every[chosen][before is not None :]
