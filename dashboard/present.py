"""Commands on the displayed scan: sent with its uid, and only while the viewer looks at that scan.

The server works on the scan it shows. A viewer may be looking at an earlier one, and the server may switch to another
scan between a click and its command: neither may be refined, changed or saved by mistake.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from ptylive.dashboard.client.orders import CommandSender, Reply
from ptylive.schema import CommandError

OF_THE_SHOWN_SCAN = frozenset(
    {
        "refine",
        "decide",
        "save",
        "export",
        "side_by_side",
        "report",
        "film",
        "configure",
        "calibrate",
        "undo",
        "release",
        "detectors",
        "note",
    }
)


class ShownScanSender:
    """Adds the uid of the displayed scan to commands on it, and refuses them while an earlier scan is viewed.

    ``shown``: uid of the scan that the server shows, as far as this page knows (a command that follows another one may
    have a newer uid, and passes it itself); ``looked_at``: the scan that the viewer looks at instead, in words; empty
    when it is the scan the server shows.
    """

    def __init__(self, sender: CommandSender, shown: Callable[[], str | None], looked_at: Callable[[], str]) -> None:
        self._sender, self._shown, self._looked_at = sender, shown, looked_at

    def submit(self, command: str, **arguments: Any) -> Future[Reply]:
        """Send a command; the future holds the reply, or a PtyliveError."""
        is_query = not {"text", "sample"} & arguments.keys()
        exempt = command == "note" and (arguments.get("recording") or is_query)
        if command not in OF_THE_SHOWN_SCAN or exempt:
            return self._sender.submit(command, **arguments)
        if self._looked_at():
            refused: Future[Reply] = Future()
            refused.set_exception(
                CommandError(
                    f"you are viewing the earlier scan {self._looked_at()}, but this would act on the newest",
                    "open the earlier scan for everybody (its button open), or go back to the newest",
                )
            )
            return refused
        uid = self._shown()
        return self._sender.submit(command, **({"if_shown": uid} if uid else {}) | arguments)
