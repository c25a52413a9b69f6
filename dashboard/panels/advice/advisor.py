"""The common interface of the page's suggestions, and all of them combined."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from ptylive.dashboard.client.feed import FeedView
from ptylive.dashboard.requests import Request

Takers = Mapping[str, Callable[[Request], None]]


@dataclass(frozen=True)
class Seen:
    """What suggestions are based on: the newest scan as ``view``; whether this viewer looks at an earlier one."""

    view: FeedView
    looking_back: bool = False
    session: bool = True
    """Whether the Session view is on display."""


class Advisor(Protocol):
    """One suggestion: follows the page's state, displays its advice, and handles clicks on it."""

    def follow(self, seen: Seen) -> None:
        """Work out what there is to suggest."""
        ...

    def texts(self) -> Mapping[str, str]:
        """Sentences by the names of their places."""
        ...

    def marks(self) -> Mapping[str, str]:
        """Values that style sheets depend on."""
        ...

    def lists(self) -> Mapping[str, Any]:
        """Data that the page's script draws."""
        ...

    def takers(self) -> Takers:
        """Handlers of requests, by kind."""
        ...


class Quiet:
    """Base class of advisors: suggests nothing."""

    def texts(self) -> Mapping[str, str]:
        """No texts."""
        return {}

    def marks(self) -> Mapping[str, str]:
        """No marks."""
        return {}

    def lists(self) -> Mapping[str, Any]:
        """No lists."""
        return {}

    def takers(self) -> Takers:
        """No handlers."""
        return {}


class Advisors:
    """Several advisors combined into one."""

    def __init__(self, advisors: Iterable[Advisor]) -> None:
        self._advisors = list(advisors)

    def follow(self, seen: Seen) -> None:
        """Pass the state to each of them."""
        for advisor in self._advisors:
            advisor.follow(seen)

    def texts(self) -> dict[str, str]:
        """Texts of all of them."""
        return {name: text for advisor in self._advisors for name, text in advisor.texts().items()}

    def marks(self) -> dict[str, str]:
        """Marks of all of them."""
        return {name: mark for advisor in self._advisors for name, mark in advisor.marks().items()}

    def lists(self) -> dict[str, Any]:
        """Lists of all of them."""
        return {name: data for advisor in self._advisors for name, data in advisor.lists().items()}

    def takers(self) -> dict[str, Callable[[Request], None]]:
        """Handlers of all of them."""
        return {kind: take for advisor in self._advisors for kind, take in advisor.takers().items()}
