"""Time without new frames in the middle of a scan, and when it is longer than the scan itself explains."""

from __future__ import annotations

from collections import deque
from heapq import nlargest

LEAST_S = 3.0
"""Shorter times without frames are never reported."""
FIRST_S = 30.0
"""The same before a pause has been measured: the first message may be a row of a slow scan of unknown speed."""
PAUSES = 4.0
"""Ratio to the longest usual pause of the scan above which a time without frames is reported."""
PERIOD_S = LEAST_S / PAUSES
"""Of each such period with arrivals, or one ended by a longer pause, the longest pause is noted. Messages that arrive
together, or at any rate that is higher, thus count once, and their pauses never matter."""
PERIODS = 128
"""Number of periods in which pauses are remembered. Among them all, the longest pause is an exception: the scan was
stopped by hand, or its sender was busy."""


class FramePauses:
    """Pauses between the arrivals of new frames of one scan. Monotonic clock, in s; one writing thread, any readers.

    dwell_time_us: time at each scan point in µs; None if unknown.
    """

    def __init__(self, now: float, dwell_time_us: float | None) -> None:
        self._dwell_s = (dwell_time_us or 0.0) * 1e-6
        self._arrived_at = now
        self._period_began_at = now
        self._longest_of_period_s = 0.0
        self._recent_s: deque[float] = deque(maxlen=PERIODS)
        self._usual_pause_s: float | None = None
        self._most_at_once = 0

    def arrived(self, frames: int, now: float) -> None:
        """Note the arrival of new frames."""
        if self._most_at_once:
            self._longest_of_period_s = max(self._longest_of_period_s, now - self._arrived_at)
        else:
            self._period_began_at = now
        if now - self._period_began_at >= PERIOD_S:
            self._recent_s.append(self._longest_of_period_s)
            self._usual_pause_s = nlargest(2, self._recent_s)[-1 if len(self._recent_s) == PERIODS else 0]
            self._period_began_at, self._longest_of_period_s = now, 0.0
        self._most_at_once = max(self._most_at_once, frames)
        self._arrived_at = now

    def not_counted(self, now: float) -> None:
        """Begin again after a time in which this program took no frames: it is no pause of the sender."""
        self._arrived_at = now

    @property
    def usual_s(self) -> float:
        """Time without frames that is still ordinary for this scan."""
        if self._usual_pause_s is None:
            least_s = LEAST_S if self._dwell_s else FIRST_S
        else:
            least_s = max(LEAST_S, PAUSES * self._usual_pause_s)
        return max(least_s, PAUSES * self._dwell_s * self._most_at_once)

    def silent_s(self, now: float) -> float | None:
        """Return how long no new frame has arrived; None while that is ordinary."""
        seconds = now - self._arrived_at
        return seconds if seconds > self.usual_s else None
