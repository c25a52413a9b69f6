"""Hook that decides which files may be opened in this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol


class Guard(Protocol):
    """Decides which files may be opened in this process: one flipped bit can keep the HDF5 library busy for ever."""

    def admit(self, path: Path) -> None:
        """Raise InputFileError for a file that must not be opened here."""
        ...

    def wrote(self, path: Path) -> None:
        """Take notice of a file that this process has just written."""
        ...


class _Trusting:
    """Guard of a program whose files were checked at its start."""

    def admit(self, path: Path) -> None:
        """See :class:`Guard`."""

    def wrote(self, path: Path) -> None:
        """See :class:`Guard`."""


_guards: list[Guard] = [_Trusting()]
"""Stack of guards; the last one decides."""


@contextmanager
def guarded(guard: Guard) -> Iterator[None]:
    """Within this block results files can be opened only if ``guard`` admits them, in all threads of the process."""
    _guards.append(guard)
    try:
        yield
    finally:
        _guards.remove(guard)


def admit(path: Path) -> None:
    """Raise InputFileError for a file that must not be opened here."""
    _guards[-1].admit(path)


def wrote(path: Path) -> None:
    """Report to the guard that this process has just written a file."""
    _guards[-1].wrote(path)
