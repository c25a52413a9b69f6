"""Scatter of the phase of a refined object due to counting noise, pixel by pixel."""

from __future__ import annotations

from dataclasses import dataclass

from ptylive.schema.model import FloatArray


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
        return f"{'at least ' if self.lower_bound else ''}{self.median_rad:.2g} rad"
