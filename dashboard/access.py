"""Who may see the page and who may send commands: secret tokens and a signed cookie, nothing else.

Operators get the page at ``/``; everybody with the viewers' token gets the read-only page at ``/view``. Operators share
a token, or each have a token with their name, which is sent along with their commands. Without tokens (the default on
loopback addresses) both pages are open.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from ptylive.dashboard.client.orders import CommandSender, Reply
from ptylive.schema import CommandError
from ptylive.server.process.operators import TOKENS_VARIABLE, check_tokens, split_tokens

QUESTIONS: Mapping[str, frozenset[str]] = {
    "align": frozenset({"bin_px", "order", "reference", "rounds", "free"}),
    "analyse": frozenset({"run", "other", "line_A"}),
    "batch_status": frozenset(),
    "check": frozenset({"preset"}),
    "decide_status": frozenset(),
    "estimates": frozenset(),
    "orientations": frozenset(),
    "runs": frozenset({"pictures"}),
    "runs_of": frozenset({"recording", "pictures"}),
    "history": frozenset({"limit", "offset", "match", "refined", "since", "until"}),
    "metadata": frozenset({"recording"}),
    "note": frozenset({"recording"}),
    "pattern": frozenset({"point", "to"}),
    "scans": frozenset(),
    "snapshot": frozenset({"uid"}),
    "trotter": frozenset({"q_invA"}),
    "tune_status": frozenset(),
}
"""Commands that change nothing, with the arguments they may carry without changing anything."""


FETCH = "fetch"
"""Command and request for files of the library; open to viewers if the configuration says so."""
READ_ONLY = "this page is read-only: open the operator's address"
OWN_VIEW = frozenset(
    {
        "key",
        "layout",
        "run",
        "compare",
        "past",
        "overwrite",
        "preset",
        "ready",
        "files",
        "landscape",
        "place",
        "pick",
        "guide",
        "metadata",
        "search",
        "contrast",
        "show_run",
        "beside",
        "on_screen",
    }
)
"""Requests of a page that change only what this viewer sees, or that lead to a command, which is itself refused."""
ACTING_KEYS = frozenset("rse")
"""Keys that refine, stop and export."""


def is_own_view(what: str, key: str = "") -> bool:
    """Whether a request of a page changes only what this viewer sees."""
    return what in OWN_VIEW and not (what == "key" and key in ACTING_KEYS)


class Role(StrEnum):
    """What a visitor may do."""

    OPERATOR = "operator"
    VIEWER = "viewer"


class Visitor(NamedTuple):
    """Identity that a visitor has proved; ``name`` is empty for shared tokens."""

    role: Role
    name: str = ""

    @property
    def words(self) -> bytes:
        """Bytes that the signature of a cookie covers."""
        return f"{self.role} {self.name}".strip().encode()


PATHS: Mapping[Role, str] = {Role.OPERATOR: "/", Role.VIEWER: "/view"}


@dataclass(frozen=True)
class Access:
    """The shared tokens, and the tokens of single operators as (name, token).

    Raises PtyliveError if a token is too short to be secret or is used twice, or if a name is invalid.
    """

    operator: str
    viewer: str
    named: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        """Refuse tokens that could be guessed."""
        check_tokens(self.operator, self.viewer, self.named)

    def _issued(self) -> Iterator[tuple[Visitor, str]]:
        yield Visitor(Role.OPERATOR), self.operator
        yield Visitor(Role.VIEWER), self.viewer
        for name, token in self.named:
            yield Visitor(Role.OPERATOR, name), token

    @classmethod
    def from_environment(cls) -> Access | None:
        """Return the tokens this process was given, if any."""
        words = os.environ.get(TOKENS_VARIABLE, "").split()
        return cls(*split_tokens(words)) if words else None

    @property
    def secret(self) -> bytes:
        """Signing key: the same after a restart with the same tokens, so that nobody has to log in again."""
        return hashlib.sha256(f"ptylive {self.operator} {self.viewer}".encode()).digest()

    def visitor_of_token(self, token: str) -> Visitor | None:
        """Return the visitor to whom a token belongs."""
        matches = (
            visitor for visitor, issued in self._issued() if hmac.compare_digest(token.encode(), issued.encode())
        )
        return next(matches, None)

    def cookie(self, visitor: Visitor) -> str:
        """Value that a browser keeps after logging in; it becomes invalid with the token it was issued for."""
        token = dict(self.named).get(visitor.name, "").encode()
        signed = hmac.new(self.secret + token, visitor.words, hashlib.sha256)
        return f"{visitor.role}.{signed.hexdigest()}"

    def visitor_of_cookie(self, cookie: str) -> Visitor | None:
        """Return the visitor whose identity a cookie proves."""
        given = cookie.encode()
        return next((v for v, _ in self._issued() if hmac.compare_digest(given, self.cookie(v).encode())), None)


def may_visit(role: Role, path: str) -> bool:
    """Whether a role may request a path: the read-only page and the scripts are open to everybody."""
    shared = path == "/view" or path.startswith(("/view/", "/static/")) or path == "/favicon.ico"
    return role is Role.OPERATOR or shared


def is_question(command: str, arguments: Mapping[str, Any]) -> bool:
    """Whether a command changes nothing."""
    return command in QUESTIONS and arguments.keys() <= QUESTIONS[command]


class NamedSender:
    """Adds the name of the operator to every command that changes something."""

    def __init__(self, sender: CommandSender, name: str) -> None:
        self._sender, self._name = sender, name

    def submit(self, command: str, **arguments: Any) -> Future[Reply]:
        """Send a command; the future holds the reply, or a PtyliveError."""
        if is_question(command, arguments):
            return self._sender.submit(command, **arguments)
        return self._sender.submit(command, **arguments, by=self._name)


class ReadOnlySender:
    """Passes questions on to a sender of commands and refuses every command that changes something.

    ``may_fetch``: whether files may be requested, too.
    """

    def __init__(self, sender: CommandSender, *, may_fetch: bool = False) -> None:
        self._sender, self._may_fetch = sender, may_fetch

    def submit(self, command: str, **arguments: Any) -> Future[Reply]:
        """Send a question; for any other command the future holds a CommandError."""
        fetches = self._may_fetch and command == FETCH and arguments.keys() <= {"recordings"}
        if fetches or is_question(command, arguments):
            return self._sender.submit(command, **arguments)
        refused: Future[Reply] = Future()
        refused.set_exception(CommandError(*READ_ONLY.split(": ")))
        return refused
