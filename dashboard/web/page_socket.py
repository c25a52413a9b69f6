"""The websocket of a page: incoming messages are checked and paced, and pages are made one after the other.

A browser sends what a person does, and an answer for every picture. A client that sends more is read more slowly, so
that its messages pile up on its own side; refused messages are counted, and logged now and then.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

from bokeh.protocol.exceptions import ProtocolError
from bokeh.server.views.ws import WSHandler
from bokeh.util.token import check_token_signature

from ptylive.dashboard.web.page_messages import PageMessages, Refused, is_text

if TYPE_CHECKING:
    from ptylive.dashboard.web.guard import GuardedApplication

MESSAGES_PER_S = 200.0
"""Twice the rate of a page with ten pictures at ten a second."""
AT_ONCE = 400.0
COST = {"PULL-DOC-REQ": 40.0}
"""Cost of the more expensive messages, in units of ordinary messages."""
REFUSED_COST = 20.0
FRAGMENTS = 3
"""Header, metadata and content; no message of a page has more."""
LOG_EVERY_S = 30.0
POLICY_VIOLATION, TRY_AGAIN_LATER = 1008, 1013
"""Close codes of RFC 6455 and its registry."""
BETWEEN_PAGES_S = 0.02
"""Pause between the making of two pages, in which the others have their turn."""
logger = logging.getLogger(__name__)


class RefusedMessages:
    """Counts refused messages by sender; logs the first at once, and later ones from time to time."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._quiet_until, self._unreported = 0.0, 0

    def add(self, role: str, reason: str) -> None:
        """Count one refused message."""
        self.counts[role] += 1
        self._unreported += 1
        now = time.monotonic()
        if now >= self._quiet_until:
            more = f" (and {self._unreported - 1} more)" if self._unreported > 1 else ""
            logger.warning("refused from a %s: %s%s", role, reason, more)
            self._quiet_until, self._unreported = now + LOG_EVERY_S, 0


class Pace:
    """Limits the rate of messages on a connection; a client that has sent too many waits."""

    def __init__(self, per_s: float = MESSAGES_PER_S, at_once: float = AT_ONCE) -> None:
        self._per_s, self._at_once = per_s, at_once
        self._credit, self._credit_time = at_once, time.monotonic()

    def wait_s(self, cost: float = 1.0) -> float:
        """Account for ``cost`` messages, and return how long to wait before the next is read."""
        now = time.monotonic()
        self._credit = min(self._at_once, self._credit + (now - self._credit_time) * self._per_s) - cost
        self._credit_time = now
        return max(0.0, -self._credit / self._per_s)


class Turnstile:
    """Lets one page be made at a time, those of operators first."""

    def __init__(self) -> None:
        self._busy = False
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._count = 0

    @asynccontextmanager
    async def turn(self, *, first: bool) -> AsyncIterator[None]:
        """Wait for one's turn; ``first``: ahead of all waiting entries that lack it."""
        if self._busy:
            self._count += 1
            entry = (0 if first else 1, self._count, asyncio.get_running_loop().create_future())
            self._waiting.append(entry)
            self._waiting.sort(key=lambda queued: queued[:2])
            try:
                await entry[2]
            except asyncio.CancelledError:
                if not entry[2].cancelled():  # its turn had already come
                    self._wake_next()
                raise
        self._busy = True
        try:
            yield
            await asyncio.sleep(BETWEEN_PAGES_S)
        finally:
            self._wake_next()

    def _wake_next(self) -> None:
        """Give the turn to the next entry; cancelled entries, which all are when the server ends, are skipped."""
        self._busy = False
        while self._waiting and not self._busy:
            turn = self._waiting.pop(0)[2]
            if not turn.done():
                self._busy = True
                turn.set_result(None)


