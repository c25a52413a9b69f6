"""The one error hierarchy: every message a user can meet names the thing, the field and the remedy."""

from __future__ import annotations


class PtyliveError(Exception):
    """Something a user can put right. ``str(error)`` is one line: what is wrong; ``hint`` says what to do."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint

    def line(self) -> str:
        """Message and remedy on one line, as the command line prints it."""
        text = " ".join(str(self).split())
        return f"{text}: {self.hint}" if self.hint else text


class InputFileError(PtyliveError):
    """A file is missing, unreadable, or lacks what is asked of it."""


class MetadataError(PtyliveError):
    """A value that describes the experiment is missing, impossible or misspelt."""


class WireError(PtyliveError):
    """A message does not follow the protocol; ``reason`` is a short slug for the counters."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class ServerGoneError(PtyliveError):
    """No server answers at the control address."""


class CommandError(PtyliveError):
    """The server answered, and refused the command."""


class RefinementError(PtyliveError):
    """The refinement cannot start or go on."""
