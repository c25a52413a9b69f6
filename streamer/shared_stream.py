"""Warning that another program receives from the same sender: the same gap after every message."""

from __future__ import annotations

_STREAK = 16
"""Number of equal gaps in a row that cannot be accidental."""


class SharedStreamWatch:
    """Watches the numbers of arriving frames. A PUSH socket distributes its messages to all its peers in turn."""

    def __init__(self) -> None:
        self._next: int | None = None
        self._gap = 0
        self._streak = 0
        self._reported = False

    def observe(self, first: int, count: int) -> str | None:
        """Note ``count`` frames from ``first``; return a line for the log, once, when their numbers have a stride."""
        gap = 0 if self._next is None else first - self._next
        self._next = first + count
        self._streak = self._streak + 1 if gap == self._gap and gap > 0 else min(gap, 1)
        self._gap = gap
        if self._reported or self._streak < _STREAK:
            return None
        self._reported = True
        return (
            f"of every {gap + count} frames only {count} arrive{'s' if count == 1 else ''}: "
            "does another program also receive from this sender?"
        )
