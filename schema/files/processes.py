"""Which process wrote a name into a folder, and whether it still runs: folders outlive processes and are shared."""

from __future__ import annotations

import os
import re
import socket
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_HOST_LENGTH = 40


@dataclass(frozen=True)
class ProcessName:
    """A process as part of a file name: ``host-pid-start``, where a reused number has another start."""

    host: str
    number: int
    start: int
    """Clock ticks since the machine started; 0 where the system does not provide them."""

    @classmethod
    def own(cls) -> ProcessName:
        """Return the name of this process."""
        return cls(_machine(), os.getpid(), _start(os.getpid()))

    @classmethod
    def parse(cls, text: str) -> ProcessName | None:
        """Inverse of ``str``; None for anything else."""
        parts = text.split("-")
        if len(parts) != 3 or not (parts[1].isdigit() and parts[2].isdigit()):
            return None
        return cls(parts[0], int(parts[1]), int(parts[2]))

    def __str__(self) -> str:
        return f"{self.host}-{self.number}-{self.start}"

    @property
    def is_here(self) -> bool:
        """Whether it ran on this machine, so that its state can be determined."""
        return self.host == _machine()

    @property
    def is_running(self) -> bool:
        """Whether it runs; another machine's process cannot be checked and counts as running."""
        if not self.is_here:
            return True
        return is_running(self.number) and self.start in (0, _start(self.number))


def is_running(number: int) -> bool:
    """Whether a process of this number runs on this machine."""
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


@cache
def _machine() -> str:
    """Name of this machine; containers that share it but have separate process numbers differ."""
    try:
        space = re.sub(r"\D", "", str(Path("/proc/self/ns/pid").readlink()))
    except OSError:
        space = ""
    return re.sub(r"[^A-Za-z0-9]", "_", socket.gethostname())[:_HOST_LENGTH] + (f"_{space}" if space else "")


def _start(number: int) -> int:
    """Time at which a process started; 0 where the system does not provide it."""
    try:
        after_name = Path(f"/proc/{number}/stat").read_text(errors="replace").rpartition(")")[2]
        return int(after_name.split()[19])
    except (OSError, IndexError, ValueError):
        return 0
