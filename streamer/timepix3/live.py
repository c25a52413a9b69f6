"""LineFrames while the packets arrive: each line of the scan is handed on once it is over and late hits have arrived.

Lines (or points) begin at edges of a trigger input; a scan begins at the first of them, at the first after all lines of
the previous scan, or after a long pause. Without edges, points follow one another by the dwell time from the first hit
on, or from the first hit after a pause, or from the opening of the shutter.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ptylive.schema import EventFrames, Scan
from ptylive.schema.model import IndexArray
from ptylive.streamer.timepix3.frames import DetectedEvents, counted
from ptylive.streamer.timepix3.open_scan import OpenScan
from ptylive.streamer.timepix3.packets import TICK_NS, Edges, Hits, Packets
from ptylive.streamer.timepix3.scan_clock import (
    TICKS_PER_US,
    beginning,
)
from ptylive.streamer.timepix3.sensor import MOST_CHIPS, Sensor

LATE = round(0.1e9 / TICK_NS)
"""Ticks after which no more hits of a time arrive: chips and their readout are no farther apart."""
PAUSE = round(0.5e9 / TICK_NS)
"""Ticks without a hit between scans that have no triggers."""
ALL_CHIPS_HITS, CHIPS_WAIT = 64, round(1e9 / TICK_NS)
"""Hits by which all existing chips have appeared, and how long these are waited for."""
NO_EDGES = round(1e9 / TICK_NS)
"""Ticks after the first hit beyond which missing edges are not waited for."""
STALLED = round(2e9 / TICK_NS)
"""Ticks of waiting after which a line counts as over although its end has not been seen."""
BACK = round(2e9 / TICK_NS)
"""Ticks by which new times lie behind the latest when the detector's clock has been reset to zero."""
_ENOUGH_S = 60.0
"""Time after which every line is over."""
LONG = 10.0
"""Multiple of the usual distance between lines: a line that begins later belongs to another scan."""
MOST_HELD = 2**24
"""Limit on hits that wait for the end of their line: 235 MB."""
ALONE = round(60e9 / TICK_NS)
"""Ticks after which an edge that no other has followed begins nothing."""


@dataclass(frozen=True)
class ScanBegan:
    """A scan has begun; what follows belongs to it. ``dwell_us``: time at each point, None where not known yet;
    ``doubt``: what does not fit.
    """

    sensor: Sensor
    dwell_us: float | None
    doubt: str | None = None


@dataclass(frozen=True)
class LineFrames:
    """LineFrames of the scan from number ``first`` on."""

    first: int
    frames: EventFrames


@dataclass(frozen=True)
class ScanEnded:
    """The scan is over. ``whole``: all its lines have begun; ``late``: hits that arrived after their line was handed
    on; ``dropped``: hits that were too many to wait; ``elsewhere``: hits of chips not seen when it began; ``notes``:
    repairs.
    """

    whole: bool
    late: int
    dropped: int
    elsewhere: int = 0
    notes: tuple[str, ...] = ()


