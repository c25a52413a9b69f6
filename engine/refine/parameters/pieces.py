"""Arithmetic on long vectors piece by piece: copying a vector as large as the object costs more than the sums do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

IN_CACHE, ON_DEVICE = 1 << 15, 1 << 24
"""Numbers per piece: the second-level cache holds several such pieces; on a device more, as each piece is a call."""


def pieces(size: int, xp: Any) -> Iterator[slice]:
    """Slices that cover a vector of ``size`` numbers."""
    step = IN_CACHE if xp is np else ON_DEVICE
    return (slice(start, min(start + step, size)) for start in range(0, size, step))


def add_scaled(vector: Any, factor: Any, other: Any, xp: Any) -> None:
    """Vector += factor * other, both (n,); bitwise equal to the operation on whole vectors."""
    for piece in pieces(len(vector), xp):
        vector[piece] += factor * other[piece]
