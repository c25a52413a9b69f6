"""Selection of scans in the library: by words in name and note, by date, and by whether they were refined."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

from ptylive.schema import CommandError

PATIENCE_S = 1.0
"""How long an answer waits for results files that have not been examined yet."""
MOST_CHARACTERS = 200
MOST_REMEMBERED = 50_000


@dataclass(frozen=True)
class Wanted:
    """Selection criteria. ``match``: words that all occur in name or note; ``since``, ``until``: first and last day."""

    match: str = ""
    refined: bool = False
    since: date | None = None
    until: date | None = None

    @classmethod
    def of(cls, match: str, since: str, until: str, *, refined: bool) -> Wanted:
        """Make the criteria from the arguments of a command. Raises CommandError for an invalid date."""
        if len(match) > MOST_CHARACTERS:
            raise CommandError(f"match can have at most {MOST_CHARACTERS} characters")
        return cls(match.casefold(), refined, _day("since", since), _day("until", until))

    @property
    def everything(self) -> bool:
        """Whether every scan is selected."""
        return self == Wanted()

    def names(self, path: Path, note: Callable[[Path], str]) -> bool:
        """Return whether name and note contain every word."""
        words = self.match.split()
        if not words:
            return True
        text = f"{path.stem} {note(path)}".casefold()
        return all(word in text for word in words)

    def dated(self, changed_s: float) -> bool:
        """Return whether the time of a file's last change lies within the selected days."""
        if self.since is None and self.until is None:
            return True
        day = datetime.fromtimestamp(changed_s).date()
        return (self.since is None or day >= self.since) and (self.until is None or day <= self.until)


class RefinedScans:
    """Cache of which results files hold a refinement; each file is examined once until it changes."""

    def __init__(self, has_runs: Callable[[Path], bool]) -> None:
        self._has_runs = has_runs
        self._known: dict[Path, tuple[int, bool]] = {}

    def among(self, results: Iterable[Path]) -> tuple[set[Path], int]:
        """Return the files that hold a refinement, and how many files could not be examined in time."""
        found, pending, until = set(), 0, time.monotonic() + PATIENCE_S
        for path in results:
            stamp = _changed_ns(path)
            if not stamp:
                continue
            known = self._known.get(path)
            if known is None or known[0] != stamp:
                if time.monotonic() > until:
                    pending += 1
                    continue
                if len(self._known) >= MOST_REMEMBERED:
                    self._known.clear()
                self._known[path] = known = (stamp, self._has_runs(path))
            if known[1]:
                found.add(path)
        return found, pending


def _day(name: str, text: str) -> date | None:
    if not text:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise CommandError(f"{name} must be a date as YYYY-MM-DD, not {text[:20]!r}", "correct it") from None


def _changed_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
