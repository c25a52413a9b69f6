"""How far counting noise scatters the phase of a refined object, pixel by pixel."""

from __future__ import annotations

from dataclasses import dataclass

from ptylive.schema.model import FloatArray


@dataclass(frozen=True, eq=False)
class PhaseDeviation:
    """Of the phase of all slices together (docs/theory/refinement.md)."""

    map_rad: FloatArray
    """(Y, X) standard deviation of each pixel of the object; NaN where hardly any light fell."""
    median_rad: float
    """Over the scanned area."""
    patterns: int
    """How many it was measured on."""
    lower_bound: bool = False
    """Repeats scatter by more: of few electrons, slices that move against each other, a strength beside the phase."""

    @property
    def words(self) -> str:
        """The median in words, with its unit."""
        return f"{'at least ' if self.lower_bound else ''}{self.median_rad:.2g} rad"
