"""A scan while its packets arrive: which of its lines have begun, and when it is over."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ptylive.schema.model import IndexArray
from ptylive.streamer.timepix3.beam import Beam
from ptylive.streamer.timepix3.line_starts import line_starts
from ptylive.streamer.timepix3.packets import TICK_NS, Edges, Hits
from ptylive.streamer.timepix3.scan_clock import (
    UNTIL_THE_NEXT,
    ScanClock,
    active_ticks,
    not_as_long,
    too_long,
)
from ptylive.streamer.timepix3.sensor import Sensor


class OpenScan:
    """Lines of a scan that have begun. ``chips``: those seen so far; ``kind``: of the edges that begin lines, None
    where all are known; ``pause``: a gap this many times longer than from line to line ends the scan.
    """

    def __init__(
        self, chips: set[int], lines: int, columns: int, dwell: float | None, kind: int | None, pause: float
    ) -> None:
        self.sensor = Sensor(four=len(chips) > 1)
        """Sensor as announced, whatever other chips are seen later."""
        self.elsewhere = 0
        self._chips = set(chips)
        self.lines, self.kind = lines, kind
        self._columns, self._dwell, self._pause = columns, dwell, pause
        self.starts: IndexArray = np.zeros(0, dtype=np.int64)
        self.done = 0
        """Number of lines handed on."""
        self._edges = Edges.together([])
        self._period: float | None = None
        self._another_began = False  # whether one has begun after a pause
        self._beam = Beam()
        self._waits = False  # for what distinguishes a pause before the last line from another scan
        self.notes: tuple[str, ...] = ()

    @property
    def end(self) -> int:
        """End, in ticks, of the last line that has begun."""
        clock = self.clock()
        return int(self.starts[-1] + (0.0 if clock is None else clock.columns * clock.dwell))

    def begin_lines(self, edges: Edges, past: int, parts: Sequence[Hits]) -> None:
        """Begin lines with these edges, up to a pause. ``past``: ticks up to which all have arrived; ``parts``: hits of
        lines that have not been handed on.
        """
        if self.kind is None:
            return
        starts = np.sort(edges.times[edges.kinds == self.kind], kind="stable")
        if self._columns > 1:

            def is_off(begin: int, stop: int) -> bool:
                times = np.concatenate([np.zeros(0, dtype=np.int64), *(part.times for part in parts)])
                return self._beam.is_off(times, int(starts[0]), begin, max(begin, min(stop, past)))

            found = line_starts(starts, self.starts[: self.done], self.lines, past, is_off)
            starts, self.notes, self._waits = found.starts, tuple(found.notes()), found.waits
        steps = np.diff(starts := starts[: self.lines])
        self._period = float(np.median(steps)) if len(steps) else None
        long: list[int] = np.flatnonzero(steps > self._pause * np.median(steps)).tolist() if len(steps) > 1 else []
        self._edges, self._another_began = edges, bool(long)
        self.starts = starts[: long[0] + 1] if long else starts

    def hand_on(self, lines: int, dwell: float, times: IndexArray, until: int) -> None:
        """Note that the first ``lines`` are handed on, with this time at each point, which stays fixed from now on, and
        with all hits at ``times`` up to ``until`` (ticks).
        """
        self._beam.note(times, int(self.starts[self.done]), until)
        self.done, self._dwell = lines, dwell

    def of_its_chips(self, hits: Hits) -> Hits:
        """Return the hits on its sensor and count the others. A single-chip sensor belongs to the first chip hit."""
        if self.sensor.four or not len(hits.times):
            return hits
        chips = hits.address >> 16
        self._chips = self._chips or {int(chips[0])}
        own = chips == min(self._chips)
        self.elsewhere += int(np.count_nonzero(~own))
        return hits.kept(own)

    def is_left(self, past: int) -> bool:
        """Whether another scan has begun before all lines of this one, or the next line is too late (everything up to
        ``past``, ticks, has arrived), and nothing of this scan is waited for.
        """
        if self.kind is None or self._waits or self.done < len(self.starts) or not len(self.starts):
            return False
        if self._period is not None and past > self.starts[-1] + self._pause * self._period:
            return True
        return self._another_began

    def note_left(self, lacking: int) -> None:
        """Note where the scan was left. ``lacking``: lines that the scan before lacks."""
        name, begun = "point" if self._columns == 1 else "line", len(self.starts)
        text = f"no {name} follows {name} {begun} of {self.lines} in time: the others are missing"
        text += f", or belong to the next scan if the beam was paused for more than {self._pause:g} {name}s"
        if begun == lacking:
            text += f"; the scan before lacks {lacking}: probably both are one scan that was paused"
        self.notes = (*self.notes, text)

    def note_pause(self) -> None:
        """Note a time without hits in a scan without triggers, in which points follow one another by the dwell time."""
        off = self._beam.longest_off()
        if self.kind is None and off > self._columns * (self._dwell or 0.0):
            text = f"no hits arrived for {1e-6 * off * TICK_NS:.4g} ms, and no edges at a trigger input"
            self.notes = (*self.notes, f"{text}: if the scan was paused then, its later points are displaced: check it")

    def doubt(self) -> str | None:
        """Describe lines that are not over when others begin, or whose end is not known."""
        if self.kind is None or self._period is None:
            return None
        active = active_ticks(self._edges, self.kind, self._period) if self._columns > 1 else None
        if self._dwell is None:
            return UNTIL_THE_NEXT if active is None and self._columns > 1 else None
        long = too_long(self._columns, self._dwell, self._period)
        return long or not_as_long(self._columns, self._dwell, active)

    def clock(self) -> ScanClock | None:
        """Clock of the lines so far; None while the length of a line is unknown."""
        if self._dwell is None and self.kind is not None and self._period is not None:
            active = active_ticks(self._edges, self.kind, self._period) if self._columns > 1 else None
            dwell = (active or self._period) / self._columns
        else:
            dwell = self._dwell or 0.0
        return ScanClock(self.starts, self._columns, dwell, (self.lines, self._columns)) if dwell else None
