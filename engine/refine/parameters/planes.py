"""Complex quantities as real planes: [0] real, [1] imaginary parts."""

from __future__ import annotations

from typing import Any


def complex_of(planes: Any) -> Any:
    """Complex array of planes (2, …) of real and imaginary parts."""
    return planes[0] + 1j * planes[1]


def turned(planes: Any, angle: Any, xp: Any) -> Any:
    """Planes (2, …) of a complex quantity times exp(i angle)."""
    cosine, sine = xp.cos(angle), xp.sin(angle)
    return xp.stack([planes[0] * cosine - planes[1] * sine, planes[0] * sine + planes[1] * cosine])
