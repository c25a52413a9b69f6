"""Which maps the viewers of a server show: only those are renewed at the screen's pace."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

from ptylive.schema import CommandError

LEASE_S = 5.0
"""A viewer who has not repeated what it shows for so long has gone."""
MOST_VIEWERS = 256
MOST_MAPS = 256
"""Maps that one viewer may name."""


class Subscriptions:
    """Viewers and what they show. Used from several threads; ``clock`` in seconds.

    ``listeners``: how many receive maps at all. More than there are viewers means that somebody receives them without
    having said which, and wants them all.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, listeners: Callable[[], int] = lambda: 0) -> None:
        self._clock, self._listeners = clock, listeners
        self._lock = threading.Lock()
        self._shown: dict[str, tuple[float, frozenset[str]]] = {}

    def shows(self, viewer: str, maps: Iterable[str] | None) -> None:
        """A viewer shows these maps from now on, for LEASE_S unless it says so again; None: it has gone.

        Raises CommandError for too many viewers or maps.
        """
        with self._lock:
            self._forget_silent()
            if maps is None:
                self._shown.pop(viewer, None)
                return
            names = frozenset(str(name) for name in maps)
            if len(names) > MOST_MAPS or (viewer not in self._shown and len(self._shown) >= MOST_VIEWERS):
                raise CommandError(f"at most {MOST_VIEWERS} viewers with {MOST_MAPS} maps each can be remembered")
            self._shown[viewer] = (self._clock() + LEASE_S, names)

    def wanted(self) -> frozenset[str] | None:
        """Names of all maps that somebody shows; None, for all, where somebody listens and has not said what."""
        listeners = self._listeners()
        with self._lock:
            self._forget_silent()
            if not self._shown or listeners > len(self._shown):
                return None
            return frozenset().union(*(names for _, names in self._shown.values()))

    def _forget_silent(self) -> None:
        now = self._clock()
        self._shown = {viewer: shown for viewer, shown in self._shown.items() if shown[0] > now}
