"""When a scan that arrives is calibrated anew: at some shares of it, and never so that frames wait for it.

What is found while a scan runs is for those who look on: the end of the scan fits everything afresh. So a fit that
would hardly be ready before that end is left out, and fits take no more than a share of the time.
"""

from __future__ import annotations

import time
from collections.abc import Callable

FIT_AT = (0.0, 0.15, 0.30, 0.60)
"""Shares of the scan at which rotation, focus and the like are fitted: at the first look, and again."""
SOON_S = 1.0
"""Before the end of a scan: what a fit would show is shown by then, by a better one."""
REST = 4.0
"""Pause after a fit that frames have to share the processors with, in the time that it took."""


class FitTimes:
    """``clock``: s, of fits in the background; None where they are made on the spot, which costs what it costs."""

    def __init__(self, *, clock: Callable[[], float] | None = time.monotonic) -> None:
        self._clock, self._shares = clock, list(FIT_AT)
        self._began: float | None = None
        self._started = self._rested = 0.0

    def begin(self) -> None:
        """The first frames are here."""
        if self._clock is not None and self._began is None:
            self._began = self._clock()

    def due(self, share: float) -> bool:
        """Whether to fit now that this share (0 to 1) of the scan has come; one that is due is not asked for again."""
        if not self._shares or share < self._shares[0] or not self._has_time(share):
            return False
        self._shares = [at for at in self._shares if at > share]
        return True

    def started(self) -> None:
        """A fit begins."""
        self._started = 0.0 if self._clock is None else self._clock()

    def ended(self) -> None:
        """It is ready."""
        if self._clock is not None:
            now = self._clock()
            self._rested = now + REST * (now - self._started)

    def end(self) -> None:
        """The scan is over: nothing is due any more."""
        self._shares = []

    def _has_time(self, share: float) -> bool:
        if self._clock is None or self._began is None:
            return True
        now = self._clock()
        passed = now - self._began
        if now < self._rested:
            return False
        if share >= 1.0:
            return passed >= SOON_S  # its end has not been said
        return passed * (1.0 - share) >= SOON_S * share  # at this rate
