"""Names and tokens of those who may give commands: if several people operate one server, each has a separate token.

Tokens are passed as words of an environment variable, which only the same user can read: the operators' token, the
viewers' token, then NAME:TOKEN for single operators.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection

TOKENS_VARIABLE = "PTYLIVE_DASHBOARD_TOKENS"
"""Variable in which the dashboard finds its tokens; if set before the start, they persist over server restarts."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")


def is_operator(name: object) -> bool:
    """Return whether a name can be that of an operator: at most 32 letters, digits, dots, dashes, underscores."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def tokens_for(names: Collection[str], given: str = "") -> tuple[str, ...]:
    """Return words for :data:`TOKENS_VARIABLE`: those ``given``, and new 256-bit tokens for the others."""
    words = given.split() or [secrets.token_urlsafe(32) for _ in ("operators", "viewers")]
    named = {word.partition(":")[0] for word in words if ":" in word}
    return (*words, *(f"{name}:{secrets.token_urlsafe(32)}" for name in names if name not in named))


def token_of_each(words: Collection[str]) -> dict[str, str]:
    """Return the token of each role, and of each operator by name."""
    shared = (word for word in words if ":" not in word)
    named = (word.split(":", 1) for word in words if ":" in word)
    return dict(zip(("operator", "read-only"), shared, strict=False)) | {f"operator {name}": own for name, own in named}
