"""Names of the ways through the compiled kernel, importable without waiting for numba."""

from __future__ import annotations

from enum import StrEnum


class KernelPath(StrEnum):
    """Ways through the compiled kernel: what is compared, and where. Each is compiled separately."""

    FRAMES = "frames"
    COEFFICIENTS = "coefficients"
    OUTSIDE = "outside"
    """Patterns are compared outside the kernel, as for a detector with point spread."""
