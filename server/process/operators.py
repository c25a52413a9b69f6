"""Names and tokens of those who may give commands: if several people operate one server, each has a separate token.

Tokens are passed as words of an environment variable, which only the same user can read: the operators' token, the
viewers' token, then NAME:TOKEN for single operators.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection

from ptylive.schema.errors import PtyliveError

TOKENS_VARIABLE = "PTYLIVE_DASHBOARD_TOKENS"
"""Variable in which the dashboard finds its tokens; if set before the start, they persist over server restarts."""
LEAST_TOKEN_CHARACTERS = 16
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")


def is_operator(name: object) -> bool:
    """Return whether a name can be that of an operator: at most 32 letters, digits, dots, dashes, underscores."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def tokens_for(names: Collection[str], given: str = "") -> tuple[str, ...]:
    """Return words for :data:`TOKENS_VARIABLE`: those ``given``, and new 256-bit tokens for the others.

    Raises PtyliveError as :func:`check_tokens`.
    """
    words = given.split() or [secrets.token_urlsafe(32) for _ in ("operators", "viewers")]
    named = {word.partition(":")[0] for word in words if ":" in word}
    tokens = (*words, *(f"{name}:{secrets.token_urlsafe(32)}" for name in names if name not in named))
    check_tokens(*split_tokens(tokens))
    return tokens


def split_tokens(words: Collection[str]) -> tuple[str, str, tuple[tuple[str, str], ...]]:
    """Return the tokens of operators and of viewers, and those of single operators as (name, token).

    The first two are empty unless there are exactly two.
    """
    shared = [word for word in words if ":" not in word]
    named = [(name, token) for name, colon, token in (word.partition(":") for word in words) if colon]
    operator, viewer = shared if len(shared) == 2 else ("", "")
    return operator, viewer, tuple(named)


def check_tokens(operator: str, viewer: str, named: Collection[tuple[str, str]]) -> None:
    """Raise PtyliveError if a token is too short to be secret or is used twice, or if a name is invalid."""
    tokens = [operator, viewer, *(token for _, token in named)]
    if min(map(len, tokens)) < LEAST_TOKEN_CHARACTERS or len(set(tokens)) < len(tokens):
        raise PtyliveError(
            f"{TOKENS_VARIABLE}: two different tokens of at least {LEAST_TOKEN_CHARACTERS} characters are needed, "
            "and another one for each NAME:TOKEN",
            "leave the variable out, and ptylive serve --token makes them",
        )
    names = [name for name, _ in named]
    if len(set(names)) < len(names) or not all(map(is_operator, names)):
        hint = "use letters, digits, dots and dashes"
        raise PtyliveError(f"{TOKENS_VARIABLE}: a name in NAME:TOKEN is not valid, or is given twice", hint)


def token_of_each(words: Collection[str]) -> dict[str, str]:
    """Return the token of each role, and of each operator by name."""
    shared = (word for word in words if ":" not in word)
    named = (word.split(":", 1) for word in words if ":" in word)
    return dict(zip(("operator", "read-only"), shared, strict=False)) | {f"operator {name}": own for name, own in named}
