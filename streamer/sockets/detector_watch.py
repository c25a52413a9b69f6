"""Whether the detector that a receiver connects to is there.

libzmq retries in silence, for ever, and also where a name is misspelt. So the absence of a connection is said once, as
is its return.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from ptylive.streamer.sockets.connection import Connection

PATIENCE_S = 5.0
"""Time without a connection after which it is said: a detector that is restarted closes its port for a moment."""


class DetectorWatch:
    """Follows the connection to a detector; for the socket's own thread, except :attr:`missing`."""

    def __init__(
        self,
        connection: Connection,
        address: str,
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``say``: called with a sentence when the detector is missing, and when it is there again."""
        self._connection, self._address, self._say, self._clock = connection, address, say, clock
        self._since = clock()
        self.missing = ""
        """What to say while there is no connection; empty where there is one."""

    def tick(self) -> None:
        """Call periodically."""
        now = self._clock()
        if self._connection.peers:
            if self.missing:
                self._say(f"connected to the detector at {self._address}")
            self._since, self.missing = now, ""
        elif not self.missing and now - self._since > PATIENCE_S:
            self.missing = absence_warning(self._address)
            self._say(self.missing)


def absence_warning(address: str, why: str = "") -> str:
    """Say that nothing answers at the address of a detector, and why, where it is known."""
    if why:
        return f"no connection to the detector at {address} ({why}): retrying"
    return f"no connection to the detector at {address}: retrying"
