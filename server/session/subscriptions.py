"""Which maps the viewers of a server show: only these are renewed at the screen's pace."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

from ptylive.schema import CommandError

LEASE_S = 5.0
"""A viewer that has not repeated what it shows for this long counts as gone."""
MOST_VIEWERS = 256
MOST_MAPS = 256
"""Maximum number of maps that one viewer may name."""


class Subscriptions:
    """Viewers and the maps they show. Used from several threads; ``clock`` in seconds.

    ``listeners``: number of receivers of maps. If it exceeds the number of viewers, somebody receives maps without
    having said which, and wants all of them.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, listeners: Callable[[], int] = lambda: 0) -> None:
        self._clock, self._listeners = clock, listeners
        self._lock = threading.Lock()
        self._shown: dict[str, tuple[float, frozenset[str]]] = {}

    def shows(self, viewer: str, maps: Iterable[str] | None) -> None:
        """Register the maps a viewer shows, for LEASE_S unless it repeats them; None removes the viewer.

        Raises CommandError for too many viewers or maps.
        """
        with self._lock:
            self._forget_silent()
            if maps is None:
                self._shown.pop(viewer, None)
                return
            names = frozenset(str(name) for name in maps)
            if len(names) > MOST_MAPS or (viewer not in self._shown and len(self._shown) >= MOST_VIEWERS):
                raise CommandError(f"at most {MOST_VIEWERS} viewers with {MOST_MAPS} maps each can subscribe")
            self._shown[viewer] = (self._clock() + LEASE_S, names)

    def wanted(self) -> frozenset[str] | None:
        """Return the names of all maps shown by viewers; None, meaning all, if a listener has not said which."""
        listeners = self._listeners()
        with self._lock:
            self._forget_silent()
            if not self._shown or listeners > len(self._shown):
                return None
            return frozenset().union(*(names for _, names in self._shown.values()))

    def _forget_silent(self) -> None:
        now = self._clock()
        self._shown = {viewer: shown for viewer, shown in self._shown.items() if shown[0] > now}
