"""The exit codes of all commands (docs/commands.md)."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from types import MappingProxyType


class ExitCode(IntEnum):
    """Exit codes; 0 means that everything requested was done."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    PARTIAL = 3
    INTERRUPTED = 130


MEANINGS: Mapping[ExitCode, str] = MappingProxyType(
    {
        ExitCode.DONE: "everything requested was done",
        ExitCode.FAILED: "it failed; the line on stderr says why and what to do",
        ExitCode.USAGE: "the command line was not understood",
        ExitCode.PARTIAL: "something was written, but not everything requested; stderr says what is missing",
        ExitCode.INTERRUPTED: "ended by Ctrl-C, SIGTERM or SIGHUP; stderr says what is kept and how to continue",
    }
)


def epilog() -> str:
    """Return the exit codes as lines for `--help`."""
    lines = (f"  {code.value:<4} {meaning}" for code, meaning in MEANINGS.items())
    return "\n".join(("Exit codes:", *lines))
