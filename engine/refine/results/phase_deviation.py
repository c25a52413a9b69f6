"""Scatter of the phase of a refined object due to counting noise, pixel by pixel."""

from __future__ import annotations

from dataclasses import dataclass

from ptylive.schema.model import FloatArray

AT_BOUND_RAD = 1e-6
"""Phase up to which a pixel lies at the bound of a phase held at or above 0; such pixels hardly scatter."""


@dataclass(frozen=True, eq=False)
class PhaseDeviation:
    """Scatter of the phase of all slices together (docs/theory/refinement.md)."""

    map_rad: FloatArray
    """(Y, X) standard deviation of each pixel of the object; NaN where hardly any light fell."""
    median_rad: float
    """Median over the scanned area."""
    patterns: int
    """Number of patterns it was measured on."""
    lower_bound: bool = False
    """Whether repeats scatter by more: few electrons, slices moving against each other, amplitude as well as phase."""

    @property
    def words(self) -> str:
        """The median in words, with its unit."""
        return deviation_words(self.median_rad, self.lower_bound)


def deviation_words(median_rad: float, lower_bound: bool) -> str:
    """The median of a deviation in words, with its unit; says so if it is that of pixels held at 0."""
    if median_rad < AT_BOUND_RAD:
        return "0 rad, because most of the phase is held at 0"
    return f"{'at least ' if lower_bound else ''}{median_rad:.2g} rad"
