"""Time limits for a silent sender."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Patience:
    """How long to wait for a silent sender, in s: in the middle of a scan, and after a restart of this program."""

    idle_timeout_s: float = 5.0
    recovery_grace_s: float = 10.0