class LivePackets:
    """Scans of one shape, one after the other. ``cluster``: ticks between hits of one electron; 0: every hit counts.

    For one thread.
    """

    def __init__(self, scan: Scan, cluster: float = 0.0) -> None:
        self.use(scan, cluster)
        self._chips: set[int] = set()
        self._hits_seen = 0  # hits, of which these are the chips
        self._triggered = False
        self._open: OpenScan | None = None
        self._late = self._dropped = 0
        self._lacking = 0  # lines that the scan before lacks
        self._over = False  # whether nothing more arrives
        self._clear()

    def _clear(self) -> None:
        """Reset all times."""
        self._parts: list[Hits] = []
        self._edges = Edges.together([])
        self._now: int | None = None
        self._waited = 0
        # of the next scan, where there are no triggers, and the last hit before it
        self._first_hit: int | None = None
        self._last_hit: int | None = None
        self._opened: int | None = None

    @property
    def held(self) -> int:
        """Number of hits that wait."""
        return sum(len(part.times) for part in self._parts)

    def use(self, scan: Scan, cluster: float = 0.0) -> None:
        """Use this scan geometry from the next scan on."""
        self._scan, self._cluster = scan, cluster
        self._rows, self._columns = scan.require_shape()[0], scan.frames_per_row
        self._dwell = None if scan.dwell_time_us is None else scan.dwell_time_us * TICKS_PER_US

    def take(self, packets: Packets) -> Iterator[ScanBegan | LineFrames | ScanEnded]:
        """Process packets and yield what they complete."""
        latest = _latest(np.concatenate([packets.hits.times, packets.edges.times]))
        if self._now is not None and latest is not None and latest < self._now - BACK:
            yield from self.end()
        self._chips |= {chip for chip in packets.chips if chip < MOST_CHIPS}
        self._triggered |= len(packets.edges.times) > 0
        known = packets.hits.kept(packets.hits.address >> 16 < MOST_CHIPS)
        self._hits_seen += len(known.times)
        self._parts.append(known)
        self._edges = Edges.together([self._edges, packets.edges])
        if len(packets.opened):
            self._opened = int(packets.opened[-1])
        if self._open is None:
            self._find_first_hit(known.times)
        self._waited = 0
        if latest is not None:
            self._now = latest if self._now is None else max(self._now, latest)
        yield from self._advanced()

    def wait(self, seconds: float) -> Iterator[ScanBegan | LineFrames | ScanEnded]:
        """Note that nothing has arrived for this long, in addition to earlier waiting."""
        if self._now is not None:
            self._waited += round(seconds * 1e9 / TICK_NS)
            yield from self._advanced()

    def _complete_until(self) -> int:
        """Ticks up to which everything has arrived. Data still on their way may be late: the end of a line that has not
        been seen is waited for longer.
        """
        now = self._now or 0
        past = now - LATE + self._waited
        return past if self._waited >= STALLED else min(past, now)

    def end(self) -> Iterator[ScanBegan | LineFrames | ScanEnded]:
        """Finish: no more packets with these times, as the connection ended or the detector's clock was reset."""
        self._over = True
        yield from self.wait(_ENOUGH_S)
        if self._open is not None:
            yield self._end_event(whole=False)
        self._clear()
        self._over, self._lacking = False, 0

    def _advanced(self) -> Iterator[ScanBegan | LineFrames | ScanEnded]:
        while True:
            if self._open is None:
                self._open = self._new_scan()
                if self._open is None:
                    self._forget()
                    return
                self._open.begin_lines(self._edges, self._complete_until(), self._parts)
                clock = self._open.clock()
                dwell_us = None if clock is None else clock.dwell_us
                yield ScanBegan(self._open.sensor, dwell_us, self._open.doubt())
            scan = self._open
            scan.begin_lines(self._edges, self._complete_until(), self._parts)
            yield from self._ended_lines(scan)
            if scan.done == scan.lines:
                self._lacking = 0
                scan.note_pause()
                yield self._end_event(whole=True)
            elif scan.is_left(self._complete_until()):
                if not self._over:
                    scan.note_left(self._lacking)
                self._lacking = scan.lines - len(scan.starts)
                yield self._end_event(whole=False)
            else:
                self._forget()
                return

    def _new_scan(self) -> OpenScan | None:
        """Return the scan that begins with the data so far; None while that cannot be determined."""
        if self._now is None:
            return None
        now = self._now + self._waited
        if self._triggered:
            begin = beginning(self._edges, self._scan, now - LATE)
            if begin is None:
                return None
            kind, points = begin
            first = int(self._edges.times[self._edges.kinds == kind].min())
            if now - first < (LATE if len(self._chips) > 1 or self._hits_seen >= ALL_CHIPS_HITS else CHIPS_WAIT):
                return None
            if points:
                return OpenScan(self._chips, self._rows * self._columns, 1, self._dwell, kind, LONG * self._columns)
            return OpenScan(self._chips, self._rows, self._columns, self._dwell, kind, LONG)
        first_hit = self._first_hit
        if self._dwell is None or first_hit is None:
            return None
        if now - first_hit < max(NO_EDGES, LATE + 2 * self._columns * self._dwell):
            return None
        scan = OpenScan(self._chips, self._rows, self._columns, self._dwell, None, LONG)
        scan.starts = first_hit + np.rint(np.arange(self._rows) * (self._columns * self._dwell)).astype(np.int64)
        return scan

    def _find_first_hit(self, times: IndexArray) -> None:
        """Find the first hit of the next scan without triggers, among new hits: the very first one, or the first after
        a pause or an opened shutter.
        """
        if not len(times):
            return
        times = np.sort(times)
        if self._first_hit is not None:  # chips take turns
            earlier = times[(times >= self._first_hit - LATE) & (times < self._first_hit)]
            self._first_hit = int(earlier[0]) if len(earlier) else self._first_hit
            return
        if self._last_hit is None:
            self._first_hit = int(times[0])
            return
        begins = np.diff(times, prepend=self._last_hit) >= PAUSE
        if self._opened is not None and self._opened > self._last_hit:
            begins |= times >= self._opened
        if begins.any():
            self._first_hit = int(times[np.argmax(begins)])
        else:
            self._last_hit = max(self._last_hit, int(times[-1]))

    def _ended_lines(self, scan: OpenScan) -> Iterator[LineFrames]:
        """Yield the frames of lines that are over and of which nothing more will arrive."""
        clock = scan.clock()
        if clock is None:
            return
        ends = clock.ends()
        ended = int(np.searchsorted(ends, self._complete_until(), side="right"))
        if ended <= scan.done:
            return
        until = int(ends[ended - 1])
        arrived = Hits.together([part.kept(part.times < until) for part in self._parts])
        hits = scan.of_its_chips(arrived)
        self._drop_before(until)
        found = DetectedEvents.of(hits, scan.sensor, clock, self._cluster)
        first = scan.done * clock.columns
        self._late += int(np.count_nonzero((found.frames >= 0) & (found.frames < first)))
        count = ended * clock.columns - first
        wanted = found.frames >= first
        scan.hand_on(ended, clock.dwell, arrived.times, until)
        yield LineFrames(first, counted(found.pixels[wanted], found.frames[wanted] - first, count, scan.sensor.shape))

    def _end_event(self, *, whole: bool) -> ScanEnded:
        scan, self._open = self._open, None
        late, dropped, self._late, self._dropped = self._late, self._dropped, 0, 0
        if scan is not None and len(scan.starts):
            self._forget_edges(scan)
            self._drop_before(scan.end)
            self._first_hit, self._last_hit = None, scan.end
            self._find_first_hit(np.concatenate([np.zeros(0, np.int64), *(part.times for part in self._parts)]))
        return ScanEnded(whole, late, dropped, *((scan.elsewhere, scan.notes) if scan is not None else ()))

    def _drop_before(self, begins: int) -> None:
        """Drop earlier hits."""
        later_parts = (part.kept(part.times >= begins) for part in self._parts)
        self._parts = [part for part in later_parts if len(part.times)]

    def _forget_edges(self, scan: OpenScan) -> None:
        keep = self._edges.times > (scan.starts[-1] + scan.end) // 2  # in the first half of a line none begins
        self._edges = Edges(self._edges.times[keep], self._edges.kinds[keep])
        if scan.kind is not None:  # the last line's own end
            own = self._edges.kinds == scan.kind
            first = self._edges.times[own].min() if own.any() else np.iinfo(np.int64).max
            keep = own | (self._edges.times > first)
            self._edges = Edges(self._edges.times[keep], self._edges.kinds[keep])

    def _forget(self) -> None:
        """Drop hits that can belong to no line, and those beyond the limit."""
        if self._now is not None and self._open is None:
            self._drop_unfollowed_edges(self._now - ALONE)
            if not self._has_hits():
                self._drop_before(self._now - LATE)
        if (held := self.held) > MOST_HELD:  # to half, or each packet would be one too many
            times = np.concatenate([part.times for part in self._parts])
            last = held - MOST_HELD // 2 - 1
            self._drop_before(int(np.partition(times, last)[last]) + 1)
            self._dropped += held - self.held

    def _drop_unfollowed_edges(self, before: int) -> None:
        """Drop edges that no other has followed."""
        keep = self._edges.times >= before
        if not keep.all():
            self._edges = Edges(self._edges.times[keep], self._edges.kinds[keep])

    def _has_hits(self) -> bool:
        """Whether hits are kept for a scan that may have begun."""
        if self._triggered:
            return len(self._edges.times) > 0
        return self._dwell is not None and self._first_hit is not None


def _latest(times: IndexArray) -> int | None:
    """Latest of some times; of four or more, not one far ahead of nearly all: a packet may be damaged."""
    if not len(times):
        return None
    ahead = 1 if len(times) < 4 else 2 + len(times) // 100
    most = np.partition(times, -ahead)[-ahead]
    return int(times[times <= most + LATE].max())
