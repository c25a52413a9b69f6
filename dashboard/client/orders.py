"""Commands that a page has sent and waits for, and the sentence that reports how the last one went."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Container, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Protocol

from ptylive.dashboard.words import typeset
from ptylive.schema import PtyliveError, ServerGoneError

logger = logging.getLogger(__name__)

REPLY_SHOWN_S = 20.0
ASK_AGAIN_S, MOST_S = 5.0, 320.0
"""After how long a question that the server left unanswered is asked again; each time twice as long."""
_MISREAD = (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError)
"""What reading a reply raises that lacks a value, or has one of another type."""
Reply = dict[str, Any]


class CommandSender(Protocol):
    """Anything that sends commands to the server."""

    def submit(self, command: str, **arguments: Any) -> Future[Reply]:
        """Send a command; the future holds the reply, or a PtyliveError."""
        ...


@dataclass(frozen=True)
class _Pending:
    command: str
    done: str
    future: Future[Reply]
    on_reply: Callable[[Reply], None] | None
    quiet: bool
    on_refusal: Callable[[str], None] | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def waits(self) -> bool:
        """Whether it has not been sent yet, because earlier ones are still unanswered."""
        return not self.future.running() and not self.future.done()


class Orders:
    """Sends a page's commands; replies are handled in the page's own turn (:meth:`collect`)."""

    def __init__(self, sender: CommandSender) -> None:
        self._sender = sender
        self._pending: list[_Pending] = []
        self._sentence, self._sentence_time = "", 0.0
        self._answered = ""
        """The command that the sentence is the reply to."""
        self._refused = ""
        """The command whose refusal the sentence is."""
        self._round, self._due, self._wait_s = 0, float("inf"), ASK_AGAIN_S

    @property
    def busy(self) -> bool:
        """Whether the server still owes a reply to a request of the viewer."""
        return any(not pending.quiet for pending in self._pending)

    @property
    def round(self) -> int:
        """Number that grows some time after the server has left a question unanswered: then ask again.

        A server that is busy, or is starting again, is not silent for long; what depends on its answer may stay as it
        is for hours.
        """
        if time.monotonic() > self._due:
            self._round, self._due, self._wait_s = self._round + 1, float("inf"), min(2 * self._wait_s, MOST_S)
        return self._round

    def send(
        self,
        command: str,
        done: str,
        on_reply: Callable[[Reply], None] | None = None,
        on_refusal: Callable[[str], None] | None = None,
        **arguments: Any,
    ) -> None:
        """Send a command; the page then reports ``done`` on success, or the error, also passed to ``on_refusal``."""
        self.say("…")
        future = self._sender.submit(command, **arguments)
        self._pending.append(_Pending(command, done, future, on_reply, quiet=False, on_refusal=on_refusal))

    def ask(
        self,
        command: str,
        on_reply: Callable[[Reply], None],
        on_refusal: Callable[[str], None] | None = None,
        **arguments: Any,
    ) -> None:
        """Request something to show; a failure leaves the page as it is and is passed to ``on_refusal``.

        While the same question waits to be sent it is not sent once more: one reply answers both. Otherwise questions
        that are repeated every second would pile up behind a busy server, and commands of the viewer behind them.
        """
        future = self._waiting(command, arguments) or self._sender.submit(command, **arguments)
        self._pending.append(_Pending(command, "", future, on_reply, True, on_refusal, arguments))

    def _waiting(self, command: str, arguments: Mapping[str, Any]) -> Future[Reply] | None:
        """The reply to the same question if that waits to be sent, and no command of the viewer waits behind it."""
        for pending in reversed(self._pending):
            if not pending.quiet:
                return None
            if pending.waits and (pending.command, pending.arguments) == (command, arguments):
                return pending.future
        return None

    def collect(self) -> None:
        """Handle the replies that have arrived."""
        for pending in [p for p in self._pending if p.future.done()]:
            self._pending.remove(pending)
            if pending.future.cancelled():
                continue
            error = pending.future.exception()
            if pending.quiet and isinstance(error, ServerGoneError):
                self._due = min(self._due, time.monotonic() + self._wait_s)
            elif pending.quiet:
                self._wait_s = ASK_AGAIN_S
            if error is None:
                self._succeeded(pending, pending.future.result())
                continue
            line = typeset(error.line()) if isinstance(error, PtyliveError) else f"the command failed: {error}"
            if not pending.quiet:
                self.say(line)
                self._refused = pending.command
            if pending.on_refusal is not None:
                pending.on_refusal(line)

    def _succeeded(self, pending: _Pending, reply: Reply) -> None:
        if not pending.quiet:
            path = reply.get("path") or reply.get("results")
            self.say(f"{pending.done}: {path}" if isinstance(path, str) and path else pending.done)
            self._answered = pending.command
        if pending.on_reply is None:
            return
        try:
            pending.on_reply(reply)
        except _MISREAD as error:
            logger.warning("the reply to %s could not be read: %s: %s", pending.command, type(error).__name__, error)
            line = f"the server's answer to {pending.command} could not be read"
            if not pending.quiet:
                self.say(line)
            elif pending.on_refusal is not None:
                pending.on_refusal(line)

    def say(self, text: str) -> None:
        """Show a sentence at the bottom of the page for a while."""
        self._sentence, self._sentence_time, self._answered, self._refused = text, time.monotonic(), "", ""

    def outdated(self, *commands: str) -> None:
        """Withdraw the sentence if it reports that one of these commands was accepted: its work has ended since."""
        if self._answered in commands:
            self.say("")

    def outlived(self, commands: Container[str]) -> None:
        """Withdraw the sentence if it says why one of these commands was refused: what it was refused for is gone."""
        if self._refused in commands:
            self.say("")

    @property
    def sentence_age_s(self) -> float:
        """Age of the sentence."""
        return time.monotonic() - self._sentence_time

    @property
    def sentence(self) -> str:
        """The sentence, while it is fresh."""
        return self._sentence if self.sentence_age_s < REPLY_SHOWN_S else ""
