"""Tables within a parameter of another program's file: a key that was nearly the one that was looked for is misspelt.

Nothing refuses such a key by itself: the value that was looked for is then that of the other program's default.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

ALIKE = 0.65
"""Of two keys, as ``difflib`` measures it: `sdt` and `std` are, `start_iter` and `end_iter` are not."""


class Told(dict[str, Any]):
    """A table that knows which of its keys were looked for; whoever goes through all of it has looked for all."""

    def __init__(self, values: Mapping[Any, Any]) -> None:
        super().__init__({str(key): watched(value) for key, value in values.items()})
        self._asked: set[str] = set()

    def get(self, key: str, default: Any = None) -> Any:
        """See dict."""
        self._asked.add(key)
        return super().get(key, default)

    def __getitem__(self, key: str) -> Any:
        self._asked.add(key)
        return super().__getitem__(key)

    def __contains__(self, key: object) -> bool:
        self._asked.add(str(key))
        return super().__contains__(key)

    def never_asked(self) -> set[str]:
        """Keys nobody looked for."""
        return set(self) - self._asked

    def misspelt(self) -> Iterator[tuple[str, str]]:
        """Keys nobody looked for, and those nearly the same that were looked for in vain; with tables within."""
        lacking = [key for key in sorted(self._asked) if not super(Told, self).__contains__(key)]
        for key, value in super().items():
            if key not in self._asked:
                yield from ((key, ours) for ours in _alike(key, lacking))
            yield from ((f"{key}.{theirs}", ours) for theirs, ours in misspelt(value))


def _alike(key: str, lacking: list[str]) -> list[str]:
    """The key that was meant, if any: of the same letters (of short ones difflib sees too little), or much the same."""
    return [ours for ours in lacking if sorted(ours) == sorted(key)][:1] or get_close_matches(key, lacking, 1, ALIKE)


def watched(value: Any) -> Any:
    """The same, with all tables in it watched."""
    if isinstance(value, Mapping):
        return Told(value)
    return [watched(one) for one in value] if isinstance(value, list) else value


def misspelt(value: Any) -> Iterator[tuple[str, str]]:
    """See :meth:`Told.misspelt`, of all tables in a value."""
    if isinstance(value, Told):
        yield from value.misspelt()
    elif isinstance(value, list):
        for one in value:
            yield from misspelt(one)
