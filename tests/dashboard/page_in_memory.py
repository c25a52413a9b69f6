"""A page without a browser or a server: what it shows and sends can be inspected directly."""

import json
from concurrent.futures import Future
from typing import Any

from fake_server import MAP_KINDS, state_payload

from ptylive.dashboard.client.feed import Feed, FeedView
from ptylive.dashboard.client.map_kinds import MapKinds
from ptylive.dashboard.client.state import ServerState
from ptylive.dashboard.session import Session

QUIET = (
    "check",
    "decide_status",
    "estimates",
    "runs",
    "note",
    "history",
    "files",
    "scans",
    "snapshot",
    "trotter",
    "tune_status",
    "batch_status",
)
"""Requests that a page makes without user action."""


class CommandSender:
    """Accepts commands and answers when told to; requests that the page makes without user action are kept apart."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, dict[str, Any]]] = []
        self.asked: list[tuple[str, dict[str, Any], Future[dict[str, Any]]]] = []
        self.future: Future[dict[str, Any]] = Future()

    def submit(self, command: str, **arguments: Any) -> Future[dict[str, Any]]:
        future: Future[dict[str, Any]] = Future()
        if command in QUIET and not arguments.get("pictures") and not {"text", "sample"} & set(arguments):
            self.asked.append((command, arguments, future))
        else:
            self.sent.append((command, arguments))
            self.future = future
        return future

    def answer(self, command: str, **reply: Any) -> None:
        """Answer the last request of a kind."""
        next(f for c, _, f in reversed(self.asked) if c == command and not f.done()).set_result(reply)


def silent_feed(**state: Any) -> Feed:
    """A feed that does not listen; its server is in the usual state apart from some values."""
    silent = Feed("tcp://127.0.0.1:9")
    known = ServerState.model_validate(state_payload(**state))
    silent._view = FeedView(state=known, connected=True, last_contact=1.0, kinds=MapKinds.from_plain(MAP_KINDS))
    return silent


def content(session: Session) -> dict[str, dict[str, str]]:
    """What the page shows after a tick: texts, marks, clips."""
    session.tick()
    return json.loads(session.page.content)


def ask(session: Session, **request: Any) -> None:
    """Act as the browser does when a key is pressed or a button of the page is clicked."""
    ask.count += 1
    session.asked.content = json.dumps({"number": ask.count, **request})


ask.count = 0
