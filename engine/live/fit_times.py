"""When to recalibrate an arriving scan: at certain shares of it, and never so that frames have to wait.

Results of these fits only serve viewers of the running scan: its end fits everything afresh. A fit that would hardly be
ready before that end is therefore skipped, and fits use no more than a share of the time.
"""

from __future__ import annotations

import time
from collections.abc import Callable

FIT_AT = (0.0, 0.15, 0.30, 0.60)
"""Shares of the scan at which rotation, focus and so on are fitted: first as soon as possible, then again."""
SOON_S = 1.0
"""Time before the end of a scan in which no fit starts, because a better result is about to replace it."""
REST = 4.0
"""Pause after a fit that shared the CPU with incoming frames, in units of the time that the fit took."""


class FitTimes:
    """Schedule of fits. ``clock``: s, for fits in the background; None for synchronous fits, which never wait."""

    def __init__(self, *, clock: Callable[[], float] | None = time.monotonic) -> None:
        self._clock, self._shares = clock, list(FIT_AT)
        self._began: float | None = None
        self._started = self._rested = 0.0

    def begin(self) -> None:
        """Record the arrival of the first frames."""
        if self._clock is not None and self._began is None:
            self._began = self._clock()

    def due(self, share: float) -> bool:
        """Return whether to fit now that this share (0 to 1) of the scan has arrived; each due time counts once."""
        if not self._shares or share < self._shares[0] or not self._has_time(share):
            return False
        self._shares = [at for at in self._shares if at > share]
        return True

    def started(self) -> None:
        """Record that a fit begins."""
        self._started = 0.0 if self._clock is None else self._clock()

    def ended(self) -> None:
        """Record that the fit is ready."""
        if self._clock is not None:
            now = self._clock()
            self._rested = now + REST * (now - self._started)

    def end(self) -> None:
        """Record the end of the scan: nothing is due any more."""
        self._shares = []

    def _has_time(self, share: float) -> bool:
        if self._clock is None or self._began is None:
            return True
        now = self._clock()
        passed = now - self._began
        if now < self._rested:
            return False
        if share >= 1.0:
            return passed >= SOON_S  # its end has not been announced
        return passed * (1.0 - share) >= SOON_S * share  # at this rate
