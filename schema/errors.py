"""The only error hierarchy: every message shown to a user names the object, the field and the remedy."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

MOST_CHARACTERS = 2000
"""Length of a line: the offending input may be megabytes long."""


def brief(value: object, most: int = 60) -> str:
    """Quote a value for a message: its ``repr`` on one line, shortened in the middle if long."""
    try:
        text = repr(value)
    except RecursionError:
        return f"something nested ({type(value).__name__})"
    return text if len(text) <= most else f"{text[: most // 2]}…{text[-most // 3 :]}"


_NO_NUMBER = {
    **dict.fromkeys(("int_parsing", "int_type", "int_from_float", "int_parsing_size"), "is not a whole number"),
    **dict.fromkeys(("float_parsing", "float_type", "finite_number"), "is not a number"),
}
"""Kinds of pydantic's errors about numbers, and what they say."""
_BEYOND = {
    "greater_than_equal": ("ge", "is too small: it must be at least"),
    "greater_than": ("gt", "is too small: it must be above"),
    "less_than_equal": ("le", "is too large: it must be at most"),
    "less_than": ("lt", "is too large: it must be below"),
}
"""Kinds of pydantic's errors about bounds, the key of the bound in their context, and what they say."""


def rephrased(problem: Mapping[str, Any]) -> str:
    """Rephrase a pydantic error (one of its ``errors()``) for files and command lines."""
    kind, context = str(problem.get("type")), problem.get("ctx", {})
    if kind in _NO_NUMBER and not isinstance(problem["input"], dict | list | tuple | type(None)):
        return f"{brief(problem['input'])} {_NO_NUMBER[kind]}"
    if kind in _BEYOND:
        bound, words = _BEYOND[kind]
        return f"{brief(problem['input'])} {words} {context[bound]:g}"
    if kind in ("tuple_type", "list_type"):
        return f"{brief(problem['input'])} is not a list: write it in brackets, [1, 2]"
    if kind in ("too_short", "too_long"):
        bound = f"at least {context['min_length']}" if kind == "too_short" else f"at most {context['max_length']}"
        return f"{brief(problem['input'])} has {context['actual_length']} values: it needs {bound}"
    if kind == "missing" and problem["loc"] and isinstance(problem["loc"][-1], int):  # of a list of fixed length
        return f"{brief(problem['input'])} is too short"
    return str(problem["msg"]).removeprefix("Value error, ")


def printable(text: str) -> str:
    """Escape everything in a text that acts on a terminal or cannot be encoded, as file names may contain anything.

    Narrow and fixed spaces stay as they are: numbers such as 99 100 are written with them.
    """
    if text.isprintable():
        return text
    return "".join(char if _is_printable(char) else char.encode("unicode_escape").decode() for char in text)


def _is_printable(char: str) -> bool:
    return char.isprintable() or unicodedata.category(char) == "Zs"


def encodable(text: str) -> str:
    """Escape what UTF-8 cannot encode, and files thus cannot store: names on disks of other systems may hold it."""
    return text.encode(errors="backslashreplace").decode()


def did_you_mean(name: str, known: Iterable[str], otherwise: str = "") -> str:
    """Hint for an unknown name: the nearest of ``known`` (difflib's similarity 0.6), or ``otherwise``."""
    from difflib import get_close_matches

    near = get_close_matches(name, list(known), n=1)
    return f"did you mean {near[0]!r}?" if near else otherwise


class PtyliveError(Exception):
    """An error that the user can correct. ``str(error)`` is one line: what is wrong; ``hint`` says what to do.

    A notebook shows the hint below the message, as a note of the exception.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint
        if hint:
            self.add_note(hint)

    def line(self) -> str:
        """Return message and remedy on one line, as the command line prints it."""
        text = " ".join(str(self).split())
        line = printable(f"{text}: {self.hint}" if self.hint else text)
        return line if len(line) <= MOST_CHARACTERS else f"{line[: MOST_CHARACTERS // 2]} … {line[-500:]}"


class InputFileError(PtyliveError):
    """A file is missing, unreadable, or lacks required content."""


class MetadataError(PtyliveError):
    """A value that describes the experiment is missing, impossible or misspelt."""


@contextmanager
def about(path: object) -> Iterator[None]:
    """Make a MetadataError of this block begin with the file whose values it is about, unless it names the file."""
    try:
        yield
    except MetadataError as error:
        if str(path) in str(error):
            raise
        raise MetadataError(f"{path}: {error}", error.hint) from None


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
    """The refinement cannot start or continue."""


class StoppedError(RefinementError):
    """The user stopped a refinement before there was anything to keep: it did not fail."""


_MARKED_AS_OPEN = "already open for write"
"""HDF5 on a file that a writer (SWMR, or any of the latest format) has marked, also if the writer has died since."""


def open_elsewhere(path: object, error: BaseException) -> InputFileError | None:
    """Return the error for a file that HDF5 refuses because another program writes it; None for other reasons."""
    if isinstance(error, BlockingIOError):
        return InputFileError(f"{path} is open for writing in another program", "close it there, or wait for its end")
    if _MARKED_AS_OPEN in str(error):
        return InputFileError(
            f"{path} is open for writing in another program, or was not closed by it",
            "close it there, or wait for its end; if that program has crashed, run h5clear -s on a copy of the file",
        )
    return None
