"""Who may see the page and who may command: two secret tokens, a signed cookie, nothing else.

Operators get the page at ``/``, everybody with the other token the read-only one at ``/view``. Without tokens (the
default on this machine's own addresses) both are open.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from ptylive.dashboard.client.orders import CommandSender, Reply
from ptylive.schema import CommandError, PtyliveError

ENVIRONMENT = "PTYLIVE_DASHBOARD_TOKENS"
"""Operator's and viewer's token, separated by a space: not on the command line, which everybody can read."""
LEAST_TOKEN_CHARACTERS = 16
QUESTIONS: Mapping[str, frozenset[str]] = {
    "analyse": frozenset({"run", "other", "line_A"}),
    "batch_status": frozenset(),
    "check": frozenset({"preset"}),
    "runs": frozenset({"pictures"}),
    "history": frozenset({"limit", "offset"}),
    "note": frozenset({"recording"}),
    "scans": frozenset(),
    "snapshot": frozenset({"uid"}),
    "trotter": frozenset({"q_invA"}),
    "tune_status": frozenset(),
}
"""Commands that change nothing, with the arguments under which that is so."""


READ_ONLY = "this page is read-only: open the operator's address"
OWN_VIEW = frozenset({"key", "run", "compare", "past", "overwrite", "preset", "ready", "files", "landscape", "place"})
"""Requests of a page that change what this viewer sees, or that come to a command, which is refused as such."""


class Role(StrEnum):
    """What a visitor may do."""

    OPERATOR = "operator"
    VIEWER = "viewer"


PATHS: Mapping[Role, str] = {Role.OPERATOR: "/", Role.VIEWER: "/view"}


@dataclass(frozen=True)
class Access:
    """The two tokens. Raises PtyliveError when one is too short to be secret."""

    operator: str
    viewer: str

    def __post_init__(self) -> None:
        """Refuse tokens that could be guessed."""
        if min(len(self.operator), len(self.viewer)) < LEAST_TOKEN_CHARACTERS or self.operator == self.viewer:
            raise PtyliveError(
                f"{ENVIRONMENT}: two different tokens of at least {LEAST_TOKEN_CHARACTERS} characters are needed",
                "let ptylive serve --token make them",
            )

    @classmethod
    def from_environment(cls) -> Access | None:
        """The tokens this process was given, if any."""
        words = os.environ.get(ENVIRONMENT, "").split()
        if not words:
            return None
        return cls(*words) if len(words) == 2 else cls("", "")

    @property
    def secret(self) -> bytes:
        """Key for signing: the same after a restart with the same tokens, so that nobody has to log in again."""
        return hashlib.sha256(f"ptylive {self.operator} {self.viewer}".encode()).digest()

    def role_of_token(self, token: str) -> Role | None:
        """Whose token it is."""
        for role, known in ((Role.OPERATOR, self.operator), (Role.VIEWER, self.viewer)):
            if hmac.compare_digest(token.encode(), known.encode()):
                return role
        return None

    def cookie(self, role: Role) -> str:
        """What a browser keeps after logging in."""
        return f"{role}.{hmac.new(self.secret, role.encode(), hashlib.sha256).hexdigest()}"

    def role_of_cookie(self, cookie: str) -> Role | None:
        """The role a cookie proves."""
        return next((r for r in Role if hmac.compare_digest(cookie.encode(), self.cookie(r).encode())), None)


def may_visit(role: Role, path: str) -> bool:
    """Whether a role may ask for a path: the read-only page and the scripts are everybody's."""
    shared = path == "/view" or path.startswith(("/view/", "/static/")) or path == "/favicon.ico"
    return role is Role.OPERATOR or shared


class ReadOnlySender:
    """Lets questions through to a sender of commands and refuses every command that changes something."""

    def __init__(self, sender: CommandSender) -> None:
        self._sender = sender

    def submit(self, command: str, **arguments: Any) -> Future[Reply]:
        """Send a question; for anything else the future holds a CommandError."""
        if command in QUESTIONS and arguments.keys() <= QUESTIONS[command]:
            return self._sender.submit(command, **arguments)
        refused: Future[Reply] = Future()
        refused.set_exception(CommandError(*READ_ONLY.split(": ")))
        return refused
