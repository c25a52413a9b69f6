"""The ways through the compiled kernel, by name: for whoever must not wait for numba to be imported."""

from __future__ import annotations

from enum import StrEnum


class Way(StrEnum):
    """Through the compiled kernel: by what is compared, and where. Each is compiled by itself."""

    FRAMES = "frames"
    COEFFICIENTS = "coefficients"
    OUTSIDE = "outside"
    """Patterns are compared outside the kernel, as for a detector that spreads counts."""