class PageSocket(WSHandler):
    """Bokeh's websocket behind the checks."""

    def __init__(self, application: Any, *args: Any, **kw: Any) -> None:
        super().__init__(application, *args, **kw)
        self._pace, self._fragments = Pace(), 0
        self._messages: PageMessages | None = None

    @property
    def _guard(self) -> GuardedApplication:
        return cast("GuardedApplication", self.application)

    @property
    def _is_open(self) -> bool:
        closing: bool = self.ws_connection is None or self.ws_connection.is_closing()
        return not closing

    @property
    def _read_only(self) -> bool:
        return bool(self.application_context.url != "/")

    @property
    def _role(self) -> str:
        return "read-only page" if self._read_only else "page of an operator"

    async def get(self, *args: Any, **kw: Any) -> None:
        """Open the websocket. A proxy that does not pass on its headers is reported: the browser cannot see them."""
        if self.request.headers.get("Upgrade", "").lower() != "websocket":
            self._refuse("a websocket without an Upgrade header, which a proxy in front of the dashboard must pass on")
        await super().get(*args, **kw)

    def check_origin(self, origin: str) -> bool:
        """Whether the page that opened the connection is ours; the guard has already checked it."""
        return self._guard.admits(self.request.headers, websocket=True)

    def open(self) -> None:
        """Open a page for a token that this server issued; any other connection is closed silently."""
        token, guard = self._token, self._guard
        known = token is not None and self.selected_subprotocol == "bokeh"
        if not known or not check_token_signature(token, secret_key=guard.secret_key, signed=guard.sign_sessions):
            self._refuse("a websocket without a token of this server", POLICY_VIOLATION)
            return
        try:
            super().open()
        except ProtocolError as error:
            self._refuse(f"a websocket: {error}", POLICY_VIOLATION)

    async def _async_open(self, token: str) -> None:
        """Make the page when its turn has come."""
        async with self._guard.turnstile.turn(first=not self._read_only):
            if not self._is_open:
                return  # disconnected while waiting
            if not self._guard.has_room(read_only=self._read_only):
                self.close(TRY_AGAIN_LATER, "too many pages are open")
                return
            await super()._async_open(token)

    def on_close(self) -> None:
        """Handle a closed page. When a dashboard ends its session goes first, which Bokeh's handler does not expect."""
        session = getattr(self.connection, "_session", self)  # Bokeh's attribute; if it is renamed, this has no effect
        if session is not None:
            super().on_close()

    async def on_message(self, fragment: str | bytes) -> None:
        """Take a part of a message; a complete message is checked, and then handled by Bokeh."""
        if self.receiver is None or self.connection is None:  # pages of ours send nothing before they are ready
            self._refuse("a message before the page was loaded", POLICY_VIOLATION)
            return
        self._fragments += 1
        try:
            message = await self.receiver.consume(fragment)
        except Exception as error:  # Bokeh's reader raises various exceptions for malformed input
            self._refuse(f"an unreadable message: {type(error).__name__}", POLICY_VIOLATION)
            return
        if message is None:
            if self._fragments >= FRAGMENTS:
                self._refuse("a message with further parts", POLICY_VIOLATION)
            return
        self._fragments = 0
        if not is_text(message.header.get("msgid")):
            self._refuse("a message without a name", POLICY_VIOLATION)
            return
        await self._take(message)

    async def _take(self, message: Any) -> None:
        cost = COST.get(message.msgtype, 1.0)
        try:
            reply = await self._handled(message)
        except Refused as refused:
            self._refuse(str(refused))
            cost, reply = REFUSED_COST, self._answer(message, "refused")
        if reply is not None:
            await self.send_message(reply)
        pause = self._pace.wait_s(cost)
        if pause > 0:
            await asyncio.sleep(pause)

    async def _handled(self, message: Any) -> Any:
        """Return Bokeh's reply to a message that passed the checks."""
        if message.msgtype in ("PULL-DOC-REQ", "SERVER-INFO-REQ"):
            return await self.handler.handle(message, self.connection)
        if message.msgtype != "PATCH-DOC" or self.connection is None:
            raise Refused(f"a message of type {message.msgtype!r}")
        if self._messages is None:
            self._messages = PageMessages(self.connection.session.document, read_only=self._read_only)
        events = self._messages.admitted(message.content)
        if not events:
            return self._answer(message)  # only mouse movements and the like
        message.content = {"events": events}
        return await self.handler.handle(message, self.connection)

    def _answer(self, message: Any, problem: str = "") -> Any:
        if self.connection is None:
            return None
        return self.connection.error(message, problem) if problem else self.connection.ok(message)

    def _refuse(self, reason: str, close: int | None = None) -> None:
        self._guard.refused.add(self._role, reason)
        if close is not None:
            self.close(close)
