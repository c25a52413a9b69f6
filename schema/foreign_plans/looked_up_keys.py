"""Tables within a parameter of another program's file: detect misspelt keys, similar to one that was looked up.

Such a key is not refused otherwise: the value that was looked up then has the other program's default.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

ALIKE = 0.65
"""Similarity of two keys according to ``difflib``: `sdt` and `std` count, `start_iter` and `end_iter` do not."""


class WatchedTable(dict[str, Any]):
    """A table that records which of its keys were looked up; iterating over it counts as looking up all."""

    def __init__(self, values: Mapping[Any, Any]) -> None:
        super().__init__({str(key): watched(value) for key, value in values.items()})
        self._looked_up: set[str] = set()

    def get(self, key: str, default: Any = None) -> Any:
        """See dict."""
        self._looked_up.add(key)
        return super().get(key, default)

    def __getitem__(self, key: str) -> Any:
        self._looked_up.add(key)
        return super().__getitem__(key)

    def __contains__(self, key: object) -> bool:
        self._looked_up.add(str(key))
        return super().__contains__(key)

    def unused_keys(self) -> set[str]:
        """Keys that were never looked up."""
        return set(self) - self._looked_up

    def misspelt(self) -> Iterator[tuple[str, str]]:
        """Keys never looked up, with similar ones that were looked up but missing; includes nested tables."""
        missing = [key for key in sorted(self._looked_up) if not super(WatchedTable, self).__contains__(key)]
        for key, value in super().items():
            if key not in self._looked_up:
                yield from ((key, ours) for ours in _similar(key, missing))
            yield from ((f"{key}.{theirs}", ours) for theirs, ours in misspelt(value))


def _similar(key: str, missing: list[str]) -> list[str]:
    """The intended key, if any: with the same letters (difflib misses short ones), or sufficiently similar."""
    return [ours for ours in missing if sorted(ours) == sorted(key)][:1] or get_close_matches(key, missing, 1, ALIKE)


def watched(value: Any) -> Any:
    """Return the value with all tables in it watched."""
    if isinstance(value, Mapping):
        return WatchedTable(value)
    return [watched(item) for item in value] if isinstance(value, list) else value


def misspelt(value: Any) -> Iterator[tuple[str, str]]:
    """See :meth:`WatchedTable.misspelt`, for all tables in a value."""
    if isinstance(value, WatchedTable):
        yield from value.misspelt()
    elif isinstance(value, list):
        for item in value:
            yield from misspelt(item)
