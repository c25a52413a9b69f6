"""``python -m chaos.sender JSON``: send one scan until all of it is safe or patience ends. May be killed."""

import json
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from chaos.history import History
from chaos.patterns import pattern, scan_header
from ptylive.schema import ServerGoneError
from ptylive.simulators.kept_frames import SafeFrames
from ptylive.simulators.outlet import SendPatience
from ptylive.simulators.sender import Sender
from ptylive.streamer.wire import EndMessage, FramesMessage, runs_of

PATIENCE = SendPatience(first_s=8.0, away_s=8.0, stalled_s=20.0)
BATCH = 12
ASK_S = 0.5
RESEND_S = 3.0


class Scan:
    """A scan under way; ``spec``: uid, token (from which its patterns are made), series, rows, data, control,
    frames_per_s, first, last (the frames this sender has), seconds (patience).
    """

    def __init__(self, spec: dict[str, Any], history: History) -> None:
        self.spec, self.history = spec, history
        self.header = scan_header(spec["uid"], spec["series"], rows=spec["rows"])
        self.wanted = np.zeros(self.header.frames, dtype=bool)
        self.wanted[spec["first"] : spec["last"]] = True
        self.safe = np.zeros(self.header.frames, dtype=bool)
        self.give_up = time.monotonic() + spec["seconds"]
        self._asked = 0.0

    def run(self) -> bool:
        """Send the scan; return whether all of it became safe."""
        self._note("sender_began", wanted=[int(self.spec["first"]), int(self.spec["last"])])
        if not self.wanted.any():
            self._announce_only()
        with SafeFrames(self.spec["control"]) as server:
            while not self._done() and time.monotonic() < self.give_up:
                with suppress(ServerGoneError):
                    self._session(server)
        self._note("sender_ended", safe=self._done())
        return self._done()

    def _announce_only(self) -> None:
        """Announce a scan and abandon it."""
        with suppress(ServerGoneError), Sender(self.spec["data"], PATIENCE) as sender:
            sender.arm(self.header)

    def _session(self, server: SafeFrames) -> None:
        """Send everything missing over one connection, again and again. Raises ServerGoneError."""
        with Sender(self.spec["data"], PATIENCE) as sender:
            while not self._done() and time.monotonic() < self.give_up:
                sender.arm(self.header)
                self._send(sender, server)
                self._wait(sender, server)
            if self._done():
                sender.end(EndMessage(self.header.uid, self.header.frames, "complete"))

    def _send(self, sender: Sender, server: SafeFrames) -> None:
        for first, last in runs_of(self.wanted & ~self.safe):
            for start in range(first, last, BATCH):
                stop = min(start + BATCH, last)
                frames = np.stack([pattern(self.spec["token"], number) for number in range(start, stop)])
                sender.frames(FramesMessage(self.header.uid, start, stop - start, "none", (frames.tobytes(),), start))
                self._ask(server)
                sender.pause((stop - start) / self.spec["frames_per_s"])

    def _wait(self, sender: Sender, server: SafeFrames) -> None:
        """Wait until all is safe, or until nothing has become safe for a while."""
        until = time.monotonic() + RESEND_S
        while not self._done() and time.monotonic() < min(until, self.give_up):
            sender.pause(ASK_S)
            self._ask(server)

    def _ask(self, server: SafeFrames) -> None:
        """Note what the server reports as safe; only news is written to the history."""
        if time.monotonic() - self._asked < ASK_S:
            return
        self._asked = time.monotonic()
        safe = server.ask(self.header)
        if safe is not None and (safe & ~self.safe).any():
            self._note("acknowledged", ranges=list(runs_of(safe & ~self.safe)))
            self.safe |= safe

    def _done(self) -> bool:
        return not (self.wanted & ~self.safe).any()

    def _note(self, kind: str, **facts: Any) -> None:
        self.history.note(kind, uid=self.header.uid, token=self.spec["token"], **facts)


if __name__ == "__main__":
    spec = json.loads(sys.argv[1])
    sys.exit(0 if Scan(spec, History(Path(spec["history"]))).run() else 1)
