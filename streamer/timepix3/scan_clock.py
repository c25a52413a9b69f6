"""Scan point of the beam at a time: from edges that begin lines or points, or from the dwell time alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ptylive.schema import InputFileError, Scan
from ptylive.schema.model import IndexArray
from ptylive.streamer.timepix3.line_starts import LineStarts, line_starts, point_starts
from ptylive.streamer.timepix3.packets import EDGES, TICK_NS, Edges

TICKS_PER_US = 1e3 / TICK_NS
MOST_LINES = 16384
"""More edges than this, in a scan of unknown shape, begin points."""
_ABOUT = 0.9
"""Fraction of the expected edges at which they are accepted as such."""
_ACTIVE = 0.1
"""A signal high for at least this fraction of its period also gives the end of lines; a shorter one is a pulse."""
_SAME = 0.02
"""Relative difference between the length of a line and the time at its points that is ignored."""
UNTIL_THE_NEXT = "dwell_time_us is not given; each line is assumed to last until the next one begins"
_LEAST_DWELL = 0.1 * TICKS_PER_US
"""Edges that would leave less than this for each point of a line begin points themselves."""


@dataclass(frozen=True)
class ScanClock:
    """Lines that begin at ``starts`` (lines,), ticks, rising; each has ``columns`` points of ``dwell`` ticks.

    Frames are numbered line by line. Single points are lines of one point.
    """

    starts: IndexArray
    columns: int
    dwell: float
    shape: tuple[int, ...]
    """Leading axes of the frames: (rows, columns) or (frames,); there may be fewer lines, if the scan ended early."""

    @property
    def dwell_us(self) -> float:
        """Time at each point."""
        return self.dwell / TICKS_PER_US

    def frame_of(self, times: IndexArray) -> IndexArray:
        """Numbers (n,) of the frames to which times belong; -1 for times between lines."""
        if not len(self.starts):
            return np.full(len(times), -1)
        line = np.searchsorted(self.starts, times, side="right") - 1
        point = np.floor((times - self.starts[line]) / self.dwell).astype(np.int64)
        return np.where((line >= 0) & (point < self.columns), line * self.columns + point, -1)

    def ends(self) -> IndexArray:
        """Ends of lines (lines,) in ticks, not later than the beginning of the next line."""
        ends = self.starts + math.ceil(self.columns * self.dwell)
        ends[:-1] = np.minimum(ends[:-1], self.starts[1:])
        return ends

    def span(self, first: int, last: int) -> tuple[int, int]:
        """Ticks between which frames ``first`` to ``last`` (inclusive) lie, limited to existing lines."""
        lines = len(self.starts) - 1
        begins, ends = min(first // self.columns, lines), min(last // self.columns, lines)
        return int(self.starts[begins]), int(np.ceil(self.starts[ends] + self.columns * self.dwell))


@dataclass(frozen=True)
class ScanInterpretation:
    """The interpretation of a scan. ``notes``: what a user should know about it."""

    clock: ScanClock
    notes: tuple[str, ...]


def understand(name: str, edges: Edges, begins: int, scan: Scan) -> ScanInterpretation:
    """Return the clock of a recorded scan. ``begins``: ticks at which the shutter was opened, or of the first hit.

    ``scan``: the user's settings (shape, dwell_time_us, flyback_frames). Raises InputFileError, which starts with
    ``name``, where they are not sufficient.
    """
    dwell = None if scan.dwell_time_us is None else scan.dwell_time_us * TICKS_PER_US
    by_kind = {kind: np.sort(edges.times[edges.kinds == kind]) for kind in EDGES}
    by_kind = {kind: times for kind, times in by_kind.items() if len(times) > 1}
    by_kind = {kind: times for kind, times in by_kind.items() if not _only_ends(kind, by_kind)}
    if not by_kind:
        return _free_running(name, begins, scan, dwell)
    if scan.shape is not None and (point := _kind_of_points(by_kind, scan.shape)) is not None:
        return _points(by_kind, point, scan.shape, dwell)
    kind = _kind_of_lines(by_kind, None if scan.shape is None else scan.shape[0])
    if scan.shape is None and len(by_kind[kind]) > MOST_LINES:
        return _points(by_kind, kind, None, dwell)
    return _lines(name, edges, kind, scan, dwell)


def _only_ends(kind: int, by_kind: Mapping[int, IndexArray]) -> bool:
    """Whether falling edges end what about as many rising ones begin: even if one of these is lost, they begin it."""
    channel, edge = EDGES[kind].split()
    rising = next(code for code, text in EDGES.items() if text == f"{channel} rise")
    return edge == "fall" and len(by_kind.get(rising, ())) >= _ABOUT * len(by_kind[kind])


def _kind_of_points(by_kind: Mapping[int, IndexArray], shape: tuple[int, int]) -> int | None:
    """Kind of edges with about one per point of the scan: more than lines, at least nine of ten."""
    points = shape[0] * shape[1]
    found = [kind for kind, times in by_kind.items() if len(times) >= _ABOUT * points and len(times) > 2 * shape[0]]
    return min(found, key=lambda kind: abs(len(by_kind[kind]) - points)) if found else None


def _kind_of_lines(by_kind: Mapping[int, IndexArray], rows: int | None) -> int:
    """Kind of edges that begin lines: with the wanted number, otherwise the most; rising before falling."""
    order = list(EDGES)
    if rows is None:
        return min(by_kind, key=lambda kind: (-len(by_kind[kind]), order.index(kind)))
    return min(by_kind, key=lambda kind: (abs(len(by_kind[kind]) - rows), EDGES[kind].endswith("fall")))


def _points(
    by_kind: Mapping[int, IndexArray], kind: int, shape: tuple[int, int] | None, dwell: float | None
) -> ScanInterpretation:
    starts = by_kind[kind]
    notes = [f"points begin at edges of trigger input {EDGES[kind]}: {len(starts)} of them"]
    period = float(np.median(np.diff(starts)))
    if shape is not None:
        found = point_starts(starts, *shape)
        starts, notes = found.starts, [*notes, *found.notes("points")]
    wanted = len(starts) if shape is None else shape[0] * shape[1]
    if len(starts) > wanted:
        notes.append(f"the first {wanted} of them are used")
    elif len(starts) < wanted:
        notes.append(f"the last {wanted - len(starts)} points are assumed to be those without an edge: check it")
    dwell = period if dwell is None else dwell
    return ScanInterpretation(ScanClock(starts[:wanted], 1, dwell, shape or (len(starts),)), tuple(notes))


def _lines(name: str, edges: Edges, kind: int, scan: Scan, dwell: float | None) -> ScanInterpretation:
    starts = np.sort(edges.times[edges.kinds == kind])
    notes = [f"lines begin at edges of trigger input {EDGES[kind]}: {len(starts)} of them"]
    period = float(np.median(np.diff(starts)))
    active = active_ticks(edges, kind, period)
    found = _repaired(starts, None if scan.shape is None else scan.shape[0])
    starts, notes = found.starts, [*notes, *found.notes()]
    if scan.shape is not None:
        rows, columns = scan.shape
    elif dwell is not None:
        rows, columns = len(starts), max(1, round((active or period) / dwell))
        notes.append(f"scan_shape {rows} x {columns} follows from these and dwell_time_us: check it")
    else:
        rows = columns = len(starts)
        notes.append(f"scan_shape {rows} x {columns} is guessed from these: check it")
    if dwell is None:
        dwell = (active or period) / columns
        if active is None:
            notes.append(f"{UNTIL_THE_NEXT}: check it")
    elif long := too_long(columns, dwell, period):
        raise InputFileError(f"{name}: {long}", "correct scan_shape or dwell_time_us with --set")
    elif remark := not_as_long(columns, dwell, active):
        notes.append(f"{remark}: check it")
    if len(starts) > rows:
        notes.append(f"the first {rows} of them are used")
    elif len(starts) < rows:
        notes.append(f"the scan ended after {len(starts)} of its {rows} lines: check it")
    return ScanInterpretation(ScanClock(starts[:rows], columns, dwell, (rows, columns)), tuple(notes))


def _repaired(edges: IndexArray, rows: int | None) -> LineStarts:
    """Repair line starts: as many edges as lines are complete, and a gap longer than the missing edges is a pause."""
    found = line_starts(edges, None, rows)
    as_many = len(edges) == rows and not found.left_out
    too_many = rows is not None and len(edges) < rows < len(found.starts)
    return LineStarts(edges) if as_many or too_many else found


def too_long(columns: int, dwell: float, period: float) -> str | None:
    """Describe lines that are not over when the next one begins; ticks. None where they are."""
    if columns * dwell <= (1 + _SAME) * period:
        return None
    line, between = columns * dwell / TICKS_PER_US, period / TICKS_PER_US
    return f"a line of {columns} points lasts {line:.6g} µs, but the next one begins after {between:.6g} µs"


def not_as_long(columns: int, dwell: float, active: float | None) -> str | None:
    """Describe lines of another length than their signal; ticks. None where they agree, or for a pulse."""
    if active is None or abs(columns * dwell - active) <= _SAME * active:
        return None
    line, signal = columns * dwell / TICKS_PER_US, active / TICKS_PER_US
    return f"a line of {columns} points lasts {line:.6g} µs, but its signal {signal:.6g} µs"


def active_ticks(edges: Edges, kind: int, period: float) -> float | None:
    """Ticks for which the beam is on a line that begins with an edge of this kind, from the opposite edge; None if that
    is missing, or only ends a pulse. ``period``: ticks between lines.
    """
    codes = {text: code for code, text in EDGES.items()}
    channel, edge = EDGES[kind].split()
    ends = np.sort(edges.times[edges.kinds == codes[f"{channel} {'fall' if edge == 'rise' else 'rise'}"]])
    starts = np.sort(edges.times[edges.kinds == kind])
    after = np.searchsorted(ends, starts, side="right")
    has_end = after < len(ends)
    lengths = ends[after[has_end]] - starts[has_end]
    length = float(np.median(lengths)) if len(lengths) else 0.0
    return length if _ACTIVE * period <= length < period else None


def _free_running(name: str, begins: int, scan: Scan, dwell: float | None) -> ScanInterpretation:
    """Clock without a trigger: points follow one another from the beginning on, flyback included."""
    if dwell is None or scan.shape is None:
        raise InputFileError(
            f"{name}: no two edges arrived at a trigger input, so the start of scan points is not known",
            "give --set dwell_time_us=… --set scan_shape=ROWS,COLUMNS, and flyback_frames if there is a flyback",
        )
    rows, columns = scan.shape[0], scan.frames_per_row
    starts = begins + np.rint(np.arange(rows) * (columns * dwell)).astype(np.int64)
    note = "no two edges arrived at a trigger input: points of dwell_time_us are assumed to follow in sequence"
    return ScanInterpretation(ScanClock(starts, columns, dwell, (rows, columns)), (note,))


def beginning(edges: Edges, scan: Scan, past: int | None = None) -> tuple[int, bool] | None:
    """Kind of edges that begin something, and whether it is a point instead of a line; None while there are too few.

    Rising edges take precedence over falling ones, input 1 over input 2. The only line of a scan has a single edge:
    ``past``, ticks up to which all edges have arrived, shows that no edges of points follow it.
    """
    rows, line_us = scan.require_shape()[0], scan.frames_per_row * (scan.dwell_time_us or math.inf)
    for kind in sorted(EDGES, key=lambda kind: (EDGES[kind].endswith("fall"), EDGES[kind])):
        times = np.sort(edges.times[edges.kinds == kind])
        if len(times) == rows == 1 and past is not None and past >= times[0] + line_us * TICKS_PER_US:
            return kind, False
        if len(times) < 2:
            continue
        period, columns = float(np.median(np.diff(times))), scan.require_shape()[1]
        if scan.dwell_time_us is None:
            return kind, period < _LEAST_DWELL * columns
        return kind, period < math.sqrt(columns) * scan.dwell_time_us * TICKS_PER_US
    return None
