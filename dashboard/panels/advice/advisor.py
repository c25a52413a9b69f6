"""What every suggestion of the page has in common, and all of them as one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from ptylive.dashboard.client.feed import FeedView
from ptylive.dashboard.requests import Request

Takers = Mapping[str, Callable[[Request], None]]


@dataclass(frozen=True)
class Seen:
    """What suggestions are made of: the newest scan as ``view``; whether this viewer looks at an earlier one."""

    view: FeedView
    looking_back: bool = False
    session: bool = True
    """Whether the Session view is on show."""


class Advisor(Protocol):
    """One suggestion: follows what is seen, says it, and takes the clicks on it."""

    def follow(self, seen: Seen) -> None:
        """See what there is to suggest."""
        ...

    def texts(self) -> Mapping[str, str]:
        """Sentences by the names of their places."""
        ...

    def marks(self) -> Mapping[str, str]:
        """What style sheets decide on."""
        ...

    def lists(self) -> Mapping[str, Any]:
        """What the page's script draws."""
        ...

    def takers(self) -> Takers:
        """Who takes which request."""
        ...


class Quiet:
    """An advisor with nothing to say, from which the others differ."""

    def texts(self) -> Mapping[str, str]:
        """None."""
        return {}

    def marks(self) -> Mapping[str, str]:
        """None."""
        return {}

    def lists(self) -> Mapping[str, Any]:
        """None."""
        return {}

    def takers(self) -> Takers:
        """None."""
        return {}


class Advisors:
    """Several as one."""

    def __init__(self, advisors: Iterable[Advisor]) -> None:
        self._advisors = list(advisors)

    def follow(self, seen: Seen) -> None:
        """Let each of them see."""
        for one in self._advisors:
            one.follow(seen)

    def texts(self) -> dict[str, str]:
        """Of all of them."""
        return {name: text for one in self._advisors for name, text in one.texts().items()}

    def marks(self) -> dict[str, str]:
        """Of all of them."""
        return {name: mark for one in self._advisors for name, mark in one.marks().items()}

    def lists(self) -> dict[str, Any]:
        """Of all of them."""
        return {name: drawn for one in self._advisors for name, drawn in one.lists().items()}

    def takers(self) -> dict[str, Callable[[Request], None]]:
        """Of all of them."""
        return {what: take for one in self._advisors for what, take in one.takers().items()}
