"""Commands on the displayed scan: sent with its uid, and only while the viewer looks at that scan.

The server works on the scan it shows. A viewer may be looking at an earlier one, and the server may switch to another
scan, or begin with the next refinement, between a click and its command: neither may be refined, changed, saved or
stopped by mistake. On a busy machine seconds may pass between a click and its arrival here, so the browser says what
it displays whenever that has changed: before every click on it.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, NamedTuple

from ptylive.dashboard.client.orders import CommandSender, Reply
from ptylive.dashboard.client.state import ServerState
from ptylive.dashboard.requests import Request
from ptylive.schema import CommandError

OF_THE_SHOWN_SCAN = frozenset(
    {
        "refine",
        "decide",
        "tune",
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


OF_THE_SHOWN_RUN = frozenset({"refine_stop", "refine_resume"})


class Shown(NamedTuple):
    """The scan and the refinement that a viewer sees: ``uid`` of the scan, ``run`` and the uid of its scan."""

    uid: str = ""
    run: str = ""
    of: str = ""


def shown_by(state: ServerState) -> Shown:
    """What a page displays in this state."""
    run = state.refinement.run
    return Shown(state.uid or "", str(run or ""), state.refinement.uid if run else "")


class OnScreen:
    """What the browser displays, by its own account; before it has said anything, what ``state`` holds."""

    def __init__(self, state: Callable[[], ServerState]) -> None:
        self._state = state
        self._said: Shown | None = None

    def now(self) -> Shown:
        """Scan and refinement on the viewer's screen."""
        return shown_by(self._state()) if self._said is None else self._said

    def takers(self) -> dict[str, Callable[[Request], None]]:
        """Handlers of the page's requests."""
        return {"on_screen": self._take}

    def _take(self, request: Request) -> None:
        self._said = Shown(request.name, request.key, request.value)


class ShownScanSender:
    """Adds the uid of the displayed scan to commands on it, and refuses them while an earlier scan is viewed.

    ``shown``: what the viewer sees (a command that follows another one may have a newer uid, and passes it itself);
    ``looked_at``: the scan that the viewer looks at instead, in words; empty when it is the scan the server shows.
    """

    def __init__(self, sender: CommandSender, shown: Callable[[], Shown], looked_at: Callable[[], str]) -> None:
        self._sender, self._shown, self._looked_at = sender, shown, looked_at

    def submit(self, command: str, **arguments: Any) -> Future[Reply]:
        """Send a command; the future holds the reply, or a PtyliveError."""
        if command in OF_THE_SHOWN_RUN:
            return self._sender.submit(command, **self._of_the_run(arguments))
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
        uid = self._shown().uid
        return self._sender.submit(command, **({"if_shown": uid} if uid else {}) | arguments)

    def _of_the_run(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Name the run that the viewer sees; one named already is a stored run of the displayed scan."""
        shown = self._shown()
        run, uid = (arguments["run"], shown.uid) if "run" in arguments else (shown.run, shown.of)
        return arguments | {name: value for name, value in (("run", run), ("uid", uid)) if value}
